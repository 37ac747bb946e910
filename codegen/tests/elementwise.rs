//! Elementwise chains: functions against double precision within the bounds that they state, and random chains over random
//! axes against the same operations one by one, which must be equal.

mod room;

use actc_codegen::emit::SizesIn;
use actc_codegen::kir::Fun;
use actc_problems::chain::random;
use actc_problems::function::{FUNCTIONS, function, numbers};
use actc_types::DType;
use proptest::prelude::*;
use room::parts;

#[test]
fn functions_keep_their_bounds() {
    for fun in FUNCTIONS {
        parts::check(&function(fun, numbers(1), SizesIn::Parameters));
    }
}

#[test]
fn functions_at_the_edges() {
    let x = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 200.0, -200.0];
    let run = |fun| -> Vec<f32> {
        let results = parts::results(&function(fun, x.to_vec(), SizesIn::Parameters));
        results[0].as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
    };
    for fun in FUNCTIONS {
        assert!(run(fun)[0].is_nan(), "{fun:?} loses what is not a number");
    }
    assert_eq!(&run(Fun::Exp)[1..], &[f32::INFINITY, 0.0, f32::INFINITY, 0.0]);
    assert_eq!(&run(Fun::Tanh)[1..], &[1.0, -1.0, 1.0, -1.0]);
    assert_eq!(&run(Fun::Sigmoid)[1..], &[1.0, 0.0, 1.0, 0.0]);
    assert_eq!(&run(Fun::Erf)[1..], &[1.0, -1.0, 1.0, -1.0]);
    assert_eq!(&run(Fun::Sign)[1..], &[1.0, -1.0, 1.0, -1.0]);
    assert_eq!(&run(Fun::Softplus)[1..], &[f32::INFINITY, 0.0, 200.0, 0.0]);
    assert_eq!(run(Fun::Log)[1], f32::INFINITY);
    assert!(run(Fun::Log)[2].is_nan() && run(Fun::Log)[4].is_nan());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn chains(extents in prop::collection::vec(1usize..24, 1..5), output in 0usize..4, seed: u64) {
        let output = [DType::F32, DType::U8, DType::I8, DType::Bool][output];
        parts::check(&random(extents, output, SizesIn::Parameters, seed));
    }

    #[test]
    fn long_rows(rows in prop::collection::vec(0usize..4, 0..3), cols in 900usize..5000, output in 0usize..4, seed: u64) {
        let output = [DType::F32, DType::U8, DType::I8, DType::Bool][output];
        let extents = [&rows[..], &[cols]].concat();
        parts::check(&random(extents, output, SizesIn::Parameters, seed));
    }

    #[test]
    fn many_narrow_rows(rows in 1000usize..4000, cols in 0usize..9, output in 0usize..4, seed: u64) {
        let output = [DType::F32, DType::U8, DType::I8, DType::Bool][output];
        parts::check(&random(vec![rows, cols], output, SizesIn::Parameters, seed));
    }
}
