//! Functions of rows, where extremes stand, copies of rows, and products of matrices.

use super::room::Rng;
use super::room::cuda::Gpu;
use actc_codegen::spec::gpu::{Copy, Element, GpuKernel, Matmul, Of, Place, Rowwise, Sizes};
use actc_types::DType;
use actc_types::function::{Extreme, RowFunction};

#[test]
fn softmax_of_rows() {
    let Some(mut gpu) = Gpu::open() else { return };
    let mut rng = Rng(11);
    for (rows, n, wide, sizes) in
        [(3, 1000, true, Sizes::Int), (19, 37, false, Sizes::Memory), (1, 1, false, Sizes::Int)]
    {
        let mut x = rng.floats(rows * n);
        x[0] = f32::NEG_INFINITY;
        x.iter_mut().skip(n).take(n.min(20)).for_each(|x| *x *= 30.0);
        let (from, to) = (gpu.put_floats(&x), gpu.room(4 * rows * n));
        let kernel = GpuKernel::Rowwise(Rowwise { of: Of::Softmax, wide, sizes });
        gpu.run(&kernel, &[from, to], &[rows as u64, n as u64]);
        let got = gpu.floats(to, rows * n);
        for (x, got) in x.chunks(n).zip(got.chunks(n)) {
            let most = f64::from(x.iter().fold(f32::NEG_INFINITY, |m, x| m.max(*x)));
            let total: f64 = x.iter().map(|x| (f64::from(*x) - most).exp()).sum();
            for (x, got) in x.iter().zip(got) {
                let want = (f64::from(*x) - most).exp() / total;
                // A difference that is rounded, a power, and a sum in a tree.
                let tolerance = want * ((f64::from(*x) - most).abs().min(200.0) + 16.0) * 2f64.powi(-24) + 1e-37;
                let (got, want) = (f64::from(*got), want);
                assert!(got.is_nan() && want.is_nan() || (got - want).abs() <= tolerance, "{got} but {want}");
            }
        }
    }
}

#[test]
fn numbers_of_rows() {
    let Some(mut gpu) = Gpu::open() else { return };
    let mut rng = Rng(12);
    for (i, function) in RowFunction::ALL.iter().enumerate() {
        for (rows, n) in [(5, 300), (3, 0), (2, 7)] {
            let of = |dtype| {
                let sizes = if n == 7 { Sizes::Memory } else { Sizes::Int };
                GpuKernel::Rowwise(Rowwise { of: Of::Function(*function, dtype), wide: i % 2 == 0, sizes })
            };
            let dims = [rows as u64, n as u64];
            let mut x: Vec<f32> = (0..rows * n).map(|_| 1.0 + 0.2 * rng.float()).collect();
            x.iter_mut().skip(n + 3).take(1).for_each(|x| *x = f32::NAN);
            let (from, to) = (gpu.put_floats(&x), gpu.room(4 * rows));
            gpu.run(&of(Element::F32), &[from, to], &dims);
            for (row, got) in gpu.floats(to, rows).into_iter().enumerate() {
                let want = function.apply(x[row * n..][..n].iter().map(|x| f64::from(*x))) as f32;
                assert!(
                    got.is_nan() && want.is_nan() || (got - want).abs() <= want.abs() * f32::EPSILON || got == want
                );
            }
            let x: Vec<i64> = (0..rows * n).map(|_| rng.word() as i64).collect();
            let (from, to) = (gpu.put_integers(&x), gpu.room(8 * rows));
            gpu.run(&of(Element::I64), &[from, to], &dims);
            for (row, got) in gpu.integers(to, rows).into_iter().enumerate() {
                let own = x[row * n..][..n].iter().map(|x| i128::from(*x));
                // Products of many would leave 128 bits, which wrap likewise.
                assert_eq!(got, function.apply_integer(DType::I64, own) as i64, "{}", function.name());
            }
            if function.takes().includes(DType::Bool) {
                let x: Vec<u8> = (0..rows * n).map(|i| u8::from(i % 5 == 0 && i < n)).collect();
                let (from, to) = (gpu.put(&x), gpu.room(rows));
                gpu.run(&of(Element::Bool), &[from, to], &dims);
                for (row, got) in gpu.bytes(to, rows).into_iter().enumerate() {
                    let own = x[row * n..][..n].iter().map(|x| i128::from(*x));
                    assert_eq!(i128::from(got), function.apply_integer(DType::Bool, own));
                }
            } else {
                assert_eq!(of(Element::Bool).check().unwrap_err().code, "kernel-dtype");
            }
        }
    }
}

