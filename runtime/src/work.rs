//! How much work steps are: which of them a team shares, and which its first member does alone.
//!
//! Estimates come from the sizes of a step, in nanoseconds of one thread, and are rough: they only decide who computes, and
//! results do not depend on that.

use crate::device::cpu::memory::Region;
use crate::model::Model;
use crate::program::{Call, Op, Program};
use actc_artifact::Builtin;

/// Work from which on a team shares a step. Sharing costs each step about 0.5 µs: a member waits for the other, and has to fetch
/// what that one wrote.
pub(crate) const SHARE_FROM: u64 = 10_000;

/// How many times that a stretch of steps has to have for the team to be called: waking a member that sleeps takes 10 to 50 µs.
const CALL: u64 = 12;

/// Multiplications with additions that a thread does in a nanosecond.
const PRODUCTS: u64 = 24;

/// Bytes that a thread moves in a nanosecond, where rows of them are moved.
const MOVED: u64 = 8;

/// Bytes of its buffers that a generated kernel goes through in a nanosecond, between what those of single elements and those of
/// products do.
const LAUNCHED: u64 = 12;

/// How much shared work the leaf steps and the blocks of a program are.
#[derive(Default)]
pub(crate) struct Work {
    /// Work from which on a step is shared.
    share_from: u64,
    /// 0 where the first member does the step alone.
    leaves: Vec<u64>,
    blocks: Vec<u64>,
}

impl Work {
    /// Estimates the steps of `program` by their sizes `dims` and `buffers`; those from `share_from` on are shared.
    pub(crate) fn estimate(
        &mut self,
        program: &Program,
        model: &Model,
        dims: &[i64],
        buffers: &[Region],
        share_from: u64,
    ) {
        self.share_from = share_from;
        self.leaves.resize(program.labels.len(), 0);
        self.blocks.resize(program.blocks.len(), 0);
        let shared = |work: u64| if work < share_from { 0 } else { work.max(1) };
        let bytes = |args: &[u32]| args.iter().fold(0u64, |n, b| n.saturating_add(buffers[*b as usize].len() as u64));
        for op in program.blocks.iter().flat_map(|b| &b.ops) {
            match op {
                Op::Launch { leaf, args, .. } => {
                    self.leaves[*leaf] = shared(bytes(&program.args[args.clone()]) / LAUNCHED);
                }
                Op::Builtin { leaf, call } => {
                    let call = &program.calls[*call];
                    let bytes = bytes(&program.args[call.args.clone()]);
                    self.leaves[*leaf] = shared(of_call(call, model, &dims[call.dims.clone()], bytes));
                }
                Op::If { .. } | Op::Loop { .. } | Op::Bind { .. } => {}
            }
        }
        // Blocks that are entered stand before those that enter them, but for the first, which enters all.
        for i in (1..program.blocks.len()).chain([0]) {
            self.blocks[i] = self.shared(&program.blocks[i].ops);
        }
    }

    /// Work of those of `ops` that are shared. A loop with one of them is as much as can be: nobody knows its rounds.
    fn shared(&self, ops: &[Op]) -> u64 {
        ops.iter().fold(0, |n, op| n.saturating_add(self.of(op)))
    }

    fn of(&self, op: &Op) -> u64 {
        match op {
            Op::Launch { leaf, .. } | Op::Builtin { leaf, .. } => self.leaves[*leaf],
            Op::If { then, otherwise, .. } => self.blocks[*then].max(self.blocks[*otherwise]),
            Op::Loop { body, .. } => {
                if self.blocks[*body] == 0 {
                    0
                } else {
                    u64::MAX
                }
            }
            Op::Bind { .. } => 0,
        }
    }

    /// Whether the first member does `op` alone: no step in it is worth sharing.
    pub(crate) fn is_small(&self, op: &Op) -> bool {
        self.of(op) == 0
    }

    /// Whether the team is to be called for `ops`.
    pub(crate) fn is_for_team(&self, ops: &[Op]) -> bool {
        self.shared(ops) >= self.share_from.saturating_mul(CALL)
    }
}

/// Nanoseconds of a call whose buffers have so many bytes.
fn of_call(call: &Call, model: &Model, dims: &[i64], bytes: u64) -> u64 {
    let product = |factors: &[i64]| factors.iter().fold(1u64, |n, f| n.saturating_mul(u64::try_from(*f).unwrap_or(0)));
    let int = |i: usize| call.ints.get(i).copied().unwrap_or(1);
    // Sizes of convolutions: batch, channels, kernels, the image, as many windows; taps from integer `taps` on.
    let windows = |taps: usize, moved: bool| {
        let rank = dims.len().saturating_sub(3) / 2;
        let (image, windows) = dims[3..].split_at(rank);
        let taps = call.ints.get(taps..taps + rank).map_or(1, product);
        let each = taps.saturating_mul(product(if moved { image } else { windows }));
        product(&dims[..3]).saturating_mul(each) / u64::try_from(int(0)).unwrap_or(1).max(1)
    };
    match call.builtin {
        Builtin::Linear => {
            let (n, k) = model.artifact().manifest().tensors[call.tensors[0]].matrix().unwrap_or((0, 0));
            product(&[dims[0], n as i64, k as i64]) / PRODUCTS
        }
        Builtin::Gram => product(&[dims[0], dims[1], dims[1]]) / PRODUCTS,
        Builtin::Matmul => product(dims) / PRODUCTS,
        Builtin::Conv => windows(2, false) / PRODUCTS,
        Builtin::ConvStored => windows(1, false) / PRODUCTS,
        Builtin::ConvInteger => windows(4, false) / PRODUCTS,
        Builtin::ConvTranspose => windows(2, true) / PRODUCTS,
        // Each element of the image under a tap is four, with their weights.
        Builtin::DeformConv => product(dims).saturating_mul(product(&call.ints[2..4])),
        Builtin::Attention => product(&[dims[0], dims[1], dims[2], dims[3], dims[5], 2]) / PRODUCTS,
        Builtin::LinearAttention => product(&dims[..3]).saturating_mul(product(&dims[4..6])) / 2,
        // As many products as the weights of gates have elements, for each step and row.
        Builtin::Recurrent => product(&[dims[0], dims[1], dims[2], dims[2], 4]) / PRODUCTS,
        Builtin::Copy | Builtin::Row => product(&dims[..2]) / MOVED,
        Builtin::Zero => product(dims) / MOVED,
        Builtin::Range => product(&dims[..1]),
        Builtin::Gather => product(&[dims[0], dims[2], dims[3], int(0)]) / MOVED,
        Builtin::Embedding | Builtin::Pad | Builtin::Expand => bytes / MOVED,
        Builtin::Transpose => bytes / 4,
        // Elements by a few operations each.
        Builtin::Unary
        | Builtin::Binary
        | Builtin::Select
        | Builtin::Cast
        | Builtin::Softmax
        | Builtin::Reduce
        | Builtin::ChannelStats
        | Builtin::RoundRows
        | Builtin::Place
        | Builtin::GatherNd
        | Builtin::GatherElements
        | Builtin::ScatterNd
        | Builtin::ScatterElements
        | Builtin::Cumulate
        | Builtin::NonZero
        | Builtin::Unpool => bytes / 2,
        // Elements by a window each.
        Builtin::Pool => bytes,
        // Elements by a search, or by weights each.
        Builtin::TopK
        | Builtin::Unique
        | Builtin::NonMaxSuppression
        | Builtin::Fold
        | Builtin::RegionPool
        | Builtin::Resample
        | Builtin::GridSample
        | Builtin::Det => bytes.saturating_mul(4),
        Builtin::Expect => 0,
    }
}
