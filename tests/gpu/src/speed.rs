//! Times of products: weights rotate over more memory than caches hold, launches are a graph, the median of some rounds counts.
//!
//! `gemv` is bound by bytes: a weight's are read once, and the bound is what a plain copy reads and writes in the same run.
//! `gemm` stands beside cuBLAS on f16 matrices of the same size.

use crate::Result;
use crate::device::{Device, Memory, Ready};
use crate::products::{mixed, packed, prepared_bytes, preparing};
use crate::rival::Rival;
use crate::stream;
use actc_codegen::spec::gpu::{Gemm, Gemv, GpuKernel, Products, Reduce, Tile, Wgmma};
use actc_codegen::spec::{Act, BufferRole, Epilogue, Linear, Mat, Tokens};
use actc_problems::Rng;
use actc_problems::linear::{sizes, weak_count};
use actc_types::{DType, Encoding, Group, Role, WeakPlace};
use half::f16;

/// Bytes of weights that rotate.
const ROTATED: u64 = 1 << 29;

/// Most sets of weights that rotate.
const MOST_SETS: u64 = 96;

/// Rows and columns of the matrices that `gemv` is timed on: Llama-2-7B's, and larger ones.
pub(crate) const SHAPES: [(u32, u32); 5] = [(4096, 4096), (11008, 4096), (4096, 11008), (8192, 8192), (28672, 8192)];

/// How inputs enter products of `gemv`.
pub(crate) const PRODUCTS: [Products; 2] = [Products::Single, Products::Half];

/// Tokens that `gemm` is timed with, on the shape of its row.
const MANY: [usize; 4] = [16, 64, 256, 1024];

/// Rows and columns of the matrix that `gemm` is timed on.
const LARGE: (u32, u32) = (8192, 8192);

/// How a matrix is stored, by name.
pub(crate) fn stored(cols: u32) -> Vec<(&'static str, Encoding)> {
    let (g64, g128) = (Group::Columns(64), Group::Columns(128));
    // As many weak columns as an extra tenth of a bit, or a quarter, pay for: each costs 16 less the code's bits.
    let weak = |bits: u8, extra: f64| (extra * f64::from(cols) / f64::from(16 - bits)) as u32 / 8 * 8;
    vec![
        ("2 bits/64", Encoding::Packed(packed(2, g64))),
        ("3 bits/64", Encoding::Packed(packed(3, g64))),
        ("3 bits/64 + weak", mixed(3, g64, weak(3, 0.25), WeakPlace::Suffix)),
        ("4 bits/128", Encoding::Packed(packed(4, g128))),
        ("4 bits/128 + weak", mixed(4, g128, weak(4, 0.1), WeakPlace::Suffix)),
        ("4 bits", Encoding::Packed(packed(4, Group::Channel))),
        ("8 bits", Encoding::Packed(packed(8, Group::Channel))),
        ("f16", Encoding::Dense),
    ]
}

pub(crate) fn linear((rows, cols): (u32, u32), encoding: &Encoding, tokens: Tokens) -> Linear {
    let mat = Mat { rows, encoding: encoding.clone(), dtype: DType::F16, bias: false };
    Linear { mats: vec![mat], cols, tokens, act: Act::F32, epilogue: Epilogue::None }
}

fn gemv(shape: (u32, u32), encoding: &Encoding, tokens: u8, products: Products) -> Result<GpuKernel> {
    Ok(GpuKernel::Gemv(Gemv::of(linear(shape, encoding, Tokens::Few(tokens)), products)?))
}

/// The kernel that multiplies, and the one that adds its pieces, for `tokens` tokens.
fn gemm(shape: (u32, u32), encoding: &Encoding, tokens: usize) -> Result<(GpuKernel, Option<GpuKernel>)> {
    let products = Products::Half;
    if tokens <= 16 {
        let few = linear(shape, encoding, Tokens::Few(u8::try_from(tokens)?));
        return Ok((GpuKernel::Gemv(Gemv::of(few, products)?), None));
    }
    let linear = linear(shape, encoding, Tokens::Many);
    if tokens > 16 && Wgmma::takes(&linear) {
        return Ok((GpuKernel::Wgmma(Wgmma::of(linear, tokens)), None));
    }
    let record = Gemm { linear: linear.clone(), products, tile: Tile::Small, splits: 1 }.records()?[0];
    let (tile, splits) = Tile::of(shape.0 as usize, record.chunks(), tokens * usize::from(record.parts));
    let reduce = (splits > 1).then(|| GpuKernel::Reduce(Reduce { linear: linear.clone(), splits }));
    Ok((GpuKernel::Gemm(Gemm { linear, products, tile, splits }), reduce))
}

