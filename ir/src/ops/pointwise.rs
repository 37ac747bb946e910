//! Element-by-element ops: `unary` and `binary` print as their function (`silu`, `add`); `cast` changes the element type.
//!
//! Binary arguments broadcast as ONNX and NumPy do: trailing axes aligned, an extent of 1 repeats.

use crate::op::{Arg, Payload, PayloadFields, arity, mismatch};
use crate::types::TensorType;
use actc_types::braced::Fields;
use actc_types::{DType, Diagnostic, Dim, Result, Shape, Tensor, TensorData};

macro_rules! functions {
    ($(#[$doc:meta])* $enum:ident $($variant:ident $name:literal $fdoc:literal),* $(,)?) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $enum { $(#[doc = $fdoc] $variant),* }

        impl $enum {
            /// All functions.
            pub const ALL: &[$enum] = &[$($enum::$variant),*];
            /// The name in the text form.
            pub fn name(self) -> &'static str { match self { $($enum::$variant => $name),* } }
        }
    };
}

functions! {
    /// Functions of one number.
    UnaryFunction
    Neg "neg" "`-x`",
    Abs "abs" "`|x|`",
    Sqrt "sqrt" "square root",
    Exp "exp" "`e^x`",
    Tanh "tanh" "hyperbolic tangent",
    Sigmoid "sigmoid" "`1 / (1 + e^-x)`",
    Relu "relu" "`max(x, 0)`",
    Silu "silu" "`x sigmoid(x)`",
    GeluTanh "gelu_tanh" "GELU by the tanh formula",
    GeluErf "gelu" "GELU, `x Phi(x)`",
}

functions! {
    /// Functions of two numbers.
    BinaryFunction
    Add "add" "`a + b`",
    Sub "sub" "`a - b`",
    Mul "mul" "`a b`",
    Div "div" "`a / b`",
    Min "min" "the smaller",
    Max "max" "the larger",
}

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

/// Payload of `cast`. Argument: `x`. Floats round to nearest even; to integers they truncate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cast {
    /// The new element type.
    pub to: DType,
}

/// `erf`, by its Maclaurin series below 3 and its continued fraction above: accurate to 1e-15.
fn erf(x: f64) -> f64 {
    let a = x.abs();
    let value = if a < 3.0 {
        let (mut term, mut sum) = (a, a);
        for n in 1..200 {
            term *= -a * a / f64::from(n);
            let part = term / f64::from(2 * n + 1);
            sum += part;
            if part.abs() < 1e-18 * sum.abs() {
                break;
            }
        }
        sum * std::f64::consts::FRAC_2_SQRT_PI
    } else {
        let tail = (1..=60).rev().fold(0.0, |f, k| f64::from(k) / 2.0 / (a + f));
        1.0 - (-a * a).exp() / ((a + tail) * std::f64::consts::PI.sqrt())
    };
    value.copysign(x)
}

impl UnaryFunction {
    /// The function in f64.
    pub fn apply(self, x: f64) -> f64 {
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        match self {
            UnaryFunction::Neg => -x,
            UnaryFunction::Abs => x.abs(),
            UnaryFunction::Sqrt => x.sqrt(),
            UnaryFunction::Exp => x.exp(),
            UnaryFunction::Tanh => x.tanh(),
            UnaryFunction::Sigmoid => sigmoid(x),
            UnaryFunction::Relu => x.max(0.0),
            UnaryFunction::Silu => x * sigmoid(x),
            UnaryFunction::GeluTanh => {
                let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
                0.5 * x * (1.0 + inner.tanh())
            }
            UnaryFunction::GeluErf => 0.5 * x * (1.0 + erf(x * std::f64::consts::FRAC_1_SQRT_2)),
        }
    }
}

impl BinaryFunction {
    /// The function in f64.
    pub fn apply(self, a: f64, b: f64) -> f64 {
        match self {
            BinaryFunction::Add => a + b,
            BinaryFunction::Sub => a - b,
            BinaryFunction::Mul => a * b,
            BinaryFunction::Div => a / b,
            BinaryFunction::Min => a.min(b),
            BinaryFunction::Max => a.max(b),
        }
    }
}

