//! From an object file to flat code: the function, its constants behind it, references between them resolved.
//!
//! An object that refers to anything outside itself, or in a way that depends on where it is mapped, is an error.

use actc_types::{Diagnostic, Result};
use object::{Architecture, Object, ObjectSection, ObjectSymbol, RelocationFlags, RelocationTarget, SectionKind, elf};
use std::collections::BTreeMap;

fn wrong(what: impl Into<String>) -> Diagnostic {
    Diagnostic::new("llvm-object", what)
}

/// The bytes of the sections that run or are read, the one with `symbol` first.
pub(super) fn flatten(object: &[u8], symbol: &str) -> Result<Vec<u8>> {
    let file = object::File::parse(object).map_err(|e| wrong(e.to_string()))?;
    let entry = file
        .symbols()
        .find(|s| s.name() == Ok(symbol) && s.is_definition())
        .ok_or_else(|| wrong(format!("no `{symbol}`")))?;
    let first = entry.section_index().ok_or_else(|| wrong(format!("`{symbol}` is nowhere")))?;
    if entry.address() != 0 {
        return Err(wrong(format!("`{symbol}` is not at the start of its section")));
    }
    let wanted =
        |kind: SectionKind| matches!(kind, SectionKind::Text | SectionKind::ReadOnlyData | SectionKind::ReadOnlyString);
    // Frames for unwinding are read-only data too, which nobody reads.
    let mut sections: Vec<_> =
        file.sections().filter(|s| wanted(s.kind()) && s.size() > 0 && s.name() != Ok(".eh_frame")).collect();
    sections.sort_by_key(|s| (s.index() != first, s.index().0));
    let mut code = Vec::new();
    let mut places: BTreeMap<usize, usize> = BTreeMap::new();
    for section in &sections {
        code.resize(code.len().next_multiple_of(section.align().max(1) as usize), 0);
        places.insert(section.index().0, code.len());
        code.extend_from_slice(section.data().map_err(|e| wrong(e.to_string()))?);
    }
    for section in &sections {
        let start = places[&section.index().0];
        for (offset, relocation) in section.relocations() {
            let RelocationTarget::Symbol(index) = relocation.target() else {
                return Err(wrong("a reference to no symbol"));
            };
            let target = file.symbol_by_index(index).map_err(|e| wrong(e.to_string()))?;
            let to = target.section_index().and_then(|s| places.get(&s.0).copied());
            let to = to.ok_or_else(|| wrong(format!("`{symbol}` refers to `{}`", target.name().unwrap_or("?"))))?;
            let to = to as i64 + target.address() as i64 + relocation.addend();
            let at = start + offset as usize;
            let RelocationFlags::Elf { r_type } = relocation.flags() else {
                return Err(wrong("the object is no ELF file"));
            };
            let word = code.get_mut(at..at + 4).and_then(|b| <&mut [u8; 4]>::try_from(b).ok());
            let word = word.ok_or_else(|| wrong("a reference lies outside the code"))?;
            resolve(word, file.architecture(), r_type, to - at as i64)?;
        }
    }
    Ok(code)
}

/// Writes the distance `by` into the instruction at `word`.
fn resolve(word: &mut [u8; 4], architecture: Architecture, r_type: u32, by: i64) -> Result<()> {
    let far = || wrong(format!("a constant is {by} bytes away"));
    let near = (-(1 << 20)..1 << 20).contains(&by);
    let instruction = u32::from_le_bytes(*word);
    let new = match (architecture, r_type) {
        (Architecture::X86_64, elf::R_X86_64_PC32) => i32::try_from(by).map_err(|_| far())? as u32,
        (Architecture::Aarch64, elf::R_AARCH64_LD_PREL_LO19) if near && by % 4 == 0 => {
            instruction | ((by >> 2) as u32 & 0x7_ffff) << 5
        }
        (Architecture::Aarch64, elf::R_AARCH64_ADR_PREL_LO21) if near => {
            instruction | (by as u32 & 3) << 29 | ((by >> 2) as u32 & 0x7_ffff) << 5
        }
        (Architecture::Aarch64, elf::R_AARCH64_LD_PREL_LO19 | elf::R_AARCH64_ADR_PREL_LO21) => return Err(far()),
        (architecture, r_type) => return Err(wrong(format!("a reference of type {r_type} on {architecture:?}"))),
    };
    *word = new.to_le_bytes();
    Ok(())
}
