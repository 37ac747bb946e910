//! Element-by-element ops: `unary` and `binary` print as their function (`silu`, `add`); `select` picks one of two; `cast`
//! changes the element type, `bitcast` what the bits of an element mean.
//!
//! Binary arguments broadcast as ONNX and NumPy do: trailing axes aligned, an extent of 1 repeats.

use crate::op::{Arg, Payload, PayloadFields, arity, mismatch};
use crate::types::TensorType;
use actc_types::braced::Fields;
use actc_types::{DType, Diagnostic, Dim, Narrowing, Overflow, PowerRounding, Result, Shape, Tensor, TensorData};

pub use actc_types::function::{BinaryFunction, UnaryFunction};

/// Payload of a unary op. Argument: `x`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Unary {
    /// What is computed.
    pub function: UnaryFunction,
}

/// Payload of a binary op. Arguments: `a`, `b`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Binary {
    /// What is computed.
    pub function: BinaryFunction,
}

/// Payload of `select`. Arguments: `condition`, `a`, `b`; element by element `a` where the condition is true, else `b`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Select;

/// Payload of `cast`. Argument: `x`. Floats round to nearest even; to integers they truncate and saturate; integers wrap.
/// What becomes of numbers in types of eight bits and fewer says [`actc_types::narrow`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cast {
    /// The new element type.
    pub to: DType,
    /// What it leaves open; the text form says what is not the default.
    pub narrowing: Narrowing,
}

impl Cast {
    /// To elements of `to`, otherwise by default.
    pub fn to(to: DType) -> Cast {
        Cast { to, narrowing: Narrowing::default() }
    }
}

/// Payload of `bitcast`. Argument: `x`; its bits as those of another type with as many, which is not `bool`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bitcast {
    /// The new element type.
    pub to: DType,
}

impl Unary {
    pub(crate) fn read_function(name: &str) -> Option<Unary> {
        UnaryFunction::parse(name).map(|function| Unary { function })
    }
}

impl Binary {
    pub(crate) fn read_function(name: &str) -> Option<Binary> {
        BinaryFunction::parse(name).map(|function| Binary { function })
    }
}

impl Payload for Unary {
    fn infer(&self, args: &[TensorType]) -> Result<Vec<TensorType>> {
        arity(self.function.name(), args.len(), 1..=1)?;
        let TensorType { dtype, shape } = &args[0];
        let gives = self.function.gives(*dtype);
        let gives = gives.ok_or_else(|| mismatch(self.function.name(), "x", dtype, self.function.takes().words()))?;
        Ok(vec![TensorType::new(gives, shape.clone())])
    }

