//! Extents that are known only when the graph runs: `bind` gives symbols their values from integers that were computed, and
//! `expect` states what the extents of a tensor have to be.
//!
//! A symbol has a value behind its `bind`; nodes before it must not depend on it. Whatever a graph assumes of such extents
//! stands in it as an `expect` or an `expand`, and is checked when it runs.

use crate::op::{Arg, DimMap, Payload, PayloadFields, arity, map_dims, mismatch};
use crate::ops::shaping::{list, read_shape};
use crate::types::TensorType;
use actc_types::braced::Fields;
use actc_types::dim::Bindings;
use actc_types::{DType, Diagnostic, Result, Shape, Symbol, Tensor};

/// Payload of `bind`. Argument: `values i64`, one number without axes or a list; the result is the same tensor.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Bind {
    /// The symbols, one for each number.
    pub symbols: Vec<Symbol>,
}

/// Payload of `expect`. Argument: `x`, whose extents have to be those of `shape`; the result is the same tensor.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Expect {
    /// What the extents have to be.
    pub shape: Shape,
}

impl Bind {
    /// The symbols with the values that `tensor` gives them.
    pub(crate) fn bindings(&self, tensor: &Tensor) -> Result<Bindings> {
        let value = |(symbol, n): (&Symbol, &i64)| match u64::try_from(*n) {
            Ok(n) => Ok((symbol.clone(), n)),
            Err(_) => Err(Diagnostic::new("dim-negative", format!("the extent `{symbol}` would be {n}"))),
        };
        self.symbols.iter().zip(tensor.as_i64()?).map(value).collect()
    }
}

impl Payload for Bind {
    fn infer(&self, args: &[TensorType]) -> Result<Vec<TensorType>> {
        arity("bind", args.len(), 1..=1)?;
        let count = self.symbols.len() as u64;
        let fits = args[0].shape.rank() <= 1 && args[0].shape.elements()?.fixed() == Some(count);
        if args[0].dtype != DType::I64 || !fits {
            return Err(mismatch("bind", "values", &args[0], format!("{count} numbers of i64")));
        }
        Ok(args.to_vec())
    }

    fn eval(&self, args: &[Arg<'_>], _results: &[TensorType]) -> Result<Vec<Tensor>> {
        let values = args[0].tensor()?.into_owned();
        self.bindings(&values)?;
        Ok(vec![values])
    }

    fn fields(&self) -> PayloadFields {
        vec![("symbols", Some(list(&self.symbols)))]
    }

    fn read(fields: &mut Fields<'_>) -> Result<Bind> {
        let symbols = fields.with("symbols", "names", |v| v.split(',').map(|s| Symbol::new(s.trim())).collect())?;
        Ok(Bind { symbols: fields.need("symbols", symbols)? })
    }
}

impl Payload for Expect {
    fn infer(&self, args: &[TensorType]) -> Result<Vec<TensorType>> {
        arity("expect", args.len(), 1..=1)?;
        let (own, wanted) = (args[0].shape.dims(), self.shape.dims());
        let possible = |(a, b): (&actc_types::Dim, &actc_types::Dim)| match (a.fixed(), b.fixed()) {
            (Some(a), Some(b)) => a == b,
            (Some(_) | None, _) => true,
        };
        if own.len() != wanted.len() || !own.iter().zip(wanted).all(possible) {
            return Err(mismatch("expect", "the shape of x", &args[0].shape, &self.shape));
        }
        Ok(vec![TensorType::new(args[0].dtype, self.shape.clone())])
    }

    fn eval(&self, args: &[Arg<'_>], results: &[TensorType]) -> Result<Vec<Tensor>> {
        let x = args[0].tensor()?.into_owned();
        let wanted = results[0].shape.eval(&Bindings::new())?;
        if x.dims() != wanted {
            return Err(Diagnostic::new("shape-mismatch", format!("extents {:?}, expected {wanted:?}", x.dims())));
        }
        Ok(vec![x])
    }

    fn fields(&self) -> PayloadFields {
        vec![("shape", Some(list(self.shape.dims())))]
    }

    fn read(fields: &mut Fields<'_>) -> Result<Expect> {
        Ok(Expect { shape: read_shape(fields)? })
    }

    fn with_dims<E>(&self, f: DimMap<'_, E>) -> Result<Expect, E> {
        Ok(Expect { shape: Shape(map_dims(self.shape.dims(), f)?) })
    }
}
