//! What `gemv` and `gemm` have in common: which matrices they take, what a block computes of which output, and how the CUDA text
//! names what belongs to a matrix.

use super::geometry::Sizes;
use super::matrix::matrix;
use super::record::{Products, Record, Weak};
use super::text::parameters;
use crate::spec::linear::{Epilogue, Linear};
use crate::spec::{Buffer, BufferRole};
use actc_templates::cuda;
use actc_types::packed::mma16;
use actc_types::{DType, Diagnostic, Group, Order, Result, Role};

/// Most columns of a matrix: `prepare` has a bit for each in shared memory.
const COLUMNS: u32 = 1 << 18;

fn shape(headline: String) -> Diagnostic {
    Diagnostic::new("kernel-shape", headline)
}

/// What each matrix reads.
pub(super) fn records(linear: &Linear, products: Products) -> Result<Vec<Record>> {
    let Linear { mats, cols, act, tokens, .. } = linear;
    mats.iter().map(|mat| Record::of(mat, *cols, *act, products, *tokens)).collect()
}

/// Refuses what no kernel of a GPU multiplies, and what does not fit together.
pub(super) fn check(linear: &Linear, records: &[Record]) -> Result<()> {
    linear.check_shapes()?;
    for mat in &linear.mats {
        if let Some(p) = mat.codes().filter(|p| p.order != Order::Mma16) {
            return Err(Diagnostic::new(
                "kernel-encoding",
                format!("no GPU kernel reads the order {}", p.order.name()),
            ));
        }
        if let Some(Group::Columns(n)) = mat.codes().map(|p| p.group).filter(|g| !whole_steps(*g)) {
            return Err(shape(format!("groups of {n} columns")));
        }
        let parts = mat.encoding.parts(mat.dtype, mat.rows as usize, linear.cols as usize)?;
        if mat.rows == 0 || parts.iter().any(|(_, bytes)| *bytes >= 1 << 46) {
            return Err(shape(format!("a matrix of {} rows and {} columns", mat.rows, linear.cols)));
        }
    }
    if records.iter().any(|r| r.cols == 0 || r.cols > COLUMNS) {
        return Err(shape(format!("{} columns, a GPU kernel takes 1 to {COLUMNS}", linear.cols)));
    }
    Ok(())
}

/// Whether groups end where steps do.
pub(super) fn whole_steps(group: Group) -> bool {
    match group {
        Group::Channel => true,
        Group::Columns(n) => n > 0 && n.is_multiple_of(mma16::STEP as u32),
    }
}

/// For each matrix its parts (codes, scales, zeros, weak; or data), bias, prepared input; then the residual; then the outputs
/// `f32[tokens, rows]`.
pub(super) fn buffers(linear: &Linear) -> Vec<Buffer> {
    linear.buffers_of(|_, i| Buffer::read(BufferRole::Prepared(i), DType::U8))
}

/// What the text of a product is made of, whose parts a template borrows.
pub(super) struct Parts {
    spec: String,
    epilogue: &'static str,
    layout: Vec<String>,
    parameters: String,
    mats: Vec<cuda::Matrix>,
    outputs: Vec<cuda::Output>,
    gate: &'static str,
}

impl Parts {
    /// Of the kernel `spec` for `linear`, whose matrices read `records` in so many tiles of a launch and whose blocks have `rows`
    /// rows.
    pub(super) fn new(
        spec: String,
        linear: &Linear,
        records: &[Record],
        tiles: &dyn Fn(&Record) -> usize,
        rows: usize,
    ) -> Parts {
        let mats = linear.mats.iter().zip(records).enumerate();
        Parts {
            spec,
            epilogue: linear.epilogue.name(),
            layout: crate::listing::layout(&linear.mats),
            parameters: parameters(&buffers(linear), &linear.dims(), Sizes::Int),
            mats: mats.map(|(i, (mat, record))| matrix(i, mat, record, tiles(record))).collect(),
            outputs: outputs(linear, records, rows),
            gate: gate(linear.epilogue),
        }
    }

    pub(super) fn product<'a>(&'a self, symbol: &'a str) -> cuda::Product<'a> {
        let Parts { spec, epilogue, layout, parameters, mats, outputs, gate } = self;
        cuda::Product { symbol, spec, epilogue, layout, parameters, mats, outputs, gate }
    }
}

/// The outputs, with the blocks of `rows` rows that compute them.
fn outputs(linear: &Linear, records: &[Record], rows: usize) -> Vec<cuda::Output> {
    let (mats, gated) = (&linear.mats, linear.gated());
    let bias = |i: usize| if mats[i].bias { format!("bias{i}") } else { String::new() };
    let call = |i: usize| {
        let record = &records[i];
        cuda::Call { index: i, arguments: arguments(linear, i, record), steps: steps(i, record) }
    };
    let mut start = 0;
    let count = if gated { 1 } else { mats.len() };
    let output = |i: usize| {
        let end = start + (mats[i].rows as usize).div_ceil(rows);
        let output = cuda::Output {
            start,
            end,
            mats: if gated { vec![call(0), call(1)] } else { vec![call(i)] },
            first: i,
            second: if gated { 1 } else { i },
            gated,
            bias: bias(i),
            second_bias: if gated { bias(1) } else { String::new() },
            residual: linear.epilogue == Epilogue::AddResidual,
            out: format!("out{i}"),
        };
        start = end;
        output
    };
    (0..count).map(output).collect()
}

/// Blocks of `rows` rows of all outputs.
pub(super) fn blocks(linear: &Linear, rows: usize) -> usize {
    let count = if linear.gated() { 1 } else { linear.mats.len() };
    linear.mats[..count].iter().map(|m| (m.rows as usize).div_ceil(rows)).sum()
}

/// Codes or data, scales, zeros, weak columns, steps of those, record of matrix `i`.
fn arguments(linear: &Linear, i: usize, record: &Record) -> String {
    let parts: Vec<Role> = linear.mats[i].parts().iter().map(|(role, _)| *role).collect();
    let part = |role: Role| if parts.contains(&role) { format!("{}{i}", role.name()) } else { "nullptr".into() };
    let data = if parts.contains(&Role::Data) { part(Role::Data) } else { part(Role::Codes) };
    [data, part(Role::Scales), part(Role::Zeros), part(Role::Weak), steps(i, record), format!("prepared{i}")].join(", ")
}

/// Steps of the weak columns of matrix `i`, as an expression.
fn steps(i: usize, record: &Record) -> String {
    match record.weak {
        Weak::None => "0".to_owned(),
        Weak::Scattered | Weak::Last => format!("(weak_count{i} + 15) / 16"),
    }
}

/// The function of a gate, as templates know it.
pub(super) fn gate(epilogue: Epilogue) -> &'static str {
    match epilogue {
        Epilogue::None | Epilogue::AddResidual => "",
        Epilogue::GatedSilu => "silu",
        Epilogue::GatedGeluTanh => "gelu",
    }
}
