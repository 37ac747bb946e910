//! Windows that slide over images, and regions of images: compiled graphs against the reference, over shapes, strides,
//! dilations, padding, groups and types; on one thread and on three; and their text form, which reads back as it was.
//!
//! Inputs lie within 3, whole ones within 20. Integers must be equal. Bounds of floats are stated with each test: `e` is
//! half the distance of 1 to the next number, by which each rounding errs at most.

mod alone;
mod bits;

use bits::bits;

use actc::evaluator::Compiled;
use actc::ir::ops::conv::{Conv, ConvInteger, ConvTranspose, Geometry};
use actc::ir::ops::pool::{Fold, Pool, PoolFunction, Unpool};
use actc::ir::ops::regions::{DeformConv, RegionFunction, RegionPool};
use actc::ir::ops::window::Window;
use actc::ir::{Const, Evaluator, Graph, Interpreter, Op, TensorType, text};
use actc::types::{DType, Dim, Encoding, Group, Mixed, Packed, Role, Shape, Tensor, TensorData, WeakPlace};
use proptest::prelude::*;

/// Largest size of an input.
const LARGEST: f64 = 3.0;

fn epsilon(dtype: DType) -> f64 {
    if dtype == DType::F64 { f64::EPSILON } else { f64::from(f32::EPSILON) }
}

fn tensor(dtype: DType, dims: &[u64], seed: u64) -> Tensor {
    let mut bits = bits(seed);
    let mut next = || (bits() >> 11) as f64 / (1u64 << 53) as f64 * 2.0 - 1.0;
    let values: Vec<f64> = (0..dims.iter().product::<u64>()).map(|_| next()).collect();
    let data = if dtype.is_float() {
        TensorData::from_f64(dtype, &values.iter().map(|x| x * LARGEST).collect::<Vec<_>>())
    } else {
        TensorData::from_integers(dtype, &values.iter().map(|x| (x * 20.0) as i128).collect::<Vec<_>>())
    };
    Tensor::new(dims, data).unwrap()
}

/// A graph of `op`; the first extent of the first `batched` inputs is a symbol.
fn graph(op: &Op, inputs: &[Tensor], batched: usize) -> Graph {
    let ty = |(i, t): (usize, &Tensor)| {
        let mut shape = Shape::fixed(t.dims());
        if i < batched {
            shape.0[0] = Dim::sym("N");
        }
        TensorType::new(t.dtype(), shape)
    };
    alone::graph(op, inputs.iter().enumerate().map(ty))
}

/// Runs `op` both ways; the first extent of the first `batched` inputs is a symbol.
fn check(op: &Op, inputs: &[Tensor], batched: usize, tolerance: f64) {
    let graph = graph(op, inputs, batched);
    let printed = text::print(&graph);
    let read = text::parse(&printed, &text::unbound).unwrap_or_else(|e| panic!("{printed}: {e}"));
    assert_eq!(text::print(&read), printed);
    compare(&graph, inputs, tolerance);
}

/// Runs `graph` both ways.
fn compare(graph: &Graph, inputs: &[Tensor], tolerance: f64) {
    let shown = || text::print(graph);
    let wanted = Interpreter.prepare(graph).unwrap().run(inputs.to_vec()).unwrap();
    for threads in [1, 3] {
        let mut compiled =
            Compiled::new(threads).sharing_all().prepare(graph).unwrap_or_else(|e| panic!("{}: {e}", shown()));
        let got = compiled.run(inputs.to_vec()).unwrap_or_else(|e| panic!("{}: {e}", shown()));
        assert_eq!((wanted[0].dims(), wanted[0].dtype()), (got[0].dims(), got[0].dtype()), "{}", shown());
        if !wanted[0].dtype().is_float() {
            assert_eq!(wanted[0].data(), got[0].data(), "{}", shown());
            continue;
        }
        let (w, g) = (wanted[0].data().to_f64(), got[0].data().to_f64());
        for (i, (w, g)) in w.iter().zip(&g).enumerate() {
            let near = (w - g).abs() <= tolerance || w == g || w.is_nan() && g.is_nan();
            assert!(near, "{} at {i} on {threads}: {g}, expected {w} within {tolerance}", shown());
        }
    }
}

