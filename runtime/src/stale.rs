//! Which sizes of a program have to be evaluated again when the values of its symbols change.

use crate::expr::{Expr, SymbolSet, UNBOUND};
use crate::program::Program;
use actc_types::{Diagnostic, Result};

/// Sizes that are not those of the values that symbols have.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stale {
    /// All of them.
    All,
    /// Those that depend on one of these symbols.
    Some(SymbolSet),
}

impl Stale {
    /// What has to be evaluated again for `values` where sizes are those of the values `laid`, or `None`. What depends on a
    /// symbol that has no value yet stays as it is until the symbol gets one, unless something else that it depends on
    /// changes.
    pub(crate) fn between(laid: &[u64], values: &[u64]) -> Option<Stale> {
        let mut changed = SymbolSet::default();
        let mut any = false;
        for (i, (value, laid)) in values.iter().zip(laid).enumerate() {
            if *value != UNBOUND && value != laid {
                changed.add(i);
                any = true;
            }
        }
        any.then_some(Stale::Some(changed))
    }

    /// Whether `size` is one.
    pub(crate) fn has(self, size: &Expr) -> bool {
        match self {
            Stale::All => true,
            Stale::Some(symbols) => !size.symbols().is_disjoint(symbols),
        }
    }

    /// Evaluates those sizes of steps into `dims`, one place for each size of `program`; what is not known yet is 0.
    pub(crate) fn set_dims(self, program: &Program, values: &[u64], dims: &mut Vec<i64>) -> Result<()> {
        dims.resize(program.dims.len(), 0);
        for (dim, size) in program.dims.iter().zip(dims).filter(|(dim, _)| self.has(dim)) {
            let value = if dim.is_known(values) { dim.eval(values)? } else { 0 };
            let overflow = |_| Diagnostic::new("dim-overflow", format!("size {value} exceeds 63 bits"));
            *size = i64::try_from(value).map_err(overflow)?;
        }
        Ok(())
    }

    /// Bytes of `program`'s buffers: those that are stale evaluated, 0 where they are not known yet, others as `have` says.
    pub(crate) fn buffer_sizes(
        self,
        program: &Program,
        values: &[u64],
        have: impl Fn(usize) -> usize,
    ) -> Result<Vec<usize>> {
        let size = |(i, buffer): (usize, &crate::program::Buffer)| match () {
            () if !self.has(&buffer.bytes) => Ok(have(i)),
            () if buffer.bytes.is_known(values) => buffer.bytes.size(values),
            () => Ok(0),
        };
        program.buffers.iter().enumerate().map(size).collect()
    }
}
