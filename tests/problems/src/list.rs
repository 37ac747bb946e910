//! Problems of every kernel that neither multiplies stored matrices nor attends: those have files of their own.
//!
//! A new kernel has its problems here, and with them its checks in the emulator and on GPUs.

use crate::case::Case;
use crate::norm::Turned;
use crate::{
    chain, conv, det, each, folding, function, heads, indices, matmul, memory, moves, norm, normed, pool, prepared,
    round, rowwise, sampling, sequence, statistics, table, top_k,
};
use actc_codegen::emit::SizesIn;
use actc_codegen::kir::Fun;
use actc_codegen::spec::gpu::{Destination, Element, Rows, Sizes, Turn};
use actc_codegen::spec::{Act, RopeStyle, WeakSet};
use actc_types::function::Extreme;
use actc_types::{DType, Encoding, Group, Order, Packed, RowForm};

const BOTH: [SizesIn; 2] = [SizesIn::Parameters, SizesIn::Memory];

/// Every family, with tails, so small that an emulator runs them.
pub fn small() -> Vec<Case> {
    let mut all = small_templates();
    all.extend(small_generated());
    named("small", all)
}

/// Those whose kernels are templates, by family.
pub fn small_templates() -> Vec<Case> {
    [
        each::unary(300),
        each::binary([
            [&[3, 4, 25], &[3, 1, 25], &[1, 4, 25]],
            [&[301], &[301], &[301]],
            [&[2, 70], &[2, 70], &[1, 1]],
        ]),
        each::casts(70),
        each::widened(),
        moves::moves([3, 5, 40]),
        moves::by_indices(),
        moves::copies(&[
            [5, 48, 16, 64, 32, 80],
            [3, 7, 1, 9, 2, 7],
            [4, 12, 4, 20, 0, 12],
            [2, 6, 2, 6, 8, 10],
            [1, 4096, 0, 1, 0, 1],
            [7, 16, 8, 24, 8, 16],
            [0, 16, 0, 16, 0, 16],
            [4, 0, 0, 0, 0, 0],
        ]),
        softmaxes([(3, 1000), (19, 37), (1, 1)]),
        rowwise::functions([[5, 300], [3, 0], [2, 7]]),
        rowwise::extremes(&[(1, 5000, 3), (33, 40, 1), (2, 3, 5), (1, 0, 2), (2, 0, 1)]),
        matmul::products(&[[2, 70, 33, 65], [3, 1, 130, 140], [1, 9, 5, 3], [2, 4, 0, 5], [0, 3, 3, 3]]),
        matmul::convolutions(),
        table::embeddings(37, 90),
        heads::appends(7, 5),
        conv::stored(),
        conv::integers(),
        pool::windows(),
        indices::elements(),
        indices::updates(),
        indices::running(),
        indices::rounds(),
        top_k::firsts(),
        sequence::cells(),
        sequence::states(),
        sampling::grids(),
        sampling::regions(),
        folding::folds(),
        folding::unpools(),
        folding::moved(),
        det::matrices(),
        statistics::accumulators(),
        memory::sizes_in_memory(),
        round::rows(),
        normed::products(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Those whose kernels LLVM prints, with sizes in parameters and in memory.
pub fn small_generated() -> Vec<Case> {
    BOTH.into_iter().flat_map(|sizes| generated([3, 70, 577], 40, sizes)).collect()
}

/// Every family at sizes that models have, with tails.
pub fn large() -> Vec<Case> {
    let mut all: Vec<Case> = [
        each::unary(100_003),
        each::binary([
            [&[30, 41, 250], &[30, 1, 250], &[1, 41, 250]],
            [&[200_003], &[200_003], &[200_003]],
            [&[203, 700], &[203, 700], &[1, 1]],
        ]),
        each::casts(50_003),
        moves::moves([31, 45, 129]),
        moves::by_many_indices(1501),
        moves::copies(&[
            [333, 4096, 4096, 8192, 0, 4096],
            [1001, 1023, 3, 2050, 1, 1023],
            [1, 3_000_001, 1, 0, 2, 0],
            [20_000, 12, 4, 20, 0, 12],
        ]),
        softmaxes([(7, 32_001), (4097, 77), (65, 1)]),
        rowwise::functions([[33, 30_001], [1, 0], [3001, 65]]),
        rowwise::extremes(&[(3, 128_001, 32), (2049, 400, 1)]),
        matmul::products(&[[3, 130, 257, 333], [12, 8, 64, 1000]]),
        matmul::large_convolutions(),
        table::embeddings(211, 700),
        heads::appends(97, 1030),
        top_k::many(),
        sequence::layers(),
    ]
    .into_iter()
    .flatten()
    .collect();
    all.extend(BOTH.into_iter().flat_map(|sizes| generated([9, 4096, 5000], 1, sizes)));
    named("large", all)
}

/// What a step of a language model with one token has, at the sizes of large ones.
pub fn step() -> Vec<Case> {
    let sizes = SizesIn::Parameters;
    let g128 = Encoding::Packed(Packed { order: Order::Mma16, ..Packed::new(4, Group::Columns(128)) });
    let mut all = Vec::new();
    for cols in [4096, 8192] {
        all.push(norm::rms_norm([1, cols], false, sizes, 41));
        all.push(norm::rms_norm([1, cols], true, sizes, 42));
        all.push(norm::layer_norm([1, cols], true, false, sizes, 43));
    }
    let head = Turned { heads: 32, pairs: 64, rest: 0, style: RopeStyle::Half, tokens: 1, in_place: false };
    all.push(norm::rope_table(64, false, [1, 4095], SizesIn::Memory, 44));
    all.push(norm::rope(head, sizes, 45));
    all.push(norm::rope(Turned { style: RopeStyle::Interleaved, ..head }, sizes, 46));
    all.push(function::gate(Fun::Silu, [1, 11_008], sizes));
    all.push(function::gate(Fun::GeluTanh, [1, 28_672], sizes));
    all.push(table::embedding(Encoding::Dense, DType::F16, [301, 4096], vec![300], 1.0));
    all.push(table::embedding(g128, DType::F32, [301, 4096], vec![300], 1.0));
    all.push(rowwise::softmax(1, 32_000, true, Sizes::Int));
    let turn = Some(Turn { rotary: 128, style: RopeStyle::Half });
    let keys = Rows { turn, ..Rows::plain(32, 128) };
    let kinds = vec![Rows { to: Destination::Alone, ..keys }, keys, Rows::plain(32, 128)];
    all.extend(RowForm::ALL.map(|form| heads::on_the_way(kinds.clone(), form, 1, 1023)));
    all.push(rowwise::extreme(Extreme { largest: true, last: false }, Element::F32, 1, 128_000, 32));
    named("step", all)
}

/// The cases, `what` in front of their names.
fn named(what: &str, mut cases: Vec<Case>) -> Vec<Case> {
    cases.iter_mut().for_each(|case| case.name = format!("{what} {}", case.name));
    cases
}

/// Softmax of long rows by blocks, of short ones by warps.
fn softmaxes([long, short, one]: [(usize, usize); 3]) -> Vec<Case> {
    vec![
        rowwise::softmax(long.0, long.1, true, Sizes::Int),
        rowwise::softmax(short.0, short.1, false, Sizes::Memory),
        rowwise::softmax(one.0, one.1, false, Sizes::Int),
    ]
}

/// Kernels that LLVM prints, on rows of two lengths, and functions of every `pace`-th number.
fn generated([rows, short, long]: [usize; 3], pace: usize, sizes: SizesIn) -> Vec<Case> {
    let mut all = Vec::new();
    for (i, cols) in [short, long].into_iter().enumerate() {
        let seed = 50 + cols as u64;
        all.push(norm::rms_norm([rows, cols], i == 0, sizes, seed));
        all.push(norm::rms_norm([rows, cols], i == 1, sizes, seed));
        all.push(norm::layer_norm([rows, cols], i == 0, i == 1, sizes, seed));
        all.push(norm::layer_norm([rows, cols], i == 1, i == 1, sizes, seed));
        let act = [Act::Int8, Act::F32][i];
        for (weak, group) in [
            (WeakSet::None, Some(Group::Channel)),
            (WeakSet::Scattered, Some(Group::Columns(48))),
            (WeakSet::Suffix(6), None),
        ] {
            all.push(prepared::prepare([rows, cols], act, group, weak, sizes, seed));
        }
        let style = [RopeStyle::Half, RopeStyle::Interleaved][i];
        let turned = Turned { heads: 5, pairs: 5 + 27 * i, rest: 27 - 27 * i, style, tokens: rows, in_place: i == 0 };
        all.push(norm::rope(turned, sizes, seed));
        all.push(norm::rope_table(32 + i, i == 1, [rows, 41 * cols], sizes, seed));
    }
    all.extend(function::FUNCTIONS.map(|fun| function::function(fun, function::numbers(pace), sizes)));
    all.push(function::gate(Fun::Silu, [rows, long], sizes));
    for (i, output) in [DType::F32, DType::U8, DType::I8, DType::Bool].into_iter().enumerate() {
        let seed = 60 + i as u64;
        all.push(chain::random(vec![rows, short, 1 + i], output, sizes, seed));
        all.push(chain::random(vec![2, long + i], output, sizes, seed));
    }
    all
}
