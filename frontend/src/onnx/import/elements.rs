//! Where the integers of a small list come from: those that are known although others of the list are not, and those that
//! other lists have too. Extents that a model computes in part stay fixed.

use super::{Importer, extents};
use actc_ir::ops::pointwise::{BinaryFunction as B, UnaryFunction as U};
use actc_ir::{Op, Value};
use actc_types::{DType, Dim};

/// Most values that are looked at for one list.
const STEPS: usize = 512;
/// Longest list that is looked at.
const LONGEST: u64 = 64;

/// An integer of a list.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Element {
    /// A number.
    Known(i64),
    /// A dimension.
    Extent(Dim),
    /// The one at a place of a value, in row-major order.
    Of(Value, usize),
}

impl Element {
    /// It as a dimension, where it is one or a number.
    fn dim(&self) -> Option<Dim> {
        match self {
            Element::Known(n) => extents::dimension(*n),
            Element::Extent(dim) => Some(dim.clone()),
            Element::Of(..) => None,
        }
    }
}

/// The `count` integers of `x`.
pub(super) fn of(importer: &Importer<'_>, x: Value, count: usize) -> Vec<Element> {
    let mut steps = STEPS;
    let found = Search { importer, steps: &mut steps }.list(x).filter(|l| l.len() == count);
    found.unwrap_or_else(|| itself(x, count))
}

fn itself(x: Value, count: usize) -> Vec<Element> {
    (0..count).map(|i| Element::Of(x, i)).collect()
}

struct Search<'s, 'i, 'm> {
    importer: &'i Importer<'m>,
    steps: &'s mut usize,
}

