//! Element types of eight bits and fewer: compiled casts, bit casts and movements against the reference, bit by bit.

use actc::evaluator::Compiled;
use actc::ir::ops::pointwise::{Bitcast, Cast};
use actc::ir::ops::shaping::Transpose;
use actc::ir::{Evaluator, Graph, Interpreter, Op, TensorType};
use actc::types::{DType, Narrow, Narrowing, Overflow, PowerRounding, Shape, Tensor, TensorData};

/// `op` on `x` both ways; the reference's result.
fn check(op: Op, x: &Tensor) -> Tensor {
    let mut graph = Graph::new("g");
    let arg = graph.input("x", TensorType::new(x.dtype(), Shape::fixed(x.dims())));
    let y = graph.add(op.clone(), &[arg], "y").unwrap_or_else(|e| panic!("{op:?}: {e}"));
    graph.output("y", y);
    let wanted = Interpreter.prepare(&graph).unwrap().run(vec![x.clone()]).unwrap().remove(0);
    for threads in [1, 3] {
        let mut compiled =
            Compiled::new(threads).sharing_all().prepare(&graph).unwrap_or_else(|e| panic!("{op:?}: {e}"));
        let found = compiled.run(vec![x.clone()]).unwrap_or_else(|e| panic!("{op:?}: {e}")).remove(0);
        assert_eq!((wanted.dims(), wanted.dtype()), (found.dims(), found.dtype()), "{op:?}");
        assert_eq!(wanted.data().to_le_bytes(), found.data().to_le_bytes(), "{op:?} of {}", x.dtype());
    }
    wanted
}

fn codes(narrow: Narrow) -> Tensor {
    let all: Vec<u8> = (0..=255).collect();
    Tensor::new(&[256], TensorData::from_le_bytes(narrow.into(), &all)).unwrap()
}

#[test]
fn all_codes_become_every_type() {
    for narrow in Narrow::ALL {
        for to in DType::ALL {
            let x = codes(narrow);
            let y = check(Op::Cast(Cast::to(*to)), &x);
            if *to == DType::F64 {
                let wanted = (0..=255u8).map(|c| narrow.number(c));
                let same = |(a, b): (f64, &f64)| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
                assert!(wanted.zip(&y.data().to_f64()).all(same), "{narrow}");
            }
        }
    }
}

#[test]
fn every_type_becomes_codes() {
    // Larger than what one thread is given at once.
    let halves: Vec<f32> = (0..=u16::MAX).map(|h| f32::from_bits(u32::from(h) << 16 | 0x8000)).collect();
    let halves = Tensor::f32(&[1 << 16], halves).unwrap();
    for overflow in Overflow::ALL {
        for powers in PowerRounding::ALL {
            let narrowing = Narrowing { overflow, powers };
            for narrow in Narrow::ALL {
                let to = narrow.into();
                let y = check(Op::Cast(Cast { to, narrowing }), &halves);
                let wanted: Vec<u8> = halves.data().to_f64().iter().map(|x| narrow.code(*x, narrowing)).collect();
                assert_eq!(y.data(), &TensorData::Narrow(narrow, wanted));
                let integers = (-200..200).chain([i64::MIN, i64::MAX, (1 << 60) + 1]).collect();
                check(Op::Cast(Cast { to, narrowing }), &Tensor::i64(&[403], integers).unwrap());
            }
        }
    }
}

#[test]
fn bits_stay() {
    for from in DType::ALL {
        let bytes: Vec<u8> = (0..=255).collect();
        let n = 256 / from.size();
        let x = Tensor::new(&[n as u64], TensorData::from_le_bytes(*from, &bytes)).unwrap();
        for to in DType::ALL.iter().filter(|d| d.bits() == from.bits() && **d != DType::Bool) {
            let y = check(Op::Bitcast(Bitcast { to: *to }), &x);
            assert_eq!(x.data().to_le_bytes(), y.data().to_le_bytes(), "{from} to {to}");
        }
    }
    let mut graph = Graph::new("g");
    let x = graph.input("x", TensorType::new(Narrow::I4.into(), Shape::fixed(&[3])));
    for to in [DType::Bool, DType::I8, Narrow::F8E5M2.into(), Narrow::U2.into()] {
        let error = graph.add(Op::Bitcast(Bitcast { to }), &[x], "y").unwrap_err();
        assert!(error.code == "ir-type" && error.headline.contains("i4"), "{error}");
    }
}

#[test]
fn codes_move_as_bytes() {
    for narrow in Narrow::ALL {
        let x = Tensor::new(&[16, 16], codes(narrow).into_data()).unwrap();
        check(Op::Transpose(Transpose { order: vec![1, 0] }), &x);
    }
}
