//! Extents that only the running model knows: computed integers as symbols, quotients of extents, and tensors whose extents
//! are assumed to fit and are found to when the model runs.

use super::elements::Element;
use super::{Call, Importer, Item, extents};
use actc_ir::ops::extents::{Bind, Expect};
use actc_ir::ops::indexing::Expand;
use actc_ir::ops::pointwise::{Binary, BinaryFunction, broadcast};
use actc_ir::ops::shaping::Reshape;
use actc_ir::{Op, Value};
use actc_types::{DType, Diagnostic, Dim, Result, Shape};

impl Importer<'_> {
    /// The integers of `values`, `i64` in at most one axis, as dimensions; the same ones for the same value.
    fn bind(&mut self, values: Value, origin: &str) -> Result<Vec<Dim>> {
        if let Some(known) = self.bound.get(&values) {
            return Ok(known.clone());
        }
        if let Some(id) = self.graph.as_const(values) {
            let numbers = self.graph.const_data(id).decode()?.data().to_integers();
            let dims =
                numbers.iter().map(|n| u64::try_from(*n).ok().filter(|n| i64::try_from(*n).is_ok()).map(Dim::from));
            return dims
                .collect::<Option<Vec<Dim>>>()
                .ok_or_else(|| Diagnostic::new("onnx-extent", format!("extents {numbers:?}")));
        }
        let count = self.graph.ty(values).shape.elements()?.fixed().filter(|n| *n <= 64);
        let count = count.ok_or_else(|| {
            let ty = self.graph.ty(values);
            Diagnostic::new("onnx-data-dependent", format!("a shape of as many axes as {ty} has numbers"))
        })?;
        let elements = super::elements::of(self, values, count as usize);
        let mut dims: Vec<Option<Dim>> = elements.iter().map(|e| self.dim_of(e)).collect();
        if dims.iter().any(Option::is_none) {
            let symbols: Vec<_> = (0..count).map(|_| self.symbols.free("u")).collect();
            for ((dim, symbol), element) in dims.iter_mut().zip(&symbols).zip(elements) {
                if dim.is_none() {
                    let new = Dim::sym(symbol.as_str());
                    if let Element::Of(source, place) = element {
                        self.elements.insert((source, place), new.clone());
                    }
                    *dim = Some(new);
                }
            }
            self.add(Op::Bind(Bind { symbols }), &[values], origin)?;
        }
        let dims: Vec<Dim> = dims.into_iter().flatten().collect();
        self.bound.insert(values, dims.clone());
        Ok(dims)
    }

    /// The dimension that `element` is, where it is known or bound already. What is negative is found to be when it runs.
    fn dim_of(&self, element: &Element) -> Option<Dim> {
        match element {
            Element::Known(n) => u64::try_from(*n).ok().map(Dim::from),
            Element::Extent(dim) => extents::natural(dim).then(|| dim.clone()),
            Element::Of(source, place) => self.elements.get(&(*source, *place)).cloned(),
        }
    }

    /// `a / b` rounded down.
    fn floor_div(&mut self, a: &Dim, b: u64, origin: &str) -> Result<Dim> {
        if let Some(n) = a.fixed() {
            return Ok(Dim::from(n / b.max(1)));
        }
        if let Some(exact) = extents::floor_quotient(a, b) {
            return Ok(exact);
        }
        if let Some(known) = self.quotients.get(&(a.clone(), b)) {
            return Ok(known.clone());
        }
        let number = |d: &Dim| Item::Extents { dims: vec![d.clone()], scalar: true };
        let (left, right) = (self.value(&number(a), origin)?, self.value(&number(&Dim::from(b)), origin)?);
        let quotient = self.add(Op::Binary(Binary { function: BinaryFunction::Div }), &[left, right], origin)?;
        let dim = self.bind(quotient, origin)?.pop().ok_or_else(|| Diagnostic::new("onnx-extent", "no quotient"))?;
        self.quotients.insert((a.clone(), b), dim.clone());
        Ok(dim)
    }
}

impl Call<'_, '_> {
    /// The integers of `values` as dimensions, known when the model runs.
    pub(in crate::onnx) fn bind(&mut self, values: Value) -> Result<Vec<Dim>> {
        let values = self.cast(values, DType::I64)?;
        self.importer.bind(values, self.label)
    }

    /// The integer `value` as a dimension, known when the model runs.
    pub(in crate::onnx) fn bind_one(&mut self, value: Value) -> Result<Dim> {
        match &self.bind(value)?[..] {
            [dim] => Ok(dim.clone()),
            many => Err(self.refuse(format!("{} integers where one extent is wanted", many.len()))),
        }
    }

    /// The extents that the integers of input `i` are, followed or bound.
    pub(in crate::onnx) fn extents(&mut self, i: usize) -> Result<Vec<Dim>> {
        if self.dims_known(i) {
            return self.dims(i);
        }
        let values = self.input(i)?;
        self.bind(values)
    }

    /// `a / b` rounded down, which is no polynomial where `b` does not divide `a`.
    pub(in crate::onnx) fn floor_div(&mut self, a: &Dim, b: u64) -> Result<Dim> {
        self.importer.floor_div(a, b, self.label)
    }

