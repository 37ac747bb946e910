//! Element types of eight bits and fewer that processors do not compute in: their codes and the numbers that these stand for.
//!
//! A tensor holds one code a byte, in its low bits; the bits above are zero where actc writes one and ignored where it
//! reads one. Floats are a sign, an exponent and a fraction from the top bit down, integers are in two's complement:
//!
//! ```text
//! type         bits  exponent  fraction  bias  largest  beyond the largest
//! f8e4m3fn       8       4         3        7      448   NaN, with a sign
//! f8e4m3fnuz     8       4         3        8      240   one NaN in place of the negative zero
//! f8e5m2         8       5         2       15    57344   infinity and NaN, with a sign
//! f8e5m2fnuz     8       5         2       16    57344   one NaN in place of the negative zero
//! f8e8m0         8       8         0      127    2^127   NaN; no sign and no zero: a power of two
//! f4e2m1         4       2         1        1        6   nothing
//! f6e2m3         6       2         3        1      7.5   nothing
//! f6e3m2         6       3         2        3       28   nothing
//! i4, u4         4                               7, 15
//! i2, u2         2                                1, 3
//! ```
//!
//! What a number becomes, [`Narrow::code`], is as the operator `Cast` of ONNX says; where that leaves it open: integers wrap
//! round; NaN becomes a zero of the other sign in a float type that has none; a negative number becomes the NaN of `f8e8m0`.

use crate::dtype::{DType, Kind};
use crate::nearest;
use std::fmt;

/// An element type of eight bits and fewer that processors do not compute in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Narrow {
    /// Float with 4 bits of exponent and 3 of fraction.
    F8E4M3Fn,
    /// The same with another bias, without a negative zero.
    F8E4M3Fnuz,
    /// Float with 5 bits of exponent and 2 of fraction.
    F8E5M2,
    /// The same with another bias, without infinity and a negative zero.
    F8E5M2Fnuz,
    /// A power of two.
    F8E8M0,
    /// Float with 2 bits of exponent and 1 of fraction.
    F4E2M1,
    /// Float with 2 bits of exponent and 3 of fraction.
    F6E2M3,
    /// Float with 3 bits of exponent and 2 of fraction.
    F6E3M2,
    /// Signed 4-bit integer.
    I4,
    /// Unsigned 4-bit integer.
    U4,
    /// Signed 2-bit integer.
    I2,
    /// Unsigned 2-bit integer.
    U2,
}

/// What a number beyond the largest of an 8-bit float type becomes. Other types are not concerned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Overflow {
    /// The largest, with its sign; infinities too.
    #[default]
    Saturate,
    /// Infinity where the type has it, else NaN. In `f8e8m0` also what is below the smallest, zero included.
    Special,
}

/// Which of its two neighbours in `f8e8m0` a number becomes. Other types are not concerned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PowerRounding {
    /// The larger.
    #[default]
    Up,
    /// The smaller.
    Down,
    /// The nearer; the larger where both are as near.
    Nearest,
}

/// How numbers become codes where a type leaves a choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Narrowing {
    /// Of 8-bit floats.
    pub overflow: Overflow,
    /// Of `f8e8m0`.
    pub powers: PowerRounding,
}

impl Overflow {
    /// Both, in the order of their numbers in plans.
    pub const ALL: [Overflow; 2] = [Overflow::Saturate, Overflow::Special];

    /// The name in the text form.
    pub fn name(self) -> &'static str {
        match self {
            Overflow::Saturate => "saturate",
            Overflow::Special => "special",
        }
    }
}

impl PowerRounding {
    /// All, in the order of their numbers in plans.
    pub const ALL: [PowerRounding; 3] = [PowerRounding::Up, PowerRounding::Down, PowerRounding::Nearest];

    /// The name in the text form.
    pub fn name(self) -> &'static str {
        match self {
            PowerRounding::Up => "up",
            PowerRounding::Down => "down",
            PowerRounding::Nearest => "nearest",
        }
    }
}

/// What codes beyond the largest finite one are.
#[derive(Clone, Copy)]
enum Specials {
    /// There are none.
    None,
    /// Those behind it, with a sign: infinity where `nan` is not the next one, then NaN, of which `nan` is written.
    Signed { nan: u8 },
    /// One NaN in place of the negative zero.
    One,
}

/// A float type with a sign.
#[derive(Clone, Copy)]
struct Float {
    /// Bits of the fraction.
    fraction: u32,
    /// What is subtracted from the exponent.
    bias: i32,
    /// The largest finite code without its sign.
    most: u8,
    specials: Specials,
}

/// What the codes of a type are.
#[derive(Clone, Copy)]
enum Form {
    Float(Float),
    Power,
    Signed,
    Unsigned,
}

