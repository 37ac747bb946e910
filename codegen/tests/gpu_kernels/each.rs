//! `each`: functions of every type against their meaning, and moves of any shape.

use super::room::Rng;
use super::room::cuda::Gpu;
use actc_codegen::spec::gpu::{Each, Element, GpuKernel, Sizes, What};
use actc_types::DType;
use actc_types::function::{BinaryFunction, UnaryFunction};

/// A tensor's elements, as numbers of both kinds.
#[derive(Clone, Copy, Debug)]
struct Number {
    float: f64,
    integer: i128,
}

fn of_float(x: f32) -> Number {
    Number { float: x.into(), integer: x as i128 }
}

fn of_integer(x: i64) -> Number {
    Number { float: x as f64, integer: x.into() }
}

fn size(dtype: Element) -> usize {
    dtype.dtype().size()
}

fn store(x: &[Number], dtype: Element) -> Vec<u8> {
    let each = x.iter().flat_map(|e| -> Vec<u8> {
        match dtype {
            Element::F32 => (e.float as f32).to_le_bytes().to_vec(),
            Element::I64 => (e.integer as i64).to_le_bytes().to_vec(),
            Element::I32 => (e.integer as i32).to_le_bytes().to_vec(),
            Element::U8 | Element::I8 | Element::Bool => vec![e.integer as u8],
        }
    });
    each.collect()
}

fn restore(bytes: &[u8], dtype: Element) -> Vec<Number> {
    let each = bytes.chunks_exact(size(dtype));
    each.map(|b| match dtype {
        Element::F32 => of_float(f32::from_le_bytes(b.try_into().unwrap())),
        Element::I64 => of_integer(i64::from_le_bytes(b.try_into().unwrap())),
        Element::I32 => of_integer(i32::from_le_bytes(b.try_into().unwrap()).into()),
        Element::I8 => of_integer((b[0] as i8).into()),
        Element::U8 | Element::Bool => of_integer(b[0].into()),
    })
    .collect()
}

/// Numbers among which are the ends and what functions treat apart.
fn random(dtype: Element, n: usize, rng: &mut Rng) -> Vec<Number> {
    let floats = [0.0, -0.0, 1.0, -1.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 2.5, -3.5, 1e-20, 88.0, -90.0];
    let element = |i: usize, rng: &mut Rng| match dtype {
        Element::F32 if i < floats.len() => of_float(floats[i]),
        Element::F32 => of_float(6.0 * rng.float()),
        Element::Bool => of_integer((rng.word() & 1) as i64),
        Element::I32 if i < 2 => of_integer([i32::MIN, i32::MAX][i].into()),
        Element::I64 if i < 2 => of_integer([i64::MIN, i64::MAX][i]),
        Element::I8 if i < 2 => of_integer([i8::MIN, i8::MAX][i].into()),
        Element::U8 if i < 2 => of_integer([u8::MAX, 200][i].into()),
        Element::U8 => of_integer(rng.below(15) as i64),
        Element::I64 | Element::I32 | Element::I8 => of_integer(rng.below(15) as i64 - 7),
    };
    let mut all: Vec<Number> = (0..n).map(|i| element(i, rng)).collect();
    (1..n).for_each(|i| all.swap(i, rng.below(i + 1)));
    all
}

fn same(got: Number, want: f64, whole: i128, dtype: Element, ulps: f64) -> bool {
    if dtype == Element::F32 {
        let want32 = want as f32;
        let step = f64::from(f32::EPSILON) * want.abs().max(f64::from(f32::MIN_POSITIVE));
        return got.float.is_nan() && want.is_nan()
            || got.float == f64::from(want32)
            || (got.float - want).abs() <= ulps * step;
    }
    let whole = match dtype {
        Element::I64 => i128::from(whole as i64),
        Element::I32 => i128::from(whole as i32),
        Element::I8 => i128::from(whole as i8),
        Element::F32 | Element::U8 | Element::Bool => i128::from(whole as u8),
    };
    got.integer == whole
}

/// How far a function of floats may be off.
fn ulps(exact: bool) -> f64 {
    if exact { 0.5 } else { 4.0 }
}

