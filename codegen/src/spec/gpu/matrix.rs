//! A matrix as the CUDA templates know it: every number derived here, the unpacking of codes from the order itself.

use super::record::{Columns, Record, Weak};
use crate::spec::linear::Mat;
use actc_templates::cuda;
use actc_types::packed::{BitPos, CHUNK, mma16};
use actc_types::{Encoding, Group, Mixed, Packed, Zero};
use std::cmp::Ordering;

/// What products of codes are worth: a code in the lowest bits of a half float is the code times 2^-24.
const CODE_UNIT: &str = "16777216.0";

impl Mat {
    /// The packed part.
    pub(super) fn codes(&self) -> Option<&Packed> {
        match &self.encoding {
            Encoding::Packed(p) | Encoding::Mixed(Mixed { body: p, .. }) => Some(p),
            Encoding::Dense | Encoding::Block(_) => None,
        }
    }
}

/// Grids that sums are brought to within a chunk; none where the whole row has one and no chunk a factor.
pub(super) fn grids(packed: &Packed, record: &Record) -> usize {
    match packed.group {
        Group::Channel if !record.has_factors() => 0,
        Group::Channel | Group::Columns(_) if record.fine => CHUNK / mma16::STEP,
        Group::Channel | Group::Columns(_) => 1,
    }
}

/// Bytes of a panel's chunk in shared memory.
pub(super) fn chunk_bytes(mat: &Mat) -> usize {
    mat.codes().map_or(mma16::PANEL * CHUNK * 2, Packed::chunk_bytes)
}

/// The template's view of matrix `index`, which reads `record`; `tiles` of them.
pub(super) fn matrix(index: usize, mat: &Mat, record: &Record, tiles: usize) -> cuda::Matrix {
    let cols = record.cols as usize;
    let packed = mat.codes();
    let steps = record.chunks() * CHUNK / mma16::STEP;
    let group_steps = |p: &Packed| match p.group {
        Group::Channel => steps,
        Group::Columns(n) => n as usize / mma16::STEP,
    };
    cuda::Matrix {
        index,
        described: described(mat),
        rows: mat.rows as usize,
        cols,
        panels: (mat.rows as usize).div_ceil(mma16::PANEL),
        chunks: record.chunks(),
        chunk_bytes: chunk_bytes(mat),
        panel_bytes: packed.map_or(0, |p| p.panel_bytes(cols)),
        grids: packed.map_or(0, |p| grids(p, record)),
        group_steps: packed.map_or(steps, group_steps),
        groups: packed.map_or(0, |p| p.group.count(cols)),
        scale_bytes: packed.map_or(0, |p| mma16::PANEL * p.scale.size()),
        zero_bytes: packed.map_or(0, Packed::zero_group_bytes),
        half_scales: packed.is_some_and(|p| p.scale.size() == 2),
        minima: packed.is_some_and(|p| p.zero == Zero::Minimum),
        nibbles: packed.is_some_and(|p| p.bits <= 4),
        middle: packed.map_or(0, |p| p.levels() / 2),
        slots: record.slots(),
        tiles,
        parts: record.parts.into(),
        per_tile: record.tokens.into(),
        sums_at: record.sums_at(),
        factors_at: record.factors_at(),
        tail_at: record.tail_at(),
        weak_at: record.weak_at(),
        packed: packed.is_some(),
        brain: record.columns == Columns::Brain,
        weak: record.weak != Weak::None,
        rounded: record.has_factors(),
        bytes: record.columns == Columns::Bytes,
        input_bytes: record.input_bytes(),
        scaled: record.scaled(mat),
        place: packed.map_or(0, |p| mma16::place(p.bits)),
        half_place: format!("0x{0:04x}{0:04x}", 0x3c00 - packed.map_or(0, |p| u32::from(mma16::place(p.bits)) << 10)),
        place_worth: worth(packed, 1),
        place_size: worth(packed, -1),
        aligned: cols.is_multiple_of(8),
        unit: if record.columns == Columns::Codes && !record.scaled(mat) { CODE_UNIT } else { "1.0" },
        words: packed.map_or(0, |p| usize::from(mma16::width(p.bits))),
        loads: packed.map_or_else(Vec::new, |p| loads(p.bits)),
        codes: packed.map_or_else(Vec::new, codes),
    }
}

/// `2^(sign p)` where codes of the second row lie `p` bits higher.
fn worth(packed: Option<&Packed>, sign: i32) -> String {
    format!("{:?}", 0.5f32.powi(sign * packed.map_or(0, |p| i32::from(mma16::place(p.bits)))))
}

pub(super) fn described(mat: &Mat) -> String {
    match &mat.encoding {
        Encoding::Dense => format!("dense {}", mat.dtype),
        Encoding::Packed(_) | Encoding::Mixed(_) | Encoding::Block(_) => mat.encoding.to_string(),
    }
}

/// Statements that load a lane's words of a chunk.
pub(super) fn loads(bits: u8) -> Vec<String> {
    let mut first = 0;
    let mut vector = |load: &usize| {
        let (at, words) = (128 * first, first..first + load);
        first += load;
        if *load == 1 {
            return format!("w[{}] = *(const u32*)(chunk + {at} + lane * 4);", words.start);
        }
        let parts = words.zip(["x", "y", "z", "w"]).map(|(word, part)| format!("w[{word}] = v.{part}"));
        let parts = parts.collect::<Vec<_>>().join(", ");
        format!("{{ const uint{load} v = *(const uint{load}*)(chunk + {at} + lane * {}); {parts}; }}", 4 * load)
    };
    mma16::loads(bits).iter().map(&mut vector).collect()
}

/// Statements that make bytes of a lane's words, `a[step][row]` the four codes of a step: of each code's fields, where the order has
/// them, shifted to the code's place and masked, for four columns at once.
pub(super) fn codes(packed: &Packed) -> Vec<String> {
    let mut statements = Vec::new();
    for (step, high) in (0..CHUNK / mma16::STEP).flat_map(|step| [(step, 0), (step, 1)]) {
        let place = if high == 1 { mma16::place(packed.bits) } else { 0 };
        // Lane 0, its first column: its words are the first of each load.
        let term = |field: BitPos| {
            let word = mma16::lane_word(packed.bits, field.byte / 4);
            let (from, to) = (usize::from(field.bit), usize::from(place + field.shift));
            let mask = (((1u32 << field.width) - 1) << to) * 0x0101_0101;
            match from.cmp(&to) {
                Ordering::Equal if field.width == 8 => format!("w[{word}]"),
                Ordering::Equal => format!("w[{word}] & 0x{mask:08x}u"),
                Ordering::Greater => format!("w[{word}] >> {} & 0x{mask:08x}u", from - to),
                Ordering::Less => format!("w[{word}] << {} & 0x{mask:08x}u", to - from),
            }
        };
        let fields: Vec<BitPos> = packed.code_at(8 * high, mma16::STEP * step, CHUNK).collect();
        let terms: Vec<String> = merged(&fields).into_iter().map(term).collect();
        statements.push(format!("a[{step}][{high}] = {};", terms.join(" | ")));
    }
    statements
}

/// Fields that are neighbours in a word and in the code, as one.
fn merged(fields: &[BitPos]) -> Vec<BitPos> {
    let mut out: Vec<BitPos> = Vec::new();
    for field in fields {
        let bit = |f: &BitPos| 8 * f.byte + usize::from(f.bit);
        match out.last_mut() {
            Some(last) if bit(last) + usize::from(last.width) == bit(field) && last.byte / 4 == field.byte / 4 => {
                last.width += field.width;
            }
            Some(_) | None => out.push(*field),
        }
    }
    out
}
