//! The CUDA text of kernels, one of each family: what changes in it is looked at.
// Nothing here is of LLVM: once is enough.
#![cfg(not(feature = "emit-llvm"))]

use actc_codegen::spec::gpu::{
    Append, Attend, Axis, ChannelStats, Conv, Copy, Decode, Destination, Det, Each, Element, Embedding, Flash, Fold,
    Gemm, Gemv, GpuKernel, Gram, GridSample, LinearAttention, Matmul, Of, Place, Pool, Prepare, Products, Put,
    Recurrent, RegionPool, RowNorm, Rows, Rowwise, Scatter, Sizes, Swizzle, Terms, Tile, To, TopK, Turn, Wgmma, What,
    Windows,
};
use actc_codegen::spec::{Act, Attention, Epilogue, Linear, Mat, RopeStyle, Tokens};
use actc_types::function::{BinaryFunction, Extreme};
use actc_types::recurrent::{Cell, Squash, SquashKind, StateRule};
use actc_types::sampling::{Border, Ends, Interpolation, Sampling};
use actc_types::window::{PoolFunction, RegionFunction};
use actc_types::{DType, Encoding, Group, Mixed, Order, Packed, RowForm, WeakPlace};

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
    let norm = Some(RowNorm::Layer { eps: 1e-5, bias: true });
    insta::assert_snapshot!("prepare", text(GpuKernel::Prepare(Prepare { record, norm })));
    let axes = vec![Axis { kernel: 3, stride: 2, dilation: 1, pad: 1 }; 2];
    insta::assert_snapshot!("windows", text(GpuKernel::Windows(Windows { record, axes })));
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

#[test]
fn wgmma_of_four_bits_with_a_suffix() {
    let linear = linear(4, WeakPlace::Suffix, Tokens::Many, Epilogue::AddResidual);
    let wgmma = Wgmma { linear, down: 1, tile: 64 };
    let record = wgmma.records().unwrap()[0];
    insta::assert_snapshot!("swizzle", text(GpuKernel::Swizzle(Swizzle { record, tile: 64, norm: None })));
    insta::assert_snapshot!("wgmma", text(GpuKernel::Wgmma(wgmma)));
}

fn attention(cache: RowForm) -> Attention {
    let (heads, kv_heads, head_dim) = (9, 3, 64);
    Attention { heads, kv_heads, head_dim, scale: 0.125, causal: true, window: None, cap: None, cache }
}

#[test]
fn attention_of_few_and_of_many() {
    let attend = Attend::of(attention(RowForm::Int8), 1);
    insta::assert_snapshot!("combine", text(GpuKernel::Combine(attend.combine().unwrap())));
    insta::assert_snapshot!("attend", text(GpuKernel::Attend(attend)));
    let flash = Flash { attention: attention(RowForm::F32), products: Products::Single, mask: true, sizes: Sizes::Int };
    insta::assert_snapshot!("flash", text(GpuKernel::Flash(flash)));
}

#[test]
fn tables_and_states() {
    let table = linear(4, WeakPlace::Scattered, Tokens::Many, Epilogue::AddResidual).mats.remove(0);
    insta::assert_snapshot!("decode", text(GpuKernel::Decode(Decode { matrix: table.clone(), cols: 576 })));
    insta::assert_snapshot!("embedding", text(GpuKernel::Embedding(Embedding { table, cols: 576, scale: 1.0 })));
    let turn = Some(Turn { rotary: 64, style: RopeStyle::Half });
    let keys = Rows { norm: Some(1e-6), turn, ..Rows::plain(3, 64) };
    let rows = vec![Rows { heads: 9, to: Destination::Alone, ..keys }, keys, Rows::plain(3, 64)];
    insta::assert_snapshot!("append", text(GpuKernel::Append(Append { rows, form: RowForm::Int8 })));
}