/// A weight of `dims` in codes of `bits`, its numbers within 3, with so many `weak` columns, the first ones.
fn stored(dims: &[u64], bits: u8, weak: u32, seed: u64) -> Const {
    let (rows, cols) = (dims[0] as usize, dims[1..].iter().product::<u64>() as usize);
    let body = Packed::new(bits, Group::Columns(16));
    let (mut next, groups) = (self::bits(seed), body.group.count(cols));
    let levels = body.levels();
    let mut codes = |n: usize| (0..n).map(|_| (next() >> 20) as u8 & (levels - 1) as u8).collect::<Vec<u8>>();
    let mut parts = vec![
        (Role::Codes, body.pack_codes(&codes(rows * cols), rows, cols)),
        (Role::Scales, body.pack_scales(&vec![LARGEST as f32 / levels as f32; rows * groups], rows)),
        (Role::Zeros, body.pack_zeros(&codes(rows * groups), rows)),
    ];
    let mut encoding = Encoding::Packed(body);
    if weak > 0 {
        let elements: Vec<f64> =
            codes(rows.next_multiple_of(8) * weak as usize).iter().map(|c| f64::from(*c) / 256.0).collect();
        parts.push((Role::Weak, TensorData::from_f64(DType::F16, &elements).to_le_bytes()));
        parts.push((Role::WeakIndex, (0..weak).flat_map(u32::to_le_bytes).collect()));
        encoding = Encoding::Mixed(Mixed { body, cols: weak, place: WeakPlace::Scattered, weak: DType::F16 });
    }
    let ty = TensorType::new(DType::F32, Shape::fixed(dims));
    Const::new("w", ty, encoding, parts.into_iter().map(|(role, bytes)| (role, bytes.into())).collect()).unwrap()
}

/// Windows over an image, and their number along each axis.
#[derive(Clone, Debug)]
struct Case {
    window: Window,
    image: Vec<u64>,
    windows: Vec<u64>,
    behind: Vec<u64>,
}

fn cases() -> impl Strategy<Value = Case> {
    let axis = (1u64..4, 1u64..4, 1u64..3, 0u64..3, 0u64..3, 0u64..9);
    prop::collection::vec(axis, 1..4).prop_map(|axes| {
        let mut case = Case {
            window: Window { kernel: vec![], strides: vec![], dilations: vec![], pads: vec![] },
            image: vec![],
            windows: vec![],
            behind: vec![],
        };
        for (kernel, stride, dilation, front, behind, more) in axes {
            let reach = (kernel - 1) * dilation + 1;
            let image = (reach + more).saturating_sub(front + behind).max(1);
            case.window.kernel.push(kernel);
            case.window.strides.push(stride);
            case.window.dilations.push(dilation);
            case.window.pads.push(front);
            case.image.push(image);
            case.behind.push(behind);
            case.windows.push((image + front + behind - reach.min(image + front + behind)) / stride + 1);
        }
        case
    })
}

fn dims(of: &[u64]) -> Vec<Dim> {
    of.iter().map(|d| Dim::from(*d)).collect()
}