/// 2 to the power of `exponent`, which is one of a normal number.
fn power(exponent: i32) -> f64 {
    f64::from_bits(((exponent + 1023) as u64) << 52)
}

/// The NaN of `f8e8m0`.
const POWER_NAN: u8 = 0xff;
/// Bias of `f8e8m0`.
const POWER_BIAS: i32 = 127;

impl Float {
    /// The number of `magnitude`, a code without its sign, which is no special one.
    fn number(self, magnitude: u8) -> f64 {
        let exponent = i32::from(magnitude) >> self.fraction;
        let fraction = i32::from(magnitude) & ((1 << self.fraction) - 1);
        let leading = i32::from(exponent > 0) << self.fraction;
        f64::from(leading | fraction) * power(exponent.max(1) - self.bias - self.fraction as i32)
    }

    /// The code nearest to `x`, which is no NaN and not negative, ties to even; above `most` for what exceeds that.
    #[inline]
    fn nearest(self, x: f64) -> u32 {
        // A power of two that exceeds every type keeps the exponent small.
        let x = x.min(f64::from(1 << 20));
        let least = 1 - self.bias;
        let exponent = ((x.to_bits() >> 52) as i32 - 1023).max(least);
        // In steps of the last bit, exactly; the sum with 2^52 has no bits behind the point.
        let steps = x * power(self.fraction as i32 - exponent);
        let steps = (steps + power(52)) - power(52);
        // A carry goes into the exponent by itself.
        (((exponent - least) as u32) << self.fraction) + steps as u32
    }
}

impl Narrow {
    /// All of them, in the order in which [`DType::ALL`] has them.
    pub const ALL: [Narrow; 12] = [
        Narrow::F8E4M3Fn,
        Narrow::F8E4M3Fnuz,
        Narrow::F8E5M2,
        Narrow::F8E5M2Fnuz,
        Narrow::F8E8M0,
        Narrow::F4E2M1,
        Narrow::F6E2M3,
        Narrow::F6E3M2,
        Narrow::I4,
        Narrow::U4,
        Narrow::I2,
        Narrow::U2,
    ];

