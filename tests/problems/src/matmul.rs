//! Products of matrices that are both computed, and convolutions.

use crate::Rng;
use crate::case::{Case, Near, Problem, Want, floats};
use crate::extents::{coordinates, count};
use actc_codegen::spec::gpu::{Axis, Conv, GpuKernel, Matmul, Sizes, Terms};

/// `[batch, m, k]` times `[batch, k, n]`.
fn product(kernel: Matmul, [batch, m, k, n]: [usize; 4]) -> Case {
    let Matmul { ta, tb, few, .. } = kernel;
    let name = format!("matmul {batch} times {m} x {k} x {n}, transposed: {ta} {tb}, few rows: {few}");
    Case::of(name, GpuKernel::Matmul(kernel), move || {
        let mut rng = Rng(15);
        let (a, b) = (rng.floats(batch * m * k), rng.floats(batch * k * n));
        let near = |at: usize| {
            let (of, row, col) = (at / (m * n), at / n % m, at % n);
            let (mut want, mut size) = (0.0, 0.0);
            for l in 0..k {
                let x = a[of * m * k + if ta { l * m + row } else { row * k + l }];
                let y = b[of * k * n + if tb { col * k + l } else { l * n + col }];
                let term = f64::from(x) * f64::from(y);
                want += term;
                size += term.abs();
            }
            Near { want, tolerance: size * (k as f64 + 1.0) * 2f64.powi(-24) }
        };
        let mut problem = Problem::default();
        problem.put(floats(&a));
        problem.put(floats(&b));
        problem.want(Want::Near((0..batch * m * n).map(near).collect()));
        problem.launched(&[batch, m, k, n])
    })
}

