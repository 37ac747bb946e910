//! Kernels as people read them: the spec, a drawing of the weights' layout, the emitted text.

use crate::emit::Backend;
use crate::spec::{self, KernelSpec, Mat};
use actc_templates::Listing;
use actc_types::packed::{CHUNK, PANEL, mma16};
use actc_types::{Diagnostic, Encoding, Order, Packed, Result, Target};

/// The listing of `spec` for `target`, under its symbol.
pub fn listing(spec: &KernelSpec, backend: Backend, target: &Target) -> Result<(String, String)> {
    let kernel = spec::compile(spec, backend, target)?;
    let (described, machine) = (spec.to_string(), target.to_string());
    let layout = match spec {
        KernelSpec::Linear(linear) => layout(&linear.mats),
        KernelSpec::Prepare(_)
        | KernelSpec::RmsNorm(_)
        | KernelSpec::LayerNorm(_)
        | KernelSpec::RopeTable(_)
        | KernelSpec::Rope(_)
        | KernelSpec::Attention(_)
        | KernelSpec::Elementwise(_) => Vec::new(),
    };
    let listing = Listing {
        comment: ";",
        symbol: &kernel.symbol,
        spec: &described,
        target: &machine,
        layout: &layout,
        body: &kernel.text,
    };
    let text = listing.render().map_err(|e| Diagnostic::new("listing", e))?;
    Ok((kernel.symbol, text))
}

/// The distinct packed layouts of matrices, drawn from the description that packs them.
pub(crate) fn layout(mats: &[Mat]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut drawn: Vec<Packed> = Vec::new();
    for mat in mats {
        let packed = match &mat.encoding {
            Encoding::Packed(p) => *p,
            Encoding::Mixed(m) => m.body,
            Encoding::Dense | Encoding::Block(_) => continue,
        };
        if !drawn.contains(&packed) {
            lines.extend(match packed.order {
                Order::Panels8 => draw_planes(&packed),
                Order::Mma16 => draw_words(&packed),
            });
            drawn.push(packed);
        }
    }
    lines
}

fn draw_planes(packed: &Packed) -> Vec<String> {
    let bytes = packed.chunk_bytes();
    let mut lines = vec![format!(
        "{} bits: panels of {PANEL} rows, chunks of {CHUNK} columns in {bytes} bytes; code i = 32 (column / 4) + 4 row + column % 4",
        packed.bits
    )];
    for plane in packed.planes() {
        let stride = plane.stride();
        let fields: Vec<String> = (0..PANEL * CHUNK / stride)
            .rev()
            .map(|f| if f == 0 { "code i".to_owned() } else { format!("i+{}", f * stride) })
            .collect();
        let (low, high) = (plane.shift, plane.shift + plane.width - 1);
        lines.push(format!(
            "  code bits {low}..={high}: bytes {}..{}, byte i = [ {} ], high field first",
            plane.offset,
            plane.offset + stride,
            fields.join(" | ")
        ));
    }
    lines
}

/// The first bytes of the words of lane 0, the highest bit first; the others hold the next three columns of each.
fn draw_words(packed: &Packed) -> Vec<String> {
    let width = mma16::width(packed.bits);
    let loads: Vec<String> = mma16::loads(packed.bits).iter().map(usize::to_string).collect();
    let load = loads.join(", ");
    let mut lines = vec![format!(
        "{} bits in fields of {width}: panels of {} rows, chunks of {CHUNK} columns in {} bytes, {width} words a lane, loaded by {load}; lane 0, each byte for its column:",
        packed.bits,
        mma16::PANEL,
        packed.chunk_bytes()
    )];
    let mut halves = vec![[None; 8]; usize::from(width)];
    for (row, col) in [0, 8].into_iter().flat_map(|row| (0..CHUNK).step_by(mma16::STEP).map(move |col| (row, col))) {
        for field in packed.code_at(row, col, CHUNK) {
            let word = mma16::lane_word(packed.bits, field.byte / 4);
            for bit in 0..usize::from(field.width) {
                halves[word][usize::from(field.bit) + bit] = Some((row, col));
            }
        }
    }
    for (word, half) in halves.iter().enumerate() {
        let mut runs: Vec<(Option<(usize, usize)>, usize)> = Vec::new();
        for owner in half.iter().rev() {
            match runs.last_mut() {
                Some((last, bits)) if last == owner => *bits += 1,
                Some(_) | None => runs.push((*owner, 1)),
            }
        }
        let shown = runs.iter().map(|(owner, bits)| match owner {
            Some((row, col)) => format!("r{row}c{col}:{bits}"),
            None => format!("-:{bits}"),
        });
        lines.push(format!("  word {word} = [ {} ]", shown.collect::<Vec<_>>().join(" | ")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use actc_types::Group;

    #[test]
    fn drawings_follow_the_layout() {
        let drawn = draw_planes(&Packed::new(3, Group::Columns(64)));
        assert_eq!(
            drawn[1],
            "  code bits 0..=1: bytes 0..128, byte i = [ i+384 | i+256 | i+128 | code i ], high field first"
        );
        assert!(drawn[2].starts_with("  code bits 2..=2: bytes 128..192, byte i = [ i+448 | "), "{}", drawn[2]);
    }
    #[test]
    fn words_of_gpus_are_drawn() {
        let packed = Packed { order: Order::Mma16, ..Packed::new(3, Group::Channel) };
        assert_eq!(
            draw_words(&packed)[1..],
            [
                "  word 0 = [ r0c48:2 | r8c0:3 | r0c0:3 ]",
                "  word 1 = [ r8c48:1 | r0c48:1 | r8c16:3 | r0c16:3 ]",
                "  word 2 = [ r8c48:2 | r8c32:3 | r0c32:3 ]",
            ]
        );
    }
}
