//! Rows that are looked up in a stored matrix. They round once, so results are exact.

use crate::case::{Case, Problem, Want, integers};
use crate::{Matrix, Rng};
use actc_codegen::spec::gpu::{Decode, Embedding, GpuKernel};
use actc_codegen::spec::{BufferRole, Mat};
use actc_types::{BlockFormat, DType, Encoding, Group, Mixed, Order, Packed, Role, WeakPlace, Zero};

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