/// Whether windows are computed in elements of the type.
fn computed(dtype: DType) -> bool {
    dtype.is_integer() && dtype.is_computed() || matches!(dtype, DType::F32 | DType::F64)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn conv(
        case in cases(), batch in 0u64..4, (groups, own, outs) in (1u64..4, 1u64..4, 1u64..7), bias: bool, seed: u64,
    ) {
        let geometry = Geometry { window: case.window.clone(), groups, extents: dims(&case.windows) };
        let products = own * case.window.kernel.iter().product::<u64>() + 1;
        for dtype in [DType::F32, DType::F64] {
            let mut inputs = vec![
                tensor(dtype, &[&[batch, own * groups], &case.image[..]].concat(), seed),
                tensor(dtype, &[&[outs * groups, own], &case.window.kernel[..]].concat(), seed ^ 1),
            ];
            if bias {
                inputs.push(tensor(dtype, &[outs * groups], seed ^ 2));
            }
            // Products, each rounded, and as many sums, each of which may be as large as all together.
            let tolerance = LARGEST * LARGEST * (products * products + products) as f64 * epsilon(dtype);
            check(&Op::Conv(Conv(geometry.clone())), &inputs, 1, tolerance);
        }
    }

    /// Weights that are stored as codes are decoded to the same numbers for both, so that the bound is that of `conv`.
    #[test]
    fn conv_of_stored_weights(
        case in cases(), batch in 0u64..3, (groups, own, outs) in (1u64..3, 1u64..6, 1u64..12), bits in 1u8..=8, weak in 0u32..3,
        bias: bool, seed: u64,
    ) {
        let geometry = Geometry { window: case.window.clone(), groups, extents: dims(&case.windows) };
        let columns = own * case.window.kernel.iter().product::<u64>();
        let mut inputs = vec![tensor(DType::F32, &[&[batch, own * groups], &case.image[..]].concat(), seed)];
        if bias {
            inputs.push(tensor(DType::F32, &[outs * groups], seed ^ 2));
        }
        let weight = stored(&[&[outs * groups, own], &case.window.kernel[..]].concat(), bits, weak.min(columns as u32), seed);
        let products = columns + 1;
        let tolerance = LARGEST * LARGEST * (products * products + products) as f64 * epsilon(DType::F32);
        let mut graph = Graph::new("g");
        let mut args: Vec<_> = inputs
            .iter()
            .enumerate()
            .map(|(i, t)| graph.input(format!("x{i}"), TensorType::new(DType::F32, Shape::fixed(t.dims()))))
            .collect();
        args.insert(1, graph.constant(weight));
        let y = graph.add(Op::Conv(Conv(geometry)), &args, "y").unwrap();
        graph.output("y", y);
        compare(&graph, &inputs, tolerance);
    }

    #[test]
    fn conv_integer(
        case in cases(), (groups, own, outs) in (1u64..3, 1u64..4, 1u64..7), each: bool, seed: u64,
    ) {
        let geometry = Geometry { window: case.window.clone(), groups, extents: dims(&case.windows) };
        for (x, w) in [(DType::U8, DType::I8), (DType::I8, DType::U8), (DType::U8, DType::U8), (DType::I8, DType::I8)] {
            let zeros: &[u64] = if each { &[outs * groups] } else { &[] };
            let inputs = vec![
                tensor(x, &[&[2, own * groups], &case.image[..]].concat(), seed),
                tensor(w, &[&[outs * groups, own], &case.window.kernel[..]].concat(), seed ^ 1),
                tensor(x, &[], seed ^ 2),
                tensor(w, zeros, seed ^ 3),
            ];
            check(&Op::ConvInteger(ConvInteger(geometry.clone())), &inputs, 1, 0.0);
        }
    }

    #[test]
    fn conv_transpose(
        case in cases(), batch in 0u64..4, (groups, own, outs) in (1u64..4, 1u64..4, 1u64..5), bias: bool, seed: u64,
    ) {
        let geometry = Geometry { window: case.window.clone(), groups, extents: dims(&case.image) };
        let products = own * case.window.kernel.iter().product::<u64>() + 1;
        let mut inputs = vec![
            tensor(DType::F32, &[&[batch, own * groups], &case.windows[..]].concat(), seed),
            tensor(DType::F32, &[&[own * groups, outs], &case.window.kernel[..]].concat(), seed ^ 1),
        ];
        if bias {
            inputs.push(tensor(DType::F32, &[outs * groups], seed ^ 2));
        }
        let tolerance = LARGEST * LARGEST * (products * products + products) as f64 * epsilon(DType::F32);
        check(&Op::ConvTranspose(ConvTranspose(geometry)), &inputs, 1, tolerance);
    }

    #[test]
    fn pool(case in cases(), (batch, channels) in (0u64..4, 1u64..4), p in 1u32..5, seed: u64) {
        let taps = case.window.kernel.iter().product::<u64>() as f64;
        for function in PoolFunction::ALL {
            for dtype in DType::ALL.iter().filter(|d| computed(**d)) {
                let e = epsilon(*dtype);
                // Of means the sums, each at most of all elements, and a division; of norms the powers, whose relative
                // error and that of their sums the root makes smaller again.
                let tolerance = match function {
                    PoolFunction::Most | PoolFunction::Place | PoolFunction::PlaceColumns => 0.0,
                    PoolFunction::Average | PoolFunction::AveragePadded => LARGEST * (taps + 1.0) * e,
                    PoolFunction::Norm => LARGEST * taps * (taps + f64::from(p) + 2.0) * e,
                };
                if tolerance > 0.0 && dtype.is_integer() {
                    continue;
                }
                let p = if *function == PoolFunction::Norm { p } else { 0 };
                let x = tensor(*dtype, &[&[batch, channels], &case.image[..]].concat(), seed);
                let (window, behind, extents) = (case.window.clone(), case.behind.clone(), dims(&case.windows));
                let pool = Pool { function: *function, window, behind, p, extents };
                check(&Op::Pool(pool), &[x], 1, tolerance);
            }
        }
    }

    #[test]
    fn fold(case in cases(), (batch, channels) in (0u64..3, 1u64..3), seed: u64) {
        let taps = case.window.kernel.iter().product::<u64>();
        let count: u64 = case.windows.iter().product();
        for dtype in DType::ALL.iter().filter(|d| computed(**d)) {
            let x = tensor(*dtype, &[batch, channels * taps, count], seed);
            let fold =
                Fold { window: case.window.clone(), windows: dims(&case.windows), extents: dims(&case.image) };
            // As many sums as taps, each at most of all of them.
            check(&Op::Fold(fold), &[x], 1, LARGEST * (taps * taps) as f64 * epsilon(*dtype));
        }
    }

    #[test]
    fn unpool(count in 0u64..40, total in 1u64..90, seed: u64) {
        let places = (0..count).map(|i| (i.wrapping_mul(seed | 1) % total) as i64).collect();
        let places = Tensor::i64(&[count], places).unwrap();
        for dtype in DType::ALL {
            let unpool = Unpool { shape: Shape(dims(&[total])) };
            check(&Op::Unpool(unpool), &[tensor(*dtype, &[count], seed), places.clone()], 0, 0.0);
        }
    }

    #[test]
    fn region_pool(
        (h, w, channels, regions) in (1u64..9, 1u64..9, 1u64..4, 0u64..5), size in (1u64..4, 1u64..4), samples in 0u32..3,
        shifted: bool, seed: u64,
    ) {
        let images = Tensor::i64(&[regions], (0..regions as i64).map(|i| i % 2).collect()).unwrap();
        for function in RegionFunction::ALL {
            for dtype in [DType::F32, DType::F64] {
                // Ends from -12 to 12: also outside of the image, and in the wrong order.
                let ends = tensor(dtype, &[regions, 4], seed);
                let shift = if shifted { 0.5 } else { 0.0 };
                let pool =
                    RegionPool { function: *function, size: [size.0, size.1], scale: 4.0, shift, samples };
                let x = tensor(dtype, &[2, channels, h, w], seed ^ 5);
                // Both compute in f64: one rounding, and sums of at most 24 by 24 points in it.
                let tolerance = LARGEST * if dtype == DType::F64 { 600.0 * 600.0 * f64::EPSILON } else { epsilon(dtype) };
                check(&Op::RegionPool(pool), &[x, ends, images.clone()], 0, tolerance);
            }
        }
    }

    #[test]
    fn deform_conv(
        case in cases(), (groups, own, outs, parts) in (1u64..3, 1u64..3, 1u64..6, 1u64..3), masked: bool, seed: u64,
    ) {
        prop_assume!(case.image.len() == 2 && (own * groups) % parts == 0);
        let taps: u64 = case.window.kernel.iter().product();
        let mut inputs = vec![
            tensor(DType::F32, &[&[2, own * groups], &case.image[..]].concat(), seed),
            tensor(DType::F32, &[&[outs * groups, own], &case.window.kernel[..]].concat(), seed ^ 1),
            tensor(DType::F32, &[&[2, parts * taps * 2], &case.windows[..]].concat(), seed ^ 2),
        ];
        if masked {
            inputs.push(tensor(DType::F32, &[&[2, parts * taps], &case.windows[..]].concat(), seed ^ 3));
        }
        let deform = DeformConv { window: case.window.clone(), groups, offset_groups: parts };
        // Products of weight, mask and an element between four: seven roundings each, and their sums.
        let products = (own * taps) as f64;
        let tolerance = LARGEST * LARGEST * LARGEST * products * (products + 7.0) * epsilon(DType::F32);
        check(&Op::DeformConv(deform), &inputs, 0, tolerance);
    }
}

