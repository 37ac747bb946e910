//! Functions of one and of two numbers: what they are called, which types they take and give, and what they mean.
//!
//! Graphs name them, plans carry their numbers, the reference and the runtime compute them as written here: floats in
//! f64, rounded once by whoever stores them; integers exactly in `i128`, stored modulo the size of their type.

use crate::dtype::{DType, Kind};
use crate::words::words;

/// Which element types a function takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// Floats.
    Floats,
    /// Integers.
    Integers,
    /// Integers and floats.
    Numbers,
    /// Truth values.
    Truths,
    /// All of them.
    All,
}

impl Takes {
    /// Whether `dtype` is among them. Types of eight bits and fewer that processors do not compute in never are.
    pub fn includes(self, dtype: DType) -> bool {
        if !dtype.is_computed() {
            return false;
        }
        match (self, dtype.kind()) {
            (Takes::All, _)
            | (Takes::Floats, Kind::Float)
            | (Takes::Integers, Kind::Signed | Kind::Unsigned)
            | (Takes::Numbers, Kind::Signed | Kind::Unsigned | Kind::Float)
            | (Takes::Truths, Kind::Bool) => true,
            (Takes::Floats, Kind::Bool | Kind::Signed | Kind::Unsigned)
            | (Takes::Integers, Kind::Bool | Kind::Float)
            | (Takes::Numbers, Kind::Bool)
            | (Takes::Truths, Kind::Signed | Kind::Unsigned | Kind::Float) => false,
        }
    }

    /// For messages.
    pub fn words(self) -> &'static str {
        match self {
            Takes::Floats => "a float type",
            Takes::Integers => "an integer type",
            Takes::Numbers => "a type of numbers",
            Takes::Truths => "bool",
            Takes::All => "any type",
        }
    }
}

