//! What a name stands for, in nested scopes.

use crate::machine::warp::{Pred, Reg};
use crate::report::Space;
use crate::ty::Type;
use std::collections::HashMap;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    Reg(Reg, Type),
    Pred(Pred),
    Memory { space: Space, address: u64 },
}

/// Registers and variables by name, innermost scope last.
#[derive(Default)]
pub(crate) struct Scopes {
    names: Vec<(u32, HashMap<String, Place>)>,
    made: u32,
}

impl Scopes {
    pub(crate) fn open(&mut self) {
        self.made += 1;
        self.names.push((self.made, HashMap::new()));
    }

    pub(crate) fn close(&mut self) {
        self.names.pop();
    }

    pub(crate) fn add(&mut self, name: String, place: Place) {
        if let Some((_, names)) = self.names.last_mut() {
            names.insert(name, place);
        }
    }

    /// Names of a function are not seen in those that it calls: `from` is where the function's scopes begin.
    pub(crate) fn find(&self, name: &str, from: usize) -> Option<Place> {
        let inner = self.names[from..].iter().rev();
        inner.chain(self.names.first()).find_map(|(_, names)| names.get(name)).copied()
    }

    pub(crate) fn depth(&self) -> usize {
        self.names.len()
    }

    /// Numbers of the scopes that are open, from `from` on.
    pub(crate) fn path(&self, from: usize) -> Vec<u32> {
        self.names[from..].iter().map(|(number, _)| *number).collect()
    }
}