/// All kernels that are timed.
pub(crate) fn kernels() -> Result<Vec<GpuKernel>> {
    let mut products = Vec::new();
    for shape in SHAPES {
        for (_, encoding) in stored(shape.1) {
            for precision in PRODUCTS {
                products.push(gemv(shape, &encoding, 1, precision)?);
            }
        }
    }
    for (_, encoding) in stored(LARGE.1) {
        for precision in PRODUCTS {
            products.push(gemv(LARGE, &encoding, 4, precision)?);
        }
        for tokens in MANY {
            let (product, rest) = gemm(LARGE, &encoding, tokens)?;
            products.extend([product].into_iter().chain(rest));
        }
    }
    let mut all = Vec::new();
    for product in products {
        all.extend(preparing(&product)?);
        all.push(product);
    }
    Ok(all)
}

/// Random halves near one, as bytes.
pub(crate) fn halves(count: usize) -> Vec<u8> {
    let mut rng = Rng(11);
    let some: Vec<[u8; 2]> = (0..1 << 16).map(|_| f16::from_f32(rng.float()).to_le_bytes()).collect();
    some.iter().cycle().take(count).flatten().copied().collect()
}

/// Bytes of a part that no kernel minds: codes are random, scales and weights small.
fn filler(role: Role, bytes: usize) -> Vec<u8> {
    let mut rng = Rng(5);
    match role {
        Role::Codes | Role::Zeros => {
            let words: Vec<[u8; 8]> = (0..(1 << 20) + 1).map(|_| rng.word().to_le_bytes()).collect();
            words.iter().flatten().cycle().take(bytes).copied().collect()
        }
        _ => halves(bytes / 2),
    }
}

/// A product on as many sets of weights as rotate.
struct Rotation {
    sets: Vec<Vec<Ready>>,
    /// Bytes of one set.
    bytes: u64,
    _memory: Vec<Memory>,
}

impl Rotation {
    fn new(
        device: &Device,
        shape: (u32, u32),
        encoding: &Encoding,
        steps: &[&GpuKernel],
        tokens: usize,
    ) -> Result<Rotation> {
        let (rows, cols) = (shape.0 as usize, shape.1 as usize);
        let parts = encoding.parts(DType::F16, rows, cols)?;
        let bytes: u64 = parts.iter().map(|(_, bytes)| bytes).sum();
        let weak = weak_count(encoding);
        let mut rng = Rng(3);
        let x: Vec<u8> = (0..tokens * cols).flat_map(|_| rng.float().to_le_bytes()).collect();
        let prepared = steps.iter().map(|k| prepared_bytes(k, tokens, weak)).max().unwrap_or(0);
        let mut memory = vec![device.put(&x)?, device.zeros(prepared)?];
        let pieces = device.zeros(4 * rows * tokens * 8)?;
        let y = device.zeros(4 * rows * tokens)?;
        let (input, prepared) = (memory[0].address, memory[1].address);
        let fillers: Vec<(Role, Vec<u8>)> = parts.iter().map(|(role, n)| (*role, filler(*role, *n as usize))).collect();
        let mut sets: Vec<Vec<Ready>> = Vec::new();
        for _ in 0..ROTATED.div_ceil(bytes).clamp(2, MOST_SETS) {
            let mut weights = Vec::new();
            for (i, (role, bytes)) in fillers.iter().enumerate() {
                // The first set's parts lie behind input and record.
                let part = if sets.is_empty() { device.put(bytes)? } else { device.copy(&memory[2 + i])? };
                weights.push((*role, part.address));
                memory.push(part);
            }
            let mut ready = Vec::new();
            for (i, kernel) in steps.iter().enumerate() {
                let last = i + 1 == steps.len();
                let address = |role| match role {
                    BufferRole::Weight { part, .. } => {
                        weights.iter().find(|(r, _)| *r == part).map_or(0, |(_, at)| *at)
                    }
                    BufferRole::Prepared(_) => prepared,
                    BufferRole::Input(_) if matches!(kernel, GpuKernel::Reduce(_)) => pieces.address,
                    BufferRole::Input(_) => input,
                    _ if last => y.address,
                    _ => pieces.address,
                };
                let buffers: Vec<u64> = kernel.buffers().iter().map(|b| address(b.role)).collect();
                ready.push(device.ready(kernel, &buffers, &sizes(&kernel.dims(), tokens, &[weak]))?);
            }
            sets.push(ready);
        }
        memory.extend([pieces, y]);
        Ok(Rotation { sets, bytes, _memory: memory })
    }

