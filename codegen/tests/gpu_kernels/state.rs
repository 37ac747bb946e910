//! `embedding` and `append`: rows that are looked up, and rows that are kept. Both round once, so results are exact.

use super::room::cuda::Gpu;
use super::room::{Matrix, Rng, rows};
use actc_codegen::spec::gpu::{Append, Embedding, GpuKernel, Rows};
use actc_codegen::spec::{BufferRole, Mat};
use actc_types::{BlockFormat, DType, Encoding, Group, Mixed, Order, Packed, Role, RowForm, WeakPlace, Zero};

fn look_up(gpu: &mut Gpu, encoding: &Encoding, dtype: DType, [rows, cols]: [usize; 2], rng: &mut Rng) {
    let matrix = Matrix::random(encoding, dtype, rows, cols, rng);
    let ids: Vec<i64> =
        vec![0, rows as i64 - 1, rng.below(rows) as i64, -1, rows as i64, i64::MIN, rng.below(rows) as i64];
    let table = Mat { rows: rows as u32, encoding: encoding.clone(), dtype, bias: false };
    for (ids, scale) in [(&ids[..3], 1.0f32), (&ids[..], 24.5)] {
        let kernel = GpuKernel::Embedding(Embedding { table: table.clone(), cols: cols as u32, scale });
        let (error, out) = (gpu.put(&[0; 4]), gpu.room(4 * ids.len() * cols));
        let mut buffers = Vec::new();
        for b in kernel.buffers() {
            let part = |role| &matrix.parts.iter().find(|(r, _)| *r == role).expect("the part exists").1;
            buffers.push(match b.role {
                BufferRole::Input(_) => gpu.put_integers(ids),
                BufferRole::Weight { part: role, .. } => gpu.put(part(role)),
                BufferRole::WeakIndex(_) => gpu.put(part(Role::WeakIndex)),
                BufferRole::Error => error,
                BufferRole::Output(_) => out,
                role => panic!("an embedding takes no {role:?}"),
            });
        }
        gpu.run(&kernel, &buffers, &[ids.len() as u64]);
        let got = gpu.floats(out, ids.len() * cols);
        let known = |id: i64| usize::try_from(id).ok().filter(|id| *id < rows);
        for (id, got) in ids.iter().zip(got.chunks(cols)) {
            let mut want = vec![0f32; cols];
            if let Some(row) = known(*id) {
                matrix.view().row(row, &mut want);
            }
            for (col, (got, want)) in got.iter().zip(&want).enumerate() {
                assert_eq!(*got, want * scale, "{encoding} {dtype} id {id} column {col}");
            }
        }
        let flag = i64::from(gpu.bytes(error, 4)[0]);
        assert_eq!(flag, i64::from(ids.iter().any(|id| known(*id).is_none())), "the error word");
    }
}

#[test]
fn rows_of_every_encoding() {
    let Some(mut gpu) = Gpu::open() else { return };
    let mut rng = Rng(5);
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
            let cols = 50 + rng.below(200);
            let weak = |place| Encoding::Mixed(Mixed { body: body.clone(), cols: 19, place, weak: DType::F16 });
            let encoding = match (bits + u8::from(wide)) % 3 {
                0 => Encoding::Packed(body.clone()),
                1 => weak(WeakPlace::Scattered),
                _ => weak(WeakPlace::Suffix),
            };
            look_up(&mut gpu, &encoding, DType::F32, [37, cols], &mut rng);
        }
    }
    for format in BlockFormat::ALL {
        let encoding = Encoding::Block(*format).in_order(Order::Mma16);
        look_up(&mut gpu, &encoding, DType::F32, [37, 2 * format.block_len()], &mut rng);
    }
    for dtype in [DType::F32, DType::F16, DType::Bf16] {
        look_up(&mut gpu, &Encoding::Dense, dtype, [9, 301], &mut rng);
    }
}

#[test]
fn rows_behind_rows() {
    let Some(mut gpu) = Gpu::open() else { return };
    let mut rng = Rng(6);
    for form in RowForm::ALL {
        for (states, new, past) in [
            (vec![Rows { heads: 2, n: 64 }, Rows { heads: 2, n: 64 }], 1, 5),
            (vec![Rows { heads: 3, n: 20 }, Rows { heads: 1, n: 130 }, Rows { heads: 2, n: 8 }], 7, 0),
            (vec![Rows { heads: 1, n: 33 }], 0, 3),
        ] {
            let mut buffers = Vec::new();
            let mut wanted = Vec::new();
            for r in &states {
                let (heads, n) = (r.heads as usize, r.n as usize);
                let mut x = rng.floats(new * heads * n);
                // A row of zeros, one too large for halves, one with what is not finite.
                x.iter_mut().take(n).for_each(|v| *v = 0.0);
                x.iter_mut().skip(n).take(n).for_each(|v| *v *= 1e5);
                x.iter_mut()
                    .skip(4 * n)
                    .take(1)
                    .for_each(|v| *v = if form == RowForm::Int8 { f32::INFINITY } else { f32::NAN });
                buffers.push(gpu.put_floats(&x));
                let old = vec![0xa5; past * heads * form.row_bytes(n)];
                wanted.push([old.clone(), rows(&x, n, form)].concat());
            }
            for want in &wanted {
                let state = gpu.room(want.len());
                let old = &want[..want.len() - want.len() / (past + new).max(1) * new];
                gpu.write(state, old);
                buffers.push(state);
            }
            let kernel = GpuKernel::Append(Append { states: states.clone(), form });
            gpu.run(&kernel, &buffers, &[new as u64, past as u64]);
            for (i, want) in wanted.iter().enumerate() {
                let got = gpu.bytes(buffers[states.len() + i], want.len());
                if form == RowForm::Int8 {
                    assert_eq!(&got, want, "{form} state {i}");
                    continue;
                }
                // Numbers that are none have many forms.
                let size = form.dtype().size();
                let none = |x: &[u8]| match form {
                    RowForm::F16 => half::f16::from_le_bytes([x[0], x[1]]).is_nan(),
                    RowForm::F32 | RowForm::Int8 => f32::from_le_bytes([x[0], x[1], x[2], x[3]]).is_nan(),
                };
                for (at, (got, want)) in got.chunks(size).zip(want.chunks(size)).enumerate() {
                    assert!(
                        got == want || none(got) && none(want),
                        "{form} state {i} number {at}: {got:?} but {want:?}"
                    );
                }
            }
        }
    }
}
