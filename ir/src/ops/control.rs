//! Ops with regions: `if` and `loop`. Captures are explicit: a region sees its parameters and constants, nothing else.
//!
//! `if cond, captures…`: two regions over the captures, equal result types; `cond` is a `bool` scalar.
//! `loop count, carried…`: one region over an `i64` scalar (the iteration) and the carried values, giving the carried
//! values anew; `count` is an `i64` scalar.

use crate::op::{Arg, DimMap, Payload, PayloadFields, arity, map_dims, mismatch};
use crate::types::TensorType;
use actc_types::braced::Fields;
use actc_types::{DType, Diagnostic, Result, Shape, Tensor};

/// Payload of `if`. Regions: then, else.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct If {
    /// Types of the results, which both regions must give.
    pub results: Vec<TensorType>,
}

/// Payload of `loop`. Region: the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Loop;

fn scalar(op: &str, what: &str, found: Option<&TensorType>, dtype: DType) -> Result<()> {
    let wanted = TensorType::new(dtype, Shape::default());
    match found {
        Some(ty) if *ty == wanted => Ok(()),
        Some(ty) => Err(mismatch(op, what, ty, wanted)),
        None => arity(op, 0, 1..=1),
    }
}

fn by_interpreter(op: &str) -> Diagnostic {
    Diagnostic::new("ir-region", format!("`{op}` is evaluated by the interpreter, which owns regions"))
}

impl Payload for If {
    fn infer(&self, args: &[TensorType]) -> Result<Vec<TensorType>> {
        scalar("if", "the condition", args.first(), DType::Bool)?;
        Ok(self.results.clone())
    }

    fn eval(&self, _args: &[Arg<'_>], _results: &[TensorType]) -> Result<Vec<Tensor>> {
        Err(by_interpreter("if"))
    }

    fn fields(&self) -> PayloadFields {
        Vec::new()
    }

    fn read(_fields: &mut Fields<'_>) -> Result<If> {
        // Result types stand behind the op in the text form; the parser fills them in.
        Ok(If { results: Vec::new() })
    }

    fn with_dims<E>(&self, f: DimMap<'_, E>) -> Result<If, E> {
        let ty = |t: &TensorType| Ok(TensorType::new(t.dtype, Shape(map_dims(t.shape.dims(), f)?)));
        Ok(If { results: self.results.iter().map(ty).collect::<Result<_, E>>()? })
    }
}

impl Payload for Loop {
    fn infer(&self, args: &[TensorType]) -> Result<Vec<TensorType>> {
        scalar("loop", "the count", args.first(), DType::I64)?;
        Ok(args[1..].to_vec())
    }

    fn eval(&self, _args: &[Arg<'_>], _results: &[TensorType]) -> Result<Vec<Tensor>> {
        Err(by_interpreter("loop"))
    }

    fn fields(&self) -> PayloadFields {
        Vec::new()
    }

    fn read(_fields: &mut Fields<'_>) -> Result<Loop> {
        Ok(Loop)
    }
}
