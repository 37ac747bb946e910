//! `rms_norm` and `layer_norm` over rows of f32.

use super::{Buffer, BufferRole};
use crate::kir::{Acc, Builder, Elem, Fun, Mem, Val};
use actc_types::{DType, Diagnostic, Result};
use std::fmt;

/// `y = x / sqrt(mean(x^2) + eps) * scale`.
#[derive(Clone, Debug, PartialEq)]
pub struct RmsNorm {
    /// Elements of a row; the head's dimension for a norm per head.
    pub cols: u32,
    /// Added to the mean.
    pub eps: f32,
    /// Whether a residual is added first and the sum stored as well: `h = x + residual`, `y = norm(h)`.
    pub add: bool,
}

/// `y = (x - mean) / sqrt(variance + eps) * scale + bias`.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerNorm {
    /// Elements of a row.
    pub cols: u32,
    /// Added to the variance.
    pub eps: f32,
    /// Whether a bias is added.
    pub bias: bool,
    /// Whether a residual is added first and the sum stored as well.
    pub add: bool,
}

impl fmt::Display for RmsNorm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let add = if self.add { ", add" } else { "" };
        write!(f, "rms_norm{{cols={}, eps={:e}{add}}}", self.cols, self.eps)
    }
}

impl fmt::Display for LayerNorm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (add, bias) = (if self.add { ", add" } else { "" }, if self.bias { ", bias" } else { "" });
        write!(f, "layer_norm{{cols={}, eps={:e}{bias}{add}}}", self.cols, self.eps)
    }
}

fn check_cols(cols: u32) -> Result<()> {
    match cols {
        1..=0x0100_0000 => Ok(()),
        _ => Err(Diagnostic::new("kernel-shape", format!("rows of {cols} elements"))),
    }
}

/// `x`, residual if any, scale, bias if any, `y`, then `h` if there is a residual.
fn buffers(add: bool, bias: bool) -> Vec<Buffer> {
    let mut buffers = vec![Buffer::read(BufferRole::Input(0), DType::F32)];
    if add {
        buffers.push(Buffer::read(BufferRole::Residual, DType::F32));
    }
    buffers.push(Buffer::read(BufferRole::Scale, DType::F32));
    if bias {
        buffers.push(Buffer::read(BufferRole::Bias(0), DType::F32));
    }
    buffers.push(Buffer::write(BufferRole::Output(0)));
    if add {
        buffers.push(Buffer::write(BufferRole::Output(1)));
    }
    buffers
}

/// Runs `row` for each row with the address to read from and the one to write to; the sum with the residual comes first.
fn rows(k: &mut Builder, cols: u32, add: bool, bias: bool, row: impl FnOnce(&mut Builder, Val, Val)) {
    let count = k.dim(0);
    let x = k.buffer(0);
    let y = k.buffer(2 + usize::from(add) + usize::from(bias));
    let sum = add.then(|| (k.buffer(1), k.buffer(4 + usize::from(bias))));
    k.grid(0, count, count, |k, i| {
        let bytes = k.imul_n(i, 4 * i64::from(cols));
        let mut x = k.iadd(x, bytes);
        let y = k.iadd(y, bytes);
        if let Some((residual, h)) = sum {
            let residual = k.iadd(residual, bytes);
            let h = k.iadd(h, bytes);
            k.lane_n(cols as usize, |k| {
                let a = k.load_lane(Mem::F32, x, 0);
                let b = k.load_lane(Mem::F32, residual, 0);
                let c = k.fadd(a, b);
                k.store_lane(Mem::F32, c, h, 0);
            });
            x = h;
        }
        row(k, x, y);
    });
}

/// `1 / sqrt(sum / cols + eps)`.
fn inverse_root(k: &mut Builder, sum: Val, cols: u32, eps: f32) -> Val {
    let share = k.float(1.0 / cols as f32);
    let eps = k.float(eps);
    let mean = k.muladd(sum, share, eps);
    let root = k.fun(Fun::Sqrt, mean);
    let one = k.float(1.0);
    k.fdiv(one, root)
}

impl RmsNorm {
    pub(super) fn check(&self) -> Result<()> {
        check_cols(self.cols)
    }

    pub(super) fn buffers(&self) -> Vec<Buffer> {
        buffers(self.add, false)
    }

    pub(super) fn build(&self, k: &mut Builder) {
        let scale = k.buffer(1 + usize::from(self.add));
        rows(k, self.cols, self.add, false, |k, x, y| {
            let zero = k.float(0.0);
            let sum = k.partial(Elem::F32, 4, zero);
            k.lane_n(self.cols as usize, |k| {
                let v = k.load_lane(Mem::F32, x, 0);
                k.acc(sum, Acc::Dot(v, v));
            });
            let sum = k.lane_sum(sum);
            let inverse = inverse_root(k, sum, self.cols, self.eps);
            k.lane_n(self.cols as usize, |k| {
                let v = k.load_lane(Mem::F32, x, 0);
                let w = k.load_lane(Mem::F32, scale, 0);
                let v = k.fmul(v, inverse);
                let v = k.fmul(v, w);
                k.store_lane(Mem::F32, v, y, 0);
            });
        });
    }
}

impl LayerNorm {
    pub(super) fn check(&self) -> Result<()> {
        check_cols(self.cols)
    }

    pub(super) fn buffers(&self) -> Vec<Buffer> {
        buffers(self.add, self.bias)
    }

    pub(super) fn build(&self, k: &mut Builder) {
        let scale = k.buffer(1 + usize::from(self.add));
        let bias = self.bias.then(|| k.buffer(2 + usize::from(self.add)));
        rows(k, self.cols, self.add, self.bias, |k, x, y| {
            let cols = self.cols as usize;
            let zero = k.float(0.0);
            let sum = k.partial(Elem::F32, 4, zero);
            k.lane_n(cols, |k| {
                let v = k.load_lane(Mem::F32, x, 0);
                k.acc(sum, Acc::Sum(v));
            });
            let sum = k.lane_sum(sum);
            let share = k.float(1.0 / cols as f32);
            let mean = k.fmul(sum, share);
            let squares = k.partial(Elem::F32, 4, zero);
            k.lane_n(cols, |k| {
                let v = k.load_lane(Mem::F32, x, 0);
                let v = k.fsub(v, mean);
                k.acc(squares, Acc::Dot(v, v));
            });
            let squares = k.lane_sum(squares);
            let inverse = inverse_root(k, squares, self.cols, self.eps);
            k.lane_n(cols, |k| {
                let v = k.load_lane(Mem::F32, x, 0);
                let v = k.fsub(v, mean);
                let v = k.fmul(v, inverse);
                let w = k.load_lane(Mem::F32, scale, 0);
                let v = match bias {
                    None => k.fmul(v, w),
                    Some(bias) => {
                        let b = k.load_lane(Mem::F32, bias, 0);
                        k.muladd(v, w, b)
                    }
                };
                k.store_lane(Mem::F32, v, y, 0);
            });
        });
    }
}