impl Search<'_, '_, '_> {
    /// The integers of `x`; `None` of what is no small list of integers or truth values. Those of 32 bits hold extents as long as
    /// tensors have fewer than 2^31 elements along an axis; numbers are taken as they are.
    fn list(&mut self, x: Value) -> Option<Vec<Element>> {
        let graph = &self.importer.graph;
        let ty = graph.ty(x);
        let count = ty.shape.elements().ok()?.fixed().filter(|n| *n <= LONGEST)? as usize;
        if !matches!(ty.dtype, DType::I64 | DType::I32 | DType::Bool) {
            return None;
        }
        if let Some(id) = graph.as_const(x) {
            let tensor = graph.const_data(id).decode().ok()?;
            let known = tensor.data().to_integers().into_iter().map(|n| i64::try_from(n).map(Element::Known));
            return known.collect::<Result<_, _>>().ok();
        }
        *self.steps = self.steps.checked_sub(1)?;
        let found = self.made(x, count).filter(|l| l.len() == count);
        Some(found.unwrap_or_else(|| itself(x, count)))
    }

    /// The integers of `x` by the node that makes it, where that says more than their places.
    fn made(&mut self, x: Value, count: usize) -> Option<Vec<Element>> {
        let graph = &self.importer.graph;
        let data = graph.node(graph.def_node(x)?);
        let flat = graph.ty(x).shape.rank() <= 1;
        let op = &data.op;
        let arg = |i: usize| data.args.get(i).copied();
        if matches!(op, Op::Concat(_)) && flat {
            let parts = data.args.iter().map(|arg| self.list(*arg)).collect::<Option<Vec<_>>>()?;
            return Some(parts.into_iter().flatten().collect());
        }
        if matches!(op, Op::Reshape(_) | Op::Bind(_) | Op::Expect(_)) {
            return self.list(arg(0)?);
        }
        if let Op::Slice(s) = op
            && flat
        {
            let start = usize::try_from(s.start.fixed()?).ok()?;
            return Some(self.list(arg(0)?)?.get(start..start.checked_add(count)?)?.to_vec());
        }
        if matches!(op, Op::Gather(_)) && graph.ty(arg(0)?).shape.rank() == 1 {
            let (list, places) = (self.list(arg(0)?)?, self.list(arg(1)?)?);
            let place = |e: &Element| match e {
                Element::Known(n) if *n < 0 => list.get(usize::try_from(n.checked_add(list.len() as i64)?).ok()?),
                Element::Known(n) => list.get(usize::try_from(*n).ok()?),
                Element::Extent(_) | Element::Of(..) => None,
            };
            return places.iter().map(|e| place(e).cloned()).collect();
        }
        if let Op::Range(r) = op
            && count == 1
        {
            let number = extents::number(&r.start).map(Element::Known);
            return Some(vec![number.unwrap_or_else(|| Element::Extent(r.start.clone()))]);
        }
        if matches!(op, Op::Cast(_)) && graph.ty(x).dtype != DType::Bool {
            let narrow = graph.ty(x).dtype == DType::I32;
            let list = self.list(arg(0)?)?;
            let holds = |e: &Element| !matches!(e, Element::Known(n) if narrow && i32::try_from(*n).is_err());
            return list.iter().all(holds).then_some(list);
        }
        if let Op::Unary(u) = op
            && u.function == U::Not
        {
            let list = self.list(arg(0)?)?;
            let not = |(i, e)| match e {
                Element::Known(n) => Element::Known(i64::from(n == 0)),
                Element::Extent(_) | Element::Of(..) => Element::Of(x, i),
            };
            return Some(list.into_iter().enumerate().map(not).collect());
        }
        if matches!(op, Op::Select(_)) && flat {
            let (truth, a, b) = (self.list(arg(0)?)?, self.list(arg(1)?)?, self.list(arg(2)?)?);
            let pick = |i: usize| {
                let (a, b) = (repeated(&a, i)?, repeated(&b, i)?);
                Some(match repeated(&truth, i)? {
                    _ if a == b => a.clone(),
                    Element::Known(0) => b.clone(),
                    Element::Known(_) => a.clone(),
                    Element::Extent(_) | Element::Of(..) => Element::Of(x, i),
                })
            };
            return (0..count).map(pick).collect();
        }
        // Arithmetic of 32 bits wraps.
        if let Op::Binary(binary) = op
            && flat
            && graph.ty(arg(0)?).dtype != DType::I32
        {
            let (a, b) = (self.list(arg(0)?)?, self.list(arg(1)?)?);
            let apply = |i: usize| {
                let (a, b) = (repeated(&a, i)?, repeated(&b, i)?);
                Some(self.apply(binary.function, a, b).unwrap_or(Element::Of(x, i)))
            };
            return (0..count).map(apply).collect();
        }
        None
    }

    /// `function` of two integers where the result is known or one of them.
    fn apply(&self, function: B, a: &Element, b: &Element) -> Option<Element> {
        let extent = |e: &Element| match e {
            Element::Known(n) => *n >= 0,
            Element::Extent(dim) => extents::natural(dim),
            Element::Of(source, place) => self.importer.elements.contains_key(&(*source, *place)),
        };
        match (function, a, b) {
            (_, Element::Known(a), Element::Known(b)) => {
                i64::try_from(function.apply_integer(i128::from(*a), i128::from(*b))).ok().map(Element::Known)
            }
            (B::Add | B::Sub, x, Element::Known(0))
            | (B::Add, Element::Known(0), x)
            | (B::Mul | B::Div, x, Element::Known(1))
            | (B::Mul, Element::Known(1), x) => Some(x.clone()),
            // What is an extent already is not negative.
            (B::Max, x, Element::Known(n)) | (B::Max, Element::Known(n), x) if *n <= 0 && extent(x) => Some(x.clone()),
            (B::Equal, x, Element::Known(n)) | (B::Equal, Element::Known(n), x) if *n < 0 && extent(x) => {
                Some(Element::Known(0))
            }
            (_, a, b) => {
                let dim = extents::computed(function, &a.dim()?, &b.dim()?)?;
                Some(extents::number(&dim).map_or(Element::Extent(dim), Element::Known))
            }
        }
    }
}

/// Element `i` of a list, or the only one of it.
fn repeated(list: &[Element], i: usize) -> Option<&Element> {
    if let [one] = list { Some(one) } else { list.get(i) }
}
