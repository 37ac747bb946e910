//! Ops whose results have as many elements as their arguments hold: `non_zero`, `unique`, `non_max_suppression`. Each gives as
//! much as there can be, zeros behind what there is, and last the number of what there is, `i64 []`.

use crate::op::{Arg, DimMap, Payload, PayloadFields, arity, computed, mismatch};
use crate::types::TensorType;
pub use actc_types::boxes::Corners;
use actc_types::boxes::suppressed;
use actc_types::braced::Fields;
use actc_types::dim::Bindings;
use actc_types::function::{order, places_of_unique};
use actc_types::{DType, Diagnostic, Dim, Result, Shape, Tensor};

/// Payload of `non_zero`. Argument: `x` of `r` axes and `n` elements; results: `i64 [r, n]`, the indices of elements that are
/// not 0 along each axis, in order, and their number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NonZero;

/// Payload of `unique`. Argument: `x [n, m]`; results `i64 [n]`: the first place of each different row, for each row of `x` the
/// number of the different one that it is, how often each is there; and how many different rows there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Unique {
    /// Different rows are in ascending order, not in that of their first places.
    pub sorted: bool,
}

/// Payload of `non_max_suppression`. Arguments: `boxes f32 [b, n, 4]`, `scores f32 [b, c, n]`, `most i64 []`, `overlap f32 []`,
/// `least f32 []`; results: `i64 [b c limit, 3]`, batch, class and box of those that are kept, and their number. Of each
/// batch and class boxes of a score above `least` are kept in the order of their scores, unless they overlap a kept one by
/// more than `overlap` of their union; at most `most` and at most `limit`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NonMaxSuppression {
    /// Most boxes of a batch and class.
    pub limit: Dim,
    /// What the four numbers of a box are.
    pub corners: Corners,
}

fn count() -> TensorType {
    TensorType::new(DType::I64, Shape::default())
}

impl Payload for NonZero {
    fn infer(&self, args: &[TensorType]) -> Result<Vec<TensorType>> {
        arity("non_zero", args.len(), 1..=1)?;
        computed("non_zero", &args[0])?;
        let shape = Shape(vec![Dim::from(args[0].shape.rank() as u64), args[0].shape.elements()?]);
        Ok(vec![TensorType::new(DType::I64, shape), count()])
    }

    fn eval(&self, args: &[Arg<'_>], _results: &[TensorType]) -> Result<Vec<Tensor>> {
        let x = args[0].tensor()?;
        let there: Vec<u64> = if x.dtype().is_float() {
            x.data().to_f64().iter().zip(0..).filter(|(x, _)| **x != 0.0).map(|(_, i)| i).collect()
        } else {
            x.data().to_integers().iter().zip(0..).filter(|(x, _)| **x != 0).map(|(_, i)| i).collect()
        };
        let (rank, total) = (x.dims().len(), x.data().len());
        let mut y = vec![0; rank * total];
        for (n, flat) in there.iter().enumerate() {
            let mut rest = *flat;
            for (axis, extent) in x.dims().iter().enumerate().rev() {
                y[axis * total + n] = (rest % extent) as i64;
                rest /= extent;
            }
        }
        Ok(vec![Tensor::i64(&[rank as u64, total as u64], y)?, Tensor::i64(&[], vec![there.len() as i64])?])
    }

    fn fields(&self) -> PayloadFields {
        Vec::new()
    }

    fn read(_fields: &mut Fields<'_>) -> Result<NonZero> {
        Ok(NonZero)
    }
}

impl Payload for Unique {
    fn infer(&self, args: &[TensorType]) -> Result<Vec<TensorType>> {
        arity("unique", args.len(), 1..=1)?;
        computed("unique", &args[0])?;
        let [n, _] = args[0].shape.dims() else { return Err(mismatch("unique", "x", &args[0], "rows")) };
        let list = TensorType::new(DType::I64, Shape(vec![n.clone()]));
        Ok(vec![list.clone(), list.clone(), list, count()])
    }

