//! Rows that are rounded and kept by no state.

use super::room::Rng;
use super::room::cuda::Gpu;
use super::room::planned::{alone, check};
use actc_ir::Op;
use actc_ir::ops::rows::RoundRows;
use actc_types::{RowForm, Tensor};

#[test]
fn rows_of_their_own() {
    let Some(mut gpu) = Gpu::open() else { return };
    let mut rng = Rng(26);
    for to in [RowForm::F16, RowForm::Int8] {
        for dims in [&[3u64, 2, 40][..], &[5, 7], &[0, 8]] {
            let n = dims.iter().product::<u64>() as usize;
            let x = Tensor::f32(dims, rng.floats(n).iter().map(|x| x * 100.0).collect()).unwrap();
            let graph = alone(&Op::RoundRows(RoundRows { to }), std::slice::from_ref(&x));
            check(&mut gpu, &graph, &[x], 0.0);
        }
    }
}
