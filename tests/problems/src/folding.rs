//! What windows give back to images: `fold`, `unpool`, and `deform_conv`, whose taps are moved.

use crate::planned::{Expect, alone, planned};
use crate::{Case, EPS, Rng};
use actc_ir::Op;
use actc_ir::ops::pool::{Fold, Unpool};
use actc_ir::ops::regions::DeformConv;
use actc_ir::ops::window::Window;
use actc_types::{Dim, Shape, Tensor, TensorData};

fn floats(dims: &[u64], rng: &mut Rng) -> Tensor {
    let n = dims.iter().product::<u64>();
    Tensor::f32(dims, (0..n).map(|_| rng.float()).collect()).expect("as many numbers")
}

/// Windows along one, two and three axes, with gaps and padding, of every type.
pub fn folds() -> Vec<Case> {
    let mut rng = Rng(51);
    let mut all = Vec::new();
    // Kernel, stride, dilation, pad, windows, extent of each axis.
    let cases: [&[[u64; 6]]; 4] = [
        &[[3, 2, 1, 1, 5, 9], [2, 1, 2, 0, 6, 8]],
        &[[4, 3, 1, 2, 6, 17]],
        &[[2, 1, 1, 0, 3, 4], [1, 2, 1, 0, 3, 6], [3, 1, 2, 2, 3, 3]],
        // Windows that lie outside, and elements that no window lies over.
        &[[2, 5, 1, 3, 7, 23], [1, 1, 1, 0, 4, 4]],
    ];
    for axes in cases {
        let list = |i: usize| axes.iter().map(|a| a[i]).collect::<Vec<u64>>();
        let window = Window { kernel: list(0), strides: list(1), dilations: list(2), pads: list(3) };
        let (taps, count) = (list(0).iter().product::<u64>(), list(4).iter().product::<u64>());
        let dims = [2, 3 * taps, count];
        let n = dims.iter().product::<u64>() as usize;
        let whole: Vec<i64> = (0..n).map(|_| rng.word() as i64).collect();
        for data in [
            TensorData::F32(floats(&dims, &mut rng).as_f32().expect("floats").to_vec()),
            TensorData::I32(whole.iter().map(|x| *x as i32).collect()),
            TensorData::U8(whole.iter().map(|x| *x as u8).collect()),
            TensorData::I8(whole.iter().map(|x| *x as i8).collect()),
            TensorData::I64(whole.clone()),
        ] {
            let x = Tensor::new(&dims, data).expect("as many numbers");
            let numbers = |i: usize| list(i).into_iter().map(Dim::from).collect::<Vec<_>>();
            let op = Op::Fold(Fold { window: window.clone(), windows: numbers(4), extents: numbers(5) });
            let name = format!("fold of {}, {axes:?}", x.dtype());
            // Sums of so many numbers within 1, each rounded.
            let tolerance = (taps * taps) as f64 * EPS;
            all.push(planned(name, alone(&op, std::slice::from_ref(&x)), vec![x], Expect::Within(tolerance)));
        }
    }
    all
}

/// Elements at places, of which the last of each counts, and places that are outside.
pub fn unpools() -> Vec<Case> {
    let mut rng = Rng(52);
    let mut all = Vec::new();
    for (count, total) in [(90u64, 70u64), (7, 3000), (0, 5)] {
        let places: Vec<i64> = (0..count).map(|_| rng.below(total as usize) as i64).collect();
        let whole: Vec<i64> = (0..count).map(|_| rng.word() as i64).collect();
        for data in [
            TensorData::F32(whole.iter().map(|x| *x as f32).collect()),
            TensorData::U8(whole.iter().map(|x| *x as u8).collect()),
            TensorData::I64(whole.clone()),
        ] {
            let x = Tensor::new(&[count], data).expect("as many numbers");
            let op = Op::Unpool(Unpool { shape: Shape::fixed(&[total]) });
            let name = format!("unpool {count} of {} to {total}", x.dtype());
            let mut case = |name: String, places: &[i64], expect| {
                let inputs = vec![x.clone(), Tensor::i64(&[count], places.to_vec()).expect("as many numbers")];
                all.push(planned(name, alone(&op, &inputs), inputs, expect));
            };
            case(name.clone(), &places, Expect::Within(0.0));
            for bad in [-1, total as i64, i64::MAX] {
                let mut places = places.clone();
                let Some(last) = places.last_mut() else { continue };
                *last = bad;
                case(format!("{name}, a place of {bad}"), &places, Expect::Error);
            }
        }
    }
    all
}

/// Convolutions whose taps are moved, within the image and out of it, in groups, with and without a mask.
pub fn moved() -> Vec<Case> {
    let mut rng = Rng(53);
    let mut all = Vec::new();
    // Channels, those of the result, groups, parts; kernel, stride, dilation, pad, extent, windows of both axes.
    for ([c, m, groups, parts], axes) in [
        ([4, 6, 2, 2], [[3, 1, 1, 1, 7, 7], [3, 2, 1, 1, 9, 5]]),
        ([6, 70, 1, 3], [[2, 1, 2, 0, 9, 7], [1, 1, 1, 0, 8, 8]]),
        ([1, 1, 1, 1], [[1, 1, 1, 0, 1, 1], [5, 1, 1, 2, 11, 11]]),
    ] {
        let list = |i: usize| axes.iter().map(|a| a[i]).collect::<Vec<u64>>();
        let window = Window { kernel: list(0), strides: list(1), dilations: list(2), pads: list(3) };
        let (taps, [h, w], [rows, cols]) =
            (axes[0][0] * axes[1][0], [axes[0][4], axes[1][4]], [axes[0][5], axes[1][5]]);
        let far = |t: Tensor| {
            let data = t.as_f32().expect("floats").iter().map(|x| 3.0 * x).collect();
            Tensor::f32(t.dims(), data).expect("as many numbers")
        };
        let inputs = vec![
            floats(&[2, c, h, w], &mut rng),
            floats(&[m, c / groups, axes[0][0], axes[1][0]], &mut rng),
            far(floats(&[2, parts * taps * 2, rows, cols], &mut rng)),
            floats(&[2, parts * taps, rows, cols], &mut rng),
        ];
        // Terms within 1, each a mean of four elements with weights that are rounded, and their sum.
        let terms = (c / groups * taps) as f64;
        let tolerance = terms * (terms + 16.0) * EPS;
        for inputs in [inputs[..3].to_vec(), inputs] {
            let op = Op::DeformConv(DeformConv { window: window.clone(), groups, offset_groups: parts });
            let name =
                format!("deform_conv {c} to {m} in {groups}, {parts} parts, {axes:?}, mask: {}", inputs.len() > 3);
            all.push(planned(name, alone(&op, &inputs), inputs, Expect::Within(tolerance)));
        }
    }
    all
}
