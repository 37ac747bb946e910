//! Checks of `prepare`, `gemv`, `gemm` and `reduce` over encodings, tokens and epilogues, tails everywhere.

use crate::Result;
use crate::device::{Device, Memory};
use crate::tally::Tally;
use actc_codegen::spec::gpu::{Gemm, Gemv, GpuKernel, Prepare, Products, Reduce, Swizzle, Tile, Wgmma};
use actc_codegen::spec::{Act, BufferRole, Epilogue, Linear, Mat, Tokens};
use actc_problems::linear::{Problem, bound, sizes, weak_count};
use actc_types::{DType, Encoding, Group, Mixed, Order, Packed, Role, WeakPlace};

/// How a case is computed.
#[derive(Clone, Copy)]
enum Way {
    Gemv,
    /// In so many pieces.
    Gemm(Tile, u8),
    /// In tiles of so many tokens, on GPUs that have groups of warps.
    Wgmma(u8, u16),
}

struct Case {
    name: String,
    rows: Vec<usize>,
    cols: usize,
    encodings: Vec<Encoding>,
    dtype: DType,
    tokens: usize,
    act: Act,
    epilogue: Epilogue,
    bias: bool,
    products: Products,
    way: Way,
}

/// Codes in the order of GPUs.
pub(crate) fn packed(bits: u8, group: Group) -> Packed {
    Packed { order: Order::Mma16, ..Packed::new(bits, group) }
}

/// Codes and weak columns in the order of GPUs.
pub(crate) fn mixed(bits: u8, group: Group, cols: u32, place: WeakPlace) -> Encoding {
    Encoding::Mixed(Mixed { body: packed(bits, group), cols, place, weak: DType::F16 })
}

fn cases() -> Vec<Case> {
    let g64 = Group::Columns(64);
    let mut all = Vec::new();
    let mut add = |what: &str,
                   encoding: Encoding,
                   dtype: DType,
                   (tokens, act, epilogue): (usize, Act, Epilogue),
                   products,
                   way| {
        let (rows, bias) = match epilogue {
            Epilogue::None => (vec![300, 77, 16], true),
            Epilogue::AddResidual => (vec![517], true),
            Epilogue::GatedSilu | Epilogue::GatedGeluTanh => (vec![333, 333], false),
        };
        let encodings = vec![encoding; rows.len()];
        let way_name = match way {
            Way::Gemv => "gemv".to_owned(),
            Way::Gemm(tile, splits) => format!("gemm {tile:?}/{splits}"),
            Way::Wgmma(down, tile) => format!("wgmma {down} by {tile}"),
        };
        let name = format!("{way_name} {what}, {tokens} tokens, {act}, {epilogue:?}, {products}");
        let cols = 1736;
        all.push(Case { name, rows, cols, encodings, dtype, tokens, act, epilogue, bias, products, way });
    };
    let forms = [
        (1, Act::F32, Epilogue::None),
        (2, Act::Int8, Epilogue::AddResidual),
        (4, Act::F32, Epilogue::GatedSilu),
        (8, Act::F32, Epilogue::GatedGeluTanh),
    ];
    let large = [
        (1, Act::F32, Epilogue::None),
        (17, Act::Int8, Epilogue::AddResidual),
        (150, Act::F32, Epilogue::GatedSilu),
        (64, Act::F32, Epilogue::None),
    ];
    for (i, (form, many)) in forms.into_iter().zip(large).enumerate() {
        for bits in 1..=8u8 {
            let group = [g64, Group::Channel, Group::Columns(128), Group::Columns(48)][(i + usize::from(bits)) % 4];
            let encodings = [
                ("packed", Encoding::Packed(packed(bits, group))),
                ("scattered", mixed(bits, group, 21, WeakPlace::Scattered)),
                ("suffix", mixed(bits, group, 8, WeakPlace::Suffix)),
            ];
            let (what, encoding) = encodings[(i + usize::from(bits) / 2) % 3].clone();
            let what = format!("{what} {bits} bits/{group}");
            let products = if i == 2 { Products::Half } else { Products::Single };
            add(&what, encoding.clone(), DType::F16, form, products, Way::Gemv);
            let splits = if many.2 == Epilogue::None { 1 + bits % 3 } else { 1 };
            let tile = Tile::ALL[(usize::from(bits) + i) % 3];
            add(&what, encoding, DType::F16, many, products, Way::Gemm(tile, splits));
        }
        for dtype in [DType::F16, DType::Bf16] {
            if form.1 == Act::F32 {
                let what = format!("dense {dtype}");
                add(&what, Encoding::Dense, dtype, form, Products::Single, Way::Gemv);
                add(&what, Encoding::Dense, dtype, many, Products::Half, Way::Gemm(Tile::ALL[i % 3], 1));
            }
        }
    }
    for (i, bits) in [2, 3, 4, 4, 8, 5].into_iter().enumerate() {
        let group = [g64, Group::Columns(128), Group::Channel][i % 3];
        let encoding = match i % 3 {
            0 => Encoding::Packed(packed(bits, group)),
            1 => mixed(bits, group, 21, WeakPlace::Scattered),
            _ => mixed(bits, group, 72, WeakPlace::Suffix),
        };
        let epilogue = if i % 2 == 0 { Epilogue::None } else { Epilogue::AddResidual };
        let (tokens, down, tile) =
            [(300, 1, 256), (100, 2, 128), (64, 1, 64), (200, 2, 64), (129, 1, 128), (128, 2, 128)][i];
        let what = format!("{encoding}");
        add(&what, encoding, DType::F16, (tokens, Act::F32, epilogue), Products::Half, Way::Wgmma(down, tile));
    }
    for bits in [2, 3, 4, 8] {
        let encoding = mixed(bits, g64, 13, WeakPlace::Scattered);
        add(
            &format!("scattered {bits} bits"),
            encoding,
            DType::F16,
            (16, Act::F32, Epilogue::None),
            Products::Half,
            Way::Gemv,
        );
    }
    all
}

