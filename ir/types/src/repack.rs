//! Stored weights in another [`Order`]: the same codes, grids and weak columns, bit for bit, where another device wants them.

use crate::block::BlockFormat;
use crate::encoding::{Encoding, Mixed, Order, Packed, Role};
use crate::packed::CHUNK;
use crate::weight::WeightView;

/// A matrix as it is stored: its encoding, and the parts with their bytes.
pub type Stored = (Encoding, Vec<(Role, Vec<u8>)>);

/// `view` with its parts in `order`; `None` where those lie alike. Blocks become packed codes for GPUs; from there no way leads
/// back to blocks.
pub fn repack(view: &WeightView<'_>, order: Order) -> Option<Stored> {
    let rows = view.rows();
    match view.encoding() {
        Encoding::Dense => None,
        Encoding::Block(format) => match order {
            Order::Panels8 => None,
            Order::Mma16 => Some(unblocked(view, *format, order)),
        },
        Encoding::Packed(packed) => {
            Some((Encoding::Packed(Packed { order, ..*packed }), body(view, packed, [view.cols(); 2], order)))
        }
        Encoding::Mixed(mixed) => {
            let new = Mixed { body: Packed { order, ..mixed.body }, ..*mixed };
            let (from, to) = (mixed.body_cols(view.cols()), new.body_cols(view.cols()));
            let mut parts = body(view, &mixed.body, [from, to], order);
            let columns = mixed.cols as usize;
            let (size, old) = (mixed.weak.size(), view.part(Role::Weak));
            let mut elements = vec![[0u8; 4]; rows * columns];
            for (i, element) in elements.iter_mut().enumerate() {
                let at = mixed.body.order.weak_index(i / columns, i % columns, columns) * size;
                element[..size].copy_from_slice(&old[at..at + size]);
            }
            let weak = order.pack_weak(&elements, rows).iter().flat_map(|e| e[..size].to_vec()).collect();
            parts.push((Role::Weak, weak));
            let index = view.part(Role::WeakIndex);
            if !index.is_empty() {
                parts.push((Role::WeakIndex, index.to_vec()));
            }
            Some((Encoding::Mixed(new), parts))
        }
    }
}

/// The codes and grids of the first `from` columns as those of `to` columns: what is new decodes to zero, as slots of weak columns do.
fn body(view: &WeightView<'_>, old: &Packed, [from, to]: [usize; 2], order: Order) -> Vec<(Role, Vec<u8>)> {
    let new = Packed { order, ..*old };
    let (rows, panel) = (view.rows(), old.order.panel());
    let (known, groups) = (old.group.count(from), new.group.count(to));
    let (codes, scales, zeros) = (view.part(Role::Codes), view.part(Role::Scales), view.part(Role::Zeros));
    let grids = || (0..rows).flat_map(|row| (0..groups).map(move |group| (row, group)));
    let of = |(row, group): (usize, usize)| (group < known).then_some((row, group, from));
    let grid = |at| of(at).map_or(0.0, |(row, group, cols)| old.scale_at(scales, row, group, cols));
    let point = |at| of(at).map_or(0, |(row, group, cols)| old.zero_at(zeros, row, group, cols));
    let minimum = |at| of(at).map_or(0.0, |(row, group, cols)| old.minimum_at(zeros, row, group, cols));
    let mut all = vec![0u8; rows * to];
    let mut run = [0u8; CHUNK];
    let width = new.group.width(to);
    for (row, out) in all.chunks_exact_mut(to.max(1)).enumerate() {
        let bytes = &codes[row / panel * old.panel_bytes(from)..][..old.panel_bytes(from)];
        let (own, rest) = out.split_at_mut(from.min(to));
        for (chunk, out) in bytes.chunks_exact(old.chunk_bytes()).zip(own.chunks_mut(CHUNK)) {
            old.unpack_chunk(chunk, row % panel, &mut run);
            out.copy_from_slice(&run[..out.len()]);
        }
        rest.iter_mut().zip(from..).for_each(|(code, col)| *code = point((row, col / width)));
    }
    let scales: Vec<f32> = grids().map(grid).collect();
    let points: Vec<u8> = grids().map(point).collect();
    let minima: Vec<f32> = grids().map(minimum).collect();
    packed(&new, rows, to, &all, &scales, new.pack_offsets(&points, &minima, rows))
}

fn packed(
    new: &Packed,
    rows: usize,
    cols: usize,
    codes: &[u8],
    scales: &[f32],
    offsets: Option<Vec<u8>>,
) -> Vec<(Role, Vec<u8>)> {
    let parts = [(Role::Codes, new.pack_codes(codes, rows, cols)), (Role::Scales, new.pack_scales(scales, rows))];
    parts.into_iter().chain(offsets.map(|offsets| (Role::Zeros, offsets))).collect()
}