#[test]
fn functions_of_one() {
    let Some(mut gpu) = Gpu::open() else { return };
    let mut rng = Rng(7);
    let n = 300;
    for (f, dtype) in UnaryFunction::ALL.iter().flat_map(|f| Element::ALL.map(|t| (*f, t))) {
        let kernel = GpuKernel::Each(Each { what: What::Unary { function: f, dtype }, sizes: Sizes::Int });
        let Some(gives) = f.gives(dtype.dtype()).map(|g| Element::of(g).unwrap()) else {
            assert_eq!(kernel.check().unwrap_err().code, "kernel-dtype");
            continue;
        };
        let x = random(dtype, n, &mut rng);
        let (from, to) = (gpu.put(&store(&x, dtype)), gpu.room(n * size(gives)));
        gpu.run(&kernel, &[from, to], &[n as u64]);
        let exact = matches!(
            f,
            UnaryFunction::Neg | UnaryFunction::Abs | UnaryFunction::Sqrt | UnaryFunction::Relu | UnaryFunction::Round
        );
        for (x, got) in x.iter().zip(restore(&gpu.bytes(to, n * size(gives)), gives)) {
            let want = f.apply(x.float);
            let whole = if dtype == Element::F32 { want as i128 } else { f.apply_integer(x.integer).unwrap() };
            // The tails of gates are products with what is nearly nothing.
            let gate = matches!(f, UnaryFunction::GeluTanh | UnaryFunction::GeluErf | UnaryFunction::Silu);
            let near = gate && (got.float - want).abs() <= 2f64.powi(-22) * x.float.abs();
            assert!(near || same(got, want, whole, gives, ulps(exact)), "{} of {x:?}: {got:?} but {want}", f.name());
        }
    }
}

/// The place in a tensor of `own` extents of coordinates `at`; extents of 1 repeat.
fn place(at: &[usize], own: &[usize]) -> usize {
    at.iter().zip(own).fold(0, |place, (i, e)| place * e + if *e == 1 { 0 } else { *i })
}

fn coordinates(mut i: usize, extents: &[usize]) -> Vec<usize> {
    let mut at = vec![0; extents.len()];
    for (to, e) in at.iter_mut().zip(extents).rev() {
        *to = i % e;
        i /= e;
    }
    at
}

fn count(extents: &[usize]) -> usize {
    extents.iter().product()
}

fn sizes(all: &[&[usize]]) -> Vec<u64> {
    all.concat().iter().map(|n| *n as u64).collect()
}

#[test]
fn functions_of_two() {
    let Some(mut gpu) = Gpu::open() else { return };
    let mut rng = Rng(8);
    let shapes: [[&[usize]; 3]; 3] =
        [[&[3, 4, 25], &[3, 1, 25], &[1, 4, 25]], [&[301], &[301], &[301]], [&[2, 70], &[2, 70], &[1, 1]]];
    for (i, (f, dtype)) in BinaryFunction::ALL.iter().flat_map(|f| Element::ALL.map(|t| (*f, t))).enumerate() {
        let [y, a, b] = shapes[i % 3];
        let what = What::Binary { function: f, dtype, rank: y.len() as u8 };
        let kernel = GpuKernel::Each(Each { what, sizes: if i % 2 == 0 { Sizes::Int } else { Sizes::Memory } });
        let Some(gives) = f.gives(dtype.dtype()).map(|g| Element::of(g).unwrap()) else {
            assert_eq!(kernel.check().unwrap_err().code, "kernel-dtype");
            continue;
        };
        let [xa, xb] = [a, b].map(|e| random(dtype, count(e), &mut rng));
        let [pa, pb] = [&xa, &xb].map(|x| gpu.put(&store(x, dtype)));
        let to = gpu.room(count(y) * size(gives));
        gpu.run(&kernel, &[pa, pb, to], &sizes(&[y, a, b]));
        let exact = f != BinaryFunction::Pow;
        for (i, got) in restore(&gpu.bytes(to, count(y) * size(gives)), gives).into_iter().enumerate() {
            let at = coordinates(i, y);
            let (a, b) = (xa[place(&at, a)], xb[place(&at, b)]);
            let want = f.apply(a.float, b.float);
            let whole = if dtype == Element::F32 { want as i128 } else { f.apply_integer(a.integer, b.integer) };
            let ulps = if exact { 0.5 } else { 16.0 };
            assert!(same(got, want, whole, gives, ulps), "{} of {a:?} {b:?}: {got:?} but {want}, {whole}", f.name());
        }
    }
}