impl Case {
    fn linear(&self) -> Linear {
        let mat = |(rows, encoding): (&usize, &Encoding)| Mat {
            rows: *rows as u32,
            encoding: encoding.clone(),
            dtype: self.dtype,
            bias: self.bias,
        };
        let tokens = match self.way {
            Way::Gemv => Tokens::Few(self.tokens as u8),
            Way::Gemm(..) | Way::Wgmma(..) => Tokens::Many,
        };
        let mats = self.rows.iter().zip(&self.encodings).map(mat).collect();
        Linear { mats, cols: self.cols as u32, tokens, act: self.act, epilogue: self.epilogue }
    }

    /// The kernel that multiplies, and the one that adds its pieces.
    fn kernels(&self) -> Result<(GpuKernel, Option<GpuKernel>)> {
        let (linear, products) = (self.linear(), self.products);
        Ok(match self.way {
            Way::Gemv => (GpuKernel::Gemv(Gemv::of(linear, products)?), None),
            Way::Wgmma(down, tile) => (GpuKernel::Wgmma(Wgmma { linear, down, tile }), None),
            Way::Gemm(tile, 1) => (GpuKernel::Gemm(Gemm { linear, products, tile, splits: 1 }), None),
            Way::Gemm(tile, splits) => {
                let mats = linear.mats.iter().map(|m| Mat { bias: false, ..m.clone() }).collect();
                let part = Linear { mats, epilogue: Epilogue::None, ..linear.clone() };
                let gemm = Gemm { linear: part, products, tile, splits };
                (GpuKernel::Gemm(gemm), Some(GpuKernel::Reduce(Reduce { linear, splits })))
            }
        })
    }

    fn problem(&self) -> Problem {
        let problem = Problem::random(&self.rows, &self.encodings, self.dtype, self.cols, self.tokens, self.bias, 7);
        Problem { act: self.act, epilogue: self.epilogue, ..problem }
    }
}

/// What prepares the input of each matrix of a product; nothing for another kernel.
pub(crate) fn preparing(kernel: &GpuKernel) -> Result<Vec<GpuKernel>> {
    let records = match kernel {
        GpuKernel::Gemv(gemv) => gemv.records()?,
        GpuKernel::Gemm(gemm) => gemm.records()?,
        GpuKernel::Wgmma(wgmma) => {
            let tile = wgmma.tile;
            let swizzle = |record| GpuKernel::Swizzle(Swizzle { record, tile, norm: None });
            return Ok(wgmma.records()?.into_iter().map(swizzle).collect());
        }
        _ => return Ok(Vec::new()),
    };
    Ok(records.into_iter().map(|record| GpuKernel::Prepare(Prepare { record, norm: None })).collect())
}

/// Bytes that `kernel` prepares for `tokens` tokens and so many weak columns that an index names.
pub(crate) fn prepared_bytes(kernel: &GpuKernel, tokens: usize, weak: usize) -> usize {
    match kernel {
        GpuKernel::Prepare(prepare) => prepare.record.bytes(tokens, weak),
        GpuKernel::Swizzle(swizzle) => swizzle.bytes(tokens, weak),
        _ => 0,
    }
}

