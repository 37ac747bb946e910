//! Functions of one and two elements as CUDA functions `apply`, with the meaning that [`actc_types::function`] gives them.

use super::super::element::Element;
use actc_types::function::{BinaryFunction, Takes, UnaryFunction};
use actc_types::{DType, Diagnostic, Result};

/// Neither end overflows before the quotient does.
pub(in super::super) const SIGMOID: &str =
    "__device__ __forceinline__ float sigmoid(float x) { return expf(fminf(x, 0.0f)) / (1.0f + expf(-fabsf(x))); }";

/// Refuses types that the function called `name`, which takes `takes`, does not take.
pub(in super::super) fn takes(name: &str, takes: Takes, dtype: Element) -> Result<()> {
    if takes.includes(dtype.dtype()) {
        return Ok(());
    }
    Err(Diagnostic::new("kernel-dtype", format!("`{name}` takes {}, not {dtype}", takes.words())))
}

fn signature(gives: Element, takes: Element, arguments: &[&str]) -> String {
    let arguments: Vec<String> = arguments.iter().map(|a| format!("{} {a}", takes.cuda())).collect();
    format!("__device__ __forceinline__ {} apply({})", gives.cuda(), arguments.join(", "))
}

/// `apply` as one expression.
fn expression(head: String, value: &str) -> Vec<String> {
    vec![format!("{head} {{ return {value}; }}")]
}

fn unsigned(dtype: Element) -> &'static str {
    match dtype {
        Element::I64 => "u64",
        Element::F32 | Element::I32 | Element::U8 | Element::I8 | Element::Bool => "u32",
    }
}

/// The element that a function gives of `dtype`, which it takes.
fn given(gives: Option<DType>, dtype: Element) -> Result<Element> {
    gives.map_or(Ok(dtype), Element::of)
}

pub(super) fn unary(function: UnaryFunction, dtype: Element) -> Result<Vec<String>> {
    let head = signature(given(function.gives(dtype.dtype()), dtype)?, dtype, &["x"]);
    let float = dtype == Element::F32;
    let (t, u) = (dtype.cuda(), unsigned(dtype));
    let integer = |value: &str| Ok(expression(head.clone(), &value.replace("{t}", t).replace("{u}", u)));
    let value = match function {
        UnaryFunction::Neg if !float => return integer("({t})(0 - ({u})x)"),
        UnaryFunction::Abs if !float => return integer("x < 0 ? ({t})(0 - ({u})x) : x"),
        UnaryFunction::Relu if !float => return integer("x > 0 ? x : 0"),
        UnaryFunction::Sign if !float => return integer("(x > 0) - (x < 0)"),
        UnaryFunction::Neg => "-x",
        UnaryFunction::Abs => "fabsf(x)",
        UnaryFunction::Sqrt => "sqrtf(x)",
        UnaryFunction::Exp => "expf(x)",
        UnaryFunction::Tanh => "tanhf(x)",
        UnaryFunction::Sigmoid => "sigmoid(x)",
        UnaryFunction::Relu => "x < 0.0f ? 0.0f : x",
        UnaryFunction::Silu => "x * sigmoid(x)",
        // x times the sigmoid of twice what the formula's tanh takes: nothing cancels.
        UnaryFunction::GeluTanh => "x * sigmoid(1.5957691216057308f * fmaf(0.044715f * x * x, x, x))",
        UnaryFunction::GeluErf => "0.5f * x * erfcf(-0.70710678118654752f * x)",
        UnaryFunction::Log => "logf(x)",
        UnaryFunction::Sin => "sinf(x)",
        UnaryFunction::Cos => "cosf(x)",
        UnaryFunction::Tan => "tanf(x)",
        UnaryFunction::Asin => "asinf(x)",
        UnaryFunction::Acos => "acosf(x)",
        UnaryFunction::Atan => "atanf(x)",
        UnaryFunction::Sinh => "sinhf(x)",
        UnaryFunction::Cosh => "coshf(x)",
        UnaryFunction::Asinh => "asinhf(x)",
        UnaryFunction::Acosh => "acoshf(x)",
        UnaryFunction::Atanh => "atanhf(x)",
        UnaryFunction::Erf => "erff(x)",
        UnaryFunction::Softplus => "fmaxf(x, 0.0f) + log1pf(expf(-fabsf(x)))",
        UnaryFunction::Reciprocal => "1.0f / x",
        UnaryFunction::Sign => "x == 0.0f || x != x ? x : copysignf(1.0f, x)",
        UnaryFunction::Floor => "floorf(x)",
        UnaryFunction::Ceil => "ceilf(x)",
        UnaryFunction::Round => "rintf(x)",
        UnaryFunction::Not => "x == 0",
        UnaryFunction::BitNot => "~x",
        UnaryFunction::IsNan => "x != x",
        UnaryFunction::IsInf => "fabsf(x) == __int_as_float(0x7f800000)",
    };
    let body = expression(head, value);
    Ok(if value.contains("sigmoid") { [vec![SIGMOID.to_owned()], body].concat() } else { body })
}

