//! Numbers to codes and back against plain definitions: over all codes, over the upper halves of all f32, over ties and
//! their neighbours.

use actc_types::{DType, Narrow, Narrowing, Overflow, PowerRounding, TensorData, nearest};
use half::{bf16, f16};

/// Bits of exponent and fraction, bias, what the format has of specials: `i` infinity and NaN, `n` NaN at the top, `z` NaN in
/// place of the negative zero, `-` nothing.
const FLOATS: [(Narrow, i32, i32, i32, char); 7] = [
    (Narrow::F8E4M3Fn, 4, 3, 7, 'n'),
    (Narrow::F8E4M3Fnuz, 4, 3, 8, 'z'),
    (Narrow::F8E5M2, 5, 2, 15, 'i'),
    (Narrow::F8E5M2Fnuz, 5, 2, 16, 'z'),
    (Narrow::F4E2M1, 2, 1, 1, '-'),
    (Narrow::F6E2M3, 2, 3, 1, '-'),
    (Narrow::F6E3M2, 3, 2, 3, '-'),
];

fn all_narrowings() -> impl Iterator<Item = Narrowing> {
    let pair = |overflow| PowerRounding::ALL.into_iter().map(move |powers| Narrowing { overflow, powers });
    Overflow::ALL.into_iter().flat_map(pair)
}

/// The number of a code, by the definition of the format.
fn number(code: u8, (exponents, fractions, bias, specials): (i32, i32, i32, char)) -> f64 {
    let field = |from: i32, bits: i32| (i32::from(code) >> from) & ((1 << bits) - 1);
    let (fraction, exponent, sign) =
        (field(0, fractions), field(fractions, exponents), field(fractions + exponents, 1));
    let all = exponent == (1 << exponents) - 1;
    let size = if exponent == 0 {
        f64::from(fraction) / 2f64.powi(fractions) * 2f64.powi(1 - bias)
    } else {
        (1.0 + f64::from(fraction) / 2f64.powi(fractions)) * 2f64.powi(exponent - bias)
    };
    let size = match specials {
        'n' if all && fraction == (1 << fractions) - 1 => f64::NAN,
        'z' if sign == 1 && exponent == 0 && fraction == 0 => f64::NAN,
        'i' if all && fraction == 0 => f64::INFINITY,
        'i' if all => f64::NAN,
        _ => size,
    };
    if sign == 1 { -size } else { size }
}

/// The finite codes without a sign and their numbers, ascending.
fn ladder(narrow: Narrow) -> Vec<(u8, f64)> {
    let sign = 1u8 << (narrow.bits() - 1);
    (0..sign).map(|c| (c, narrow.number(c))).filter(|(_, x)| x.is_finite()).collect()
}

/// The code of `x`, by looking at all codes: the nearest, the even one of two; one step more above the largest counts.
fn searched(narrow: Narrow, specials: char, ladder: &[(u8, f64)], x: f64, overflow: Overflow) -> u8 {
    let sign = 1u8 << (narrow.bits() - 1);
    let side = if x.is_sign_negative() { sign } else { 0 };
    let (most, largest) = ladder[ladder.len() - 1];
    if x.is_nan() {
        return match specials {
            'n' => side | 0x7f,
            'i' => side | 0x7e,
            'z' => 0x80,
            _ => side ^ sign,
        };
    }
    let above = 2.0 * largest - ladder[ladder.len() - 2].1;
    let steps = ladder.iter().copied().chain([(most + 1, above)]);
    let distance = |y: f64| (x.abs().min(2.0 * above) - y).abs();
    let (code, _) = steps
        .reduce(|a, b| {
            let (da, db) = (distance(a.1), distance(b.1));
            if db < da || db == da && b.0 % 2 == 0 { b } else { a }
        })
        .expect("there are codes");
    match (overflow, specials) {
        _ if code <= most && code == 0 && specials == 'z' => 0,
        _ if code <= most => side | code,
        (Overflow::Saturate, _) | (_, '-') => side | most,
        (Overflow::Special, 'z') => 0x80,
        (Overflow::Special, 'n') => side | 0x7f,
        (Overflow::Special, _) => side | 0x7c,
    }
}

/// Upper halves of all f32 as numbers; around `tie`, the numbers next to it in f32 and f64.
fn upper_halves() -> impl Iterator<Item = f64> {
    (0..=u16::MAX).map(|h| f64::from(f32::from_bits(u32::from(h) << 16)))
}

fn around(tie: f64) -> [f64; 10] {
    let near = (tie as f32).next_up();
    let under = (tie as f32).next_down();
    let x = [tie, tie.next_up(), tie.next_down(), f64::from(near), f64::from(under)];
    [x[0], x[1], x[2], x[3], x[4], -x[0], -x[1], -x[2], -x[3], -x[4]]
}

