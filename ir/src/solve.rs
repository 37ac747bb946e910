//! What extents of inputs say of symbols, where a part of a graph begins behind what computed them in the whole.
//!
//! An extent `u` says what `u` is. Where none does:
//!
//! * an extent `u + rest` becomes `u`: the symbol stands for the whole extent from then on, and for `u` there is `u - rest`;
//! * an extent `c * u + rest` says it as soon as all symbols of `rest` are said, so that one extent may give one symbol after
//!   another. The input takes a symbol of its own there, `(extent - rest) / c` is computed from it and bound to `u`, and an
//!   `expect` states what the extent has to be: a rest of the division is an error when the part runs.
//!
//! Deliberately absent: products of unknown symbols, and several equations for several symbols at once. Such symbols stay unbound,
//! which is an error when the part runs.

use crate::graph::Graph;
use crate::handle::Value;
use crate::op::Op;
use crate::ops::extents::{Bind, Expect};
use crate::ops::pointwise::{Binary, BinaryFunction};
use crate::ops::shaping::Range;
use crate::types::TensorType;
use actc_types::{Diagnostic, Dim, Result, Shape, Symbol};
use std::collections::{BTreeMap, BTreeSet};

/// The symbol that is all of `dim`.
fn alone(dim: &Dim) -> Option<&Symbol> {
    match dim.symbols()[..] {
        [symbol] if *dim == Dim::sym(symbol.as_str()) => Some(symbol),
        _ => None,
    }
}

/// The factor of `symbol` in `dim`, where it stands in one term and by itself.
fn factor(dim: &Dim, symbol: &Symbol) -> Option<i64> {
    let mut terms = dim.terms().filter(|(_, factors)| factors.contains(symbol));
    match (terms.next(), terms.next()) {
        (Some((factor, [_])), None) => Some(factor),
        _ => None,
    }
}

/// An extent `factor * symbol + rest` in which `symbol` alone is unknown.
struct Equation {
    extent: Dim,
    factor: i64,
    symbol: Symbol,
    rest: Dim,
}

impl Equation {
    fn of(extent: &Dim, known: &BTreeSet<Symbol>) -> Option<Equation> {
        let unknown: Vec<&Symbol> = extent.symbols().into_iter().filter(|s| !known.contains(*s)).collect();
        let [symbol] = unknown[..] else { return None };
        let factor = factor(extent, symbol).filter(|f| *f != i64::MIN)?;
        let rest = extent.substitute(symbol, &Dim::default())?;
        Some(Equation { extent: extent.clone(), factor, symbol: symbol.clone(), rest })
    }

    /// Binds the symbol, where `measured` is the extent.
    fn bind(&self, part: &mut Graph, measured: &Symbol) -> Result<()> {
        let (symbol, measured) = (self.symbol.as_str(), Dim::sym(measured.as_str()));
        let (of, less) = if self.factor > 0 { (&measured, &self.rest) } else { (&self.rest, &measured) };
        let difference = of.checked_sub(less).ok_or_else(|| overflow(&self.extent, &self.symbol))?;
        let one = |start: Dim| Op::Range(Range { start, len: Dim::from(1) });
        let mut number = part.add(one(difference), &[], symbol)?;
        if self.factor.abs() != 1 {
            let by = part.add(one(Dim::from(self.factor.unsigned_abs())), &[], symbol)?;
            number = part.add(Op::Binary(Binary { function: BinaryFunction::Div }), &[number, by], symbol)?;
        }
        part.add(Op::Bind(Bind { symbols: vec![self.symbol.clone()] }), &[number], symbol)?;
        Ok(())
    }
}

fn overflow(dim: &Dim, symbol: &Symbol) -> Diagnostic {
    Diagnostic::new("dim-overflow", format!("`{dim}` is too large to tell `{symbol}`"))
}

/// What some extents say of symbols.
pub(crate) struct Said {
    /// All symbols that they say.
    pub(crate) symbols: BTreeSet<Symbol>,
    /// Those that are no extent by themselves, each behind those that its equation needs.
    equations: Vec<Equation>,
}

impl Said {
    /// What the extents of `values` say.
    pub(crate) fn by(graph: &Graph, values: impl Iterator<Item = Value>) -> Said {
        let dims: Vec<&Dim> = values.flat_map(|v| graph.ty(v).shape.dims()).collect();
        let mut symbols: BTreeSet<Symbol> = dims.iter().filter_map(|d| alone(d)).cloned().collect();
        let mut equations = Vec::new();
        while let Some(equation) = dims.iter().find_map(|d| Equation::of(d, &symbols)) {
            symbols.insert(equation.symbol.clone());
            equations.push(equation);
        }
        Said { symbols, equations }
    }
}

