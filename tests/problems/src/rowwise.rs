//! Softmax of rows, one number for each row, and where extremes stand.

use crate::Rng;
use crate::case::{Case, Near, Problem, Want, floats, integers};
use actc_codegen::plan::cuda::Kernel;
use actc_codegen::spec::gpu::{Element, GpuKernel, Of, Place, Rowwise, Sizes};
use actc_types::DType;
use actc_types::function::{Extreme, RowFunction};

/// Softmax of `rows` rows of `n`, among which one has minus infinity and one is wide apart.
pub fn softmax(rows: usize, n: usize, wide: bool, sizes: Sizes) -> Case {
    let kernel = Rowwise { of: Of::Softmax, wide, sizes };
    let name = format!("softmax {rows} x {n}, wide: {wide}");
    Case::of(name, GpuKernel::Rowwise(kernel), move || {
        let mut x = Rng(11).floats(rows * n);
        x[0] = f32::NEG_INFINITY;
        x.iter_mut().skip(n).take(n.min(20)).for_each(|x| *x *= 30.0);
        let near = |x: &[f32]| {
            let most = f64::from(x.iter().fold(f32::NEG_INFINITY, |m, x| m.max(*x)));
            let total: f64 = x.iter().map(|x| (f64::from(*x) - most).exp()).sum();
            let near = |x: &f32| {
                let want = (f64::from(*x) - most).exp() / total;
                // A difference that is rounded, a power, and a sum in a tree.
                let units = (f64::from(*x) - most).abs().min(200.0) + 16.0;
                Near { want, tolerance: want * units * 2f64.powi(-24) + 1e-37 }
            };
            x.iter().map(near).collect::<Vec<_>>()
        };
        let mut problem = Problem::default();
        problem.put(floats(&x));
        problem.want(Want::Near(x.chunks(n).flat_map(near).collect()));
        problem.launched(&[rows, n])
    })
}

/// A function of each of `rows` rows of `n` elements; of floats one is no number.
fn function(function: RowFunction, dtype: Element, [rows, n]: [usize; 2], wide: bool, sizes: Sizes) -> Case {
    let kernel = GpuKernel::Rowwise(Rowwise { of: Of::Function(function, dtype), wide, sizes });
    let name = format!("rowwise {} of {dtype}, {rows} x {n}, wide: {wide}", function.name());
    Case::of(name, kernel, move || {
        let mut rng = Rng(12);
        let row = |i: usize| i * n..(i + 1) * n;
        let mut problem = Problem::default();
        match dtype {
            Element::F32 => {
                let mut x: Vec<f32> = (0..rows * n).map(|_| 1.0 + 0.2 * rng.float()).collect();
                x.iter_mut().skip(n + 3).take(1).for_each(|x| *x = f32::NAN);
                let near = |i: usize| {
                    let want = function.apply(x[row(i)].iter().map(|x| f64::from(*x)));
                    // Sums and products are of double precision.
                    Near { want, tolerance: want.abs() * f64::from(f32::EPSILON) }
                };
                problem.put(floats(&x));
                problem.want(Want::Near((0..rows).map(near).collect()));
            }
            Element::I64 => {
                let x: Vec<i64> = (0..rows * n).map(|_| rng.word() as i64).collect();
                // Products of many would leave 128 bits, which wrap likewise.
                let whole = |i: usize| function.apply_integer(DType::I64, x[row(i)].iter().map(|x| (*x).into())) as i64;
                problem.put(integers(&x));
                problem.want(Want::Bytes(integers(&(0..rows).map(whole).collect::<Vec<_>>())));
            }
            Element::I32 => {
                let x: Vec<i32> = (0..rows * n).map(|_| rng.word() as i32).collect();
                let whole = |i: usize| function.apply_integer(DType::I32, x[row(i)].iter().map(|x| (*x).into())) as i32;
                problem.put(x.iter().flat_map(|x| x.to_le_bytes()).collect());
                problem.want(Want::Bytes((0..rows).flat_map(|i| whole(i).to_le_bytes()).collect()));
            }
            Element::U8 => {
                let x: Vec<u8> = (0..rows * n).map(|_| rng.word() as u8).collect();
                let whole = |i: usize| function.apply_integer(DType::U8, x[row(i)].iter().map(|x| (*x).into())) as u8;
                let want = (0..rows).map(whole).collect();
                problem.put(x);
                problem.want(Want::Bytes(want));
            }
            Element::I8 => {
                let x: Vec<i8> = (0..rows * n).map(|_| rng.word() as i8).collect();
                let whole = |i: usize| function.apply_integer(DType::I8, x[row(i)].iter().map(|x| (*x).into())) as u8;
                let want = (0..rows).map(whole).collect();
                problem.put(x.into_iter().map(|x| x as u8).collect());
                problem.want(Want::Bytes(want));
            }
            Element::Bool => {
                let x: Vec<u8> = (0..rows * n).map(|i| u8::from(i % 5 == 0 && i < n)).collect();
                let whole = |i: usize| function.apply_integer(DType::Bool, x[row(i)].iter().map(|x| (*x).into())) as u8;
                let want = (0..rows).map(whole).collect();
                problem.put(x);
                problem.want(Want::Bytes(want));
            }
        }
        problem.launched(&[rows, n])
    })
}

