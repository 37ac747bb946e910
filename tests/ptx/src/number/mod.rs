//! Numbers: rounding in each direction, floats of fewer bits, and the functions that the hardware approximates.

pub(crate) mod approx;
pub(crate) mod exact;
pub(crate) mod small;

/// How a result that does not fit is rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Round {
    /// To nearest, ties to even.
    Nearest,
    /// Toward zero.
    Zero,
    /// Toward minus infinity.
    Down,
    /// Toward plus infinity.
    Up,
    /// To nearest, ties away from zero.
    Away,
}

/// The NaN that arithmetic in f32 gives.
pub(crate) const NAN32: u32 = 0x7fff_ffff;

/// `value`, every NaN as the hardware writes it.
#[inline]
pub(crate) fn bits32(value: f32) -> u64 {
    u64::from(if value.is_nan() { NAN32 } else { value.to_bits() })
}

/// A number below the normal ones becomes a zero of its sign.
#[inline]
pub(crate) fn flush(value: f32) -> f32 {
    if value.abs() < f32::MIN_POSITIVE { 0.0f32.copysign(value) } else { value }
}
