//! Products of codes with a constant matrix of many rows, exact: convolutions of integers, or, where columns have a zero point
//! each, parts of the matrix, added up as integers.

use crate::writer::*;
use actc_frontend::onnx::{ElementType, import};
use actc_ir::eval::evaluate;
use actc_types::{Tensor, TensorData};

#[test]
fn sums_beyond_what_a_float_holds_are_exact() {
    // Extremes make sums of 2^25 and more, where floats step by two and more.
    for (rows, cols, each) in [(259, 3, false), (600, 2, true), (1030, 1, true)] {
        let (count, wide) = (3usize, rows * cols);
        let a: Vec<u8> =
            (0..count * rows).map(|i| if i % 7 == 3 { (i % 256) as u8 } else { 255 - (i % 3) as u8 }).collect();
        let b: Vec<u8> = (0..wide).map(|i| if i % 5 == 2 { (i % 256) as u8 } else { 0x80 + (i % 2) as u8 }).collect();
        let zeros: Vec<i8> = (0..if each { cols } else { 1 }).map(|j| 127 - j as i8).collect();
        let codes = with(node("Cast", &["x"], &["a"]), vec![int("to", 2)]);
        let mut g = graph(&[], &["y"], vec![codes, node("MatMulInteger", &["a", "b", "za", "zb"], &["y"])]);
        g.input = vec![input("x", &[&count.to_string(), &rows.to_string()])];
        let bytes: Vec<u8> = zeros.iter().map(|z| *z as u8).collect();
        let own: Vec<i64> = each.then_some(cols as i64).into_iter().collect();
        g.initializer = vec![
            raw("b", ElementType::Int8, &[rows as i64, cols as i64], &b),
            raw("za", ElementType::Uint8, &[], &[2]),
            raw("zb", ElementType::Int8, &own, &bytes),
        ];
        let graph = import(&read(&model(g)).expect("a model")).expect("a graph");
        let x = Tensor::new(&[count as u64, rows as u64], TensorData::F32(a.iter().map(|x| f32::from(*x)).collect()))
            .expect("a tensor");
        let found = evaluate(&graph, vec![x]).expect("a result");
        let wanted: Vec<i32> = (0..count * cols)
            .map(|i| {
                let (row, col) = (i / cols, i % cols);
                let zero = i64::from(zeros[if each { col } else { 0 }]);
                let product =
                    |k: usize| (i64::from(a[row * rows + k]) - 2) * (i64::from(b[k * cols + col] as i8) - zero);
                (0..rows).map(product).sum::<i64>() as i32
            })
            .collect();
        assert_eq!(found[0].data(), &TensorData::I32(wanted), "{rows} rows");
    }
}
