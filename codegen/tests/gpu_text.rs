//! The CUDA text of kernels, one of each family: what changes in it is looked at.
// Nothing here is of LLVM: once is enough.
#![cfg(not(feature = "emit-llvm"))]

use actc_codegen::spec::gpu::{Gemm, Gemv, GpuKernel, Prepare, Products, Tile};
use actc_codegen::spec::{Act, Epilogue, Linear, Mat, Tokens};
use actc_types::{DType, Encoding, Group, Mixed, Order, Packed, WeakPlace};

fn linear(bits: u8, place: WeakPlace, tokens: Tokens, epilogue: Epilogue) -> Linear {
    let body = Packed { order: Order::Mma16, ..Packed::new(bits, Group::Columns(64)) };
    let cols = if place == WeakPlace::Suffix { 6 } else { 1 };
    let encoding = Encoding::Mixed(Mixed { body, cols, place, weak: DType::F16 });
    let mat = Mat { rows: 1536, encoding, dtype: DType::F16, bias: false };
    let mats = if epilogue == Epilogue::AddResidual { vec![mat] } else { vec![mat.clone(), mat] };
    Linear { mats, cols: 576, tokens, act: Act::F32, epilogue }
}

fn text(kernel: GpuKernel) -> String {
    kernel.check().unwrap();
    let text = kernel.source().unwrap();
    assert!(!text.contains("{=") && !text.contains("{:"), "everything is filled in");
    text
}

#[test]
fn gemv_of_three_bits_with_scattered_columns() {
    let linear = linear(3, WeakPlace::Scattered, Tokens::Few(1), Epilogue::GatedSilu);
    let gemv = Gemv::of(linear, Products::Single).unwrap();
    let record = gemv.records().unwrap()[0];
    insta::assert_snapshot!("prepare", text(GpuKernel::Prepare(Prepare { record })));
    insta::assert_snapshot!("gemv", text(GpuKernel::Gemv(gemv)));
}

#[test]
fn gemm_of_four_bits_with_a_suffix() {
    let linear = linear(4, WeakPlace::Suffix, Tokens::Many, Epilogue::AddResidual);
    insta::assert_snapshot!(
        "gemm",
        text(GpuKernel::Gemm(Gemm { linear, products: Products::Half, tile: Tile::Large, splits: 1 }))
    );
}