/// The codes and grids of blocks.
fn unblocked(view: &WeightView<'_>, format: BlockFormat, order: Order) -> Stored {
    let new = Packed::of_blocks(format, order);
    let (rows, cols, runs) = (view.rows(), view.cols(), format.block_len() / format.run());
    let mut codes = vec![0u8; rows * cols];
    let (mut scales, mut minima) = (Vec::new(), Vec::new());
    let blocks = view.part(Role::Data).chunks_exact(format.block_bytes());
    for (block, codes) in blocks.zip(codes.chunks_exact_mut(format.block_len())) {
        format.codes(block, codes);
        for (scale, minimum) in (0..runs).map(|run| format.grid(block, run)) {
            scales.push(scale);
            minima.push(minimum);
        }
    }
    // Where there are zero points they are the middle, which is not stored.
    let offsets = new.pack_offsets(&[], &minima, rows);
    (Encoding::Packed(new), packed(&new, rows, cols, &codes, &scales, offsets))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DType, Group, WeakPlace, Zero};
    use proptest::prelude::*;

    fn view<'a>(encoding: &'a Encoding, rows: usize, cols: usize, parts: &'a [(Role, Vec<u8>)]) -> WeightView<'a> {
        let parts = parts.iter().map(|(role, bytes)| (*role, &bytes[..]));
        WeightView::new(encoding, DType::F32, rows, cols, parts).unwrap()
    }

    /// Packed for GPUs, and again for CPUs, blocks of any bytes mean the same weights to the last bit.
    #[test]
    fn blocks_are_packed_exactly() {
        let mut state = 1u64;
        let mut next = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 56) as u8
        };
        for format in BlockFormat::ALL.iter().copied() {
            let (rows, cols) = (21, 3 * format.block_len());
            let data: Vec<u8> = (0..rows * 3 * format.block_bytes()).map(|_| next()).collect();
            let encoding = Encoding::Block(format);
            let parts = [(Role::Data, data)];
            let blocks = view(&encoding, rows, cols, &parts);
            assert!(repack(&blocks, Order::Panels8).is_none());
            let (there, moved) = repack(&blocks, Order::Mma16).unwrap();
            assert_eq!(there, encoding.in_order(Order::Mma16));
            let gpu = view(&there, rows, cols, &moved);
            let (here, back) = repack(&gpu, Order::Panels8).unwrap();
            let cpu = view(&here, rows, cols, &back);
            let bits = |view: &WeightView<'_>, row: usize| {
                let mut out = vec![0f32; cols];
                view.row(row, &mut out);
                // A NaN's sign means nothing.
                out.iter().map(|w| if w.is_nan() { u32::MAX } else { w.to_bits() }).collect::<Vec<u32>>()
            };
            for row in 0..rows {
                assert_eq!(bits(&blocks, row), bits(&gpu, row), "{format}");
                assert_eq!(bits(&blocks, row), bits(&cpu, row), "{format}");
            }
        }
    }

    proptest! {
        /// There and back are the same bytes, and both orders mean the same weights.
        #[test]
        fn nothing_is_lost(
            bits in 1u8..=8, rows in 1usize..40, cols in 17usize..200, weak in 1u32..17, suffix: bool, wide: bool, seed: u64,
        ) {
            let scale = if wide { DType::F32 } else { DType::F16 };
            let zero = [Zero::Packed, Zero::Symmetric, Zero::Minimum][seed as usize % 3];
            let body = Packed { scale, zero, ..Packed::new(bits, Group::Columns(32)) };
            let place = if suffix { WeakPlace::Suffix } else { WeakPlace::Scattered };
            let mixed = Mixed { body, cols: weak, place, weak: DType::F16 };
            let width = mixed.body_cols(cols);
            let groups = body.group.count(width);
            let mut state = seed | 1;
            let mut next = || {
                state ^= state << 13; state ^= state >> 7; state ^= state << 17;
                (state >> 20) as u8
            };
            let level = (body.levels() - 1) as u8;
            let codes: Vec<u8> = (0..rows * width).map(|_| next() & level).collect();
            let scales: Vec<f32> = (0..rows * groups).map(|_| f32::from(next()) / 16.0).collect();
            let zeros: Vec<u8> = (0..rows * groups).map(|_| next() & level).collect();
            let minima: Vec<f32> = (0..rows * groups).map(|_| f32::from(next()) / -16.0).collect();
            let columns: Vec<[u8; 2]> = (0..rows * weak as usize).map(|_| [next(), next() & 0x3b]).collect();
            let mut parts = vec![
                (Role::Codes, body.pack_codes(&codes, rows, width)),
                (Role::Scales, body.pack_scales(&scales, rows)),
                (Role::Weak, body.order.pack_weak(&columns, rows).concat()),
            ];
            parts.extend(body.pack_offsets(&zeros, &minima, rows).map(|offsets| (Role::Zeros, offsets)));
            if !suffix {
                parts.push((Role::WeakIndex, (0..weak).flat_map(u32::to_le_bytes).collect()));
            }
            let encoding = Encoding::Mixed(mixed);
            let here = view(&encoding, rows, cols, &parts);
            let (there, moved) = repack(&here, Order::Mma16).unwrap();
            let there = view(&there, rows, cols, &moved);
            let (mut a, mut b) = (vec![0f32; cols], vec![0f32; cols]);
            for row in 0..rows {
                here.row(row, &mut a);
                there.row(row, &mut b);
                prop_assert_eq!(&a, &b);
            }
            let (again, mut back) = repack(&there, Order::Panels8).unwrap();
            back.sort();
            parts.sort();
            prop_assert_eq!((again, back), (encoding.clone(), parts));
        }
    }
}