/// Sizes at which cells are cut, products come in several runs and the library's blocks are full.
#[test]
fn large_convolutions() {
    let window = |k: u64, s: u64, p: u64| Window {
        kernel: vec![k, k],
        strides: vec![s, s],
        dilations: vec![1, 1],
        pads: vec![p, p],
    };
    // Kernel, stride, padding, extent of the image, groups, channels of a group in and out.
    for (k, s, p, image, groups, own, outs) in [
        (3, 1, 1, 40, 1, 16, 24),
        (1, 1, 0, 33, 1, 70, 20),
        (3, 2, 1, 9, 1, 40, 200),
        (1, 2, 0, 31, 1, 20, 9),
        (7, 2, 3, 40, 1, 3, 16),
        (3, 1, 1, 50, 20, 1, 1),
        (5, 2, 2, 35, 12, 1, 1),
        (3, 1, 1, 12, 4, 8, 8),
        (9, 1, 4, 30, 1, 4, 3),
    ] {
        let out = (image + 2 * p - k) / s + 1;
        let geometry = Geometry { window: window(k, s, p), groups, extents: dims(&[out, out]) };
        let (x, w, products) = ([1, own * groups, image, image], [outs * groups, own, k, k], (own * k * k) as f64);
        let inputs = [tensor(DType::F32, &x, 7), tensor(DType::F32, &w, 8), tensor(DType::F32, &[outs * groups], 9)];
        // Sums grow as random walks do: the square root of their number, not it, with a wide margin.
        let tolerance = LARGEST * LARGEST * 8.0 * products * epsilon(DType::F32);
        check(&Op::Conv(Conv(geometry.clone())), &inputs, 1, tolerance);
        let inputs =
            [tensor(DType::U8, &x, 7), tensor(DType::I8, &w, 8), tensor(DType::U8, &[], 1), tensor(DType::I8, &[], 2)];
        check(&Op::ConvInteger(ConvInteger(geometry)), &inputs, 1, 0.0);
    }
}