#[test]
fn general_tensors() {
    let what = What::Binary { function: BinaryFunction::Mod, dtype: Element::I64, rank: 3 };
    insta::assert_snapshot!("each", text(GpuKernel::Each(Each { what, sizes: Sizes::Int })));
    insta::assert_snapshot!("copy", text(GpuKernel::Copy(Copy { sizes: Sizes::Memory })));
    let rowwise = Rowwise { of: Of::Softmax, wide: true, sizes: Sizes::Int };
    insta::assert_snapshot!("rowwise", text(GpuKernel::Rowwise(rowwise)));
    let place = Place::of(Extreme { largest: true, last: false }, Element::F32, 128_000);
    insta::assert_snapshot!("choose", text(GpuKernel::Choose(place.choose().unwrap())));
    insta::assert_snapshot!("place", text(GpuKernel::Place(place)));
    let axes = vec![Axis { kernel: 3, stride: 2, dilation: 1, pad: 1 }; 2];
    let (function, dtype, sizes) = (PoolFunction::AveragePadded, Element::F32, Sizes::Int);
    let pool = Pool { function, dtype, p: 0, axes, behind: vec![1, 0], sizes };
    insta::assert_snapshot!("pool", text(GpuKernel::Pool(pool)));
    let put = Put::Join { function: BinaryFunction::Add, dtype };
    let to = To::Elements { rank: 2, axis: 1 };
    insta::assert_snapshot!("scatter", text(GpuKernel::Scatter(Scatter { to, put, sizes: Sizes::Memory })));
    insta::assert_snapshot!("top_k", text(GpuKernel::TopK(TopK::of(dtype, true, None, sizes))));
    let matmul = Matmul { ta: false, tb: true, few: false, sizes: Sizes::Int };
    insta::assert_snapshot!("matmul", text(GpuKernel::Matmul(matmul)));
}

#[test]
fn states_from_token_to_token() {
    let functions = [SquashKind::Sigmoid, SquashKind::Tanh, SquashKind::HardSigmoid];
    let functions = functions.map(|kind| Squash { kind, alpha: 0.25, beta: 0.5 }).to_vec();
    let (cell, sizes) = (Cell::Lstm, Sizes::Int);
    let lstm = Recurrent { cell, functions, reverse: true, clip: 3.0, peepholes: true, lengths: true, sizes };
    insta::assert_snapshot!("recurrent", text(GpuKernel::Recurrent(lstm)));
    let attention = LinearAttention { rule: StateRule::GatedDelta, scale: 0.125, span: 4, sizes };
    insta::assert_snapshot!("linear_attention", text(GpuKernel::LinearAttention(attention)));
}

#[test]
fn between_elements() {
    let (sizes, size) = (Sizes::Int, [7, 7]);
    let sampling = Sampling { interpolation: Interpolation::Cubic, border: Border::Reflect, ends: Ends::Edges };
    let grid = GridSample { sampling, double: false, rank: 2, sizes };
    insta::assert_snapshot!("grid_sample", text(GpuKernel::GridSample(grid)));
    let function = RegionFunction::Average;
    let regions = RegionPool { function, size, samples: 0, scale: 0.25, shift: 0.5, sizes };
    insta::assert_snapshot!("region_pool", text(GpuKernel::RegionPool(regions)));
    let axes = vec![Axis { kernel: 3, stride: 2, dilation: 1, pad: 1 }; 2];
    let terms = Terms::Moved { parts: 2, mask: true };
    let moved =
        Conv { transposed: false, groups: 1, axes: axes.clone(), terms, bias: false, few: false, sizes: Sizes::Memory };
    insta::assert_snapshot!("conv", text(GpuKernel::Conv(moved)));
    insta::assert_snapshot!("fold", text(GpuKernel::Fold(Fold { dtype: Element::F32, axes, sizes })));
}

#[test]
fn matrices_and_statistics() {
    let sizes = Sizes::Int;
    insta::assert_snapshot!("det", text(GpuKernel::Det(Det::of(None, sizes))));
    insta::assert_snapshot!("gram", text(GpuKernel::Gram(Gram { sizes })));
    insta::assert_snapshot!("channel_stats", text(GpuKernel::ChannelStats(ChannelStats { first: true, sizes })));
}
