//! `append`: new rows into a cache, `cache[P + t] = new[t]`.

use super::norm::check_cols;
use super::{Buffer, BufferRole};
use crate::kir::{Builder, Mem};
use actc_types::{DType, Result};
use std::fmt;

/// Copies `new f32[S, width]` into rows `P..P + S` of a cache `f32[.., width]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// Elements of a row.
    pub width: u32,
}

impl fmt::Display for Append {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "append{{width={}}}", self.width)
    }
}

impl Append {
    pub(super) fn check(&self) -> Result<()> {
        check_cols(self.width)
    }

    /// The new rows, then the cache.
    pub(super) fn buffers(&self) -> Vec<Buffer> {
        vec![Buffer::read(BufferRole::Input(0), DType::F32), Buffer::write(BufferRole::Output(0))]
    }

    pub(super) fn build(&self, k: &mut Builder) {
        let (rows, past) = (k.dim(0), k.dim(1));
        let (new, cache) = (k.buffer(0), k.buffer(1));
        k.grid(0, rows, rows, |k, t| {
            let from = k.imul_n(t, 4 * i64::from(self.width));
            let from = k.iadd(new, from);
            let to = k.iadd(past, t);
            let to = k.imul_n(to, 4 * i64::from(self.width));
            let to = k.iadd(cache, to);
            k.lane_n(self.width as usize, |k| {
                let x = k.load_lane(Mem::F32, from, 0);
                k.store_lane(Mem::F32, x, to, 0);
            });
        });
    }
}
