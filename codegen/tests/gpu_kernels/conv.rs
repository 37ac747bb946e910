//! `conv`: convolutions and transposed ones, along one, two and three axes, in groups; those of stored weights as programs have them.

use super::room::cuda::Gpu;
use super::room::planned;
use super::room::{Matrix, Rng};
use actc_codegen::spec::gpu::{Axis, Conv, Each, GpuKernel, Sizes, Terms, What};
use actc_ir::ops::conv::{self, Geometry};
use actc_ir::ops::window::Window;
use actc_ir::{Const, Graph, Op, TensorType};
use actc_types::{DType, Dim, Encoding, Group, Mixed, Packed, Shape, Tensor, TensorData, WeakPlace};

fn coordinates(mut i: usize, extents: &[usize]) -> Vec<usize> {
    let mut at = vec![0; extents.len()];
    for (to, e) in at.iter_mut().zip(extents).rev() {
        *to = i % e;
        i /= e;
    }
    at
}

/// The element of `image` at which tap `tap` of window `window` lies.
fn place(axes: &[Axis], window: &[usize], tap: &[usize], image: &[usize]) -> Option<usize> {
    let mut at = 0;
    for (((a, o), k), e) in axes.iter().zip(window).zip(tap).zip(image) {
        let p = (o * a.stride as usize + k * a.dilation as usize).checked_sub(a.pad as usize)?;
        at = at * e + Some(p).filter(|p| p < e)?;
    }
    Some(at)
}

fn check(gpu: &mut Gpu, conv: &Conv, [n, c, m]: [usize; 3], x_extents: &[usize], y_extents: &[usize], rng: &mut Rng) {
    let kernel: Vec<usize> = conv.axes.iter().map(|a| a.kernel as usize).collect();
    let [area, places, taps] = [x_extents, y_extents, &kernel].map(|e| e.iter().product::<usize>());
    let (own, outs) = (c / conv.groups as usize, m / conv.groups as usize);
    let (x, w, bias) = (rng.floats(n * c * area), rng.floats(m * own * taps), rng.floats(m));
    let (mut want, mut size) = (vec![0f64; n * m * places], vec![0f64; n * m * places]);
    let (windows, image) = if conv.transposed { (x_extents, y_extents) } else { (y_extents, x_extents) };
    for (b, channel) in (0..n).flat_map(|b| (0..m).map(move |channel| (b, channel))) {
        let group = channel / outs;
        for window in 0..windows.iter().product() {
            for tap in 0..taps {
                let at = place(&conv.axes, &coordinates(window, windows), &coordinates(tap, &kernel), image);
                let Some(at) = at else { continue };
                for i in 0..own {
                    let from = (b * c + group * own + i) * area;
                    let (from, to, weight) = if conv.transposed {
                        (from + window, at, ((group * own + i) * outs + channel % outs) * taps + tap)
                    } else {
                        (from + at, window, (channel * own + i) * taps + tap)
                    };
                    let term = f64::from(x[from]) * f64::from(w[weight]);
                    want[(b * m + channel) * places + to] += term;
                    size[(b * m + channel) * places + to] += term.abs();
                }
            }
        }
    }
    let mut buffers = vec![gpu.put_floats(&x), gpu.put_floats(&w)];
    buffers.extend(conv.bias.then(|| gpu.put_floats(&bias)));
    buffers.push(gpu.room(4 * want.len()));
    let sizes: Vec<u64> = [&[n, c, m][..], x_extents, y_extents].concat().iter().map(|n| *n as u64).collect();
    gpu.run(&GpuKernel::Conv(conv.clone()), &buffers, &sizes);
    let got = gpu.floats(buffers[buffers.len() - 1], want.len());
    for (i, got) in got.into_iter().enumerate() {
        let b = if conv.bias { f64::from(bias[i / places % m]) } else { 0.0 };
        let tolerance = (size[i] + b.abs()) * ((own * taps) as f64 + 2.0) * 2f64.powi(-24);
        let want = want[i] + b;
        assert!((f64::from(got) - want).abs() <= tolerance, "{conv} {i}: {got} but {want} +- {tolerance}");
    }
}

fn axis(kernel: u32, stride: u32, dilation: u32, pad: u32) -> Axis {
    Axis { kernel, stride, dilation, pad }
}

