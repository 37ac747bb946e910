//! Convolutions as programs have them: of stored weights, and of integers.

use crate::planned::{Expect, alone, planned, planned_for};
use crate::{Case, Matrix, Rng};
use actc_codegen::spec::gpu::Products;
use actc_ir::ops::conv::{self, Geometry};
use actc_ir::ops::window::Window;
use actc_ir::{Const, Graph, Op, TensorType};
use actc_types::{DType, Dim, Encoding, Group, Mixed, Packed, Shape, Tensor, TensorData, WeakPlace};

/// Weights of every kind of encoding, in one group, in several, and of each channel.
pub fn stored() -> Vec<Case> {
    let mut all = Vec::new();
    let mut rng = Rng(20);
    let packed = |bits| Packed::new(bits, Group::Columns(32));
    let mixed = |bits, cols, place| Encoding::Mixed(Mixed { body: packed(bits), cols, place, weak: DType::F16 });
    // By products of tensor cores, along an axis and two, and of a few places; then decoded: in groups, of few columns, of few rows.
    // With products that are rounded twice as many places are a few.
    let (single, half) = (Products::Single, Products::Half);
    for (products, encoding, [n, c, m, groups], [rank, kernel, stride, dilation, pad, image]) in [
        (single, Encoding::Packed(packed(4)), [2, 8, 33, 1], [2, 3, 1, 1, 1, 9]),
        (single, mixed(3, 19, WeakPlace::Scattered), [1, 40, 18, 1], [1, 3, 2, 1, 1, 41]),
        (single, mixed(2, 3, WeakPlace::Suffix), [1, 5, 16, 1], [2, 5, 4, 1, 2, 17]),
        (single, Encoding::Packed(Packed::new(8, Group::Channel)), [3, 70, 20, 1], [2, 1, 1, 1, 0, 5]),
        (single, Encoding::Packed(packed(6)), [2, 16, 64, 1], [2, 3, 1, 2, 2, 8]),
        (single, mixed(4, 7, WeakPlace::Scattered), [3, 96, 20, 1], [2, 1, 1, 1, 0, 1]),
        (single, mixed(3, 5, WeakPlace::Scattered), [1, 24, 18, 2], [2, 3, 2, 1, 0, 13]),
        (single, Encoding::Packed(packed(4)), [2, 7, 33, 1], [2, 3, 1, 1, 1, 9]),
        (single, Encoding::Packed(packed(5)), [1, 20, 4, 1], [2, 3, 1, 1, 1, 8]),
        (single, Encoding::Packed(Packed::new(8, Group::Channel)), [1, 20, 20, 20], [2, 3, 1, 1, 1, 8]),
        (half, mixed(4, 3, WeakPlace::Suffix), [1, 12, 20, 1], [1, 3, 1, 1, 1, 13]),
    ] {
        let list = |n: u64| vec![n; rank as usize];
        let taps = list(kernel).iter().product::<u64>();
        let (rows, cols) = (m as usize, (c / groups * taps) as usize);
        let matrix = Matrix::random(&encoding, DType::F32, rows, cols, &mut rng);
        let ty = TensorType::new(DType::F32, Shape::fixed(&[&[m, c / groups], &list(kernel)[..]].concat()));
        let parts = matrix.parts.iter().map(|(role, bytes)| (*role, bytes.clone().into())).collect();
        let stored = encoding.to_string();
        let weights = Const::new("w", ty, encoding, parts).expect("shapes fit");
        let bias = Const::dense("b", &Tensor::f32(&[m], rng.floats(rows)).expect("shapes fit"));
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
        let known = image == 1 || products == half;
        let batch = if known { Dim::from(n) } else { Dim::sym("N") };
        let shape = Shape(std::iter::once(batch).chain(own).collect());
        let x = graph.input("x", TensorType::new(DType::F32, shape));
        let (w, b) = (graph.constant(weights), graph.constant(bias));
        let y = graph.add(op, &[x, w, b], "conv").expect("shapes fit");
        graph.output("y", y);
        let x = Tensor::f32(&dims, rng.floats(dims.iter().product::<u64>() as usize)).expect("shapes fit");
        let most = |x: &[f32]| x.iter().fold(0f64, |m, x| m.max(f64::from(x.abs())));
        let mut row = vec![0f32; cols];
        let largest = (0..rows).fold(0f64, |l, r| {
            matrix.view().row(r, &mut row);
            l.max(most(&row))
        });
        // As many terms of inputs within 8, and such a bias; products of tensor cores are as exact, or round both sides to f16, where the
        // terms of a code are at most eight times as large as its weight.
        let rounded = if products == half { 8.0 * 2f64.powi(-10) } else { 0.0 };
        let size = 8.0 * (cols as f64 * largest + 1.0);
        let tolerance = size * ((cols as f64 + 2.0) * 2f64.powi(-24) + rounded);
        let name = format!("conv of {stored}, {m} channels of {dims:?}, {groups} groups, {products}");
        all.push(planned_for(name, graph, products, &[], vec![x], Expect::Within(tolerance)));
    }
    all
}

/// Bytes of both kinds less their zero points, one for all channels or one for each.
pub fn integers() -> Vec<Case> {
    let mut all = Vec::new();
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
            Tensor::new(dims, data).expect("shapes fit")
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
        let name =
            format!("conv of {} by {}, {m} channels of {c}, {groups} groups", inputs[0].dtype(), inputs[1].dtype());
        all.push(planned(name, alone(&op, &inputs), inputs.into(), Expect::Within(0.0)));
    }
    all
}