impl Unary {
    pub(crate) fn read_function(name: &str) -> Option<Unary> {
        UnaryFunction::ALL.iter().find(|f| f.name() == name).map(|f| Unary { function: *f })
    }
}

impl Binary {
    pub(crate) fn read_function(name: &str) -> Option<Binary> {
        BinaryFunction::ALL.iter().find(|f| f.name() == name).map(|f| Binary { function: *f })
    }
}

impl Payload for Unary {
    fn infer(&self, args: &[TensorType]) -> Result<Vec<TensorType>> {
        arity(self.function.name(), args.len(), 1..=1)?;
        if !args[0].dtype.is_float() {
            return Err(mismatch(self.function.name(), "x", args[0].dtype, "a float type"));
        }
        Ok(vec![args[0].clone()])
    }

    fn eval(&self, args: &[Arg<'_>], results: &[TensorType]) -> Result<Vec<Tensor>> {
        let (dims, x) = args[0].to_f64()?;
        let y: Vec<f64> = x.into_iter().map(|v| self.function.apply(v)).collect();
        Ok(vec![Tensor::new(&dims, TensorData::from_f64(results[0].dtype, &y))?])
    }

    fn fields(&self) -> PayloadFields {
        Vec::new()
    }

    fn read(_fields: &mut Fields<'_>) -> Result<Unary> {
        Err(Diagnostic::request("ir-syntax", "`unary` is written as its function, such as `silu`"))
    }
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
        Ok(vec![TensorType::new(args[0].dtype, shape)])
    }

    fn eval(&self, args: &[Arg<'_>], results: &[TensorType]) -> Result<Vec<Tensor>> {
        let ((ad, a), (bd, b)) = (args[0].to_f64()?, args[1].to_f64()?);
        let rank = ad.len().max(bd.len());
        let extent = |d: &[u64], i: usize| (i + d.len()).checked_sub(rank).map_or(1, |j| d[j]);
        let dims: Vec<u64> =
            (0..rank).map(|i| if extent(&ad, i) == 1 { extent(&bd, i) } else { extent(&ad, i) }).collect();
        let index = |d: &[u64], flat: u64| {
            let (mut rest, mut stride, mut at) = (flat, 1, 0);
            for i in (0..rank).rev() {
                let (here, e) = (rest % dims[i], extent(d, i));
                rest /= dims[i];
                at += if e == 1 { 0 } else { here * stride };
                stride *= e;
            }
            at as usize
        };
        let total: u64 = dims.iter().product();
        let y: Vec<f64> = (0..total).map(|i| self.function.apply(a[index(&ad, i)], b[index(&bd, i)])).collect();
        Ok(vec![Tensor::new(&dims, TensorData::from_f64(results[0].dtype, &y))?])
    }

    fn fields(&self) -> PayloadFields {
        Vec::new()
    }

    fn read(_fields: &mut Fields<'_>) -> Result<Binary> {
        Err(Diagnostic::request("ir-syntax", "`binary` is written as its function, such as `add`"))
    }
}

impl Payload for Cast {
    fn infer(&self, args: &[TensorType]) -> Result<Vec<TensorType>> {
        arity("cast", args.len(), 1..=1)?;
        Ok(vec![TensorType::new(self.to, args[0].shape.clone())])
    }

    fn eval(&self, args: &[Arg<'_>], _results: &[TensorType]) -> Result<Vec<Tensor>> {
        let (dims, x) = args[0].to_f64()?;
        Ok(vec![Tensor::new(&dims, TensorData::from_f64(self.to, &x))?])
    }

    fn fields(&self) -> PayloadFields {
        vec![("to", Some(self.to.to_string()))]
    }

    fn read(fields: &mut Fields<'_>) -> Result<Cast> {
        let to = fields.with("to", "an element type", DType::parse)?;
        Ok(Cast { to: fields.need("to", to)? })
    }
}