#[test]
fn casts() {
    let Some(mut gpu) = Gpu::open() else { return };
    let mut rng = Rng(9);
    let n = 70;
    for (from, to) in Element::ALL.iter().flat_map(|f| Element::ALL.map(|t| (*f, t))) {
        let mut x = random(from, n, &mut rng);
        if from == Element::F32 {
            x.extend([1e30, -1e30, 3e9, -3e9].map(of_float));
        }
        let (at, out) = (gpu.put(&store(&x, from)), gpu.room(x.len() * size(to)));
        let kernel = GpuKernel::Each(Each { what: What::Cast { from, to }, sizes: Sizes::Int });
        gpu.run(&kernel, &[at, out], &[x.len() as u64]);
        for (x, got) in x.iter().zip(restore(&gpu.bytes(out, x.len() * size(to)), to)) {
            let whole = match (from, to) {
                (_, Element::Bool) => i128::from(x.float != 0.0),
                (Element::F32, Element::I64) => i128::from(x.float as i64),
                (Element::F32, Element::I32) => i128::from(x.float as i32),
                (Element::F32, Element::U8) => i128::from(x.float as u8),
                (Element::F32, Element::I8) => i128::from(x.float as i8),
                (_, Element::F32 | Element::I64 | Element::I32 | Element::U8 | Element::I8) => x.integer,
            };
            let float = if from == Element::F32 { x.float } else { f64::from(x.integer as f32) };
            assert!(same(got, float, whole, to, 0.0), "{from} {x:?} as {to}: {got:?}");
        }
    }
}

/// All floats of 16 bits.
#[test]
fn floats_of_16_bits() {
    let Some(mut gpu) = Gpu::open() else { return };
    let bits: Vec<u16> = (0..=u16::MAX).collect();
    let bytes: Vec<u8> = bits.iter().flat_map(|b| b.to_le_bytes()).collect();
    for (from, of) in [
        (DType::F16, (|b| half::f16::from_bits(b).to_f32()) as fn(u16) -> f32),
        (DType::Bf16, |b| half::bf16::from_bits(b).to_f32()),
    ] {
        let (at, out) = (gpu.put(&bytes), gpu.room(4 * bits.len()));
        let kernel = GpuKernel::Each(Each { what: What::Widen { from }, sizes: Sizes::Int });
        gpu.run(&kernel, &[at, out], &[bits.len() as u64]);
        for (b, got) in bits.iter().zip(gpu.floats(out, bits.len())) {
            let want = of(*b);
            assert!(want.to_bits() == got.to_bits() || want.is_nan() && got.is_nan(), "{from} {b:#06x}: {got}");
        }
    }
}

