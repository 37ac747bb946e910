//! `det`: determinants of small and large matrices, of ones that have none but 0, and of no numbers.

use crate::planned::{Expect, alone, planned};
use crate::{Case, Rng};
use actc_ir::Op;
use actc_ir::ops::det::Det;
use actc_types::Tensor;
use actc_types::determinant::determinant;

/// Random matrices, the last of which are special.
pub fn matrices() -> Vec<Case> {
    let mut rng = Rng(61);
    let mut all = Vec::new();
    for (count, n) in [(5, 3), (4, 32), (3, 45), (2, 1), (2, 0), (0, 4)] {
        let size = (n * n) as usize;
        let mut x: Vec<f32> = (0..count as usize * size).map(|_| rng.float()).collect();
        if count > 3 {
            let mut matrices = x.chunks_exact_mut(size).skip(1);
            if let Some(equal) = matrices.next() {
                // Two rows are equal, whose elements no division rounds.
                equal.iter_mut().for_each(|x| *x = (4.0 * *x).round());
                equal.copy_within(..n as usize, n as usize);
            }
            matrices.next().into_iter().for_each(|none| none[n as usize + 1] = f32::NAN);
            // The diagonal is no pivot.
            matrices.next().into_iter().for_each(|x| x.iter_mut().step_by(n as usize + 1).for_each(|x| *x = 0.0));
        }
        // Elimination is of double precision: both sides round what they find to single, to one of the two next to it.
        let value = |x: &[f32]| determinant(&mut x.iter().map(|x| f64::from(*x)).collect::<Vec<_>>(), n as usize).abs();
        let largest = x.chunks_exact(size.max(1)).map(value).fold(1.0, f64::max);
        let x = Tensor::f32(&[count, n, n], x).expect("as many numbers");
        let name = format!("det {count} of {n} rows");
        let expect = Expect::Within(largest * 2f64.powi(-23));
        all.push(planned(name, alone(&Op::Det(Det), std::slice::from_ref(&x)), vec![x], expect));
    }
    all
}
