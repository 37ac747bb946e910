//! The functions that the runtime brings along: what libraries do better, and small things not worth a kernel.
//!
//! What each takes is written at [`actc_artifact::Builtin`]. Every member of the team calls the same function; each checks
//! all sizes before it touches memory, so they fail alike, and writes cells of the output that are its alone.

pub(crate) mod call;

mod attention;
mod binary;
mod cast;
mod channel_stats;
mod conv;
mod conv_integer;
mod conv_stored;
mod conv_transpose;
mod copy;
mod cumulate;
mod deform_conv;
mod det;
mod element;
mod embedding;
mod exp;
mod expand;
pub(crate) mod expect;
mod fold;
mod gather;
mod gather_elements;
mod gather_nd;
mod gram;
mod grid_sample;
mod linear;
mod linear_attention;
mod matmul;
mod non_zero;
mod pad;
mod place;
mod pool;
mod range;
mod recurrent;
mod reduce;
mod region_pool;
mod repeat;
mod resample;
mod round_int8;
mod round_rows;
mod row;
mod scatter;
mod select;
mod sheet;
mod softmax;
mod spread;
mod suppress;
mod top_k;
mod transpose;
mod unary;
mod unique;
mod window;

use crate::device::cpu::team::Scratch;
use crate::model::Model;
use crate::program;
use actc_artifact::Builtin;
use actc_types::Result;
use call::{Call, Stop};

/// Does this member's share of a call.
pub(crate) fn run(call: &Call<'_>, scratch: &mut Scratch) -> Result<(), Stop> {
    match call.builtin() {
        Builtin::Linear => linear::run(call, scratch),
        Builtin::Attention => Ok(attention::run(call, scratch)?),
        Builtin::Embedding => Ok(embedding::run(call)?),
        Builtin::Gram => gram::run(call, scratch),
        Builtin::ChannelStats => Ok(channel_stats::run(call)?),
        Builtin::RoundRows => Ok(round_rows::run(call)?),
        Builtin::Softmax => Ok(softmax::run(call)?),
        Builtin::Copy => Ok(copy::run(call)?),
        Builtin::Range => Ok(range::run(call)?),
        Builtin::Matmul => Ok(matmul::run(call, scratch)?),
        Builtin::Unary => Ok(unary::run(call)?),
        Builtin::Binary => Ok(binary::run(call)?),
        Builtin::Select => Ok(select::run(call)?),
        Builtin::Cast => Ok(cast::run(call)?),
        Builtin::Transpose => Ok(transpose::run(call)?),
        Builtin::Reduce => Ok(reduce::run(call)?),
        Builtin::Place => Ok(place::run(call)?),
        Builtin::Gather => Ok(gather::run(call)?),
        Builtin::Recurrent => recurrent::run(call, scratch),
        Builtin::LinearAttention => Ok(linear_attention::run(call)?),
        Builtin::GatherNd => Ok(gather_nd::run(call)?),
        Builtin::GatherElements => Ok(gather_elements::run(call)?),
        Builtin::ScatterNd => Ok(scatter::tuples(call)?),
        Builtin::ScatterElements => Ok(scatter::elements(call)?),
        Builtin::Cumulate => Ok(cumulate::run(call)?),
        Builtin::TopK => Ok(top_k::run(call)?),
        Builtin::NonZero => Ok(non_zero::run(call)?),
        Builtin::Unique => Ok(unique::run(call)?),
        Builtin::NonMaxSuppression => suppress::run(call),
        Builtin::Row => Ok(row::run(call)?),
        Builtin::Zero => Ok(row::zero(call)?),
        Builtin::Expand => Ok(expand::run(call)?),
        Builtin::Expect => Ok(expect::run(call)?),
        Builtin::Conv => Ok(conv::run(call, scratch)?),
        Builtin::ConvStored => conv_stored::run(call, scratch),
        Builtin::ConvInteger => Ok(conv_integer::run(call, scratch)?),
        Builtin::ConvTranspose => Ok(conv_transpose::run(call, scratch)?),
        Builtin::DeformConv => Ok(deform_conv::run(call, scratch)?),
        Builtin::Pool => Ok(pool::run(call)?),
        Builtin::Fold => Ok(fold::run(call)?),
        Builtin::Unpool => Ok(fold::unpool(call)?),
        Builtin::RegionPool => Ok(region_pool::run(call)?),
        Builtin::Pad => Ok(pad::run(call)?),
        Builtin::Resample => Ok(resample::run(call)?),
        Builtin::GridSample => Ok(grid_sample::run(call)?),
        Builtin::Det => Ok(det::run(call)?),
    }
}

/// Bytes of memory that members share during a call.
pub(crate) fn workspace(call: &program::Call, dims: &[i64], model: &Model) -> Result<usize> {
    match call.builtin {
        Builtin::Linear => linear::workspace(call, dims, model),
        Builtin::ConvStored => conv_stored::workspace(call, model),
        Builtin::Recurrent => recurrent::workspace(call, dims),
        Builtin::Attention
        | Builtin::LinearAttention
        | Builtin::Embedding
        | Builtin::Gram
        | Builtin::ChannelStats
        | Builtin::RoundRows
        | Builtin::Softmax
        | Builtin::Copy
        | Builtin::Range
        | Builtin::Matmul
        | Builtin::Unary
        | Builtin::Binary
        | Builtin::Select
        | Builtin::Cast
        | Builtin::Transpose
        | Builtin::Reduce
        | Builtin::Place
        | Builtin::Gather
        | Builtin::GatherNd
        | Builtin::GatherElements
        | Builtin::ScatterNd
        | Builtin::ScatterElements
        | Builtin::Cumulate
        | Builtin::TopK
        | Builtin::NonZero
        | Builtin::Unique
        | Builtin::NonMaxSuppression
        | Builtin::Row
        | Builtin::Zero
        | Builtin::Expand
        | Builtin::Expect
        | Builtin::Conv
        | Builtin::ConvInteger
        | Builtin::ConvTranspose
        | Builtin::DeformConv
        | Builtin::Pool
        | Builtin::Fold
        | Builtin::Unpool
        | Builtin::RegionPool
        | Builtin::Pad
        | Builtin::Resample
        | Builtin::GridSample
        | Builtin::Det => Ok(0),
    }
}
