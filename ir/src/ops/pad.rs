//! `pad`: more elements before and behind those of a tensor, all equal.

use super::shaping::list;
use crate::op::{Arg, Payload, PayloadFields, arity, mismatch};
use crate::types::TensorType;
use actc_types::braced::Fields;
use actc_types::{Diagnostic, Dim, Result, Shape, Tensor, TensorData};

/// Payload of `pad`. Arguments: `x`, of at least one axis, and `value`, one element of its type without axes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pad {
    /// For each axis the number of elements before.
    pub before: Vec<u64>,
    /// For each axis the number of elements behind.
    pub behind: Vec<u64>,
}

impl Payload for Pad {
    fn infer(&self, args: &[TensorType]) -> Result<Vec<TensorType>> {
        arity("pad", args.len(), 2..=2)?;
        let rank = args[0].shape.rank();
        if rank == 0 || self.before.len() != rank || self.behind.len() != rank {
            let given = format!("{} and {} numbers", self.before.len(), self.behind.len());
            return Err(mismatch("pad", "the payload", given, format!("one for each axis of {}", args[0].shape)));
        }
        if args[1].dtype != args[0].dtype || args[1].shape.rank() != 0 {
            return Err(mismatch("pad", "the value", &args[1], format!("{} without axes", args[0].dtype)));
        }
        let grown = |(i, d): (usize, &Dim)| {
            let sum = self.before[i].checked_add(self.behind[i]).filter(|n| i64::try_from(*n).is_ok());
            sum.and_then(|n| d.checked_add(&Dim::from(n)))
        };
        let dims = args[0].shape.dims().iter().enumerate().map(grown).collect::<Option<Vec<Dim>>>();
        let dims = dims.ok_or_else(|| Diagnostic::new("dim-overflow", "pad: too many elements"))?;
        Ok(vec![TensorType::new(args[0].dtype, Shape(dims))])
    }

    fn eval(&self, args: &[Arg<'_>], results: &[TensorType]) -> Result<Vec<Tensor>> {
        let (x, value) = (args[0].tensor()?, args[1].tensor()?);
        let grown = x.dims().iter().zip(&self.before).zip(&self.behind).map(|((n, b), a)| n + b + a);
        let dims: Vec<u64> = grown.collect();
        let total: u64 = dims.iter().product();
        let size = results[0].dtype.size();
        let (own, filler) = (x.data().to_le_bytes(), value.data().to_le_bytes());
        let place = |flat: u64| {
            let (mut rest, mut stride, mut at) = (flat, 1, 0);
            for (i, extent) in x.dims().iter().enumerate().rev() {
                let here = (rest % dims[i]).checked_sub(self.before[i]).filter(|h| h < extent)?;
                rest /= dims[i];
                at += here * stride;
                stride *= extent;
            }
            Some(at as usize)
        };
        let element = |i| place(i).map_or(&filler[..size], |at| &own[at * size..][..size]);
        let bytes: Vec<u8> = (0..total).flat_map(|i| element(i).to_vec()).collect();
        Ok(vec![Tensor::new(&dims, TensorData::from_le_bytes(results[0].dtype, &bytes))?])
    }

    fn fields(&self) -> PayloadFields {
        vec![("before", Some(list(&self.before))), ("behind", Some(list(&self.behind)))]
    }

    fn read(fields: &mut Fields<'_>) -> Result<Pad> {
        let numbers = |v: &str| v.split(',').map(|n| n.trim().parse().ok()).collect::<Option<Vec<u64>>>();
        let before = fields.with("before", "numbers of elements", numbers)?;
        let behind = fields.with("behind", "numbers of elements", numbers)?;
        Ok(Pad { before: fields.need("before", before)?, behind: fields.need("behind", behind)? })
    }
}