#[test]
fn codes_of_floats_are_numbers() {
    for (narrow, e, f, bias, specials) in FLOATS {
        for byte in 0..=255u8 {
            let (wanted, found) =
                (number(byte & (0xff >> (8 - narrow.bits())), (e, f, bias, specials)), narrow.number(byte));
            assert!(
                wanted == found || wanted.is_nan() && found.is_nan(),
                "{narrow} {byte:#x}: {found}, expected {wanted}"
            );
        }
    }
    let largest = [(Narrow::F8E4M3Fn, 448.0), (Narrow::F8E4M3Fnuz, 240.0), (Narrow::F8E5M2, 57344.0)];
    let rest = [(Narrow::F8E5M2Fnuz, 57344.0), (Narrow::F4E2M1, 6.0), (Narrow::F6E2M3, 7.5), (Narrow::F6E3M2, 28.0)];
    for (narrow, most) in largest.into_iter().chain(rest) {
        assert_eq!(ladder(narrow).last().expect("codes").1, most, "{narrow}");
    }
}

#[test]
fn numbers_become_the_nearest_float() {
    for (narrow, .., specials) in FLOATS {
        let ladder = ladder(narrow);
        let above = 2.0 * ladder[ladder.len() - 1].1 - ladder[ladder.len() - 2].1;
        let mut values: Vec<f64> = upper_halves().collect();
        for pair in ladder.windows(2) {
            values.extend(around((pair[0].1 + pair[1].1) / 2.0));
            values.extend(around(pair[1].1));
        }
        values.extend(around((above + ladder[ladder.len() - 1].1) / 2.0));
        values.extend([f64::MAX, f64::MIN, f64::MIN_POSITIVE, f64::from_bits(1), -f64::from_bits(1)]);
        for overflow in Overflow::ALL {
            let narrowing = Narrowing { overflow, ..Narrowing::default() };
            for x in &values {
                let wanted = searched(narrow, specials, &ladder, *x, overflow);
                let found = narrow.code(*x, narrowing);
                assert_eq!(wanted, found, "{narrow} {overflow:?} {x:e}: {found:#x}, expected {wanted:#x}");
            }
            for code in 0..=narrow.canonical(255) {
                let x = narrow.number(code);
                if x.is_finite() {
                    assert_eq!(narrow.code(x, narrowing), code, "{narrow} {code:#x}");
                }
            }
        }
    }
}

#[test]
fn numbers_become_powers_of_two() {
    let f8 = Narrow::F8E8M0;
    let numbers: Vec<f64> = (0..255).map(|c| 2f64.powi(c - 127)).collect();
    for (code, x) in numbers.iter().enumerate() {
        assert_eq!(f8.number(code as u8), *x);
    }
    assert!(f8.number(255).is_nan());
    let mut values: Vec<f64> = upper_halves().collect();
    for x in &numbers {
        values.extend(around(*x));
        values.extend(around(1.5 * x));
    }
    values.extend([f64::MAX, f64::MIN_POSITIVE, f64::from_bits(1)]);
    for narrowing in all_narrowings() {
        let saturate = narrowing.overflow == Overflow::Saturate;
        for x in &values {
            let wanted = if x.is_nan() || *x < 0.0 {
                255
            } else if *x < numbers[0] {
                if saturate { 0 } else { 255 }
            } else if *x > numbers[254] {
                if saturate { 254 } else { 255 }
            } else {
                let low = numbers.iter().rposition(|n| n <= x).expect("one is below");
                let up = match narrowing.powers {
                    PowerRounding::Up => numbers[low] < *x,
                    PowerRounding::Down => false,
                    PowerRounding::Nearest => *x >= 1.5 * numbers[low],
                };
                low + usize::from(up)
            };
            let found = f8.code(*x, narrowing);
            assert_eq!(wanted, usize::from(found), "{narrowing:?} {x:e}");
        }
    }
}

#[test]
fn integers_wrap_round() {
    for (narrow, bits, signed) in
        [(Narrow::I4, 4, true), (Narrow::U4, 4, false), (Narrow::I2, 2, true), (Narrow::U2, 2, false)]
    {
        let size = 1i128 << bits;
        for byte in 0..=255u8 {
            let low = i128::from(byte) % size;
            let wanted = if signed && low >= size / 2 { low - size } else { low };
            assert_eq!((narrow.integer(byte), narrow.number(byte)), (wanted, wanted as f64), "{narrow} {byte}");
        }
        let (low, high) = narrow.ends().expect("an integer type");
        assert_eq!(i128::from(high) - i128::from(low), size - 1);
        for narrowing in all_narrowings() {
            for x in -300..300i128 {
                let wanted = x.rem_euclid(size) as u8;
                assert_eq!(narrow.integer_code(x, narrowing), wanted, "{narrow} {x}");
                for part in [0.0, 0.4, 0.99] {
                    let x = x as f64 + part * (x as f64).signum();
                    assert_eq!(narrow.code(x, narrowing), wanted, "{narrow} {x}");
                }
            }
            assert_eq!(narrow.code(f64::NAN, narrowing), 0);
        }
    }
}

