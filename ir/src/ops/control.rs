//! Ops with regions: `if` and `loop`. Captures are explicit: a region sees its parameters and constants, nothing else.
//!
//! `if cond, captures…`: two regions over the captures, equal result types; `cond` is a `bool` scalar.
//! `loop count, carried…, captures…`: one region over an `i64` scalar (the round), the carried values and the captures, giving
//! the carried values anew and what is stacked; `count` is an `i64` scalar. Results: the carried values after the last round,
//! and of what is stacked a row of each round, zeros for rounds that do not come; more rounds than rows are an error.

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
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Loop {
    /// Whether the first carried value, a `bool` scalar, is asked before each round whether there is one.
    pub guarded: bool,
    /// How many of the last arguments are captures, which each round reads as they are.
    pub captures: usize,
    /// Types of the results that are stacked.
    pub stacked: Vec<TensorType>,
}

impl Loop {
    /// How many of `args` arguments are carried.
    pub fn carried(&self, args: usize) -> usize {
        args.saturating_sub(1 + self.captures)
    }

    /// What a round gives of a stacked result.
    pub(crate) fn row(stacked: &TensorType) -> TensorType {
        TensorType::new(stacked.dtype, Shape(stacked.shape.dims().get(1..).unwrap_or(&[]).to_vec()))
    }
}

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
        let carried = self.carried(args.len());
        if self.captures >= args.len() {
            return Err(mismatch("loop", "`captures`", self.captures, format!("at most {}", args.len() - 1)));
        }
        if self.guarded {
            scalar("loop", "the first carried value", args[1..=carried].first(), DType::Bool)?;
        }
        if let Some(ty) = self.stacked.iter().find(|ty| ty.shape.rank() == 0) {
            return Err(mismatch("loop", "a stacked result", ty, "one with an axis of rounds"));
        }
        Ok([&args[1..=carried], &self.stacked].concat())
    }

    fn eval(&self, _args: &[Arg<'_>], _results: &[TensorType]) -> Result<Vec<Tensor>> {
        Err(by_interpreter("loop"))
    }

    fn with_dims<E>(&self, f: DimMap<'_, E>) -> Result<Loop, E> {
        let ty = |t: &TensorType| Ok(TensorType::new(t.dtype, Shape(map_dims(t.shape.dims(), f)?)));
        Ok(Loop { stacked: self.stacked.iter().map(ty).collect::<Result<_, E>>()?, ..self.clone() })
    }

    fn fields(&self) -> PayloadFields {
        let mut fields: PayloadFields = Vec::new();
        fields.extend(self.guarded.then_some(("guarded", None)));
        fields.extend((self.captures > 0).then(|| ("captures", Some(self.captures.to_string()))));
        fields
    }

    fn read(fields: &mut Fields<'_>) -> Result<Loop> {
        // As of `if`, the types of results stand behind the op.
        let captures = fields.number("captures")?.unwrap_or(0);
        Ok(Loop { guarded: fields.flag("guarded")?, captures, stacked: Vec::new() })
    }
}