/// The largest products there are, 255 times 255, and as many as a sum of floats would not hold.
#[test]
fn integers_at_their_ends_are_exact() {
    let full = |dtype: DType, dims: &[u64], n: i128| {
        let count = dims.iter().product::<u64>() as usize;
        Tensor::new(dims, TensorData::from_integers(dtype, &vec![n; count])).unwrap()
    };
    for (outs, own) in [(1, 200), (5, 700), (1, 2000)] {
        let window = Window { kernel: vec![1, 1], strides: vec![1, 1], dilations: vec![1, 1], pads: vec![0, 0] };
        let geometry = Geometry { window, groups: 1, extents: dims(&[1, 2]) };
        let inputs = [
            full(DType::U8, &[1, own, 1, 2], 255),
            full(DType::U8, &[outs, own, 1, 1], 0),
            full(DType::U8, &[], 0),
            full(DType::U8, &[], 255),
        ];
        check(&Op::ConvInteger(ConvInteger(geometry)), &inputs, 1, 0.0);
    }
}

#[test]
fn what_is_no_number_is_the_largest_and_windows_of_padding_have_nothing() {
    let window = Window { kernel: vec![2], strides: vec![2], dilations: vec![1], pads: vec![2] };
    let nan = f32::NAN;
    let x = Tensor::f32(&[1, 1, 6], vec![1.0, 2.0, nan, 5.0, 7.0, nan]).unwrap();
    for function in [PoolFunction::Most, PoolFunction::Place, PoolFunction::Average] {
        let pool = Pool { function, window: window.clone(), behind: vec![2], p: 0, extents: dims(&[5]) };
        check(&Op::Pool(pool.clone()), std::slice::from_ref(&x), 0, 0.0);
        let graph = graph(&Op::Pool(pool), std::slice::from_ref(&x), 0);
        let y = Interpreter.prepare(&graph).unwrap().run(vec![x.clone()]).unwrap();
        let y = y[0].data().to_f64();
        match function {
            PoolFunction::Most => assert!(y[0] == f64::NEG_INFINITY && y[1] == 2.0 && y[2].is_nan() && y[3].is_nan()),
            PoolFunction::Place => assert_eq!(y, [0.0, 1.0, 2.0, 5.0, 0.0]),
            PoolFunction::PlaceColumns | PoolFunction::Average | PoolFunction::AveragePadded | PoolFunction::Norm => {
                assert!(y[0].is_nan() && y[1] == 1.5)
            }
        }
    }
}

