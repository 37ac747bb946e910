//! Rows that are looked up in a stored matrix, and rows that are kept. Both round once, so results are exact.

use crate::case::{Case, Problem, Want, floats, integers};
use crate::rows::rows;
use crate::{Matrix, Rng};
use actc_codegen::spec::gpu::{Append, Decode, Embedding, GpuKernel, Rows};
use actc_codegen::spec::{BufferRole, Mat};
use actc_types::{BlockFormat, DType, Encoding, Group, Mixed, Order, Packed, Role, RowForm, WeakPlace, Zero};
use half::f16;

/// Rows of a random matrix by `ids`, times `scale`.
pub fn embedding(encoding: Encoding, dtype: DType, [count, cols]: [usize; 2], ids: Vec<i64>, scale: f32) -> Case {
    let table = Mat { rows: count as u32, encoding: encoding.clone(), dtype, bias: false };
    let stored = if encoding == Encoding::Dense { dtype.to_string() } else { encoding.to_string() };
    let kernel = GpuKernel::Embedding(Embedding { table, cols: cols as u32, scale });
    let name = format!("embedding {} of {count} x {cols} {stored} times {scale}", ids.len());
    Case::of(name, kernel.clone(), move || {
        let matrix = Matrix::random(&encoding, dtype, count, cols, &mut Rng(cols as u64));
        let view = matrix.view();
        let known = |id: i64| usize::try_from(id).ok().filter(|id| *id < count);
        let row = |id: &i64| {
            let mut row = vec![0f32; cols];
            if let Some(id) = known(*id) {
                view.row(id, &mut row);
            }
            row.into_iter().map(|x| x * scale)
        };
        let wrong = ids.iter().any(|id| known(*id).is_none());
        let mut problem = Problem::default();
        for b in kernel.buffers() {
            match b.role {
                BufferRole::Input(_) => problem.put(integers(&ids)),
                BufferRole::Weight { part, .. } => problem.put(matrix.part(part).to_vec()),
                BufferRole::WeakIndex(_) => problem.put(matrix.part(Role::WeakIndex).to_vec()),
                BufferRole::Error => problem.grown(vec![0; 4], Want::Bytes(i32::from(wrong).to_le_bytes().into())),
                BufferRole::Output(_) => problem.want(Want::Floats(ids.iter().flat_map(row).collect())),
                role => panic!("an embedding takes no {role:?}"),
            };
        }
        problem.launched(&[ids.len()])
    })
}

/// All rows of a random matrix.
pub fn decode(encoding: Encoding, dtype: DType, [rows, cols]: [usize; 2]) -> Case {
    let matrix = Mat { rows: rows as u32, encoding: encoding.clone(), dtype, bias: false };
    let stored = if encoding == Encoding::Dense { dtype.to_string() } else { encoding.to_string() };
    let kernel = GpuKernel::Decode(Decode { matrix, cols: cols as u32 });
    Case::of(format!("decode {rows} x {cols} {stored}"), kernel.clone(), move || {
        let matrix = Matrix::random(&encoding, dtype, rows, cols, &mut Rng(cols as u64));
        let mut all = vec![0f32; rows * cols];
        all.chunks_mut(cols).enumerate().for_each(|(row, out)| matrix.view().row(row, out));
        let mut problem = Problem::default();
        for b in kernel.buffers() {
            match b.role {
                BufferRole::Weight { part, .. } => problem.put(matrix.part(part).to_vec()),
                BufferRole::WeakIndex(_) => problem.put(matrix.part(Role::WeakIndex).to_vec()),
                BufferRole::Output(_) => problem.want(Want::Floats(std::mem::take(&mut all))),
                role => panic!("a decoder takes no {role:?}"),
            };
        }
        problem.launched(&[])
    })
}

/// Ids of rows, and some that name none.
fn ids(count: usize, rng: &mut Rng) -> [Vec<i64>; 2] {
    let mut row = || rng.below(count) as i64;
    [vec![0, count as i64 - 1, row()], vec![row(), 0, -1, count as i64, row(), i64::MIN]]
}

