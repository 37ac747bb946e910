//! `conv`: convolutions and transposed ones, along one, two and three axes, in groups.

use super::room::Rng;
use super::room::cuda::Gpu;
use actc_codegen::spec::gpu::{Axis, Conv, Each, GpuKernel, Sizes, What};

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
