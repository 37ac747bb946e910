//! What the CUDA text of every kernel has: its name, its parameters, and where its sizes come from.

use super::geometry::Sizes;
use crate::spec::{Access, Buffer, BufferRole};
use actc_templates::cuda;
use actc_types::DType;

/// The head of a text, whose parts a template borrows.
pub(super) struct Text<'a> {
    symbol: &'a str,
    spec: String,
    parameters: String,
    given: Vec<String>,
    threads: u32,
}

impl<'a> Text<'a> {
    pub(super) fn new(
        symbol: &'a str,
        spec: String,
        buffers: &[Buffer],
        dims: &[String],
        sizes: Sizes,
        threads: u32,
    ) -> Text<'a> {
        Text { symbol, spec, parameters: parameters(buffers, dims, sizes), given: given(dims, sizes), threads }
    }

    pub(super) fn head(&self) -> cuda::Head<'_> {
        let Text { symbol, spec, parameters, given, threads } = self;
        cuda::Head { symbol, spec, parameters, given, threads: *threads }
    }
}

/// Parameters as CUDA declares them: numbers as numbers, what is packed as bytes.
pub(super) fn parameters(buffers: &[Buffer], dims: &[String], sizes: Sizes) -> String {
    let buffers = buffers.iter().map(|buffer| {
        let constant = if buffer.access == Access::Read { "const " } else { "" };
        format!("{constant}{}* {}", element(buffer), buffer.name())
    });
    let sizes: Vec<String> = match sizes {
        Sizes::Int => dims.iter().map(|dim| format!("int {}", named(dim))).collect(),
        Sizes::Memory => vec!["const long long* sizes".to_owned()],
    };
    buffers.chain(sizes).collect::<Vec<_>>().join(", ")
}

/// Statements that read sizes from memory.
fn given(dims: &[String], sizes: Sizes) -> Vec<String> {
    let read = |(i, dim): (usize, &String)| format!("const long long {} = sizes[{i}];", named(dim));
    match sizes {
        Sizes::Int => Vec::new(),
        Sizes::Memory => dims.iter().enumerate().map(read).collect(),
    }
}

/// Numbers of weak columns have a name of their own: that of a matrix's part is taken.
fn named(dim: &str) -> String {
    dim.replace("weak", "weak_count")
}

fn element(buffer: &Buffer) -> &'static str {
    match (buffer.role, buffer.elem) {
        (BufferRole::WeakIndex(_), _) => "u32",
        (BufferRole::Weight { .. }, _) => "u8",
        (_, DType::F32) => "float",
        (_, DType::F64) => "double",
        (_, DType::I64) => "long long",
        (_, DType::I32) => "int",
        (_, DType::U64) => "unsigned long long",
        (_, DType::U32) => "u32",
        (_, DType::I8) => "signed char",
        (_, DType::F16 | DType::Bf16 | DType::U16) => "u16",
        _ => "u8",
    }
}
