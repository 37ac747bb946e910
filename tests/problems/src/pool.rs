//! `pool`: functions of windows along one, two and three axes, with padding, gaps, and windows that see nothing.

use crate::planned::{Expect, alone, planned};
use crate::{Case, Rng};
use actc_ir::Op;
use actc_ir::ops::pool::{Pool, PoolFunction};
use actc_ir::ops::window::Window;
use actc_types::{DType, Dim, Tensor, TensorData};

/// Kernel, stride, dilation, pad, pad behind, extent, windows of each axis.
type Axes<'a> = &'a [[u64; 7]];

/// Every function, of every type that it takes.
pub fn windows() -> Vec<Case> {
    let mut rng = Rng(21);
    let mut all = Vec::new();
    let cases: [(Axes<'_>, u32); 4] = [
        (&[[3, 2, 1, 1, 1, 9, 5], [3, 2, 1, 1, 0, 12, 6]], 2),
        // The first window sees nothing, and the last ends behind the padding.
        (&[[2, 3, 2, 4, 1, 11, 6]], 3),
        (&[[2, 1, 1, 0, 0, 4, 3], [1, 2, 1, 0, 0, 5, 3], [3, 1, 2, 2, 2, 3, 3]], 1),
        (&[[4, 1, 1, 0, 0, 33, 30], [1, 1, 1, 0, 0, 11, 11]], 5),
    ];
    for (axes, p) in cases {
        let list = |i: usize| axes.iter().map(|a| a[i]).collect::<Vec<u64>>();
        let window = Window { kernel: list(0), strides: list(1), dilations: list(2), pads: list(3) };
        let taps = list(0).iter().product::<u64>() as f64;
        let dims = [&[2, 3], &list(5)[..]].concat();
        let n = dims.iter().product::<u64>() as usize;
        for function in PoolFunction::ALL {
            // Sums of so many within 8, a quotient; the power of each, their sum, and its root.
            let (places, tolerance) = match function {
                PoolFunction::Most | PoolFunction::Place | PoolFunction::PlaceColumns => (true, 0.0),
                PoolFunction::Average | PoolFunction::AveragePadded => (false, 8.0 * (taps + 1.0) * 2f64.powi(-24)),
                PoolFunction::Norm => (false, 8.0 * taps * (taps + 32.0) * 2f64.powi(-24)),
            };
            let mut floats = rng.floats(n);
            if places {
                floats.iter_mut().step_by(13).for_each(|x| *x = f32::NAN);
                floats.iter_mut().skip(1).step_by(3).for_each(|x| *x = x.round());
            }
            let mut inputs = vec![TensorData::F32(floats)];
            if places {
                let whole: Vec<i64> = (0..n).map(|_| rng.word() as i64 >> (60 * (rng.below(2)))).collect();
                inputs.push(TensorData::I32(whole.iter().map(|x| *x as i32).collect()));
                inputs.push(TensorData::U8(whole.iter().map(|x| *x as u8).collect()));
                inputs.push(TensorData::I8(whole.iter().map(|x| *x as i8).collect()));
                inputs.push(TensorData::I64(whole));
            }
            for data in inputs {
                let x = Tensor::new(&dims, data).unwrap();
                let p = if *function == PoolFunction::Norm { p } else { 0 };
                let (window, behind) = (window.clone(), list(4));
                let extents = list(6).into_iter().map(Dim::from).collect();
                let op = Op::Pool(Pool { function: *function, window, behind, p, extents });
                assert!(x.dtype() == DType::F32 || places);
                let name = format!("pool {} of {}, {dims:?}", function.name(), x.dtype());
                all.push(planned(name, alone(&op, std::slice::from_ref(&x)), vec![x], Expect::Within(tolerance)));
            }
        }
    }
    all
}
