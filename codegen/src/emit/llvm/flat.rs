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
    let mut references = Vec::new();
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
            let RelocationFlags::Elf { r_type } = relocation.flags() else {
                return Err(wrong("the object is no ELF file"));
            };
            references.push(Reference { at: start + offset as usize, kind: r_type, to });
        }
    }
    match file.architecture() {
        Architecture::X86_64 => references.iter().try_for_each(|r| x86(&mut code, r))?,
        Architecture::Aarch64 => aarch64(&mut code, &references)?,
        other => return Err(wrong(format!("an object for {other:?}"))),
    }
    Ok(code)
}

/// An instruction at `at` that needs the address `to`, both counted from the start of the code.
struct Reference {
    at: usize,
    kind: u32,
    to: i64,
}

impl Reference {
    fn word<'a>(&self, code: &'a mut [u8]) -> Result<&'a mut [u8; 4]> {
        let word = code.get_mut(self.at..self.at + 4).and_then(|b| <&mut [u8; 4]>::try_from(b).ok());
        word.ok_or_else(|| wrong("a reference lies outside the code"))
    }

    fn unknown(&self) -> Diagnostic {
        wrong(format!("a reference of type {}", self.kind))
    }
}

fn x86(code: &mut [u8], reference: &Reference) -> Result<()> {
    if reference.kind != elf::R_X86_64_PC32 {
        return Err(reference.unknown());
    }
    let by = i32::try_from(reference.to - reference.at as i64).map_err(|_| wrong("a constant is too far away"))?;
    *reference.word(code)? = by.to_le_bytes();
    Ok(())
}

/// Addresses come as a page (`adrp`) and a place in it, which would depend on where the code is mapped. The page becomes
/// the whole address (`adr`), and the place zero.
fn aarch64(code: &mut [u8], references: &[Reference]) -> Result<()> {
    let mut addresses = Vec::new();
    for reference in references.iter().filter(|r| r.kind == elf::R_AARCH64_ADR_PREL_PG_HI21) {
        let by = reference.to - reference.at as i64;
        if !(-(1 << 20)..1 << 20).contains(&by) {
            return Err(wrong(format!("a constant is {by} bytes away")));
        }
        let word = reference.word(code)?;
        let register = u32::from_le_bytes(*word) & 31;
        let adr = 0x1000_0000 | (by as u32 & 3) << 29 | ((by >> 2) as u32 & 0x7_ffff) << 5 | register;
        *word = adr.to_le_bytes();
        addresses.push(reference.to);
    }
    for reference in references.iter().filter(|r| r.kind != elf::R_AARCH64_ADR_PREL_PG_HI21) {
        match reference.kind {
            elf::R_AARCH64_ADD_ABS_LO12_NC
            | elf::R_AARCH64_LDST8_ABS_LO12_NC
            | elf::R_AARCH64_LDST16_ABS_LO12_NC
            | elf::R_AARCH64_LDST32_ABS_LO12_NC
            | elf::R_AARCH64_LDST64_ABS_LO12_NC
            | elf::R_AARCH64_LDST128_ABS_LO12_NC => {}
            _ => return Err(reference.unknown()),
        }
        let instruction = u32::from_le_bytes(*reference.word(code)?);
        let place = instruction >> 10 & 0xfff;
        // Between the two the page may have been copied or kept on the stack: what counts is that it was this one's.
        if place != 0 || !addresses.contains(&reference.to) {
            return Err(wrong("a place in a page has no address"));
        }
    }
    Ok(())
}