/// Products with either matrix transposed or not, `[batch, m, k, n]` as `shapes` says, for few rows and for many by turns.
pub fn products(shapes: &[[usize; 4]]) -> Vec<Case> {
    let mut all = Vec::new();
    for (i, shape) in shapes.iter().enumerate() {
        for (ta, tb) in [(false, false), (true, false), (false, true), (true, true)] {
            let sizes = if ta == tb { Sizes::Int } else { Sizes::Memory };
            all.push(product(Matmul { ta, tb, few: (i + usize::from(ta)) % 2 == 1, sizes }, *shape));
        }
    }
    all
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

/// Batch and channels of both sides, extents of both.
type Images = ([usize; 3], &'static [usize], &'static [usize]);

fn convolution(conv: Conv, ([n, c, m], x_extents, y_extents): Images) -> Case {
    let name =
        format!("{} {n} x {c} x {x_extents:?} to {m} x {y_extents:?}", conv.to_string().trim_start_matches("gpu_"));
    Case::of(name, GpuKernel::Conv(conv.clone()), move || {
        let mut rng = Rng(17);
        let kernel: Vec<usize> = conv.axes.iter().map(|a| a.kernel as usize).collect();
        let [area, places, taps] = [x_extents, y_extents, &kernel].map(count);
        let (own, outs) = (c / conv.groups as usize, m / conv.groups as usize);
        let (x, w, bias) = (rng.floats(n * c * area), rng.floats(m * own * taps), rng.floats(m));
        let (mut want, mut size) = (vec![0f64; n * m * places], vec![0f64; n * m * places]);
        let (windows, image) = if conv.transposed { (x_extents, y_extents) } else { (y_extents, x_extents) };
        // Where each tap of each window lies is the same for all channels.
        let pairs: Vec<(usize, usize, usize)> = (0..count(windows))
            .flat_map(|window| (0..taps).map(move |tap| (window, tap)))
            .filter_map(|(window, tap)| {
                let at = place(&conv.axes, &coordinates(window, windows), &coordinates(tap, &kernel), image)?;
                Some((window, tap, at))
            })
            .collect();
        for (b, channel) in (0..n).flat_map(|b| (0..m).map(move |channel| (b, channel))) {
            let group = channel / outs;
            for (window, tap, at) in &pairs {
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
        let near = |(i, (want, size)): (usize, (&f64, &f64))| {
            let b = if conv.bias { f64::from(bias[i / places % m]) } else { 0.0 };
            let tolerance = (size + b.abs()) * ((own * taps) as f64 + 2.0) * 2f64.powi(-24);
            Near { want: want + b, tolerance }
        };
        let mut problem = Problem::default();
        problem.put(floats(&x));
        problem.put(floats(&w));
        if conv.bias {
            problem.put(floats(&bias));
        }
        problem.want(Want::Near(want.iter().zip(&size).enumerate().map(near).collect()));
        problem.launched(&[&[n, c, m][..], x_extents, y_extents].concat())
    })
}

fn axis(kernel: u32, stride: u32, dilation: u32, pad: u32) -> Axis {
    Axis { kernel, stride, dilation, pad }
}

fn windows(transposed: bool, axes: &[Axis], groups: u32, bias: bool, few: bool, sizes: Sizes) -> Conv {
    Conv { transposed, groups, axes: axes.to_vec(), terms: Terms::Floats, bias, few, sizes }
}

/// Convolutions and transposed ones, along one, two and three axes, in groups.
pub fn convolutions() -> Vec<Case> {
    let conv = |axes: &[Axis], groups, bias, few, sizes| windows(false, axes, groups, bias, few, sizes);
    let over = |axes: &[Axis], groups, bias, few| windows(true, axes, groups, bias, few, Sizes::Int);
    let square = [axis(3, 1, 1, 1); 2];
    let volume = [axis(2, 1, 1, 0), axis(1, 2, 1, 0), axis(3, 1, 1, 2)];
    [
        // One axis, as speech has it; images; depthwise; a volume; nothing.
        (conv(&[axis(3, 2, 1, 1)], 1, true, false, Sizes::Int), ([1, 10, 70], &[41][..], &[21][..])),
        (conv(&square, 1, false, false, Sizes::Memory), ([2, 5, 9], &[9, 11], &[9, 11])),
        (conv(&[axis(2, 2, 3, 0), axis(5, 3, 2, 4)], 2, true, true, Sizes::Int), ([1, 4, 6], &[13, 17], &[5, 6])),
        (conv(&[axis(7, 1, 1, 3)], 6, true, true, Sizes::Memory), ([2, 6, 6], &[150], &[150])),
        (conv(&volume, 1, false, true, Sizes::Int), ([1, 2, 3], &[4, 5, 3], &[3, 3, 5])),
        (conv(&[axis(3, 1, 1, 1)], 1, true, false, Sizes::Int), ([0, 2, 2], &[5], &[5])),
        (over(&[axis(2, 2, 1, 0); 2], 1, true, false), ([1, 12, 7], &[5, 6], &[10, 12])),
        (over(&[axis(4, 3, 2, 1)], 2, false, true), ([2, 4, 6], &[9], &[30])),
    ]
    .map(|(conv, images)| convolution(conv, images))
    .into()
}

/// Those of images and of speech as models have them.
pub fn large_convolutions() -> Vec<Case> {
    let conv = |axes: &[Axis], groups, bias, few, sizes| windows(false, axes, groups, bias, few, sizes);
    [
        (conv(&[axis(3, 1, 1, 1); 2], 1, true, false, Sizes::Int), ([2, 64, 70], &[28, 28][..], &[28, 28][..])),
        (conv(&[axis(7, 2, 1, 3); 2], 1, true, false, Sizes::Memory), ([1, 3, 64], &[112, 112], &[56, 56])),
        (conv(&[axis(3, 2, 1, 1)], 1, true, false, Sizes::Int), ([1, 80, 130], &[601], &[301])),
        (conv(&[axis(3, 1, 1, 1); 2], 96, true, true, Sizes::Int), ([1, 96, 96], &[56, 57], &[56, 57])),
        (windows(true, &[axis(4, 2, 1, 1); 2], 1, true, false, Sizes::Int), ([1, 48, 65], &[20, 21], &[40, 42])),
    ]
    .map(|(conv, images)| convolution(conv, images))
    .into()
}