    fn eval(&self, args: &[Arg<'_>], results: &[TensorType]) -> Result<Vec<Tensor>> {
        let x = args[0].tensor()?;
        let y = if x.dtype().is_float() {
            let y: Vec<f64> = x.data().to_f64().into_iter().map(|v| self.function.apply(v)).collect();
            TensorData::from_f64(results[0].dtype, &y)
        } else {
            let none = || mismatch(self.function.name(), "x", x.dtype(), "a float type");
            let y = x.data().to_integers().into_iter().map(|v| self.function.apply_integer(v));
            TensorData::from_integers(results[0].dtype, &y.collect::<Option<Vec<_>>>().ok_or_else(none)?)
        };
        Ok(vec![Tensor::new(x.dims(), y)?])
    }

    fn fields(&self) -> PayloadFields {
        Vec::new()
    }

    fn read(_fields: &mut Fields<'_>) -> Result<Unary> {
        Err(Diagnostic::request("ir-syntax", "`unary` is written as its function, such as `silu`"))
    }
}

/// The extents of what tensors of these extents broadcast to.
pub(crate) fn repeated(all: &[&[u64]]) -> Vec<u64> {
    let rank = all.iter().map(|d| d.len()).max().unwrap_or(0);
    let extent = |d: &[u64], i: usize| (i + d.len()).checked_sub(rank).map_or(1, |j| d[j]);
    (0..rank).map(|i| all.iter().map(|d| extent(d, i)).find(|e| *e != 1).unwrap_or(1)).collect()
}

/// Which element of a tensor of extents `from` stands at element `flat` where it is repeated to extents `to`.
pub(crate) fn source(from: &[u64], to: &[u64], flat: u64) -> usize {
    let (mut rest, mut stride, mut at) = (flat, 1, 0);
    for i in (0..to.len()).rev() {
        let here = rest % to[i].max(1);
        rest /= to[i].max(1);
        let extent = (i + from.len()).checked_sub(to.len()).map_or(1, |j| from[j]);
        at += if extent == 1 { 0 } else { here * stride };
        stride *= extent;
    }
    at as usize
}

/// The shape that `a` and `b` broadcast to, or `None` where they do not.
pub fn broadcast(a: &Shape, b: &Shape) -> Option<Shape> {
    let one = Dim::from(1);
    let rank = a.rank().max(b.rank());
    let at = |s: &Shape, i: usize| (i + s.rank()).checked_sub(rank).map_or(one.clone(), |j| s.0[j].clone());
    let pick = |i| match (at(a, i), at(b, i)) {
        (x, y) if x == y || y == one => Some(x),
        (x, y) if x == one => Some(y),
        _ => None,
    };
    (0..rank).map(pick).collect::<Option<Vec<Dim>>>().map(Shape)
}

impl Payload for Binary {
    fn infer(&self, args: &[TensorType]) -> Result<Vec<TensorType>> {
        let name = self.function.name();
        arity(name, args.len(), 2..=2)?;
        if args[0].dtype != args[1].dtype {
            return Err(mismatch(name, "b", args[1].dtype, args[0].dtype));
        }
        let shape = broadcast(&args[0].shape, &args[1].shape).ok_or_else(|| {
            mismatch(name, "shape of b", &args[1].shape, format!("one that broadcasts with {}", args[0].shape))
        })?;
        let gives = self.function.gives(args[0].dtype);
        let gives = gives.ok_or_else(|| mismatch(name, "a", args[0].dtype, self.function.takes().words()))?;
        Ok(vec![TensorType::new(gives, shape)])
    }

    fn eval(&self, args: &[Arg<'_>], results: &[TensorType]) -> Result<Vec<Tensor>> {
        let (a, b) = (args[0].tensor()?, args[1].tensor()?);
        let (ad, bd) = (a.dims(), b.dims());
        let dims = repeated(&[ad, bd]);
        let total: u64 = dims.iter().product();
        let pairs = (0..total).map(|i| (source(ad, &dims, i), source(bd, &dims, i)));
        let y = if a.dtype().is_float() {
            let (a, b) = (a.data().to_f64(), b.data().to_f64());
            let y: Vec<f64> = pairs.map(|(i, j)| self.function.apply(a[i], b[j])).collect();
            TensorData::from_f64(results[0].dtype, &y)
        } else {
            let (a, b) = (a.data().to_integers(), b.data().to_integers());
            let y: Vec<i128> = pairs.map(|(i, j)| self.function.apply_integer(a[i], b[j])).collect();
            TensorData::from_integers(results[0].dtype, &y)
        };
        Ok(vec![Tensor::new(&dims, y)?])
    }

    fn fields(&self) -> PayloadFields {
        Vec::new()
    }

    fn read(_fields: &mut Fields<'_>) -> Result<Binary> {
        Err(Diagnostic::request("ir-syntax", "`binary` is written as its function, such as `add`"))
    }
}

impl Payload for Select {
    fn infer(&self, args: &[TensorType]) -> Result<Vec<TensorType>> {
        arity("select", args.len(), 3..=3)?;
        if args[0].dtype != DType::Bool {
            return Err(mismatch("select", "the condition", args[0].dtype, "bool"));
        }
        if args[1].dtype != args[2].dtype {
            return Err(mismatch("select", "b", args[2].dtype, args[1].dtype));
        }
        let shape = broadcast(&args[1].shape, &args[2].shape).and_then(|s| broadcast(&args[0].shape, &s));
        let shape = shape.ok_or_else(|| {
            let shapes = args.iter().map(|a| a.shape.to_string()).collect::<Vec<_>>().join(", ");
            mismatch("select", "the shapes", shapes, "ones that broadcast")
        })?;
        Ok(vec![TensorType::new(args[1].dtype, shape)])
    }

