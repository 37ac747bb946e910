//! Checks of `prepare`, `gemv`, `gemm` and `reduce` over encodings, tokens and epilogues, tails everywhere.

use crate::Result;
use crate::device::{Device, Memory};
use actc_codegen::spec::gpu::{Gemm, Gemv, GpuKernel, Prepare, Products, Record, Reduce, Tile};
use actc_codegen::spec::{Act, BufferRole, Epilogue, Linear, Mat, Tokens};
use actc_problems::linear::{Problem, weak_count};
use actc_types::{DType, Encoding, Group, Mixed, Order, Packed, Role, WeakPlace};

/// How a case is computed.
#[derive(Clone, Copy)]
enum Way {
    Gemv,
    /// In so many pieces.
    Gemm(Tile, u8),
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

/// The error of a sum relative to the size of its terms: sums of f32, and inputs in parts of 11 bits (8 with bf16).
pub(crate) fn bound(cols: usize, products: Products, brain: bool) -> f64 {
    let inputs = match (products, brain) {
        (Products::Half, false) => 2f64.powi(-11),
        (Products::Half, true) => 2f64.powi(-8),
        (Products::Single, _) => 2f64.powi(-22),
    };
    inputs + (2.0 * cols as f64 + 32.0) * 2f64.powi(-24)
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
            Way::Gemm(..) => Tokens::Many,
        };
        let mats = self.rows.iter().zip(&self.encodings).map(mat).collect();
        Linear { mats, cols: self.cols as u32, tokens, act: self.act, epilogue: self.epilogue }
    }

    /// The kernel that multiplies, and the one that adds its pieces.
    fn kernels(&self) -> Result<(GpuKernel, Option<GpuKernel>)> {
        let (linear, products) = (self.linear(), self.products);
        Ok(match self.way {
            Way::Gemv => (GpuKernel::Gemv(Gemv::of(linear, products)?), None),
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

/// What each matrix of a product reads.
pub(crate) fn records(kernel: &GpuKernel) -> Result<Vec<Record>> {
    if let GpuKernel::Gemv(gemv) = kernel {
        return Ok(gemv.records()?);
    }
    if let GpuKernel::Gemm(gemm) = kernel { Ok(gemm.records()?) } else { Ok(Vec::new()) }
}

/// All kernels that are checked.
pub(crate) fn kernels() -> Result<Vec<GpuKernel>> {
    let mut all = Vec::new();
    for case in cases() {
        let (product, rest) = case.kernels()?;
        all.extend(records(&product)?.into_iter().map(|record| GpuKernel::Prepare(Prepare { record })));
        all.extend([product].into_iter().chain(rest));
    }
    Ok(all)
}

fn bytes(x: &[f32]) -> Vec<u8> {
    x.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// The sizes that a kernel asks for by name.
pub(crate) fn sizes(names: &[String], tokens: usize, weak: &[usize]) -> Vec<u32> {
    let value = |name: &String| match name.strip_prefix("weak").and_then(|i| i.parse::<usize>().ok()) {
        Some(i) => weak[i] as u32,
        None => tokens as u32,
    };
    names.iter().map(value).collect()
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
    for (i, record) in records(&product)?.iter().enumerate() {
        let out = device.room(record.bytes(problem.tokens, weak[i]))?;
        let prepare = GpuKernel::Prepare(Prepare { record: *record });
        let mut buffers = Vec::new();
        for b in prepare.buffers() {
            buffers.push(match b.role {
                BufferRole::Input(_) => x.address,
                BufferRole::WeakIndex(_) => part(i as u8, Role::WeakIndex)?,
                _ => out.address,
            });
        }
        device.start(&device.ready(&prepare, &buffers, &sizes(&prepare.dims(), problem.tokens, &weak[i..]))?)?;
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
    let (mut wrong, mut worst, mut count) = (0, 0f64, 0);
    for case in cases().iter().filter(|case| case.name.contains(only)) {
        let problem = case.problem();
        let bound = bound(case.cols, case.products, case.dtype == DType::Bf16 && case.encodings[0] == Encoding::Dense);
        let found = problem.worst(&outputs(device, case, &problem)?, bound, 1);
        if found.error > 1.0 {
            wrong += 1;
            println!("WRONG {}: {found}", case.name);
        }
        worst = worst.max(found.error);
        count += 1;
    }
    println!("products: {count} cases, {wrong} wrong, furthest off by {worst:.3} of what is allowed");
    Ok(wrong == 0)
}