#[test]
fn what_lies_outside_is_an_error_that_names_it() {
    let unpool = graph(
        &Op::Unpool(Unpool { shape: Shape::fixed(&[4]) }),
        &[tensor(DType::F32, &[2], 1), tensor(DType::I64, &[2], 1)],
        0,
    );
    for bad in [4, -1, i64::MIN, i64::MAX] {
        let inputs = vec![tensor(DType::F32, &[2], 1), Tensor::i64(&[2], vec![0, bad]).unwrap()];
        for evaluator in [&Interpreter as &dyn Evaluator, &Compiled::new(2).sharing_all()] {
            let error = evaluator.prepare(&unpool).unwrap().run(inputs.clone()).unwrap_err();
            assert!(error.code == "index-range" && error.headline.contains(&bad.to_string()), "{error}");
        }
    }
    let pool = RegionPool { function: RegionFunction::Average, size: [1, 1], scale: 1.0, shift: 0.0, samples: 0 };
    let x = tensor(DType::F32, &[1, 1, 3, 3], 1);
    for (end, image, code) in [(2.0, 1, "index-range"), (2.0, -1, "index-range"), (1e9, 0, "region-size")] {
        let regions = Tensor::f32(&[1, 4], vec![0.0, 0.0, 1.0, end]).unwrap();
        let inputs = vec![x.clone(), regions, Tensor::i64(&[1], vec![image]).unwrap()];
        let graph = graph(&Op::RegionPool(pool.clone()), &inputs, 0);
        for evaluator in [&Interpreter as &dyn Evaluator, &Compiled::new(2).sharing_all()] {
            let error = evaluator.prepare(&graph).unwrap().run(inputs.clone()).unwrap_err();
            assert_eq!(error.code, code, "{error}");
        }
    }
}