#[test]
fn extremes_of_rows() {
    let Some(mut gpu) = Gpu::open() else { return };
    let mut rng = Rng(13);
    for code in 0..4 {
        let extreme = Extreme::from_code(code).unwrap();
        for (rows, n, parts) in [(1, 5000, 3), (33, 40, 1), (2, 3, 5), (1, 0, 2), (2, 0, 1)] {
            let mut x: Vec<f32> = (0..rows * n).map(|_| (rng.below(9) as f32 - 4.0) * 0.5).collect();
            // Zeros of both signs are equal, and what is no number counts as the first of a row alone.
            x.iter_mut().step_by(7).for_each(|x| *x *= -0.0);
            x.iter_mut().skip(1).step_by(if code % 2 == 0 { 11 } else { 40 }).for_each(|x| *x = f32::NAN);
            let whole: Vec<i64> = x.iter().map(|x| if x.is_nan() { 1 << 40 } else { (2.0 * x) as i64 }).collect();
            for dtype in [Element::F32, Element::I64] {
                let from = if dtype == Element::F32 { gpu.put_floats(&x) } else { gpu.put_integers(&whole) };
                let place = Place { extreme, dtype, parts };
                let (to, dims) = (gpu.room(8 * rows), [rows as u64, n as u64]);
                match place.choose() {
                    None => gpu.run(&GpuKernel::Place(place), &[from, to], &dims),
                    Some(choose) => {
                        let places = gpu.room(8 * rows * usize::from(parts));
                        gpu.run(&GpuKernel::Place(place), &[from, places], &dims);
                        gpu.run(&GpuKernel::Choose(choose), &[from, places, to], &dims);
                    }
                }
                for (row, got) in gpu.integers(to, rows).into_iter().enumerate() {
                    let want = match dtype {
                        Element::F32 => extreme.place(x[row * n..][..n].iter()),
                        Element::I64 | Element::I32 | Element::U8 | Element::I8 | Element::Bool => {
                            extreme.place(whole[row * n..][..n].iter())
                        }
                    };
                    assert_eq!(got, want as i64, "{extreme:?} of {dtype} row {row} of {n}");
                }
            }
        }
    }
}

#[test]
fn rows_of_bytes() {
    let Some(mut gpu) = Gpu::open() else { return };
    let mut rng = Rng(14);
    for (rows, bytes, from_offset, from_stride, to_offset, to_stride) in [
        (5usize, 48usize, 16usize, 64usize, 32usize, 80usize),
        (3, 7, 1, 9, 2, 7),
        (4, 12, 4, 20, 0, 12),
        (2, 6, 2, 6, 8, 10),
        (1, 4096, 0, 1, 0, 1),
        (7, 16, 8, 24, 8, 16),
        (0, 16, 0, 16, 0, 16),
        (4, 0, 0, 0, 0, 0),
    ] {
        let reach = |offset: usize, stride: usize| offset + rows.saturating_sub(1) * stride + bytes;
        let from: Vec<u8> = (0..reach(from_offset, from_stride)).map(|_| rng.word() as u8).collect();
        let mut want = vec![0xee; reach(to_offset, to_stride)];
        for i in 0..rows {
            want[to_offset + i * to_stride..][..bytes].copy_from_slice(&from[from_offset + i * from_stride..][..bytes]);
        }
        for sizes in [Sizes::Int, Sizes::Memory] {
            let (a, b) = (gpu.put(&from), gpu.put(&vec![0xee; want.len()]));
            let dims = [rows, bytes, from_offset, from_stride, to_offset, to_stride].map(|n| n as u64);
            gpu.run(&GpuKernel::Copy(Copy { sizes }), &[a, b], &dims);
            assert_eq!(gpu.bytes(b, want.len()), want);
        }
    }
}

#[test]
fn products_of_matrices() {
    let Some(mut gpu) = Gpu::open() else { return };
    let mut rng = Rng(15);
    for (i, [batch, m, k, n]) in
        [[2, 70, 33, 65], [3, 1, 130, 140], [1, 9, 5, 3], [2, 4, 0, 5], [0, 3, 3, 3]].into_iter().enumerate()
    {
        for (ta, tb) in [(false, false), (true, false), (false, true), (true, true)] {
            let (a, b) = (rng.floats(batch * m * k), rng.floats(batch * k * n));
            let (pa, pb, to) = (gpu.put_floats(&a), gpu.put_floats(&b), gpu.room(4 * batch * m * n));
            let sizes = if ta == tb { Sizes::Int } else { Sizes::Memory };
            let kernel = GpuKernel::Matmul(Matmul { ta, tb, few: (i + usize::from(ta)) % 2 == 1, sizes });
            gpu.run(&kernel, &[pa, pb, to], &[batch, m, k, n].map(|n| n as u64));
            for (at, got) in gpu.floats(to, batch * m * n).into_iter().enumerate() {
                let (of, row, col) = (at / (m * n), at / n % m, at % n);
                let (mut want, mut size) = (0.0, 0.0);
                for l in 0..k {
                    let x = a[of * m * k + if ta { l * m + row } else { row * k + l }];
                    let y = b[of * k * n + if tb { col * k + l } else { l * n + col }];
                    want += f64::from(x) * f64::from(y);
                    size += (f64::from(x) * f64::from(y)).abs();
                }
                let tolerance = size * (k as f64 + 1.0) * 2f64.powi(-24);
                assert!((f64::from(got) - want).abs() <= tolerance, "{kernel} {at}: {got} but {want} +- {tolerance}");
            }
        }
    }
}
