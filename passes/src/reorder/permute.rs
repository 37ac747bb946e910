//! A constant with its rows and columns in another order, exactly: bits move, none is computed.
//!
//! Dense elements go anywhere, and rows of every encoding. Columns of low-bit codes go where their grid goes: whole groups
//! change places, and columns inside a group; weak columns that are the tail stay the tail. Columns of a GGUF block stay.

use crate::spill;
use actc_ir::Const;
use actc_types::packed::CHUNK;
use actc_types::{Diagnostic, Encoding, Mixed, Packed, Place, Result, Role, WeakPlace};
use std::path::Path;

/// A new order: at place `i` stands what stood at `order[i]`.
pub(super) type Order = [u32];

/// `constant`, seen as a matrix (see [`Const::matrix`]), with its rows and columns in a new order; what is stored anew lies in files
/// of `work`. Refused where the encoding cannot hold it exactly.
pub(super) fn permute(constant: &Const, rows: Option<&Order>, cols: Option<&Order>, work: &Path) -> Result<Const> {
    let (height, width) = constant.matrix()?;
    assert!(rows.is_none_or(|r| r.len() == height) && cols.is_none_or(|c| c.len() == width), "an order of all");
    let natural = |n: usize| (0..n as u32).collect::<Vec<u32>>();
    let rows = rows.map_or_else(|| natural(height), <[u32]>::to_vec);
    if let Some(cols) = cols {
        fits(constant, cols)?;
    }
    let part = |role: Role| constant.parts.iter().find(|(r, _)| *r == role).map_or(&[][..], |(_, b)| b.as_ref());
    let parts = match &constant.encoding {
        Encoding::Dense => {
            let size = constant.ty.dtype.size();
            vec![(Role::Data, elements(part(Role::Data), width, size, &rows, cols))]
        }
        Encoding::Block(_) => {
            let bytes = part(Role::Data).len() / height.max(1);
            vec![(Role::Data, elements(part(Role::Data), 1, bytes, &rows, None))]
        }
        Encoding::Packed(packed) => Codes { packed, rows: &rows, cols, width }.parts(part),
        Encoding::Mixed(mixed) => {
            let body = mixed.body_cols(width);
            let own = cols.map(|c| &c[..body]);
            let mut parts = Codes { packed: &mixed.body, rows: &rows, cols: own, width: body }.parts(part);
            parts.extend(weak(mixed, part, &rows, cols, before_tail(mixed, width)));
            parts
        }
    };
    let parts =
        parts.into_iter().map(|(role, data)| Ok((role, spill::store(work, data)?))).collect::<Result<Vec<_>>>()?;
    Const::new(constant.name.clone(), constant.ty.clone(), constant.encoding.clone(), parts)
}

/// Whether the columns of `constant` can stand in the order `cols` exactly.
pub(super) fn fits(constant: &Const, cols: &Order) -> Result<()> {
    let refused = |why: String| {
        let headline = format!("columns cannot be permuted exactly: {why}");
        Err(Diagnostic::new("reorder-inexact", headline).at(Place::Tensor(constant.name.clone())).help(
            "name a pass that rounds these layers anew, such as `owq`, or start from weights that are not quantised",
        ))
    };
    if cols.iter().zip(0..).all(|(c, i)| *c == i) {
        return Ok(());
    }
    let (packed, body) = match &constant.encoding {
        Encoding::Dense => return Ok(()),
        Encoding::Block(format) => return refused(format!("{} of them share a block of {format}", format.block_len())),
        Encoding::Packed(packed) => (packed, cols.len()),
        Encoding::Mixed(mixed) => (&mixed.body, before_tail(mixed, cols.len())),
    };
    if cols[..body].iter().any(|c| *c as usize >= body) {
        return refused("a weak column would leave the tail".into());
    }
    let width = packed.group.width(body);
    let whole = |new: &[u32]| new.iter().all(|c| *c as usize / width == new[0] as usize / width);
    // A short group is last, and stays so.
    if cols[..body].chunks(width).all(|g| whole(g) && (g.len() == width || g[0] as usize / width == body / width)) {
        return Ok(());
    }
    refused(format!("{width} of them share a grid"))
}