#[test]
fn windows_of_every_kind() {
    let Some(mut gpu) = Gpu::open() else { return };
    let mut rng = Rng(17);
    let conv = |axes: &[Axis], groups, bias, few, sizes| Conv {
        transposed: false,
        groups,
        axes: axes.to_vec(),
        terms: Terms::Floats,
        bias,
        few,
        sizes,
    };
    // One axis, as speech has it; images; depthwise; a volume.
    check(&mut gpu, &conv(&[axis(3, 2, 1, 1)], 1, true, false, Sizes::Int), [1, 10, 70], &[41], &[21], &mut rng);
    let plain = conv(&[axis(3, 1, 1, 1), axis(3, 1, 1, 1)], 1, false, false, Sizes::Memory);
    check(&mut gpu, &plain, [2, 5, 9], &[9, 11], &[9, 11], &mut rng);
    let wide = conv(&[axis(2, 2, 3, 0), axis(5, 3, 2, 4)], 2, true, true, Sizes::Int);
    check(&mut gpu, &wide, [1, 4, 6], &[13, 17], &[5, 6], &mut rng);
    check(&mut gpu, &conv(&[axis(7, 1, 1, 3)], 6, true, true, Sizes::Memory), [2, 6, 6], &[150], &[150], &mut rng);
    let volume = conv(&[axis(2, 1, 1, 0), axis(1, 2, 1, 0), axis(3, 1, 1, 2)], 1, false, true, Sizes::Int);
    check(&mut gpu, &volume, [1, 2, 3], &[4, 5, 3], &[3, 3, 5], &mut rng);
    check(&mut gpu, &conv(&[axis(3, 1, 1, 1)], 1, true, false, Sizes::Int), [0, 2, 2], &[5], &[5], &mut rng);
}

#[test]
fn windows_over_the_result() {
    let Some(mut gpu) = Gpu::open() else { return };
    let mut rng = Rng(18);
    let conv = |axes: &[Axis], groups, bias, few| Conv {
        transposed: true,
        groups,
        axes: axes.to_vec(),
        terms: Terms::Floats,
        bias,
        few,
        sizes: Sizes::Int,
    };
    check(
        &mut gpu,
        &conv(&[axis(2, 2, 1, 0), axis(2, 2, 1, 0)], 1, true, false),
        [1, 12, 7],
        &[5, 6],
        &[10, 12],
        &mut rng,
    );
    check(&mut gpu, &conv(&[axis(4, 3, 2, 1)], 2, false, true), [2, 4, 6], &[9], &[30], &mut rng);
}

#[test]
fn weighted_sums_along_an_axis() {
    let Some(mut gpu) = Gpu::open() else { return };
    let mut rng = Rng(19);
    let [outer, extent, inner, n, taps] = [2, 7, 3, 11, 4];
    let x = rng.floats(outer * extent * inner);
    let mut indices: Vec<i64> = (0..n * taps).map(|_| rng.below(extent) as i64).collect();
    let weights: Vec<f64> = (0..n * taps).map(|_| f64::from(rng.float())).collect();
    let kernel = GpuKernel::Each(Each { what: What::Resample, sizes: Sizes::Int });
    for outside in [false, true] {
        if outside {
            indices[5] = extent as i64;
        }
        let bytes: Vec<u8> = weights.iter().flat_map(|w| w.to_le_bytes()).collect();
        let (from, at, by) = (gpu.put_floats(&x), gpu.put_integers(&indices), gpu.put(&bytes));
        let (error, to) = (gpu.put(&[0; 4]), gpu.room(4 * outer * n * inner));
        gpu.run(&kernel, &[from, at, by, error, to], &[outer, extent, inner, n, taps].map(|n| n as u64));
        for (i, got) in gpu.floats(to, outer * n * inner).into_iter().enumerate() {
            let (row, col) = (i / inner, i % inner);
            let term = |t: usize| {
                let of = row % n * taps + t;
                let at = usize::try_from(indices[of]).unwrap();
                let x = if at < extent { x[(row / n * extent + at) * inner + col] } else { 0.0 };
                weights[of] * f64::from(x)
            };
            let want = (0..taps).fold(0.0, |sum, t| sum + term(t));
            assert!((f64::from(got) - want).abs() <= 1e-12 + want.abs() * 2f64.powi(-24), "{i}: {got} but {want}");
        }
        assert_eq!(gpu.bytes(error, 1)[0] != 0, outside);
    }
}