/// The kernels of functions of rows that there are not.
pub fn refused() -> Vec<GpuKernel> {
    let all = RowFunction::ALL.iter().flat_map(|f| Element::ALL.map(|dtype| (*f, dtype)));
    let refused = all.filter(|(f, dtype)| !f.takes().includes(dtype.dtype()));
    let kernel = |(f, dtype)| Rowwise { of: Of::Function(f, dtype), wide: false, sizes: Sizes::Int };
    refused.map(kernel).map(GpuKernel::Rowwise).collect()
}

/// Every function of rows of every type, with rows as `shapes` says; sizes of the last are in memory.
pub fn functions(shapes: [[usize; 2]; 3]) -> Vec<Case> {
    let mut all = Vec::new();
    for (i, f) in RowFunction::ALL.iter().enumerate() {
        for (turn, shape) in shapes.into_iter().enumerate() {
            let sizes = if turn == 2 { Sizes::Memory } else { Sizes::Int };
            let takes = Element::ALL.into_iter().filter(|dtype| f.takes().includes(dtype.dtype()));
            all.extend(takes.map(|dtype| function(*f, dtype, shape, i % 2 == 0, sizes)));
        }
    }
    all
}

/// Where the `extreme` of each of `rows` rows of `n` stands, `parts` blocks a row.
pub fn extreme(extreme: Extreme, dtype: Element, rows: usize, n: usize, parts: u16) -> Case {
    let place = Place { extreme, dtype, parts };
    let choose = place.choose();
    let (which, order) =
        (if extreme.largest { "highest" } else { "lowest" }, if extreme.last { "last" } else { "first" });
    let name = format!("place {order} {which} of {dtype}, {rows} x {n}, {parts} parts");
    let kernels = [GpuKernel::Place(place)].into_iter().chain(choose.map(GpuKernel::Choose));
    Case::new(name, kernels.map(Kernel::Template).collect(), move || {
        let mut rng = Rng(13);
        let mut x: Vec<f32> = (0..rows * n).map(|_| (rng.below(9) as f32 - 4.0) * 0.5).collect();
        // Zeros of both signs are equal, and what is no number counts as the first of a row alone.
        x.iter_mut().step_by(7).for_each(|x| *x *= -0.0);
        x.iter_mut().skip(1).step_by(if extreme.last { 40 } else { 11 }).for_each(|x| *x = f32::NAN);
        let whole: Vec<i64> = x.iter().map(|x| if x.is_nan() { 1 << 40 } else { (2.0 * x) as i64 }).collect();
        let short: Vec<i32> = whole.iter().map(|x| (*x).min(1 << 20) as i32).collect();
        let mut problem = Problem::default();
        let row = |i: usize| i * n..(i + 1) * n;
        let (from, want): (Vec<u8>, Vec<usize>) = match dtype {
            Element::F32 => (floats(&x), (0..rows).map(|i| extreme.place(x[row(i)].iter())).collect()),
            Element::I64 => (integers(&whole), (0..rows).map(|i| extreme.place(whole[row(i)].iter())).collect()),
            Element::I32 => {
                let bytes = short.iter().flat_map(|x| x.to_le_bytes()).collect();
                (bytes, (0..rows).map(|i| extreme.place(short[row(i)].iter())).collect())
            }
            Element::U8 => {
                let bytes: Vec<u8> = whole.iter().map(|x| (x + 128).min(255) as u8).collect();
                let want = (0..rows).map(|i| extreme.place(bytes[row(i)].iter())).collect();
                (bytes, want)
            }
            Element::I8 => {
                let signed: Vec<i8> = whole.iter().map(|x| (*x).min(127) as i8).collect();
                let want = (0..rows).map(|i| extreme.place(signed[row(i)].iter())).collect();
                (signed.into_iter().map(|x| x as u8).collect(), want)
            }
            Element::Bool => {
                let truths: Vec<u8> = whole.iter().map(|x| u8::from(*x > 0)).collect();
                let want = (0..rows).map(|i| extreme.place(truths[row(i)].iter())).collect();
                (truths, want)
            }
        };
        let from = problem.put(from);
        let want = problem.want(Want::Bytes(want.into_iter().flat_map(|at| (at as i64).to_le_bytes()).collect()));
        if parts > 1 {
            let places = problem.room(8 * rows * usize::from(parts));
            problem.launch(0, &[from, places], &[rows, n]);
            problem.launch(1, &[from, places, want], &[rows, n]);
        } else {
            problem.launch(0, &[from, want], &[rows, n]);
        }
        problem
    })
}

/// All extremes of floats and of integers, in rows, their length and parts as `shapes` says.
pub fn extremes(shapes: &[(usize, usize, u16)]) -> Vec<Case> {
    let mut all = Vec::new();
    for which in (0..4).filter_map(Extreme::from_code) {
        for (rows, n, parts) in shapes {
            all.extend([Element::F32, Element::I64].map(|dtype| extreme(which, dtype, *rows, *n, *parts)));
        }
    }
    all
}