/// Elements of `size` bytes, `width` a row, in a new order.
fn elements(data: &[u8], width: usize, size: usize, rows: &Order, cols: Option<&Order>) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len());
    for row in rows {
        let row = &data[*row as usize * width * size..][..width * size];
        match cols {
            None => out.extend_from_slice(row),
            Some(cols) => cols.iter().for_each(|c| out.extend_from_slice(&row[*c as usize * size..][..size])),
        }
    }
    out
}

/// Codes with their grids in a new order, which [`fits`].
struct Codes<'a> {
    packed: &'a Packed,
    rows: &'a Order,
    cols: Option<&'a Order>,
    /// Columns that have codes.
    width: usize,
}

impl Codes<'_> {
    fn parts<'p>(&self, part: impl Fn(Role) -> &'p [u8]) -> Vec<(Role, Vec<u8>)> {
        let Codes { packed, rows, cols, width } = *self;
        let (codes, scales, zeros) = (part(Role::Codes), part(Role::Scales), part(Role::Zeros));
        let (groups, run) = (packed.group.count(width), packed.group.width(width));
        let (mut new, mut grids, mut points, mut minima) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut row = vec![0u8; width];
        for old in rows.iter().map(|r| *r as usize) {
            self.unpack(codes, old, &mut row);
            match cols {
                None => new.extend_from_slice(&row),
                Some(cols) => new.extend(cols.iter().map(|c| row[*c as usize])),
            }
            for group in (0..groups).map(|g| cols.map_or(g, |c| c[g * run] as usize / run)) {
                grids.push(packed.scale_at(scales, old, group, width));
                points.push(packed.zero_at(zeros, old, group, width));
                minima.push(packed.minimum_at(zeros, old, group, width));
            }
        }
        let mut parts = vec![
            (Role::Codes, packed.pack_codes(&new, rows.len(), width)),
            (Role::Scales, packed.pack_scales(&grids, rows.len())),
        ];
        parts.extend(packed.pack_offsets(&points, &minima, rows.len()).map(|offsets| (Role::Zeros, offsets)));
        parts
    }

    /// The codes of row `row`.
    fn unpack(&self, codes: &[u8], row: usize, out: &mut [u8]) {
        let bytes = self.packed.panel_bytes(self.width);
        let side = self.packed.order.panel();
        let panel = &codes[row / side * bytes..][..bytes];
        let mut chunk = [0u8; CHUNK];
        for (bytes, out) in panel.chunks_exact(self.packed.chunk_bytes()).zip(out.chunks_mut(CHUNK)) {
            self.packed.unpack_chunk(bytes, row % side, &mut chunk);
            out.copy_from_slice(&chunk[..out.len()]);
        }
    }
}

/// Columns in front of weak ones that are the last; all where they are not.
fn before_tail(mixed: &Mixed, width: usize) -> usize {
    match mixed.place {
        WeakPlace::Scattered => width,
        WeakPlace::Suffix => width - mixed.cols as usize,
    }
}