pub(in super::super) fn binary(function: BinaryFunction, dtype: Element) -> Result<Vec<String>> {
    let head = signature(given(function.gives(dtype.dtype()), dtype)?, dtype, &["a", "b"]);
    let bits = 8 * dtype.dtype().size();
    let float = dtype == Element::F32;
    let fill = |value: &str| {
        value.replace("{t}", dtype.cuda()).replace("{u}", unsigned(dtype)).replace("{bits}", &bits.to_string())
    };
    let block = |lines: &[&str]| {
        let lines = lines.iter().map(|l| format!("    {}", fill(l)));
        [format!("{head} {{")].into_iter().chain(lines).chain(["}".to_owned()]).collect::<Vec<_>>()
    };
    let value = match (function, float) {
        (BinaryFunction::Add, true) => "a + b",
        (BinaryFunction::Sub, true) => "a - b",
        (BinaryFunction::Mul, true) => "a * b",
        (BinaryFunction::Div, true) => "a / b",
        (BinaryFunction::Min, true) => "a != a || b != b ? __int_as_float(0x7fc00000) : fminf(a, b)",
        (BinaryFunction::Max, true) => "a != a || b != b ? __int_as_float(0x7fc00000) : fmaxf(a, b)",
        (BinaryFunction::Pow, true) => "powf(a, b)",
        (BinaryFunction::Rem, true) => "fmodf(a, b)",
        (BinaryFunction::Mod, true) => {
            return Ok(block(&[
                "const float rest = fmodf(a, b);",
                "return rest != 0.0f && (rest < 0.0f) != (b < 0.0f) ? rest + b : rest;",
            ]));
        }
        (BinaryFunction::Add, false) => "({t})(({u})a + ({u})b)",
        (BinaryFunction::Sub, false) => "({t})(({u})a - ({u})b)",
        (BinaryFunction::Mul, false) => "({t})(({u})a * ({u})b)",
        (BinaryFunction::Min, false) => "a < b ? a : b",
        (BinaryFunction::Max, false) => "a > b ? a : b",
        // The smallest number by -1 does not fit; it wraps.
        (BinaryFunction::Div, false) => "b == 0 ? 0 : b == -1 ? ({t})(0 - ({u})a) : a / b",
        (BinaryFunction::Rem, false) => "b == 0 || b == -1 ? 0 : a % b",
        (BinaryFunction::Mod, false) => {
            return Ok(block(&[
                "const {t} rest = b == 0 || b == -1 ? 0 : a % b;",
                "return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;",
            ]));
        }
        (BinaryFunction::Pow, false) => {
            return Ok(block(&[
                "if (b < 0) return a == 1 ? 1 : a == -1 ? (b & 1 ? -1 : 1) : 0;",
                "{u} result = 1, square = ({u})a;",
                "for ({u} rest = ({u})b; rest > 0; rest >>= 1, square *= square)",
                "    if (rest & 1) result *= square;",
                "return ({t})result;",
            ]));
        }
        (BinaryFunction::And, _) => "a && b",
        (BinaryFunction::Or, _) => "a || b",
        (BinaryFunction::Xor, _) => "!a != !b",
        (BinaryFunction::BitAnd, _) => "a & b",
        (BinaryFunction::BitOr, _) => "a | b",
        (BinaryFunction::BitXor, _) => "a ^ b",
        (BinaryFunction::ShiftLeft, _) => "b < 0 || b >= {bits} ? 0 : ({t})(({u})a << b)",
        (BinaryFunction::ShiftRight, _) if dtype == Element::U8 => "b >= {bits} ? 0 : a >> b",
        (BinaryFunction::ShiftRight, _) => "a >> (b < 0 || b >= {bits} ? {bits} - 1 : b)",
        (BinaryFunction::Equal, _) => "a == b",
        (BinaryFunction::Less, _) => "a < b",
        (BinaryFunction::LessEqual, _) => "a <= b",
    };
    Ok(expression(head, &fill(value)))
}

pub(super) fn cast(from: Element, to: Element) -> Vec<String> {
    let head = signature(to, from, &["x"]);
    let value = match (from, to) {
        (_, Element::Bool) => "x != 0".to_owned(),
        // Truncated and saturated by the conversion, but for what is no number.
        (Element::F32, Element::I64 | Element::I32) => format!("x != x ? 0 : ({})x", to.cuda()),
        (Element::F32, Element::U8) => "x != x ? 0 : (u8)(int)fminf(fmaxf(x, 0.0f), 255.0f)".to_owned(),
        (Element::F32, Element::I8) => "x != x ? 0 : (signed char)(int)fminf(fmaxf(x, -128.0f), 127.0f)".to_owned(),
        (_, Element::I64 | Element::I32 | Element::U8 | Element::I8 | Element::F32) => format!("({})x", to.cuda()),
    };
    expression(head, &value)
}
