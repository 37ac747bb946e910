//! Dimensions: canonical integer polynomials over symbols.
//!
//! `S` (new tokens), `P` (past tokens) and `B` (batch) are the usual symbols. Two dimensions are equal exactly when their
//! canonical forms are, so shape checks are structural. Arithmetic and evaluation are checked.

use crate::diagnostic::{Diagnostic, Place, Result};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// The name of an unknown extent: a letter or `_`, then letters, digits or `_`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Symbol(Arc<str>);

impl Symbol {
    /// The symbol called `name`, or `None` where that is no identifier.
    pub fn new(name: &str) -> Option<Symbol> {
        let mut chars = name.chars();
        let head = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
        (head && name.len() <= 64 && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')).then(|| Symbol(name.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Most terms of a polynomial, and most factors of a term: products of sums grow without bound, extents of tensors do not.
const MOST_TERMS: usize = 128;
const MOST_FACTORS: usize = 16;

/// Values of symbols.
pub type Bindings = BTreeMap<Symbol, u64>;

/// An extent: a polynomial with integer coefficients.
///
/// Canonical: terms sorted by monomial, no zero coefficient, factors of a monomial sorted; zero has no term.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Dim {
    terms: Vec<(Vec<Symbol>, i64)>,
}

impl Dim {
    /// The symbol `name`. Panics where `name` is no identifier: for names written in the source.
    pub fn sym(name: &str) -> Dim {
        let symbol = Symbol::new(name).expect("symbol names in the source are identifiers");
        Dim { terms: vec![(vec![symbol], 1)] }
    }

    /// The value where it does not depend on a symbol.
    pub fn fixed(&self) -> Option<u64> {
        match self.terms.as_slice() {
            [] => Some(0),
            [(monomial, c)] if monomial.is_empty() => u64::try_from(*c).ok(),
            _ => None,
        }
    }

    /// `self + other`, or `None` on overflow: of a coefficient, or of the number of terms.
    pub fn checked_add(&self, other: &Dim) -> Option<Dim> {
        Self::collect(self.terms.iter().chain(&other.terms).cloned())
    }

    /// `self - other`, or `None` on overflow.
    pub fn checked_sub(&self, other: &Dim) -> Option<Dim> {
        self.checked_add(&other.checked_mul(&Dim { terms: vec![(Vec::new(), -1)] })?)
    }

    /// `self * other`, or `None` on overflow: of a coefficient, or of the number of terms or of factors.
    pub fn checked_mul(&self, other: &Dim) -> Option<Dim> {
        let mut products = Vec::with_capacity(self.terms.len() * other.terms.len());
        for (a, ca) in &self.terms {
            for (b, cb) in &other.terms {
                if a.len() + b.len() > MOST_FACTORS {
                    return None;
                }
                let mut monomial: Vec<Symbol> = a.iter().chain(b).cloned().collect();
                monomial.sort();
                products.push((monomial, ca.checked_mul(*cb)?));
            }
        }
        Self::collect(products)
    }

    fn collect(terms: impl IntoIterator<Item = (Vec<Symbol>, i64)>) -> Option<Dim> {
        let mut map: BTreeMap<Vec<Symbol>, i64> = BTreeMap::new();
        for (monomial, c) in terms {
            let slot = map.entry(monomial).or_insert(0);
            *slot = slot.checked_add(c)?;
        }
        map.retain(|_, c| *c != 0);
        (map.len() <= MOST_TERMS).then(|| Dim { terms: map.into_iter().collect() })
    }

    /// The terms of the canonical form: coefficient and factors, a constant term without factors.
    pub fn terms(&self) -> impl Iterator<Item = (i64, &[Symbol])> {
        self.terms.iter().map(|(monomial, c)| (*c, monomial.as_slice()))
    }

    /// The symbols it depends on, each once, in order.
    pub fn symbols(&self) -> Vec<&Symbol> {
        let mut all: Vec<&Symbol> = self.terms.iter().flat_map(|(m, _)| m).collect();
        all.sort();
        all.dedup();
        all
    }

    /// Its value under `bindings`; an unbound symbol, a negative result or an overflow is an error.
    pub fn eval(&self, bindings: &Bindings) -> Result<u64> {
        let mut sum: i128 = 0;
        for (monomial, c) in &self.terms {
            let mut product = i128::from(*c);
            for symbol in monomial {
                let value = bindings.get(symbol).ok_or_else(|| {
                    Diagnostic::new("dim-unbound", format!("dimension `{self}` needs `{symbol}`, which has no value"))
                })?;
                product = product.checked_mul(i128::from(*value)).ok_or_else(|| self.overflow())?;
            }
            sum = sum.checked_add(product).ok_or_else(|| self.overflow())?;
        }
        u64::try_from(sum).map_err(|_| self.overflow())
    }

    /// The same polynomial with `symbol` replaced by `value`, or `None` on overflow.
    pub fn substitute(&self, symbol: &Symbol, value: &Dim) -> Option<Dim> {
        let mut sum = Dim::default();
        for (monomial, c) in &self.terms {
            let mut product = Dim { terms: vec![(Vec::new(), *c)] };
            for s in monomial {
                let factor = if s == symbol { value.clone() } else { Dim { terms: vec![(vec![s.clone()], 1)] } };
                product = product.checked_mul(&factor)?;
            }
            sum = sum.checked_add(&product)?;
        }
        Some(sum)
    }

    fn overflow(&self) -> Diagnostic {
        Diagnostic::new("dim-overflow", format!("dimension `{self}` is negative or exceeds 64 bits"))
    }

    /// Reads the text form, such as `P + 2*S - 1`.
    pub fn parse(text: &str) -> Result<Dim> {
        let bad = || {
            let place = Place::Span { text: text.into(), start: 0, end: text.len() };
            Diagnostic::request("dim-syntax", format!("`{text}` is no dimension")).at(place)
        };
        if text.len() > 1024 {
            return Err(bad());
        }
        let spaced = text.replace('-', "+-");
        let spaced = spaced.trim().strip_prefix('+').unwrap_or(spaced.trim());
        let mut sum = Dim::default();
        for term in spaced.split('+') {
            let term = term.trim();
            let (sign, term) = term.strip_prefix('-').map_or((1, term), |t| (-1, t.trim()));
            let mut product = Dim { terms: vec![(Vec::new(), sign)] };
            for factor in term.split('*') {
                let factor = factor.trim();
                let value = match factor.parse::<i64>() {
                    Ok(n) if factor.bytes().all(|b| b.is_ascii_digit()) => Dim { terms: vec![(Vec::new(), n)] },
                    _ => Dim { terms: vec![(vec![Symbol::new(factor).ok_or_else(bad)?], 1)] },
                };
                product = product.checked_mul(&value).ok_or_else(bad)?;
            }
            sum = sum.checked_add(&product).ok_or_else(bad)?;
        }
        // `0` and `0*S` leave zero coefficients behind, which the canonical form has not.
        Self::collect(sum.terms).ok_or_else(bad)
    }
}

impl From<u64> for Dim {
    fn from(n: u64) -> Dim {
        let n = i64::try_from(n).expect("fixed dimensions fit 63 bits: readers bound them by the file");
        Dim { terms: if n == 0 { Vec::new() } else { vec![(Vec::new(), n)] } }
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.terms.is_empty() {
            return f.write_str("0");
        }
        // Symbols first, the constant last: `P + S + 1`.
        let ordered = self.terms.iter().filter(|t| !t.0.is_empty()).chain(self.terms.iter().filter(|t| t.0.is_empty()));
        for (i, (monomial, c)) in ordered.enumerate() {
            match (i, *c < 0) {
                (0, false) => {}
                (0, true) => f.write_str("-")?,
                (_, false) => f.write_str(" + ")?,
                (_, true) => f.write_str(" - ")?,
            }
            let magnitude = c.unsigned_abs();
            if monomial.is_empty() || magnitude != 1 {
                write!(f, "{magnitude}")?;
                if !monomial.is_empty() {
                    f.write_str("*")?;
                }
            }
            for (j, s) in monomial.iter().enumerate() {
                write!(f, "{}{s}", if j > 0 { "*" } else { "" })?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn canonical_text() {
        for (text, canonical) in
            [("S+P", "P + S"), ("2*S - S", "S"), ("S - S", "0"), ("3 + S*P*2", "2*P*S + 3"), ("0", "0")]
        {
            assert_eq!(Dim::parse(text).unwrap().to_string(), canonical);
        }
        for text in ["", "S +", "1.5", "S S", "a-", "99999999999999999999"] {
            assert!(Dim::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn evaluation_is_checked() {
        let dim = Dim::parse("P + S - 1").unwrap();
        let mut b = Bindings::new();
        assert_eq!(dim.eval(&b).unwrap_err().code, "dim-unbound");
        b.insert(Symbol::new("P").unwrap(), 0);
        b.insert(Symbol::new("S").unwrap(), 0);
        assert_eq!(dim.eval(&b).unwrap_err().code, "dim-overflow");
        b.insert(Symbol::new("S").unwrap(), 5);
        assert_eq!(dim.eval(&b).unwrap(), 4);
    }

    proptest! {
        #[test]
        fn print_then_parse(terms in prop::collection::vec((-9i64..9, 0u8..4, 0u8..3), 0..5)) {
            let mut dim = Dim::default();
            for (c, s, p) in terms {
                let mut m = vec![Symbol::new("P").unwrap(); usize::from(p)];
                m.extend(vec![Symbol::new("S").unwrap(); usize::from(s)]);
                dim = dim.checked_add(&Dim::collect([(m, c)]).unwrap()).unwrap();
            }
            prop_assert_eq!(Dim::parse(&dim.to_string()).unwrap(), dim);
        }
    }
}
