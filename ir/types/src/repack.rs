//! Stored weights in another [`Order`]: the same codes, grids and weak columns, bit for bit, where another device wants them.

use crate::encoding::{Encoding, Mixed, Order, Packed, Role, Zero};
use crate::packed::CHUNK;
use crate::weight::WeightView;

/// A matrix as it is stored: its encoding, and the parts with their bytes.
pub type Stored = (Encoding, Vec<(Role, Vec<u8>)>);

/// `view` with its parts in `order`; `None` for encodings whose order no device changes.
pub fn repack(view: &WeightView<'_>, order: Order) -> Option<Stored> {
    let rows = view.rows();
    match view.encoding() {
        Encoding::Dense | Encoding::Block(_) => None,
        Encoding::Packed(packed) => {
            Some((Encoding::Packed(Packed { order, ..*packed }), body(view, packed, view.cols(), order)))
        }
        Encoding::Mixed(mixed) => {
            let mut parts = body(view, &mixed.body, mixed.body_cols(view.cols()), order);
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
            let body = Packed { order, ..mixed.body };
            Some((Encoding::Mixed(Mixed { body, ..*mixed }), parts))
        }
    }
}

fn body(view: &WeightView<'_>, old: &Packed, cols: usize, order: Order) -> Vec<(Role, Vec<u8>)> {
    let new = Packed { order, ..*old };
    let (rows, groups, panel) = (view.rows(), old.group.count(cols), old.order.panel());
    let (codes, scales, zeros) = (view.part(Role::Codes), view.part(Role::Scales), view.part(Role::Zeros));
    let mut all = vec![0u8; rows * cols];
    let mut run = [0u8; CHUNK];
    for (row, out) in all.chunks_exact_mut(cols.max(1)).enumerate() {
        let bytes = &codes[row / panel * old.panel_bytes(cols)..][..old.panel_bytes(cols)];
        for (chunk, out) in bytes.chunks_exact(old.chunk_bytes()).zip(out.chunks_mut(CHUNK)) {
            old.unpack_chunk(chunk, row % panel, &mut run);
            out.copy_from_slice(&run[..out.len()]);
        }
    }
    let grids = || (0..rows).flat_map(|row| (0..groups).map(move |group| (row, group)));
    let scales: Vec<f32> = grids().map(|(row, group)| old.scale_at(scales, row, group, cols)).collect();
    let mut parts =
        vec![(Role::Codes, new.pack_codes(&all, rows, cols)), (Role::Scales, new.pack_scales(&scales, rows))];
    match old.zero {
        Zero::Symmetric => {}
        Zero::Packed => {
            let zeros: Vec<u8> = grids().map(|(row, group)| old.zero_at(zeros, row, group, cols)).collect();
            parts.push((Role::Zeros, new.pack_zeros(&zeros, rows)));
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DType, Group, WeakPlace};
    use proptest::prelude::*;

    proptest! {
        /// There and back are the same bytes, and both orders mean the same weights.
        #[test]
        fn nothing_is_lost(
            bits in 1u8..=8, rows in 1usize..40, cols in 17usize..200, weak in 1u32..17, suffix: bool, wide: bool, seed: u64,
        ) {
            let scale = if wide { DType::F32 } else { DType::F16 };
            let zero = if seed % 2 == 0 { Zero::Packed } else { Zero::Symmetric };
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
            let columns: Vec<[u8; 2]> = (0..rows * weak as usize).map(|_| [next(), next() & 0x3b]).collect();
            let mut parts = vec![
                (Role::Codes, body.pack_codes(&codes, rows, width)),
                (Role::Scales, body.pack_scales(&scales, rows)),
                (Role::Weak, body.order.pack_weak(&columns, rows).concat()),
            ];
            if zero == Zero::Packed {
                parts.push((Role::Zeros, body.pack_zeros(&zeros, rows)));
            }
            if !suffix {
                parts.push((Role::WeakIndex, (0..weak).flat_map(u32::to_le_bytes).collect()));
            }
            fn view<'a>(encoding: &'a Encoding, rows: usize, cols: usize, parts: &'a [(Role, Vec<u8>)]) -> WeightView<'a> {
                let parts = parts.iter().map(|(role, bytes)| (*role, &bytes[..]));
                WeightView::new(encoding, DType::F32, rows, cols, parts).unwrap()
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