    /// The name in the text form.
    pub fn name(self) -> &'static str {
        match self {
            Narrow::F8E4M3Fn => "f8e4m3fn",
            Narrow::F8E4M3Fnuz => "f8e4m3fnuz",
            Narrow::F8E5M2 => "f8e5m2",
            Narrow::F8E5M2Fnuz => "f8e5m2fnuz",
            Narrow::F8E8M0 => "f8e8m0",
            Narrow::F4E2M1 => "f4e2m1",
            Narrow::F6E2M3 => "f6e2m3",
            Narrow::F6E3M2 => "f6e3m2",
            Narrow::I4 => "i4",
            Narrow::U4 => "u4",
            Narrow::I2 => "i2",
            Narrow::U2 => "u2",
        }
    }

    /// Bits of a code.
    #[inline]
    pub fn bits(self) -> u32 {
        match self {
            Narrow::F8E4M3Fn | Narrow::F8E4M3Fnuz | Narrow::F8E5M2 | Narrow::F8E5M2Fnuz | Narrow::F8E8M0 => 8,
            Narrow::F6E2M3 | Narrow::F6E3M2 => 6,
            Narrow::F4E2M1 | Narrow::I4 | Narrow::U4 => 4,
            Narrow::I2 | Narrow::U2 => 2,
        }
    }

    /// What numbers of the type are.
    pub fn kind(self) -> Kind {
        match self.form() {
            Form::Float(_) | Form::Power => Kind::Float,
            Form::Signed => Kind::Signed,
            Form::Unsigned => Kind::Unsigned,
        }
    }

    #[inline]
    fn form(self) -> Form {
        let float = |fraction, bias, most, specials| Form::Float(Float { fraction, bias, most, specials });
        match self {
            Narrow::F8E4M3Fn => float(3, 7, 0x7e, Specials::Signed { nan: 0x7f }),
            Narrow::F8E4M3Fnuz => float(3, 8, 0x7f, Specials::One),
            Narrow::F8E5M2 => float(2, 15, 0x7b, Specials::Signed { nan: 0x7e }),
            Narrow::F8E5M2Fnuz => float(2, 16, 0x7f, Specials::One),
            Narrow::F8E8M0 => Form::Power,
            Narrow::F4E2M1 => float(1, 1, 0x07, Specials::None),
            Narrow::F6E2M3 => float(3, 1, 0x1f, Specials::None),
            Narrow::F6E3M2 => float(2, 3, 0x1f, Specials::None),
            Narrow::I4 | Narrow::I2 => Form::Signed,
            Narrow::U4 | Narrow::U2 => Form::Unsigned,
        }
    }

    /// The code in the low bits of `byte`.
    #[inline]
    pub fn canonical(self, byte: u8) -> u8 {
        byte & (0xff >> (8 - self.bits()))
    }

    /// The least and the largest integer, for integer types.
    pub fn ends(self) -> Option<(i64, i64)> {
        let half = 1i64 << (self.bits() - 1);
        match self.form() {
            Form::Float(_) | Form::Power => None,
            Form::Signed => Some((-half, half - 1)),
            Form::Unsigned => Some((0, 2 * half - 1)),
        }
    }

    /// The number that `code` stands for, exactly.
    pub fn number(self, code: u8) -> f64 {
        let code = self.canonical(code);
        let sign = 1u8 << (self.bits() - 1);
        match self.form() {
            Form::Float(float) => {
                let magnitude = code & !sign;
                let number = match float.specials {
                    Specials::One if code == sign => return f64::NAN,
                    Specials::Signed { nan } if magnitude > float.most => {
                        if magnitude == float.most + 1 && magnitude != nan { f64::INFINITY } else { f64::NAN }
                    }
                    Specials::One | Specials::Signed { .. } | Specials::None => float.number(magnitude),
                };
                if code == magnitude { number } else { -number }
            }
            Form::Power if code == POWER_NAN => f64::NAN,
            Form::Power => power(i32::from(code) - POWER_BIAS),
            Form::Signed => f64::from(code) - if code < sign { 0.0 } else { 2.0 * f64::from(sign) },
            Form::Unsigned => f64::from(code),
        }
    }

    /// The number that `code` stands for, a fraction cut off; infinities are the ends of `i128`, NaN is 0.
    pub fn integer(self, code: u8) -> i128 {
        self.number(code) as i128
    }

    /// What `x` becomes: floats are rounded to nearest even, to integers numbers are cut off and wrap round.
    #[inline]
    pub fn code(self, x: f64, narrowing: Narrowing) -> u8 {
        match self.form() {
            Form::Float(float) => self.float_code(float, x, narrowing.overflow),
            Form::Power => power_code(x, narrowing),
            Form::Signed | Form::Unsigned => self.canonical(x as i128 as u8),
        }
    }

    /// What the integer `x` becomes, as [`Narrow::code`] says.
    #[inline]
    pub fn integer_code(self, x: i128, narrowing: Narrowing) -> u8 {
        match self.form() {
            Form::Float(_) | Form::Power => self.code(nearest::sticky(x), narrowing),
            Form::Signed | Form::Unsigned => self.canonical(x as u8),
        }
    }

    #[inline]
    fn float_code(self, float: Float, x: f64, overflow: Overflow) -> u8 {
        let top = 1u8 << (self.bits() - 1);
        let sign = if x.is_sign_negative() { top } else { 0 };
        if x.is_nan() {
            return match float.specials {
                Specials::Signed { nan } => sign | nan,
                Specials::One => top,
                Specials::None => sign ^ top,
            };
        }
        let code = float.nearest(x.abs());
        if code > u32::from(float.most) {
            return match (overflow, float.specials) {
                (Overflow::Saturate, _) | (Overflow::Special, Specials::None) => sign | float.most,
                (Overflow::Special, Specials::Signed { .. }) => sign | (float.most + 1),
                (Overflow::Special, Specials::One) => top,
            };
        }
        match float.specials {
            Specials::One if code == 0 => 0,
            Specials::One | Specials::Signed { .. } | Specials::None => sign | code as u8,
        }
    }
}

/// The code of `f8e8m0` that `x` becomes.
#[inline]
fn power_code(x: f64, narrowing: Narrowing) -> u8 {
    let (least, most) = (0, POWER_NAN - 1);
    let outside = |end| match narrowing.overflow {
        Overflow::Saturate => end,
        Overflow::Special => POWER_NAN,
    };
    if x.is_nan() || x < 0.0 {
        return POWER_NAN;
    }
    if x < power(i32::from(least) - POWER_BIAS) {
        return outside(least);
    }
    if x > power(i32::from(most) - POWER_BIAS) {
        return outside(most);
    }
    let exponent = (x.to_bits() >> 52) as i32 - 1023;
    let fraction = x.to_bits() & ((1 << 52) - 1);
    let up = match narrowing.powers {
        PowerRounding::Up => fraction != 0,
        PowerRounding::Down => false,
        PowerRounding::Nearest => fraction >= 1 << 51,
    };
    (exponent + POWER_BIAS + i32::from(up)) as u8
}

impl From<Narrow> for DType {
    fn from(narrow: Narrow) -> DType {
        DType::Narrow(narrow)
    }
}

impl fmt::Display for Narrow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