#[test]
fn integers_become_floats_by_their_value() {
    let values =
        (-70000..70000i128).step_by(7).chain([i128::from(i64::MAX), i128::from(i64::MIN), i128::from(u64::MAX)]);
    for x in values {
        for narrow in FLOATS.map(|f| f.0) {
            for narrowing in all_narrowings() {
                assert_eq!(narrow.integer_code(x, narrowing), narrow.code(x as f64, narrowing), "{narrow} {x}");
            }
        }
    }
    // One more than a power of two is above it, in f64 not.
    assert_eq!(Narrow::F8E8M0.integer_code(1 << 60, Narrowing::default()), 60 + 127);
    assert_eq!(Narrow::F8E8M0.integer_code((1 << 60) + 1, Narrowing::default()), 61 + 127);
}

#[test]
fn halves_and_brain_floats_are_rounded_once() {
    /// The nearer of the two neighbours of `x` among codes that rise with their numbers.
    fn pick(x: f64, below: u16, number: impl Fn(u16) -> f64, infinite: u16, step: f64) -> u16 {
        let value = |c: u16| if c == infinite { step } else { number(c) };
        let (a, b) = (value(below), value(below + 1));
        if x - a < b - x || x - a == b - x && below % 2 == 0 { below } else { below + 1 }
    }
    let half = |c: u16| f16::from_bits(c).to_f64();
    let brain = |c: u16| bf16::from_bits(c).to_f64();
    for below in 0..0x7f80u16 {
        for x in around((brain(below) + if below == 0x7f7f { 2f64.powi(128) } else { brain(below + 1) }) / 2.0) {
            let (size, found) = (x.abs(), nearest::brain(x).to_bits());
            let wanted = pick(size, below, brain, 0x7f80, 2f64.powi(128));
            // Next to the midpoint nothing else is near.
            assert_eq!(found & 0x7fff, wanted, "bf16 {x:e}");
            assert_eq!(found >> 15 == 1, x < 0.0);
        }
    }
    for below in 0..0x7c00u16 {
        for x in around((half(below) + if below == 0x7bff { 65536.0 } else { half(below + 1) }) / 2.0) {
            let found = nearest::half(x).to_bits();
            assert_eq!(found & 0x7fff, pick(x.abs(), below, half, 0x7c00, 65536.0), "f16 {x:e}");
        }
    }
    assert!(nearest::half(f64::NAN).is_nan() && nearest::brain(f64::NAN).is_nan());
    assert_eq!(nearest::brain(f64::MAX), bf16::INFINITY);
}

#[test]
fn large_integers_are_rounded_once() {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    for i in 0..20000 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let x = i128::from(state) >> (i % 40);
        let near_tie = (1i128 << 60) + (1 << 36) + i128::from(state % 3) - 1;
        for x in [x, -x, near_tie, -near_tie] {
            assert_eq!(nearest::sticky(x) as f32, x as f32, "{x}");
            let found = TensorData::from_integers(DType::F32, &[x]);
            assert_eq!(found, TensorData::F32(vec![x as f32]), "{x}");
        }
    }
}

#[test]
fn types_have_numbers_names_and_bytes() {
    for (narrow, dtype) in Narrow::ALL.iter().zip(&DType::ALL[DType::ALL.len() - Narrow::ALL.len()..]) {
        assert_eq!(DType::Narrow(*narrow), *dtype);
        assert_eq!((dtype.size(), dtype.bits(), DType::parse(narrow.name())), (1, narrow.bits(), Some(*dtype)));
        // What lies above the code is dropped.
        let all: Vec<u8> = (0..=255).collect();
        let data = TensorData::from_le_bytes(*dtype, &all);
        assert!(data.to_le_bytes().iter().zip(&all).all(|(a, b)| *a == narrow.canonical(*b)));
        assert!(data.to_le_bytes().iter().all(|b| u32::from(*b) < 1 << narrow.bits()));
    }
    for (i, dtype) in DType::ALL.iter().enumerate() {
        assert_eq!((dtype.code(), DType::from_code(i as i64)), (i as i64, Some(*dtype)));
    }
}
