//! Kernels as people read them: the spec, a drawing of the weights' layout, the emitted text.

use crate::emit::Backend;
use crate::spec::{self, KernelSpec};
use actc_templates::Listing;
use actc_types::packed::{CHUNK, PANEL};
use actc_types::{Diagnostic, Encoding, Packed, Result, Target};

/// The listing of `spec` for `target`, under its symbol.
pub fn listing(spec: &KernelSpec, backend: Backend, target: &Target) -> Result<(String, String)> {
    let kernel = spec::compile(spec, backend, target)?;
    let (described, machine) = (spec.to_string(), target.to_string());
    let layout = layout(spec);
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

/// The distinct packed layouts of a kernel's weights, drawn from the description that packs them.
fn layout(spec: &KernelSpec) -> Vec<String> {
    let KernelSpec::Linear(linear) = spec else { return Vec::new() };
    let mut lines: Vec<String> = Vec::new();
    let mut drawn: Vec<Packed> = Vec::new();
    for mat in &linear.mats {
        let packed = match &mat.encoding {
            Encoding::Packed(p) => *p,
            Encoding::Mixed(m) => m.body,
            Encoding::Dense | Encoding::Block(_) => continue,
        };
        if !drawn.contains(&packed) {
            lines.extend(draw(&packed));
            drawn.push(packed);
        }
    }
    lines
}

fn draw(packed: &Packed) -> Vec<String> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use actc_types::Group;

    #[test]
    fn drawings_follow_the_layout() {
        let drawn = draw(&Packed::new(3, Group::Columns(64)));
        assert_eq!(
            drawn[1],
            "  code bits 0..=1: bytes 0..128, byte i = [ i+384 | i+256 | i+128 | code i ], high field first"
        );
        assert!(drawn[2].starts_with("  code bits 2..=2: bytes 128..192, byte i = [ i+448 | "), "{}", drawn[2]);
    }
}
