//! Dimensions prepared for evaluation at every run: symbols are positions in a list of values.

use actc_types::{Diagnostic, Dim, Result, Symbol};

/// The value of a symbol that a step has yet to bind.
pub(crate) const UNBOUND: u64 = u64::MAX;

/// A dimension over the symbols of one entry.
#[derive(Clone, Debug)]
pub(crate) struct Expr {
    terms: Vec<(i64, Vec<u16>)>,
    symbols: SymbolSet,
    text: Dim,
}

/// A set of symbols that is never too small: symbols whose positions are 64 apart are in it together.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SymbolSet(u64);

impl SymbolSet {
    /// Adds the symbol at `position`.
    pub(crate) fn add(&mut self, position: usize) {
        self.0 |= 1 << (position % 64);
    }

    /// Whether no symbol is in both.
    pub(crate) fn is_disjoint(self, other: SymbolSet) -> bool {
        self.0 & other.0 == 0
    }
}

impl Expr {
    /// `dim` over `symbols`; an error where it depends on another symbol.
    pub(crate) fn new(dim: &Dim, symbols: &[Symbol]) -> Result<Expr> {
        let position = |s: &Symbol| {
            symbols.iter().position(|k| k == s).and_then(|i| u16::try_from(i).ok()).ok_or_else(|| {
                Diagnostic::new(
                    "dim-unbound",
                    format!("dimension `{dim}` needs `{s}`, which is no symbol of the entry"),
                )
            })
        };
        let terms = dim
            .terms()
            .map(|(c, factors)| Ok((c, factors.iter().map(position).collect::<Result<_>>()?)))
            .collect::<Result<Vec<(i64, Vec<u16>)>>>()?;
        let mut all = SymbolSet::default();
        terms.iter().flat_map(|(_, factors)| factors).for_each(|s| all.add(usize::from(*s)));
        Ok(Expr { terms, symbols: all, text: dim.clone() })
    }

    /// The symbols that it depends on.
    pub(crate) fn symbols(&self) -> SymbolSet {
        self.symbols
    }

    /// The symbol's position, where the dimension is exactly one symbol.
    pub(crate) fn bare_symbol(&self) -> Option<usize> {
        match self.terms.as_slice() {
            [(1, factors)] => match factors.as_slice() {
                [symbol] => Some(usize::from(*symbol)),
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether all that it depends on has a value.
    pub(crate) fn is_known(&self, values: &[u64]) -> bool {
        self.terms.iter().all(|(_, factors)| factors.iter().all(|s| values[usize::from(*s)] != UNBOUND))
    }

    /// Its value, which fits an `i64`; a negative one or an overflow is an error.
    pub(crate) fn eval(&self, values: &[u64]) -> Result<u64> {
        let product = |c: i64, factors: &[u16]| {
            factors.iter().try_fold(i128::from(c), |p, s| p.checked_mul(i128::from(values[usize::from(*s)])))
        };
        self.terms
            .iter()
            .try_fold(0i128, |sum, (c, factors)| sum.checked_add(product(*c, factors)?))
            .and_then(|sum| i64::try_from(sum).ok())
            .and_then(|sum| u64::try_from(sum).ok())
            .ok_or_else(|| {
                Diagnostic::new("dim-overflow", format!("dimension `{}` is negative or exceeds 63 bits", self.text))
            })
    }

    /// Its value as a size in memory.
    pub(crate) fn size(&self, values: &[u64]) -> Result<usize> {
        let value = self.eval(values)?;
        usize::try_from(value).map_err(|_| {
            Diagnostic::new("dim-overflow", format!("`{}` = {value} exceeds the address space", self.text))
        })
    }
}