#[test]
fn moves() {
    let Some(mut gpu) = Gpu::open() else { return };
    let mut rng = Rng(10);
    for size in [1usize, 2, 4, 8] {
        let mut bytes = |n: usize| (0..n * size).map(|_| rng.word() as u8).collect::<Vec<u8>>();
        let mut check = |what: What, inputs: &[&[u8]], dims: &[u64], want: Vec<&[u8]>| {
            let want = want.concat();
            let mut buffers: Vec<u64> = inputs.iter().map(|x| gpu.put(x)).collect();
            buffers.push(gpu.room(want.len()));
            for sizes in [Sizes::Int, Sizes::Memory] {
                let kernel = GpuKernel::Each(Each { what: what.clone(), sizes });
                gpu.run(&kernel, &buffers, dims);
                assert_eq!(gpu.bytes(buffers[inputs.len()], want.len()), want, "{kernel}");
            }
        };
        let part = |x: &'static [u8], i: usize| &x[i * size..][..size];
        let leak = |x: Vec<u8>| -> &'static [u8] { x.leak() };
        let bytes_of = size as u8;
        // Axes in another order.
        let (x, own) = (leak(bytes(5 * 7 * 9)), [5, 7, 9]);
        for order in [[0u8, 2, 1], [2, 1, 0], [1, 2, 0]] {
            let y = order.map(|a| own[usize::from(a)]);
            let from = |i| {
                let mut at = [0; 3];
                coordinates(i, &y).iter().zip(order).for_each(|(c, a)| at[usize::from(a)] = *c);
                place(&at, &own)
            };
            let want = (0..count(&y)).map(|i| part(x, from(i))).collect();
            let what = What::Transpose { size: bytes_of, order: order.to_vec() };
            check(what, &[x], &sizes(&[&own]), want);
        }
        // Repeated, chosen, padded.
        let (y, own) = ([3, 4, 50], [3, 1, 50]);
        let want = (0..count(&y)).map(|i| part(x, place(&coordinates(i, &y), &own))).collect();
        check(What::Expand { size: bytes_of, rank: 3 }, &[&x[..150 * size]], &sizes(&[&y, &own]), want);
        let c: Vec<u8> = (0..50).map(|i| (i % 3 % 2) as u8).collect();
        let chosen = |i: usize| {
            let at = coordinates(i, &y);
            if c[at[2]] != 0 { part(x, place(&at, &own)) } else { part(x, 7) }
        };
        let want = (0..count(&y)).map(chosen).collect();
        let dims = sizes(&[&y, &[1, 1, 50], &own, &[1, 1, 1]]);
        check(What::Select { size: bytes_of, rank: 3 }, &[&c, &x[..150 * size], part(x, 7)], &dims, want);
        let (y, own, before) = ([6, 20], [3, 11], [1, 9]);
        let padded = |i: usize| {
            let at: Vec<Option<usize>> = coordinates(i, &y).iter().zip(before).map(|(c, b)| c.checked_sub(b)).collect();
            match (at[0], at[1]) {
                (Some(r), Some(c)) if r < own[0] && c < own[1] => part(x, r * own[1] + c),
                _ => part(x, 40),
            }
        };
        let want = (0..count(&y)).map(padded).collect();
        check(
            What::Pad { size: bytes_of, rank: 2 },
            &[&x[..33 * size], part(x, 40)],
            &sizes(&[&y, &own, &before]),
            want,
        );
        // Without elements.
        check(What::Transpose { size: bytes_of, order: vec![1, 0] }, &[&[]], &[0, 5], Vec::new());
    }
}

#[test]
fn parts_by_indices() {
    let Some(mut gpu) = Gpu::open() else { return };
    let x: Vec<f32> = (0..2 * 5 * 3).map(|i| i as f32).collect();
    let kernel = GpuKernel::Each(Each { what: What::Gather { size: 4 }, sizes: Sizes::Int });
    for indices in [vec![4i64, 0, -1, -5], vec![1, 5, i64::MIN, 2], vec![-6]] {
        let n = indices.len();
        let (from, at, error, to) =
            (gpu.put_floats(&x), gpu.put_integers(&indices), gpu.put(&[0; 4]), gpu.room(24 * n));
        gpu.run(&kernel, &[from, at, error, to], &[2, 5, 3, n as u64]);
        let known = |i: i64| (-5..5).contains(&i).then(|| i.rem_euclid(5) as usize);
        let element = |i: usize| known(indices[i / 3 % n]).map_or(0.0, |e| x[(i / 3 / n * 5 + e) * 3 + i % 3]);
        assert_eq!(gpu.floats(to, 6 * n), (0..6 * n).map(element).collect::<Vec<_>>());
        assert_eq!(gpu.bytes(error, 1)[0] != 0, indices.iter().any(|i| known(*i).is_none()));
    }
    let numbers = GpuKernel::Each(Each { what: What::Range, sizes: Sizes::Memory });
    let to = gpu.room(8 * 1000);
    gpu.run(&numbers, &[to], &[1000, 1 << 40]);
    assert_eq!(gpu.integers(to, 1000), (0..1000).map(|i| (1 << 40) + i).collect::<Vec<_>>());
    let zeros = GpuKernel::Each(Each { what: What::Zero, sizes: Sizes::Int });
    gpu.run(&zeros, &[to], &[7999]);
    assert_eq!(gpu.bytes(to, 7999), [0; 7999]);
}