/// Has extents of inputs say what symbols of `part` are. Where an input changes its type for it, what stands for it in `values`
/// becomes a value of the type that it had.
pub(crate) fn solve(part: &mut Graph, values: &mut BTreeMap<Value, Value>) -> Result<()> {
    eliminate(part)?;
    let said = Said::by(part, part.inputs().map(|(_, v)| v));
    let mut taken: BTreeSet<Symbol> = part.inputs().flat_map(|(_, v)| part.ty(v).shape.symbols()).collect();
    part.order().iter().for_each(|n| part.symbols_of(*n, &mut taken));
    // A `bind` that is there for another of its symbols gives none a second value.
    for node in &mut part.nodes {
        if let Op::Bind(bind) = &mut node.op {
            bind.symbols.iter_mut().filter(|s| said.symbols.contains(*s)).for_each(|s| *s = fresh(&mut taken));
        }
    }
    let behind = part.order().len();
    let measured = measure(part, &said.equations, &mut taken);
    for equation in &said.equations {
        equation.bind(part, &measured.symbols[&equation.extent])?;
    }
    let mut expected = BTreeMap::new();
    for (input, shape) in measured.inputs {
        expected.insert(input, part.add(Op::Expect(Expect { shape }), &[input], "extents")?);
    }
    let added = part.order().len() - behind;
    let instead = |v: &mut Value| *v = expected.get(v).copied().unwrap_or(*v);
    let order = &mut part.regions[0].nodes;
    order[..behind].iter().for_each(|n| part.nodes[n.index()].args.iter_mut().for_each(instead));
    order.rotate_right(added);
    values.values_mut().for_each(instead);
    Ok(())
}

/// Where an extent is `u + rest` and none is `u`, `u` is the whole extent from then on.
fn eliminate(part: &mut Graph) -> Result<()> {
    loop {
        let dims = || part.inputs().flat_map(|(_, v)| part.ty(v).shape.dims());
        let unsaid = dims().find_map(|d| {
            let fits = |s: &&&Symbol| factor(d, s) == Some(1) && !dims().any(|d| alone(d) == Some(**s));
            let symbol = *d.symbols().iter().find(fits)?;
            let whole = Dim::sym(symbol.as_str());
            Some((symbol.clone(), whole.checked_sub(&d.checked_sub(&whole)?)?))
        });
        let Some((symbol, before)) = unsaid else { return Ok(()) };
        let mut solved = |d: &Dim| d.substitute(&symbol, &before).ok_or_else(|| overflow(d, &symbol));
        for value in &mut part.values {
            value.ty.shape = Shape(value.ty.shape.dims().iter().map(&mut solved).collect::<Result<_>>()?);
        }
        for node in &mut part.nodes {
            node.op = node.op.with_dims(&mut solved)?;
        }
    }
}

/// Extents that have symbols of their own, and the shapes that inputs had before.
#[derive(Default)]
struct Measured {
    symbols: BTreeMap<Dim, Symbol>,
    inputs: Vec<(Value, Shape)>,
}

/// Gives extents of inputs that depend on symbols of `equations` symbols of their own.
fn measure(part: &mut Graph, equations: &[Equation], taken: &mut BTreeSet<Symbol>) -> Measured {
    let solved: BTreeSet<&Symbol> = equations.iter().map(|e| &e.symbol).collect();
    let mut measured = Measured::default();
    for input in part.inputs().map(|(_, v)| v).collect::<Vec<_>>() {
        let TensorType { shape, dtype } = part.ty(input).clone();
        let mut own = |dim: &Dim| {
            if !dim.symbols().iter().any(|s| solved.contains(*s)) {
                return dim.clone();
            }
            let symbol = measured.symbols.entry(dim.clone()).or_insert_with(|| fresh(taken));
            Dim::sym(symbol.as_str())
        };
        let own = Shape(shape.dims().iter().map(&mut own).collect());
        if own != shape {
            part.values[input.index()].ty = TensorType::new(dtype, own);
            measured.inputs.push((input, shape));
        }
    }
    measured
}

/// A symbol that is not among `taken`, among which it is from then on.
fn fresh(taken: &mut BTreeSet<Symbol>) -> Symbol {
    let mut names = (0..).filter_map(|n: u64| Symbol::new(&format!("extent_{n}")));
    let symbol = names.find(|s| !taken.contains(s)).expect("`taken` is finite");
    taken.insert(symbol.clone());
    symbol
}

#[cfg(test)]
mod tests {
    use crate::eval::evaluate;
    use crate::extract::extract;
    use crate::graph::Graph;
    use crate::text::{parse, unbound};
    use crate::verify;
    use actc_types::dim::Bindings;
    use actc_types::{Dim, Result, Symbol, Tensor};

