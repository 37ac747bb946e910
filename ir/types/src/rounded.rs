//! Rows of numbers in 32, 16 or 8 bits, as caches of keys and values hold them.
//!
//! [`RowForm`] says how a row of `n` numbers lies in memory, and the functions here are the only meaning of rounding one:
//! the reference, the runtime and the tests call them, and generated kernels read what they wrote.
//!
//! ```text
//! f32    n times 4 bytes
//! f16    n times 2 bytes; what exceeds the largest finite half becomes it
//! int8   n signed bytes q, then the scale s as an f32, at any alignment; the numbers are q * s
//! ```

use crate::DType;
use half::f16;
use std::fmt;

/// Bytes of the scale behind the codes of a row.
pub const SCALE_BYTES: usize = 4;

/// How a row of numbers lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RowForm {
    /// Single precision.
    F32,
    /// Half precision, nearest even.
    F16,
    /// Signed bytes and one scale a row.
    Int8,
}

impl RowForm {
    /// All forms.
    pub const ALL: [RowForm; 3] = [RowForm::F32, RowForm::F16, RowForm::Int8];

    /// The name in the text form and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            RowForm::F32 => "f32",
            RowForm::F16 => "f16",
            RowForm::Int8 => "int8",
        }
    }

    /// The form called `name`.
    pub fn parse(name: &str) -> Option<RowForm> {
        RowForm::ALL.into_iter().find(|f| f.name() == name)
    }

    /// Bits of a number, the scale of a row not counted.
    pub fn bits(self) -> u32 {
        match self {
            RowForm::F32 => 32,
            RowForm::F16 => 16,
            RowForm::Int8 => 8,
        }
    }

    /// Element type of tensors of such rows.
    pub fn dtype(self) -> DType {
        match self {
            RowForm::F32 => DType::F32,
            RowForm::F16 => DType::F16,
            RowForm::Int8 => DType::U8,
        }
    }

    /// The form of the rows of tensors of `dtype`.
    pub fn of(dtype: DType) -> Option<RowForm> {
        RowForm::ALL.into_iter().find(|f| f.dtype() == dtype)
    }

    /// Elements that a row has beyond its numbers.
    pub fn extra(self) -> u64 {
        match self {
            RowForm::F32 | RowForm::F16 => 0,
            RowForm::Int8 => SCALE_BYTES as u64,
        }
    }

    /// Bytes of a row of `n` numbers.
    pub fn row_bytes(self, n: usize) -> usize {
        match self {
            RowForm::F32 => 4 * n,
            RowForm::F16 => 2 * n,
            RowForm::Int8 => n + SCALE_BYTES,
        }
    }
}

impl fmt::Display for RowForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Rounds the numbers `x` into the codes and scale of `row`, which is [`SCALE_BYTES`] longer.
///
/// All in f32: `s = absmax / 127` and `q = round_ties_even(x * (127 / absmax))`. A row whose absmax is below 1e-30 is
/// zero, scale included. A row with a number that is not finite has a scale that is not finite, so that it stays visible.
///
/// # Panics
///
/// Panics where the lengths do not agree.
pub fn round_int8(x: &[f32], row: &mut [u8]) {
    let (codes, scale) = row.split_at_mut(x.len());
    // Magnitudes order like their bits, NaN above all.
    let bits = x.iter().fold(0i32, |m, v| m.max((v.to_bits() & 0x7fff_ffff) as i32));
    let absmax = f32::from_bits(bits as u32);
    if absmax < 1e-30 {
        row.fill(0);
        return;
    }
    let inverse = 127.0 / absmax;
    for (code, v) in codes.iter_mut().zip(x) {
        // The sum with 1.5 * 2^23 is rounded to an integer, ties to even, which stands in its lowest bits.
        *code = (v * inverse + 12_582_912.0).to_bits() as u8;
    }
    scale.copy_from_slice(&(absmax / 127.0).to_le_bytes());
}

/// The scale of a row made by [`round_int8`].
///
/// # Panics
///
/// Panics where `row` is shorter than a scale.
pub fn int8_scale(row: &[u8]) -> f32 {
    let bytes = row.last_chunk::<SCALE_BYTES>().expect("a row ends in its scale");
    f32::from_le_bytes(*bytes)
}

/// The numbers of a row made by [`round_int8`].
///
/// # Panics
///
/// Panics where the lengths do not agree.
pub fn restore_int8(row: &[u8], out: &mut [f32]) {
    let scale = int8_scale(row);
    assert_eq!(row.len(), out.len() + SCALE_BYTES, "a row is its numbers and their scale");
    for (x, code) in out.iter_mut().zip(row) {
        *x = f32::from(*code as i8) * scale;
    }
}

/// `x` to the nearest half, ties to even; beyond the largest finite half, that.
pub fn round_f16(x: f32) -> f16 {
    // Written so that NaN stays.
    f16::from_f32(x.clamp(-f32::from(f16::MAX), f32::from(f16::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounded(x: &[f32]) -> Vec<u8> {
        let mut row = vec![0xaa; x.len() + SCALE_BYTES];
        round_int8(x, &mut row);
        row
    }

    #[test]
    fn bytes_by_hand() {
        let row = rounded(&[127.0, -0.5, 1.5, 2.5, -126.6, 0.4]);
        assert_eq!(row[..6], [127, 0, 2, 2, -127i8 as u8, 0]);
        assert_eq!(int8_scale(&row), 1.0);
        assert_eq!(rounded(&[0.0, -0.0, 1e-31]), [0; 7]);
        let tiny = rounded(&[1e-30, -1e-30]);
        assert_eq!(tiny[..2], [127, 129]);
        let mut out = [0.0; 2];
        restore_int8(&tiny, &mut out);
        assert!((out[0] / 1e-30 - 1.0).abs() < 1e-6 && out[1] == -out[0]);
    }

    #[test]
    fn a_number_is_off_by_half_a_step() {
        let x: Vec<f32> = (0..99).map(|i| ((i * 37 % 101) as f32 - 50.0) * 0.31).collect();
        let row = rounded(&x);
        let mut out = vec![0.0; x.len()];
        restore_int8(&row, &mut out);
        let step = int8_scale(&row);
        assert!(x.iter().zip(&out).all(|(a, b)| (a - b).abs() <= step * 0.50001));
    }

    #[test]
    fn what_is_not_finite_shows() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut out = [0.0; 3];
            restore_int8(&rounded(&[1.0, bad, 2.0]), &mut out);
            assert!(out.iter().any(|x| !x.is_finite()), "{bad}");
        }
        assert!(round_f16(f32::NAN).is_nan());
    }

    #[test]
    fn halves_end_at_the_largest() {
        assert_eq!(f32::from(round_f16(1e6)), 65504.0);
        assert_eq!(f32::from(round_f16(-7e4)), -65504.0);
        assert_eq!(f32::from(round_f16(0.1)), f32::from(f16::from_f32(0.1)));
    }

    #[test]
    fn forms_have_names_and_sizes() {
        for form in RowForm::ALL {
            assert_eq!(RowForm::parse(form.name()), Some(form));
            assert_eq!(RowForm::of(form.dtype()), Some(form));
            assert_eq!(form.row_bytes(20), (20 + form.extra() as usize) * form.dtype().size());
        }
    }
}
