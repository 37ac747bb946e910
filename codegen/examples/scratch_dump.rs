//! scratch
use actc_codegen::spec::gpu::*;
use actc_codegen::spec::{Act, Epilogue, Linear, Mat, Tokens};
use actc_codegen::toolchain::{Nvrtc, Ptxas};
use actc_types::*;
fn main() {
    let a: Vec<u32> = std::env::args().skip(1).map(|s| s.parse().unwrap()).collect();
    let [bits, group, rows, cols, tokens, warps, gang, stages, half] = a[..] else { panic!() };
    let g = if group == 0 { Group::Channel } else { Group::Columns(group) };
    let e = Encoding::Packed(Packed { order: Order::Mma16, ..Packed::new(bits as u8, g) });
    let mat = Mat { rows, encoding: e, dtype: DType::F16, bias: false };
    let linear =
        Linear { mats: vec![mat], cols, tokens: Tokens::Few(tokens as u8), act: Act::F32, epilogue: Epilogue::None };
    let products = if half == 1 { Products::Half } else { Products::Single };
    let k = GpuKernel::Gemv(Gemv {
        linear,
        products,
        tuning: Tuning { warps: warps as u8, gang: gang as u8, stages: stages as u8 },
    });
    k.check().unwrap();
    let t = Target::parse("sm_90a").unwrap();
    let src = k.source().unwrap();
    std::fs::write("/tmp/k.cu", &src).unwrap();
    let ptx = Nvrtc::open().unwrap().compile("k", &src, &t).unwrap();
    let made = Ptxas::open().unwrap().assemble("k", &ptx.text, &t).unwrap();
    println!("{:?} {:?}", made.resources, k.launch(&[u64::from(tokens)]));
    std::fs::write("/tmp/k.cubin", made.cubin).unwrap();
}