/// Weights of every kind of encoding, in one group, in several, and of each channel.
#[test]
fn stored_weights() {
    let Some(mut gpu) = Gpu::open() else { return };
    let mut rng = Rng(20);
    let packed = |bits| Packed::new(bits, Group::Columns(32));
    let mixed = |bits, cols, place| Encoding::Mixed(Mixed { body: packed(bits), cols, place, weak: DType::F16 });
    // By products of tensor cores, along an axis and two, and of a few places; then decoded: in groups, of few columns, of few rows.
    for (encoding, [n, c, m, groups], [rank, kernel, stride, dilation, pad, image]) in [
        (Encoding::Packed(packed(4)), [2, 8, 33, 1], [2, 3, 1, 1, 1, 9]),
        (mixed(3, 19, WeakPlace::Scattered), [1, 40, 18, 1], [1, 3, 2, 1, 1, 41]),
        (mixed(2, 3, WeakPlace::Suffix), [1, 5, 16, 1], [2, 5, 4, 1, 2, 17]),
        (Encoding::Packed(Packed::new(8, Group::Channel)), [3, 70, 20, 1], [2, 1, 1, 1, 0, 5]),
        (Encoding::Packed(packed(6)), [2, 16, 64, 1], [2, 3, 1, 2, 2, 8]),
        (mixed(4, 7, WeakPlace::Scattered), [3, 96, 20, 1], [2, 1, 1, 1, 0, 1]),
        (mixed(3, 5, WeakPlace::Scattered), [1, 24, 18, 2], [2, 3, 2, 1, 0, 13]),
        (Encoding::Packed(packed(4)), [2, 7, 33, 1], [2, 3, 1, 1, 1, 9]),
        (Encoding::Packed(packed(5)), [1, 20, 4, 1], [2, 3, 1, 1, 1, 8]),
        (Encoding::Packed(Packed::new(8, Group::Channel)), [1, 20, 20, 20], [2, 3, 1, 1, 1, 8]),
    ] {
        let list = |n: u64| vec![n; rank as usize];
        let taps = list(kernel).iter().product::<u64>();
        let (rows, cols) = (m as usize, (c / groups * taps) as usize);
        let matrix = Matrix::random(&encoding, DType::F32, rows, cols, &mut rng);
        let ty = TensorType::new(DType::F32, Shape::fixed(&[&[m, c / groups], &list(kernel)[..]].concat()));
        let parts = matrix.parts.iter().map(|(role, bytes)| (*role, bytes.clone().into())).collect();
        let weights = Const::new("w", ty, encoding, parts).unwrap();
        let bias = Const::dense("b", &Tensor::f32(&[m], rng.floats(rows)).unwrap());
        let windows = (image + 2 * pad - (kernel - 1) * dilation - 1) / stride + 1;
        let window = Window { kernel: list(kernel), strides: list(stride), dilations: list(dilation), pads: list(pad) };
        let op = Op::Conv(conv::Conv(Geometry {
            groups,
            window,
            extents: list(windows).into_iter().map(Dim::from).collect(),
        }));
        let mut graph = Graph::new("g");
        let dims = [&[n, c], &list(image)[..]].concat();
        let own = dims.iter().skip(1).map(|d| Dim::from(*d));
        let batch = if image == 1 { Dim::from(n) } else { Dim::sym("N") };
        let shape = Shape(std::iter::once(batch).chain(own).collect());
        let x = graph.input("x", TensorType::new(DType::F32, shape));
        let (w, b) = (graph.constant(weights), graph.constant(bias));
        let y = graph.add(op, &[x, w, b], "conv").unwrap();
        graph.output("y", y);
        let x = Tensor::f32(&dims, rng.floats(dims.iter().product::<u64>() as usize)).unwrap();
        let most = |x: &[f32]| x.iter().fold(0f64, |m, x| m.max(f64::from(x.abs())));
        let mut row = vec![0f32; cols];
        let largest = (0..rows).fold(0f64, |l, r| {
            matrix.view().row(r, &mut row);
            l.max(most(&row))
        });
        // As many terms of inputs within 8, and such a bias; products of tensor cores are as exact.
        let tolerance = 8.0 * (cols as f64 * largest + 1.0) * (cols as f64 + 2.0) * 2f64.powi(-24);
        planned::check(&mut gpu, &graph, &[x], tolerance);
    }
}

/// Bytes of both kinds less their zero points, one for all channels or one for each.
#[test]
fn integers() {
    let Some(mut gpu) = Gpu::open() else { return };
    let mut rng = Rng(25);
    for (i, [n, c, m, groups, kernel, stride, pad, image]) in
        [[2u64, 5, 9, 1, 3, 1, 1, 7], [1, 6, 6, 6, 3, 2, 0, 9], [1, 8, 12, 2, 2, 1, 1, 5], [3, 30, 4, 1, 1, 1, 0, 6]]
            .into_iter()
            .enumerate()
    {
        let mut bytes = |signed: bool, dims: &[u64]| {
            let all: Vec<u8> = (0..dims.iter().product()).map(|_: u64| rng.word() as u8).collect();
            let data = match signed {
                true => TensorData::I8(all.into_iter().map(|b| b as i8).collect()),
                false => TensorData::U8(all),
            };
            Tensor::new(dims, data).unwrap()
        };
        let (x, w) = (i % 2 == 1, i >= 2);
        let zeros = if i % 2 == 0 { vec![m] } else { Vec::new() };
        let inputs = [
            bytes(x, &[n, c, image, image]),
            bytes(w, &[m, c / groups, kernel, kernel]),
            bytes(x, &[]),
            bytes(w, &zeros),
        ];
        let windows = (image + 2 * pad - kernel) / stride + 1;
        let list = |n: u64| vec![n; 2];
        let window = Window { kernel: list(kernel), strides: list(stride), dilations: list(1), pads: list(pad) };
        let extents = vec![Dim::from(windows); 2];
        let op = Op::ConvInteger(conv::ConvInteger(Geometry { groups, window, extents }));
        planned::check(&mut gpu, &planned::alone(&op, &inputs), &inputs, 0.0);
    }
}