    fn eval(&self, args: &[Arg<'_>], _results: &[TensorType]) -> Result<Vec<Tensor>> {
        let x = args[0].tensor()?;
        let (n, m) = (x.dims()[0] as usize, x.dims()[1] as usize);
        let (mut first, mut number, mut often) = (vec![0; n], vec![0; n], vec![0; n]);
        let results = [&mut first[..], &mut number, &mut often];
        let different = if x.dtype().is_float() {
            let x = x.data().to_f64();
            places_of_unique(n, self.sorted, results, |a, b| {
                let pairs = x[a * m..][..m].iter().zip(&x[b * m..][..m]);
                pairs.map(|(a, b)| order(*a, *b)).find(|o| o.is_ne()).unwrap_or(std::cmp::Ordering::Equal)
            })
        } else {
            let x = x.data().to_integers();
            places_of_unique(n, self.sorted, results, |a, b| x[a * m..][..m].cmp(&x[b * m..][..m]))
        };
        let list = |v: Vec<i64>| Tensor::i64(&[n as u64], v);
        Ok(vec![list(first)?, list(number)?, list(often)?, Tensor::i64(&[], vec![different as i64])?])
    }

    fn fields(&self) -> PayloadFields {
        if self.sorted { vec![("sorted", None)] } else { Vec::new() }
    }

    fn read(fields: &mut Fields<'_>) -> Result<Unique> {
        Ok(Unique { sorted: fields.flag("sorted")? })
    }
}

impl Payload for NonMaxSuppression {
    fn infer(&self, args: &[TensorType]) -> Result<Vec<TensorType>> {
        arity("non_max_suppression", args.len(), 5..=5)?;
        let wrong = |what: &str, i: usize, wanted: &str| Err(mismatch("non_max_suppression", what, &args[i], wanted));
        let ([b, n, four], [batches, classes, each]) = (args[0].shape.dims(), args[1].shape.dims()) else {
            return wrong("boxes", 0, "f32[B, N, 4] with scores f32[B, C, N]");
        };
        let numbers = args[0].dtype == DType::F32 && args[1].dtype == DType::F32;
        if !numbers || four.fixed() != Some(4) || b != batches || n != each {
            return wrong("scores", 1, &format!("f32[{b}, C, {n}], and boxes f32[{b}, {n}, 4]"));
        }
        let scalars = [DType::I64, DType::F32, DType::F32].map(|d| TensorType::new(d, Shape::default()));
        if let Some(i) = (2..5).find(|i| args[*i] != scalars[i - 2]) {
            return wrong("a bound", i, "a number without axes, i64 or f32");
        }
        let most = b.checked_mul(classes).and_then(|n| n.checked_mul(&self.limit));
        let most = most.ok_or_else(|| Diagnostic::new("dim-overflow", "non_max_suppression: too many boxes"))?;
        Ok(vec![TensorType::new(DType::I64, Shape(vec![most, Dim::from(3)])), count()])
    }

    fn eval(&self, args: &[Arg<'_>], results: &[TensorType]) -> Result<Vec<Tensor>> {
        let [boxes, scores, most, overlap, least] = [0, 1, 2, 3, 4].map(|i| args[i].tensor());
        let (boxes, scores, most, overlap, least) = (boxes?, scores?, most?, overlap?, least?);
        let (n, classes) = (scores.dims()[2] as usize, scores.dims()[1] as usize);
        // The interpreter substitutes symbols in payloads before evaluation.
        let limit = self.limit.eval(&Bindings::new())?;
        let most = usize::try_from(most.as_i64()?[0].clamp(0, limit.min(i64::MAX as u64) as i64)).unwrap_or(0);
        let dims = results[0].shape.eval(&Bindings::new())?;
        let (all, scores) = (boxes.as_f32()?, scores.as_f32()?);
        let mut kept = Vec::new();
        for pair in 0..scores.len().checked_div(n).unwrap_or(0) {
            let own = &all[pair / classes * n * 4..][..n * 4];
            let mut places = Vec::new();
            let bounds = (most, overlap.as_f32()?[0], least.as_f32()?[0]);
            suppressed(self.corners, own, &scores[pair * n..][..n], bounds, &mut places);
            kept.extend(places.iter().flat_map(|p| [(pair / classes) as i64, (pair % classes) as i64, *p as i64]));
        }
        let count = Tensor::i64(&[], vec![(kept.len() / 3) as i64])?;
        kept.resize(dims.iter().product::<u64>() as usize, 0);
        Ok(vec![Tensor::i64(&dims, kept)?, count])
    }

    fn with_dims<E>(&self, f: DimMap<'_, E>) -> Result<NonMaxSuppression, E> {
        Ok(NonMaxSuppression { limit: f(&self.limit)?, corners: self.corners })
    }

    fn fields(&self) -> PayloadFields {
        let mut fields = vec![("limit", Some(self.limit.to_string()))];
        match self.corners {
            Corners::Opposite => {}
            Corners::Centre => fields.push(("centre", None)),
        }
        fields
    }

    fn read(fields: &mut Fields<'_>) -> Result<NonMaxSuppression> {
        let limit = fields.with("limit", "a dimension", |v| Dim::parse(v).ok())?;
        let corners = if fields.flag("centre")? { Corners::Centre } else { Corners::Opposite };
        Ok(NonMaxSuppression { limit: fields.need("limit", limit)?, corners })
    }
}