macro_rules! functions {
    ($(#[$doc:meta])* $enum:ident $($variant:ident $name:literal $takes:ident $gives_bool:literal $fdoc:literal),* $(,)?) => {
        words! { $(#[$doc])* $enum $($variant $name $fdoc),* }

        impl $enum {
            /// Which element types it takes.
            pub fn takes(self) -> Takes { match self { $($enum::$variant => Takes::$takes),* } }

            /// The element type that it gives for arguments of `dtype`, or `None` where it takes no such ones.
            pub fn gives(self, dtype: DType) -> Option<DType> {
                let truth = match self { $($enum::$variant => $gives_bool),* };
                self.takes().includes(dtype).then_some(if truth { DType::Bool } else { dtype })
            }
        }
    };
}

functions! {
    /// Functions of one number.
    UnaryFunction
    Neg "neg" Numbers false "`-x`",
    Abs "abs" Numbers false "`|x|`",
    Sqrt "sqrt" Floats false "square root",
    Exp "exp" Floats false "`e^x`",
    Tanh "tanh" Floats false "hyperbolic tangent",
    Sigmoid "sigmoid" Floats false "`1 / (1 + e^-x)`",
    Relu "relu" Numbers false "`max(x, 0)`",
    Silu "silu" Floats false "`x sigmoid(x)`",
    GeluTanh "gelu_tanh" Floats false "GELU by the tanh formula",
    GeluErf "gelu" Floats false "GELU, `x Phi(x)`",
    Log "log" Floats false "natural logarithm",
    Sin "sin" Floats false "sine",
    Cos "cos" Floats false "cosine",
    Tan "tan" Floats false "tangent",
    Asin "asin" Floats false "inverse sine",
    Acos "acos" Floats false "inverse cosine",
    Atan "atan" Floats false "inverse tangent",
    Sinh "sinh" Floats false "hyperbolic sine",
    Cosh "cosh" Floats false "hyperbolic cosine",
    Asinh "asinh" Floats false "inverse hyperbolic sine",
    Acosh "acosh" Floats false "inverse hyperbolic cosine",
    Atanh "atanh" Floats false "inverse hyperbolic tangent",
    Erf "erf" Floats false "the error function",
    Softplus "softplus" Floats false "`log(1 + e^x)`",
    Reciprocal "reciprocal" Floats false "`1 / x`",
    Sign "sign" Numbers false "-1, 0 or 1",
    Floor "floor" Floats false "the largest whole number not above",
    Ceil "ceil" Floats false "the smallest whole number not below",
    Round "round" Floats false "the nearest whole number, ties to even",
    Not "not" Truths false "the other truth value",
    BitNot "bit_not" Integers false "all bits flipped",
    IsNan "is_nan" Floats true "whether it is no number",
    IsInf "is_inf" Floats true "whether it is infinite",
}

functions! {
    /// Functions of two numbers.
    BinaryFunction
    Add "add" Numbers false "`a + b`",
    Sub "sub" Numbers false "`a - b`",
    Mul "mul" Numbers false "`a b`",
    Div "div" Numbers false "`a / b`; integers are truncated, and `a / 0` is 0",
    Min "min" Numbers false "the smaller; not-a-number where one is",
    Max "max" Numbers false "the larger; not-a-number where one is",
    Pow "pow" Numbers false "`a^b`; integers modulo their size, with a negative `b` truncated",
    Mod "mod" Numbers false "`a` modulo `b`, of the sign of `b`; integers give 0 where `b` is 0",
    Rem "rem" Numbers false "the rest of `a / b`, of the sign of `a`; integers give 0 where `b` is 0",
    And "and" Truths false "whether both are true",
    Or "or" Truths false "whether one is true",
    Xor "xor" Truths false "whether just one is true",
    BitAnd "bit_and" Integers false "bits that both have",
    BitOr "bit_or" Integers false "bits that one has",
    BitXor "bit_xor" Integers false "bits that just one has",
    ShiftLeft "shift_left" Integers false "`a` shifted left by `b` bits; 0 where `b` is not below the size",
    ShiftRight "shift_right" Integers false "`a` shifted right by `b` bits; its sign where `b` is not below the size",
    Equal "equal" All true "`a = b`",
    Less "less" Numbers true "`a < b`",
    LessEqual "less_equal" Numbers true "`a <= b`",
}

functions! {
    /// Functions of a row of numbers.
    RowFunction
    Sum "sum" Numbers false "the sum, 0 of none",
    Prod "prod" Numbers false "the product, 1 of none",
    Least "least" All false "the smallest; of none the largest there is",
    Most "most" All false "the largest; of none the smallest there is",
}

functions! {
    /// Functions of an element and those before it.
    Running
    Sum "sum" Numbers false "the sum, 0 of none",
    Prod "prod" Numbers false "the product, 1 of none",
}

/// The order of numbers: not-a-number is behind all others and equal to itself, both zeros are equal.
pub fn order(a: f64, b: f64) -> std::cmp::Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

/// Of things numbered `0..n` that `compare` orders: the first place of each different one, which of these each thing is, and
/// how often each is there, zeros behind; the number of different ones is given. They are in ascending order where `sorted`,
/// else in that of their first places.
pub fn places_of_unique(
    n: usize,
    sorted: bool,
    [first, number, often]: [&mut [i64]; 3],
    compare: impl Fn(usize, usize) -> std::cmp::Ordering,
) -> usize {
    let mut all: Vec<usize> = (0..n).collect();
    all.sort_by(|a, b| compare(*a, *b));
    let mut groups: Vec<&[usize]> = all.chunk_by(|a, b| compare(*a, *b).is_eq()).collect();
    if !sorted {
        groups.sort_by_key(|group| group[0]);
    }
    first.fill(0);
    often.fill(0);
    for (k, group) in groups.iter().enumerate() {
        first[k] = group[0] as i64;
        often[k] = group.len() as i64;
        group.iter().for_each(|i| number[*i] = k as i64);
    }
    groups.len()
}

/// Which of several equal extremes of a row is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Extreme {
    /// The largest element, not the smallest.
    pub largest: bool,
    /// The last of equal ones, not the first.
    pub last: bool,
}

impl RowFunction {
    /// The function of floats, summed in order. Not-a-number where one is.
    pub fn apply(self, row: impl Iterator<Item = f64>) -> f64 {
        match self {
            RowFunction::Sum => row.sum(),
            RowFunction::Prod => row.product(),
            RowFunction::Least => row.fold(f64::INFINITY, |m, x| BinaryFunction::Min.apply(m, x)),
            RowFunction::Most => row.fold(f64::NEG_INFINITY, |m, x| BinaryFunction::Max.apply(m, x)),
        }
    }

    /// The function of integers or truth values of type `dtype`.
    pub fn apply_integer(self, dtype: DType, row: impl Iterator<Item = i128>) -> i128 {
        let bits = 8 * dtype.size() as u32;
        let (lowest, highest) = match dtype.kind() {
            Kind::Bool => (0, 1),
            Kind::Unsigned | Kind::Float => (0, (1i128 << bits) - 1),
            Kind::Signed => (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1),
        };
        match self {
            RowFunction::Sum => row.fold(0, i128::wrapping_add),
            RowFunction::Prod => row.fold(1, i128::wrapping_mul),
            RowFunction::Least => row.fold(highest, i128::min),
            RowFunction::Most => row.fold(lowest, i128::max),
        }
    }
}

impl Running {
    /// What it is of none.
    pub fn first(self) -> f64 {
        match self {
            Running::Sum => 0.0,
            Running::Prod => 1.0,
        }
    }

    /// What it is with one more number.
    pub fn apply(self, so_far: f64, x: f64) -> f64 {
        match self {
            Running::Sum => so_far + x,
            Running::Prod => so_far * x,
        }
    }

    /// The same of integers, modulo 2^128.
    pub fn apply_integer(self, so_far: i128, x: i128) -> i128 {
        match self {
            Running::Sum => so_far.wrapping_add(x),
            Running::Prod => so_far.wrapping_mul(x),
        }
    }
}

impl Extreme {
    /// All of them, by number in plans: twice whether it is the largest, and whether it is the last.
    pub fn from_code(code: i64) -> Option<Extreme> {
        (0..4).contains(&code).then_some(Extreme { largest: code & 2 != 0, last: code & 1 != 0 })
    }

    /// Its number in plans.
    pub fn code(self) -> i64 {
        2 * i64::from(self.largest) + i64::from(self.last)
    }

    /// Where it stands in `row`; 0 where that is empty.
    pub fn place<T: PartialOrd>(self, row: impl Iterator<Item = T>) -> usize {
        let mut best: Option<(usize, T)> = None;
        for (i, x) in row.enumerate() {
            let better = best.as_ref().is_none_or(|(_, b)| {
                let beyond = if self.largest { x > *b } else { x < *b };
                beyond || self.last && x == *b
            });
            if better {
                best = Some((i, x));
            }
        }
        best.map_or(0, |(i, _)| i)
    }
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

fn truth(is: bool) -> f64 {
    if is { 1.0 } else { 0.0 }
}

impl UnaryFunction {
    /// The function of a float.
    pub fn apply(self, x: f64) -> f64 {
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        match self {
            UnaryFunction::Neg => -x,
            UnaryFunction::Abs => x.abs(),
            UnaryFunction::Sqrt => x.sqrt(),
            UnaryFunction::Exp => x.exp(),
            UnaryFunction::Tanh => x.tanh(),
            UnaryFunction::Sigmoid => sigmoid(x),
            UnaryFunction::Relu => {
                if x < 0.0 {
                    0.0
                } else {
                    x
                }
            }
            UnaryFunction::Silu => x * sigmoid(x),
            UnaryFunction::GeluTanh => {
                let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
                0.5 * x * (1.0 + inner.tanh())
            }
            UnaryFunction::GeluErf => 0.5 * x * (1.0 + erf(x * std::f64::consts::FRAC_1_SQRT_2)),
            UnaryFunction::Log => x.ln(),
            UnaryFunction::Sin => x.sin(),
            UnaryFunction::Cos => x.cos(),
            UnaryFunction::Tan => x.tan(),
            UnaryFunction::Asin => x.asin(),
            UnaryFunction::Acos => x.acos(),
            UnaryFunction::Atan => x.atan(),
            UnaryFunction::Sinh => x.sinh(),
            UnaryFunction::Cosh => x.cosh(),
            UnaryFunction::Asinh => x.asinh(),
            UnaryFunction::Acosh => x.acosh(),
            UnaryFunction::Atanh => x.atanh(),
            UnaryFunction::Erf => erf(x),
            // The larger of both exponents is taken out, so that neither end overflows.
            UnaryFunction::Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
            UnaryFunction::Reciprocal => 1.0 / x,
            UnaryFunction::Sign => {
                if x == 0.0 || x.is_nan() {
                    x
                } else {
                    x.signum()
                }
            }
            UnaryFunction::Floor => x.floor(),
            UnaryFunction::Ceil => x.ceil(),
            UnaryFunction::Round => x.round_ties_even(),
            UnaryFunction::Not => truth(x == 0.0),
            UnaryFunction::IsNan => truth(x.is_nan()),
            UnaryFunction::IsInf => truth(x.is_infinite()),
            // Of integers alone.
            UnaryFunction::BitNot => f64::NAN,
        }
    }

    /// The function of an integer or truth value, or `None` where it is one of floats alone.
    pub fn apply_integer(self, x: i128) -> Option<i128> {
        match self {
            UnaryFunction::Neg => Some(x.wrapping_neg()),
            UnaryFunction::Abs => Some(x.wrapping_abs()),
            UnaryFunction::Relu => Some(x.max(0)),
            UnaryFunction::Sign => Some(x.signum()),
            UnaryFunction::Not => Some(i128::from(x == 0)),
            UnaryFunction::BitNot => Some(!x),
            UnaryFunction::Sqrt
            | UnaryFunction::Exp
            | UnaryFunction::Tanh
            | UnaryFunction::Sigmoid
            | UnaryFunction::Silu
            | UnaryFunction::GeluTanh
            | UnaryFunction::GeluErf
            | UnaryFunction::Log
            | UnaryFunction::Sin
            | UnaryFunction::Cos
            | UnaryFunction::Tan
            | UnaryFunction::Asin
            | UnaryFunction::Acos
            | UnaryFunction::Atan
            | UnaryFunction::Sinh
            | UnaryFunction::Cosh
            | UnaryFunction::Asinh
            | UnaryFunction::Acosh
            | UnaryFunction::Atanh
            | UnaryFunction::Erf
            | UnaryFunction::Softplus
            | UnaryFunction::Reciprocal
            | UnaryFunction::Floor
            | UnaryFunction::Ceil
            | UnaryFunction::Round
            | UnaryFunction::IsNan
            | UnaryFunction::IsInf => None,
        }
    }
}

impl BinaryFunction {
    /// The function of floats.
    pub fn apply(self, a: f64, b: f64) -> f64 {
        let nan = a.is_nan() || b.is_nan();
        match self {
            BinaryFunction::Add => a + b,
            BinaryFunction::Sub => a - b,
            BinaryFunction::Mul => a * b,
            BinaryFunction::Div => a / b,
            BinaryFunction::Min | BinaryFunction::Max if nan => f64::NAN,
            BinaryFunction::Min => a.min(b),
            BinaryFunction::Max => a.max(b),
            BinaryFunction::Pow => a.powf(b),
            BinaryFunction::Mod => {
                let rest = a % b;
                if rest != 0.0 && (rest < 0.0) != (b < 0.0) { rest + b } else { rest }
            }
            BinaryFunction::Rem => a % b,
            BinaryFunction::And => truth(a != 0.0 && b != 0.0),
            BinaryFunction::Or => truth(a != 0.0 || b != 0.0),
            BinaryFunction::Xor => truth((a != 0.0) != (b != 0.0)),
            BinaryFunction::Equal => truth(a == b),
            BinaryFunction::Less => truth(a < b),
            BinaryFunction::LessEqual => truth(a <= b),
            // Of integers alone.
            BinaryFunction::BitAnd
            | BinaryFunction::BitOr
            | BinaryFunction::BitXor
            | BinaryFunction::ShiftLeft
            | BinaryFunction::ShiftRight => f64::NAN,
        }
    }

    /// The function of integers or truth values.
    pub fn apply_integer(self, a: i128, b: i128) -> i128 {
        // Shifts by as much as the widest type has bits leave what shifts by more do.
        let bits = u32::try_from(b).unwrap_or(u32::MAX).min(64);
        match self {
            BinaryFunction::Add => a.wrapping_add(b),
            BinaryFunction::Sub => a.wrapping_sub(b),
            BinaryFunction::Mul => a.wrapping_mul(b),
            BinaryFunction::Div => a.checked_div(b).unwrap_or(0),
            BinaryFunction::Min => a.min(b),
            BinaryFunction::Max => a.max(b),
            BinaryFunction::Pow => power(a, b),
            BinaryFunction::Mod => {
                let rest = a.checked_rem(b).unwrap_or(0);
                if rest != 0 && (rest < 0) != (b < 0) { rest + b } else { rest }
            }
            BinaryFunction::Rem => a.checked_rem(b).unwrap_or(0),
            BinaryFunction::And => i128::from(a != 0 && b != 0),
            BinaryFunction::Or => i128::from(a != 0 || b != 0),
            BinaryFunction::Xor => i128::from((a != 0) != (b != 0)),
            BinaryFunction::BitAnd => a & b,
            BinaryFunction::BitOr => a | b,
            BinaryFunction::BitXor => a ^ b,
            BinaryFunction::ShiftLeft => a.wrapping_shl(bits),
            BinaryFunction::ShiftRight => a.wrapping_shr(bits),
            BinaryFunction::Equal => i128::from(a == b),
            BinaryFunction::Less => i128::from(a < b),
            BinaryFunction::LessEqual => i128::from(a <= b),
        }
    }
}

/// `a^b` modulo 2^128; of a negative `b` what `a^b` as a real number truncates to.
fn power(a: i128, b: i128) -> i128 {
    if b < 0 {
        return match a {
            1 => 1,
            -1 => 1 - 2 * (b & 1),
            _ => 0,
        };
    }
    let (mut result, mut square, mut rest) = (1i128, a, b);
    while rest > 0 {
        if rest & 1 == 1 {
            result = result.wrapping_mul(square);
        }
        square = square.wrapping_mul(square);
        rest >>= 1;
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_functions_are_theirs() {
        for f in UnaryFunction::ALL {
            assert_eq!(UnaryFunction::from_code(f.code()), Some(*f));
        }
        for f in BinaryFunction::ALL {
            assert_eq!(BinaryFunction::from_code(f.code()), Some(*f));
        }
        assert_eq!(UnaryFunction::from_code(-1), None);
        assert_eq!(BinaryFunction::from_code(1000), None);
    }

    #[test]
    fn integers_have_the_functions_that_say_so() {
        for f in UnaryFunction::ALL {
            let some = [DType::I32, DType::Bool].iter().any(|d| f.takes().includes(*d));
            assert_eq!(f.apply_integer(5).is_some(), some, "{}", f.name());
        }
    }

    #[test]
    fn signs_of_rests() {
        for (a, b, modulo, rest) in [(7, 3, 1, 1), (-7, 3, 2, -1), (7, -3, -2, 1), (-7, -3, -1, -1), (5, 0, 0, 0)] {
            assert_eq!(BinaryFunction::Mod.apply_integer(a, b), modulo);
            assert_eq!(BinaryFunction::Rem.apply_integer(a, b), rest);
            if b != 0 {
                assert_eq!(BinaryFunction::Mod.apply(a as f64, b as f64), modulo as f64);
                assert_eq!(BinaryFunction::Rem.apply(a as f64, b as f64), rest as f64);
            }
        }
    }

    #[test]
    fn powers_of_integers() {
        let pow = |a, b| BinaryFunction::Pow.apply_integer(a, b);
        assert_eq!([pow(2, 10), pow(-3, 3), pow(0, 0), pow(2, -1), pow(-1, -3)], [1024, -27, 1, 0, -1]);
    }
}