/// The weak columns, behind `body` columns where they are the last, and their index, in a new order.
fn weak<'p>(
    mixed: &Mixed,
    part: impl Fn(Role) -> &'p [u8],
    rows: &Order,
    cols: Option<&Order>,
    body: usize,
) -> Vec<(Role, Vec<u8>)> {
    let (k, size) = (mixed.cols as usize, mixed.weak.size());
    let index: Vec<u32> =
        part(Role::WeakIndex).chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    // New columns that are weak, each with its old position among the weak ones.
    let moved: Vec<(u32, usize)> = match (mixed.place, cols) {
        (WeakPlace::Scattered, Some(cols)) => {
            cols.iter().zip(0..).filter_map(|(c, new)| index.binary_search(c).ok().map(|at| (new, at))).collect()
        }
        (WeakPlace::Scattered, None) => index.iter().copied().zip(0..).collect(),
        (WeakPlace::Suffix, Some(cols)) => cols[body..].iter().map(|c| (*c, *c as usize - body)).collect(),
        (WeakPlace::Suffix, None) => (0..k).map(|i| ((body + i) as u32, i)).collect(),
    };
    let (data, order) = (part(Role::Weak), mixed.body.order);
    let mut columns: Vec<[u8; 8]> = Vec::with_capacity(rows.len() * k);
    for row in rows {
        for (_, old) in &moved {
            let mut element = [0u8; 8];
            element[..size].copy_from_slice(&data[order.weak_index(*row as usize, *old, k) * size..][..size]);
            columns.push(element);
        }
    }
    let data = order.pack_weak(&columns, rows.len()).iter().flat_map(|e| e[..size].to_vec()).collect();
    let mut parts = vec![(Role::Weak, data)];
    match mixed.place {
        WeakPlace::Scattered => {
            parts.push((Role::WeakIndex, moved.iter().flat_map(|(new, _)| new.to_le_bytes()).collect()));
        }
        WeakPlace::Suffix => {}
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quantize::encode::decode;
    use actc_ir::TensorType;
    use actc_types::{BlockFormat, DType, Group, Shape, Tensor, TensorData, Zero};
    use bytes::Bytes;
    use proptest::prelude::*;

    /// Permutation of `n` made of `seed`.
    fn shuffled(n: usize, mut seed: u64) -> Vec<u32> {
        let mut order: Vec<u32> = (0..n as u32).collect();
        for i in (1..n).rev() {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            order.swap(i, (seed >> 33) as usize % (i + 1));
        }
        order
    }

    /// Groups of `width` columns in a new order, the columns of each too; a short last one stays there.
    fn in_groups(cols: usize, width: usize, seed: u64) -> Vec<u32> {
        let own = |g: usize, n: usize| shuffled(n, seed ^ g as u64).into_iter().map(move |c| (g * width) as u32 + c);
        let mut order: Vec<u32> =
            shuffled(cols / width, seed).into_iter().flat_map(|g| own(g as usize, width)).collect();
        order.extend(own(cols / width, cols % width));
        order
    }

    /// A constant of codes, scales and weak columns that are all made up.
    fn made_up(encoding: Encoding, rows: usize, cols: usize, seed: u64) -> Const {
        let mut state = seed | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let half = |x: u64| half::f16::from_f32((x % 1000) as f32 / 500.0 - 1.0).to_le_bytes();
        let parts = encoding.parts(DType::F32, rows, cols).unwrap().into_iter().map(|(role, bytes)| {
            let mut halves = |n: u64| (0..n / 2).flat_map(|_| half(next())).collect::<Vec<u8>>();
            let data: Vec<u8> = match role {
                Role::Scales | Role::Weak => halves(bytes),
                Role::WeakIndex => (0..bytes as u32 / 4).flat_map(|i| (3 * i + 1).to_le_bytes()).collect(),
                Role::Data | Role::Codes | Role::Zeros => (0..bytes).map(|_| (next() >> 20) as u8).collect(),
            };
            (role, Bytes::from(data))
        });
        let ty = TensorType::new(DType::F32, Shape::fixed(&[rows as u64, cols as u64]));
        let parts = parts.collect();
        Const::new("w", ty, encoding, parts).unwrap()
    }

    fn check(constant: &Const, rows: &Order, cols: &Order) {
        let work = std::env::temp_dir();
        let (old, width) = decode(constant).unwrap();
        let (new, _) = decode(&permute(constant, Some(rows), Some(cols), &work).unwrap()).unwrap();
        for (r, row) in rows.iter().zip(new.chunks_exact(width)) {
            let want: Vec<f32> = cols.iter().map(|c| old[*r as usize * width + *c as usize]).collect();
            assert_eq!(row, want, "{}", constant.encoding);
        }
        let kept = permute(constant, Some(rows), None, &work).unwrap();
        let (new, _) = decode(&kept).unwrap();
        for (r, row) in rows.iter().zip(new.chunks_exact(width)) {
            assert_eq!(row, &old[*r as usize * width..][..width], "{}", constant.encoding);
        }
    }

    proptest! {
        #[test]
        fn codes_move_with_their_grids(
            bits in 1u8..=8, rows in 1usize..20, groups in 1usize..6, rest in 0usize..16, symmetric: bool, seed: u64,
        ) {
            let zero = if symmetric { Zero::Symmetric } else { Zero::Packed };
            let body = Packed { zero, ..Packed::new(bits, Group::Columns(16)) };
            let cols = 16 * groups + rest;
            let (high, wide) = (shuffled(rows, seed), in_groups(cols, 16, seed));
            check(&made_up(Encoding::Packed(body), rows, cols, seed), &high, &wide);
            let channel = Packed { group: Group::Channel, ..body };
            check(&made_up(Encoding::Packed(channel), rows, cols, seed), &high, &shuffled(cols, seed));
            let mixed = |place| Encoding::Mixed(Mixed { body, cols: 5, place, weak: DType::F16 });
            check(&made_up(mixed(WeakPlace::Scattered), rows, cols, seed), &high, &wide);
            let mut suffix = in_groups(cols - 5, 16, seed);
            suffix.extend(shuffled(5, seed).iter().map(|c| c + cols as u32 - 5));
            check(&made_up(mixed(WeakPlace::Suffix), rows, cols, seed), &high, &suffix);
        }
    }

    #[test]
    fn every_element_type_moves_whole() {
        for dtype in [DType::F32, DType::F16, DType::Bf16, DType::F64, DType::I8, DType::I64] {
            let tensor = Tensor::new(
                &[3, 2, 2],
                TensorData::from_f64(dtype, &[0., 1., 2., 3., 4., 5., 6., 7., 8., 9., 10., 11.]),
            );
            let constant = Const::dense("w", &tensor.unwrap());
            let moved = permute(&constant, Some(&[2, 0, 1]), Some(&[2, 3, 0, 1]), &std::env::temp_dir()).unwrap();
            let got = moved.decode().unwrap().data().to_f64();
            assert_eq!(got, [10., 11., 8., 9., 2., 3., 0., 1., 6., 7., 4., 5.], "{dtype}");
        }
    }

    #[test]
    fn what_would_need_rounding_is_refused() {
        let body = Packed::new(4, Group::Columns(16));
        let reversed: Vec<u32> = (0..48).rev().collect();
        let code = |encoding: Encoding, cols: &Order| {
            let constant = made_up(encoding, 8, cols.len(), 1);
            permute(&constant, None, Some(cols), &std::env::temp_dir()).map(|_| ()).map_err(|d| (d.code, d.headline))
        };
        // Turned round as a whole, groups stay groups.
        assert_eq!(code(Encoding::Packed(body), &reversed), Ok(()));
        let mut one = (0..48).collect::<Vec<u32>>();
        one.swap(15, 16);
        let (name, why) = code(Encoding::Packed(body), &one).unwrap_err();
        assert_eq!(
            (name, why.as_str()),
            ("reorder-inexact", "columns cannot be permuted exactly: 16 of them share a grid")
        );
        // The short last group has no place among the others.
        let turned: Vec<u32> = (0..40).rev().collect();
        assert_eq!(code(Encoding::Packed(body), &turned).unwrap_err().0, "reorder-inexact");
        let mixed = Mixed { body, cols: 4, place: WeakPlace::Suffix, weak: DType::F16 };
        assert!(code(Encoding::Mixed(mixed), &reversed).unwrap_err().1.ends_with("a weak column would leave the tail"));
        let block = made_up(Encoding::Block(BlockFormat::Q8_0), 4, 64, 1);
        let swapped: Vec<u32> = (0..64).rev().collect();
        let error = permute(&block, None, Some(&swapped), &std::env::temp_dir()).unwrap_err();
        assert_eq!(error.code, "reorder-inexact");
        assert!(permute(&block, Some(&[3, 2, 1, 0]), None, &std::env::temp_dir()).is_ok());
        assert!(permute(&block, None, Some(&(0..64).collect::<Vec<u32>>()), &std::env::temp_dir()).is_ok());
    }
}