/// Whether only GPUs of compute capability 9.0 run it.
pub(crate) fn of_hopper(kernel: &GpuKernel) -> bool {
    kernel.only_for().is_some()
}

/// All kernels that are checked, of cases that have `only` in their names.
pub(crate) fn kernels(only: &str) -> Result<Vec<GpuKernel>> {
    let mut all = Vec::new();
    for case in cases().iter().filter(|case| case.name.contains(only)) {
        let (product, rest) = case.kernels()?;
        all.extend(preparing(&product)?);
        all.extend([product].into_iter().chain(rest));
    }
    Ok(all)
}

fn bytes(x: &[f32]) -> Vec<u8> {
    x.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// The outputs of a case on the GPU.
fn outputs(device: &Device, case: &Case, problem: &Problem) -> Result<Vec<Vec<f32>>> {
    let (product, rest) = case.kernels()?;
    let weak: Vec<usize> = problem.matrices.iter().map(|m| weak_count(&m.encoding)).collect();
    let mut parts: Vec<(u8, Role, Memory)> = Vec::new();
    for (i, matrix) in problem.matrices.iter().enumerate() {
        for (role, bytes) in &matrix.parts {
            parts.push((i as u8, *role, device.put(bytes)?));
        }
    }
    let part = |mat: u8, role: Role| {
        parts
            .iter()
            .find(|(m, r, _)| *m == mat && *r == role)
            .map(|(_, _, memory)| memory.address)
            .ok_or("no such part")
    };
    let x = device.put(&bytes(&problem.x))?;
    let mut prepared = Vec::new();
    for (i, prepare) in preparing(&product)?.iter().enumerate() {
        let out = device.room(prepared_bytes(prepare, problem.tokens, weak[i]))?;
        let mut buffers = Vec::new();
        for b in prepare.buffers() {
            buffers.push(match b.role {
                BufferRole::Input(_) => x.address,
                BufferRole::WeakIndex(_) => part(i as u8, Role::WeakIndex)?,
                _ => out.address,
            });
        }
        device.start(&device.ready(prepare, &buffers, &sizes(&prepare.dims(), problem.tokens, &weak[i..]))?)?;
        prepared.push(out);
    }
    let biases = problem.biases.iter().map(|b| device.put(&bytes(b))).collect::<Result<Vec<_>>>()?;
    let residual = device.put(&bytes(&problem.residual))?;
    let run = |kernel: &GpuKernel, pieces: usize, inputs: &[Memory]| {
        let (mut buffers, mut outs) = (Vec::new(), Vec::new());
        for b in kernel.buffers() {
            buffers.push(match b.role {
                BufferRole::Weight { mat, part: role } => part(mat, role)?,
                BufferRole::Bias(n) => biases[usize::from(n)].address,
                BufferRole::Prepared(n) => prepared[usize::from(n)].address,
                BufferRole::Input(n) => inputs[usize::from(n)].address,
                BufferRole::Residual => residual.address,
                _ => {
                    outs.push(device.room(4 * problem.matrices[outs.len()].rows * problem.tokens * pieces)?);
                    outs[outs.len() - 1].address
                }
            });
        }
        device.start(&device.ready(kernel, &buffers, &sizes(&kernel.dims(), problem.tokens, &weak))?)?;
        Ok::<_, Box<dyn std::error::Error>>(outs)
    };
    let pieces = if let Way::Gemm(_, splits) = case.way { splits.into() } else { 1 };
    let mut outs = run(&product, pieces, &[])?;
    if let Some(reduce) = rest {
        outs = run(&reduce, 1, &outs)?;
    }
    outs.iter().map(|out| device.floats(out)).collect()
}

/// Checks all cases that have `only` in their names; whether all are right.
pub(crate) fn check(device: &Device, only: &str) -> Result<bool> {
    let mut tally = Tally::default();
    for case in cases().iter().filter(|case| case.name.contains(only)) {
        if of_hopper(&case.kernels()?.0) && !device.is_hopper()? {
            continue;
        }
        let problem = case.problem();
        let bound = bound(case.cols, case.products, case.dtype == DType::Bf16 && case.encodings[0] == Encoding::Dense);
        let found = problem.worst(&outputs(device, case, &problem)?, bound, 1);
        tally.see(&case.name, found.error, &found);
    }
    Ok(tally.done("products"))
}
