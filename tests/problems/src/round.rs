//! Rows that are rounded and kept by no state.

use crate::planned::{Expect, alone, planned};
use crate::{Case, Rng};
use actc_ir::Op;
use actc_ir::ops::rows::RoundRows;
use actc_types::{RowForm, Tensor};

/// Rows of several lengths, in each form.
pub fn rows() -> Vec<Case> {
    let mut rng = Rng(26);
    let mut all = Vec::new();
    for to in [RowForm::F16, RowForm::Int8] {
        for dims in [&[3u64, 2, 40][..], &[5, 7], &[0, 8]] {
            let n = dims.iter().product::<u64>() as usize;
            let x = Tensor::f32(dims, rng.floats(n).iter().map(|x| x * 100.0).collect()).expect("as many numbers");
            let graph = alone(&Op::RoundRows(RoundRows { to }), std::slice::from_ref(&x));
            all.push(planned(format!("rows {dims:?} rounded to {to}"), graph, vec![x], Expect::Within(0.0)));
        }
    }
    all
}