/// Tables of `count` rows of about `cols` columns, in every encoding: a few rows, and all.
pub fn embeddings(count: usize, cols: usize) -> Vec<Case> {
    let mut rng = Rng(5);
    let mut all = Vec::new();
    let mut add = |encoding: Encoding, dtype, rng: &mut Rng| {
        let shape = [count, cols + rng.below(cols)];
        let [right, wrong] = ids(count, rng);
        all.push(embedding(encoding.clone(), dtype, shape, right, 1.0));
        all.push(embedding(encoding.clone(), dtype, shape, wrong, 24.5));
        all.push(decode(encoding, dtype, shape));
    };
    for bits in 1..=8 {
        for (group, symmetric, wide) in
            [(Group::Channel, true, false), (Group::Columns(32), false, true), (Group::Columns(64), false, false)]
        {
            let body = Packed {
                zero: if symmetric { Zero::Symmetric } else { Zero::Packed },
                scale: if wide { DType::F32 } else { DType::F16 },
                order: Order::Mma16,
                ..Packed::new(bits, group)
            };
            let weak = |place| Encoding::Mixed(Mixed { body, cols: 19, place, weak: DType::F16 });
            let encoding = match (bits + u8::from(wide)) % 3 {
                0 => Encoding::Packed(body),
                1 => weak(WeakPlace::Scattered),
                _ => weak(WeakPlace::Suffix),
            };
            add(encoding, DType::F32, &mut rng);
        }
    }
    for format in BlockFormat::ALL {
        add(Encoding::Block(*format).in_order(Order::Mma16), DType::F32, &mut rng);
    }
    for dtype in [DType::F32, DType::F16, DType::Bf16] {
        add(Encoding::Dense, dtype, &mut rng);
    }
    all
}

/// `new` positions behind `past` ones of `states`.
pub fn append(states: Vec<Rows>, form: RowForm, new: usize, past: usize) -> Case {
    let shapes: Vec<String> = states.iter().map(|r| format!("{} x {}", r.heads, r.n)).collect();
    let name = format!("append {new} behind {past} of {} in {form}", shapes.join(", "));
    let kernel = GpuKernel::Append(Append { states: states.clone(), form });
    Case::of(name, kernel, move || {
        let mut rng = Rng(6);
        let mut problem = Problem::default();
        let mut grown = Vec::new();
        for r in &states {
            let (heads, n) = (r.heads as usize, r.n as usize);
            let mut x = rng.floats(new * heads * n);
            // A row of zeros, one too large for halves, one with what is not finite.
            x.iter_mut().take(n).for_each(|v| *v = 0.0);
            x.iter_mut().skip(n).take(n).for_each(|v| *v *= 1e5);
            let odd = if form == RowForm::Int8 { f32::INFINITY } else { f32::NAN };
            x.iter_mut().skip(4 * n).take(1).for_each(|v| *v = odd);
            problem.put(floats(&x));
            let old = vec![0xa5; past * heads * form.row_bytes(n)];
            let all = [&old[..], &rows(&x, n, form)].concat();
            let want = match form {
                RowForm::F32 => Want::Floats(all.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()),
                RowForm::F16 => Want::Halves(all.as_chunks::<2>().0.iter().map(|b| f16::from_le_bytes(*b)).collect()),
                RowForm::Int8 => Want::Bytes(all),
            };
            grown.push((old, want));
        }
        grown.into_iter().for_each(|(old, want)| {
            problem.grown(old, want);
        });
        problem.launched(&[new, past])
    })
}

/// States of every form, of one new position behind old ones, of many, of none.
pub fn appends(new: usize, past: usize) -> Vec<Case> {
    let rows = |heads, n| Rows { heads, n };
    let case = |form| {
        [
            append(vec![rows(2, 64), rows(2, 64)], form, 1, past),
            append(vec![rows(3, 20), rows(1, 130), rows(2, 8)], form, new, 0),
            append(vec![rows(1, 33)], form, 0, 3),
        ]
    };
    RowForm::ALL.into_iter().flat_map(case).collect()
}