    fn eval(&self, args: &[Arg<'_>], results: &[TensorType]) -> Result<Vec<Tensor>> {
        let [condition, a, b] = [0, 1, 2].map(|i| args[i].tensor());
        let (condition, a, b) = (condition?, a?, b?);
        let dims = repeated(&[condition.dims(), a.dims(), b.dims()]);
        let taken = condition.data().to_integers();
        let pick = |i: u64| taken[source(condition.dims(), &dims, i)] != 0;
        let total: u64 = dims.iter().product();
        let size = results[0].dtype.size();
        let (x, z) = (a.data().to_le_bytes(), b.data().to_le_bytes());
        let each = |i| if pick(i) { (&x, source(a.dims(), &dims, i)) } else { (&z, source(b.dims(), &dims, i)) };
        let bytes: Vec<u8> = (0..total).map(each).flat_map(|(from, at)| from[at * size..][..size].to_vec()).collect();
        let y = TensorData::from_le_bytes(results[0].dtype, &bytes);
        Ok(vec![Tensor::new(&dims, y)?])
    }

    fn fields(&self) -> PayloadFields {
        Vec::new()
    }

    fn read(_fields: &mut Fields<'_>) -> Result<Select> {
        Ok(Select)
    }
}

impl Payload for Cast {
    fn infer(&self, args: &[TensorType]) -> Result<Vec<TensorType>> {
        arity("cast", args.len(), 1..=1)?;
        Ok(vec![TensorType::new(self.to, args[0].shape.clone())])
    }

    fn eval(&self, args: &[Arg<'_>], _results: &[TensorType]) -> Result<Vec<Tensor>> {
        let x = args[0].tensor()?;
        let y = match (self.to, x.dtype().is_float()) {
            (DType::Narrow(n), true) => {
                let x = x.data().to_f64();
                TensorData::Narrow(n, x.iter().map(|x| n.code(*x, self.narrowing)).collect())
            }
            (DType::Narrow(n), false) => {
                let x = x.data().to_integers();
                TensorData::Narrow(n, x.iter().map(|x| n.integer_code(*x, self.narrowing)).collect())
            }
            (_, true) => TensorData::from_f64(self.to, &x.data().to_f64()),
            (_, false) => TensorData::from_integers(self.to, &x.data().to_integers()),
        };
        Ok(vec![Tensor::new(x.dims(), y)?])
    }

    fn fields(&self) -> PayloadFields {
        let Narrowing { overflow, powers } = self.narrowing;
        let mut fields = vec![("to", Some(self.to.to_string()))];
        if overflow != Overflow::default() {
            fields.push(("overflow", Some(overflow.name().into())));
        }
        if powers != PowerRounding::default() {
            fields.push(("powers", Some(powers.name().into())));
        }
        fields
    }

    fn read(fields: &mut Fields<'_>) -> Result<Cast> {
        let to = fields.with("to", "an element type", DType::parse)?;
        let overflow =
            fields.with("overflow", "saturate or special", |v| Overflow::ALL.into_iter().find(|o| o.name() == v))?;
        let powers =
            fields.with("powers", "up, down or nearest", |v| PowerRounding::ALL.into_iter().find(|p| p.name() == v))?;
        let narrowing = Narrowing { overflow: overflow.unwrap_or_default(), powers: powers.unwrap_or_default() };
        Ok(Cast { to: fields.need("to", to)?, narrowing })
    }
}

impl Payload for Bitcast {
    fn infer(&self, args: &[TensorType]) -> Result<Vec<TensorType>> {
        arity("bitcast", args.len(), 1..=1)?;
        let from = args[0].dtype;
        if self.to.bits() != from.bits() || self.to == DType::Bool {
            let wanted = format!("one of {} bits that is not bool, as {from}", from.bits());
            return Err(mismatch("bitcast", "`to`", self.to, wanted));
        }
        Ok(vec![TensorType::new(self.to, args[0].shape.clone())])
    }

    fn eval(&self, args: &[Arg<'_>], _results: &[TensorType]) -> Result<Vec<Tensor>> {
        let x = args[0].tensor()?;
        Ok(vec![Tensor::new(x.dims(), TensorData::from_le_bytes(self.to, &x.data().to_le_bytes()))?])
    }

    fn fields(&self) -> PayloadFields {
        vec![("to", Some(self.to.to_string()))]
    }

    fn read(fields: &mut Fields<'_>) -> Result<Bitcast> {
        let to = fields.with("to", "an element type", DType::parse)?;
        Ok(Bitcast { to: fields.need("to", to)? })
    }
}