    /// The part behind a cut of extents `cut` that gives the numbers `u` and `v`, which the whole binds: both at once where `paired`.
    fn part(cut: &str, paired: bool) -> Graph {
        let bind = match paired {
            true => "%b = concat{axis=0} %n, %m : i64[2]\n%uv = bind{symbols=\"u, v\"} %b : i64[2]",
            false => "%u = bind{symbols=u} %n : i64[1]\n%v = bind{symbols=v} %m : i64[1]",
        };
        let text = format!(
            "air 1\ngraph @g(%x: f32[N], %y: f32[M]) {{
  %n = range{{start=N, len=1}} : i64[1]
  %m = range{{start=M, len=1}} : i64[1]
  {bind}
  %s = reduce{{function=sum}} %x : f32[]
  %cut = expand{{shape=\"{cut}\"}} %s : f32[{cut}]
  %0 = range{{start=u, len=1}} : i64[1]
  %1 = range{{start=v, len=1}} : i64[1]
  %2 = reshape{{shape=\"{product}\"}} %cut : f32[{product}]
  %3 = range{{start=\"{product}\", len=1}} : i64[1]
  %4 = concat{{axis=0}} %0, %1, %3 : i64[3]
  return y=%4, z=%2\n}}\n",
            product = cut.split(',').map(|d| Dim::parse(d).unwrap()).reduce(|a, b| a.checked_mul(&b).unwrap()).unwrap(),
        );
        let graph = parse(&text, &unbound).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(verify(&graph), []);
        let cut = graph.order().iter().map(|n| graph.node(*n)).find(|n| n.op.name() == "expand").unwrap().results[0];
        let outputs: Vec<_> = graph.outputs().map(|(_, v)| v).collect();
        let mut part = extract(&graph, &[cut], &outputs).unwrap();
        for (name, value) in ["y", "z"].into_iter().zip(&outputs) {
            part.graph.output(name, part.values[value]);
        }
        part.graph
    }

    /// What `part` says of `u` and `v` where its first input has these extents, and the others those of `N` and `M`.
    fn said(part: &Graph, extents: &[u64], [u, v]: [u64; 2]) -> Result<Vec<i64>> {
        let zeros = |dims: &[u64]| Tensor::f32(dims, vec![0.0; dims.iter().product::<u64>() as usize]).unwrap();
        let given = part.inputs().map(|(name, _)| match name {
            "x" => zeros(&[u]),
            "y" => zeros(&[v]),
            _ => zeros(extents),
        });
        let given: Vec<Tensor> = given.collect();
        Ok(evaluate(part, given)?[0].as_i64()?.to_vec())
    }

    /// Forms that are solved.
    const FORMS: &[&str] = &[
        "u,v",
        "u + 1,v + 2",
        "8*u + 8,v",
        "2*u + 1,3*v + 2",
        "12 - 2*u,v",
        "8*u + 8,8*u + 4*v",
        "2*u + 3*v,3*v + 5",
        "u + v,u + 2*v",
        "u + v,2*u",
        "2*u,2*v,u + v",
    ];

    #[test]
    fn linear_forms_are_solved() {
        for form in FORMS {
            for paired in [false, true] {
                let part = part(form, paired);
                assert_eq!(verify(&part), [], "{form}");
                assert_eq!(part.inputs().map(|(name, _)| name).collect::<Vec<_>>(), ["in0"], "{form}");
                for (u, v) in [(0, 0), (1, 0), (0, 3), (2, 5), (6, 1)] {
                    let bindings: Bindings =
                        [("u", u), ("v", v)].map(|(s, n)| (Symbol::new(s).unwrap(), n)).into_iter().collect();
                    let extents = form.split(',').map(|d| Dim::parse(d).unwrap().eval(&bindings).unwrap());
                    let extents: Vec<u64> = extents.collect();
                    let all = extents.iter().product::<u64>() as i64;
                    assert_eq!(said(&part, &extents, [0, 0]).unwrap(), [u as i64, v as i64, all], "{form}");
                }
            }
        }
    }

    /// A rest of a division, a number below zero, and another extent that says otherwise.
    #[test]
    fn extents_that_no_symbol_gives_are_errors() {
        for (form, extents, code) in [
            ("8*u + 8,v", [15, 1], "shape-mismatch"),
            ("2*u + 1,3*v + 2", [3, 4], "shape-mismatch"),
            ("8*u + 8,v", [0, 1], "dim-overflow"),
            ("u + v,2*u", [1, 4], "dim-overflow"),
            ("2*u + 2*v,3*v", [2, 6], "dim-overflow"),
        ] {
            let found = said(&part(form, false), &extents, [0, 0]).unwrap_err();
            assert_eq!(found.code, code, "{form}: {found}");
        }
    }

    /// The whole's input says what `N` is, and then the cut what `u` is.
    #[test]
    fn a_symbol_of_the_whole_brings_its_input() {
        let part = part("2*N + 3*u,v", false);
        assert_eq!(part.inputs().map(|(name, _)| name).collect::<Vec<_>>(), ["in0", "x"]);
        assert_eq!(said(&part, &[14, 2], [4, 0]).unwrap(), [2, 2, 28]);
        assert_eq!(said(&part, &[15, 2], [4, 0]).unwrap_err().code, "shape-mismatch");
    }

    /// Products of unknown symbols, and equations of several.
    #[test]
    fn what_is_not_solved_has_no_value() {
        for (form, extents) in [("u*v,v + 1", [6, 3]), ("2*u + 2*v,3*u + 3*v", [4, 6])] {
            let found = said(&part(form, false), &extents, [0, 0]).unwrap_err();
            assert_eq!(found.code, "dim-unbound", "{form}: {found}");
        }
    }
}