    /// The same without the first step, which has been done once: in a model several matrices may read an input.
    fn without_input(self) -> Rotation {
        let sets = self.sets.into_iter().map(|set| set[1..].to_vec()).collect();
        Rotation { sets, ..self }
    }

    /// Seconds of one set.
    fn seconds(&self, device: &Device) -> Result<f64> {
        let all = device.seconds(&|| self.sets.iter().flatten().try_for_each(|ready| device.start(ready)))?;
        Ok(all / self.sets.len() as f64)
    }
}

/// Times everything that has `only` in its name, and prints it.
pub(crate) fn measure(device: &Device, only: &str) -> Result<()> {
    let few = SHAPES.map(|shape| (shape, 1)).into_iter().chain([(LARGE, 4)]);
    let mut rows = Vec::new();
    for ((shape, tokens), precision) in few.flat_map(|few| PRODUCTS.map(|p| (few, p))) {
        for (name, encoding) in stored(shape.1) {
            let name = format!("gemv {} x {} {name}, {tokens} {precision}", shape.0, shape.1);
            if name.contains(only) {
                rows.push((name, shape, encoding, tokens, precision));
            }
        }
    }
    if !rows.is_empty() {
        let copy = stream::copy(device)?;
        println!("\ngemv: matrix, tokens, products                       us     GB/s  of copy");
        for (name, shape, encoding, tokens, precision) in rows {
            let kernel = gemv(shape, &encoding, tokens, precision)?;
            gemv_row(device, &name, shape, &encoding, &kernel, tokens.into(), copy)?;
        }
    }
    gemms(device, only)
}

pub(crate) fn gemv_row(
    device: &Device,
    name: &str,
    shape: (u32, u32),
    encoding: &Encoding,
    kernel: &GpuKernel,
    tokens: usize,
    copy: f64,
) -> Result<()> {
    let prepare = preparing(kernel)?.remove(0);
    let rotation = Rotation::new(device, shape, encoding, &[&prepare, kernel], tokens)?;
    rotation.sets[0].iter().try_for_each(|ready| device.start(ready))?;
    let rotation = rotation.without_input();
    let seconds = rotation.seconds(device)?;
    let rate = rotation.bytes as f64 / seconds;
    println!("{name:46} {:8.2} {:8.0} {:6.1}%", 1e6 * seconds, rate / 1e9, 100.0 * rate / copy);
    Ok(())
}

fn gemms(device: &Device, only: &str) -> Result<()> {
    let mut rows = Vec::new();
    for tokens in MANY {
        for (name, encoding) in stored(LARGE.1) {
            let name = format!("gemm {} x {} {name}, {tokens} tokens", LARGE.0, LARGE.1);
            if name.contains(only) {
                rows.push((name, encoding, tokens));
            }
        }
    }
    if rows.is_empty() {
        return Ok(());
    }
    let sets = usize::try_from(ROTATED.div_ceil(2 * u64::from(LARGE.0) * u64::from(LARGE.1)).max(2))?;
    let rival = Rival::open(device, LARGE.0 as usize, LARGE.1 as usize, sets)?;
    if rival.is_none() {
        println!("\nno cuBLAS on this machine: nothing to compare gemm with");
    }
    println!(
        "\ngemm                                                 us TFLOP/s  with input us  cuBLAS f16 us  times  with input"
    );
    for of_tokens in rows.chunk_by(|a, b| a.2 == b.2) {
        let theirs = rival.as_ref().map(|rival| rival.seconds(device, of_tokens[0].2)).transpose()?;
        for (name, encoding, tokens) in of_tokens {
            let (product, rest) = gemm(LARGE, encoding, *tokens)?;
            let prepare = preparing(&product)?.remove(0);
            let steps: Vec<&GpuKernel> = [&prepare, &product].into_iter().chain(rest.as_ref()).collect();
            let rotation = Rotation::new(device, LARGE, encoding, &steps, *tokens)?;
            let all = rotation.seconds(device)?;
            let seconds = rotation.without_input().seconds(device)?;
            let flops = 2.0 * f64::from(LARGE.0) * f64::from(LARGE.1) * *tokens as f64;
            let beside = |t: f64| format!("{:14.1} {:6.2} {:11.2}", 1e6 * t, t / seconds, t / all);
            let beside = theirs.map_or(String::new(), beside);
            println!("{name:46} {:8.1} {:7.1} {:14.1} {beside}", 1e6 * seconds, flops / seconds / 1e12, 1e6 * all);
        }
    }
    Ok(())
}
