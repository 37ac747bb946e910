//! What rules found, what nearly fitted and was left and why, and what new constants may take.

use crate::spill;
use actc_ir::{Const, Graph, TensorType};
use actc_types::{Encoding, Result, Role};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Bytes of new constants that any graph may have.
const ROOM: u64 = 64 << 20;

/// What rules share: what they say, and where new constants go.
pub(super) struct Findings<'a> {
    /// Folder in which constants above a megabyte lie as unnamed files.
    work: &'a Path,
    /// Bytes that new constants may still take.
    room: u64,
    names: BTreeSet<String>,
    numbers: BTreeMap<String, usize>,
    made: BTreeMap<&'static str, usize>,
    left: BTreeMap<(&'static str, &'static str), usize>,
}

impl<'a> Findings<'a> {
    /// New constants may take four times what the graph's take, and 64 MiB: whatever a hostile graph asks for, files grow in
    /// proportion to it.
    pub(super) fn new(graph: &Graph, work: &'a Path) -> Findings<'a> {
        let stored: u64 = graph.constants().map(|(_, c)| c.stored_bytes()).sum();
        Findings {
            work,
            room: stored.saturating_mul(4).saturating_add(ROOM),
            names: graph.constants().map(|(_, c)| c.name.clone()).collect(),
            numbers: BTreeMap::new(),
            made: BTreeMap::new(),
            left: BTreeMap::new(),
        }
    }

    /// Counts `what`, which was made.
    pub(super) fn made(&mut self, what: &'static str) {
        *self.made.entry(what).or_default() += 1;
    }

    /// Counts `what`, which was left for the reason `why`.
    pub(super) fn left(&mut self, what: &'static str, why: &'static str) {
        *self.left.entry((what, why)).or_default() += 1;
    }

    /// Forgets what was left: the rules look again.
    pub(super) fn again(&mut self) {
        self.left.clear();
    }

    /// Takes `bytes` of the room for new constants, where it is there.
    pub(super) fn take(&mut self, bytes: u64) -> bool {
        let rest = self.room.checked_sub(bytes);
        self.room = rest.unwrap_or(self.room);
        rest.is_some()
    }

    /// A name that no constant has yet: `name`, or that of which it is a numbered one, with a number.
    pub(super) fn fresh(&mut self, name: &str) -> String {
        let numbered =
            name.rsplit_once('.').filter(|(base, n)| n.parse::<usize>().is_ok() && self.names.contains(*base));
        let name = numbered.map_or(name, |(base, _)| base);
        let number = self.numbers.entry(name.to_owned()).or_default();
        let mut free = name.to_owned();
        while !self.names.insert(free.clone()) {
            *number += 1;
            free = format!("{name}.{number}");
        }
        free
    }

    /// A constant called `name`, of which `parts` are new: above a megabyte they lie in a file.
    pub(super) fn constant(
        &self,
        name: String,
        ty: TensorType,
        encoding: Encoding,
        parts: Vec<(Role, Vec<u8>)>,
    ) -> Result<Const> {
        let stored = |(role, data)| Ok((role, spill::store(self.work, data)?));
        Const::new(name, ty, encoding, parts.into_iter().map(stored).collect::<Result<_>>()?)
    }

    /// For people, behind what else is said.
    pub(super) fn words(&self) -> String {
        let mut words = String::new();
        for (what, count) in &self.made {
            words += &format!("{}{what}: {count}", if words.is_empty() { "; found " } else { ", " });
        }
        for (i, ((what, why), count)) in self.left.iter().enumerate() {
            words += &format!("{}{what}: {count} ({why})", if i == 0 { "; left " } else { ", " });
        }
        words
    }
}