    /// The smaller of two extents.
    pub(in crate::onnx) fn least(&mut self, a: &Dim, b: &Dim) -> Result<Dim> {
        match (a.fixed(), b.fixed()) {
            (Some(x), Some(y)) => Ok(Dim::from(x.min(y))),
            _ if a == b => Ok(a.clone()),
            _ => {
                let (x, y) = (self.extent(a, DType::I64)?, self.extent(b, DType::I64)?);
                let least = self.binary(BinaryFunction::Min, x, y)?;
                self.bind_one(least)
            }
        }
    }

    /// `x`, whose extents are found to be those of `shape` when the model runs.
    pub(in crate::onnx) fn expect(&mut self, x: Value, shape: Shape) -> Result<Value> {
        if self.ty(x).shape == shape { Ok(x) } else { self.add(Op::Expect(Expect { shape }), &[x]) }
    }

    /// `x` under another shape; itself where it has that. That the number of elements is the same is seen when it runs where
    /// it is not known.
    pub(in crate::onnx) fn reshape(&mut self, x: Value, shape: Shape) -> Result<Value> {
        let own = self.ty(x).shape;
        if own == shape {
            return Ok(x);
        }
        let (found, wanted) = (own.elements()?, shape.elements()?);
        if found == wanted || found.fixed().is_some() && wanted.fixed().is_some() {
            return self.add(Op::Reshape(Reshape { shape }), &[x]);
        }
        let flat = self.reshape(x, Shape(vec![found]))?;
        let flat = self.expect(flat, Shape(vec![wanted]))?;
        self.reshape(flat, shape)
    }

    /// `values` of extents that are equal but for those of `axis`: where they are not known to be, the fixed one or else the first
    /// is wanted of all.
    pub(in crate::onnx) fn alike(&mut self, values: &[Value], axis: usize) -> Result<Vec<Value>> {
        let shapes: Vec<Shape> = values.iter().map(|v| self.ty(*v).shape).collect();
        let rank = shapes.iter().map(Shape::rank).max().unwrap_or(0);
        if shapes.iter().any(|s| s.rank() != rank) {
            return Ok(values.to_vec());
        }
        let wanted = |i: usize| {
            let all = || shapes.iter().map(|s| &s.dims()[i]);
            all().find(|d| d.fixed().is_some()).or_else(|| all().next()).cloned().unwrap_or_default()
        };
        let wanted: Vec<Dim> = (0..rank).map(wanted).collect();
        let mut alike = Vec::with_capacity(values.len());
        for (value, own) in values.iter().zip(&shapes) {
            let mut dims = wanted.clone();
            if let (Some(to), Some(from)) = (dims.get_mut(axis), own.dims().get(axis)) {
                to.clone_from(from);
            }
            let fits = own.dims().iter().zip(&dims).all(|(a, b)| a.fixed().is_none() || b.fixed().is_none() || a == b);
            alike.push(if fits { self.expect(*value, Shape(dims))? } else { *value });
        }
        Ok(alike)
    }

    /// The shape that `shapes` repeat to. Of two extents that are not known to be equal one may be 1: which, is seen when the
    /// model runs.
    pub(in crate::onnx) fn joint(&mut self, shapes: &[Shape]) -> Result<Shape> {
        let mut whole = Shape(Vec::new());
        for shape in shapes {
            whole = match broadcast(&whole, shape) {
                Some(both) => both,
                None => self.joint_of(&whole, shape)?,
            };
        }
        Ok(whole)
    }

    fn joint_of(&mut self, a: &Shape, b: &Shape) -> Result<Shape> {
        let rank = a.rank().max(b.rank());
        let at = |s: &Shape, i: usize| (i + s.rank()).checked_sub(rank).map_or(Dim::from(1), |j| s.dims()[j].clone());
        let one = Dim::from(1);
        let mut dims = Vec::with_capacity(rank);
        for i in 0..rank {
            let (x, y) = (at(a, i), at(b, i));
            dims.push(match (x.fixed(), y.fixed()) {
                _ if x == y || y == one => x,
                _ if x == one => y,
                (Some(_), Some(_)) => return Err(self.refuse(format!("{a} and {b} do not broadcast"))),
                // The other one is this or 1.
                (Some(_), None) => x,
                (None, Some(_)) => y,
                (None, None) => {
                    let first = self.extent(&x, DType::I64)?;
                    let (second, ones) = (self.extent(&y, DType::I64)?, self.number(1.0, DType::I64)?);
                    let repeats = self.binary(BinaryFunction::Equal, first, ones)?;
                    let both = self.select(repeats, second, first)?;
                    self.bind_one(both)?
                }
            });
        }
        Ok(Shape(dims))
    }

    /// `values` such that their shapes broadcast by their form: as they are, or repeated.
    pub(in crate::onnx) fn together<const N: usize>(&mut self, values: [Value; N]) -> Result<[Value; N]> {
        let shapes = values.map(|v| self.ty(v).shape);
        let fits = |a: &Shape, b: &Shape| broadcast(a, b);
        let plain = shapes.iter().try_fold(Shape(Vec::new()), |whole, s| fits(&whole, s));
        if plain.is_some() {
            return Ok(values);
        }
        let shape = self.joint(&shapes)?;
        let mut out = values;
        for value in &mut out {
            if self.ty(*value).shape != shape {
                *value = self.add(Op::Expand(Expand { shape: shape.clone() }), &[*value])?;
            }
        }
        Ok(out)
    }
}
