//! Specialising a graph for one entry: symbols that are known become numbers, and where only the last token's output is
//! wanted, row-wise ops behind the last full-length one run on that row alone.

use actc_ir::eval::new_tokens;
use actc_ir::ops::shaping::Slice;
use actc_ir::{Graph, NodeData, Op, Region, TensorType, Value};
use actc_types::{Diagnostic, Dim, Result, Shape, Symbol};
use std::collections::{BTreeMap, BTreeSet};

/// Which rows of the outputs an entry gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// One per token.
    All,
    /// The last token's.
    Last,
}

/// A copy of `graph` with `fixed` symbols replaced and, with [`Rows::Last`], outputs cut to their last row.
pub fn specialise(graph: &Graph, fixed: &[(Symbol, u64)], rows: Rows) -> Result<Graph> {
    let narrow = match rows {
        Rows::All => BTreeSet::new(),
        Rows::Last => narrow_values(graph),
    };
    let copy = Copy {
        from: graph,
        to: Graph::new(graph.name()),
        fixed,
        narrow,
        values: BTreeMap::new(),
        cut: BTreeMap::new(),
    };
    copy.run()
}

/// Whether row `i` of the result depends on row `i` of the arguments that have rows, and on nothing else of them.
fn row_wise(op: &Op) -> bool {
    match op {
        Op::Linear(_)
        | Op::RmsNorm(_)
        | Op::LayerNorm(_)
        | Op::Unary(_)
        | Op::Binary(_)
        | Op::Cast(_)
        | Op::Bitcast(_)
        | Op::RoundRows(_)
        | Op::Reshape(_)
        | Op::Softmax(_) => true,
        Op::Const(_)
        | Op::Embedding(_)
        | Op::Rope(_)
        | Op::Attention(_)
        | Op::CacheAppend(_)
        | Op::Transpose(_)
        | Op::Slice(_)
        | Op::Concat(_)
        | Op::Range(_)
        | Op::Select(_)
        | Op::Matmul(_)
        | Op::Recurrent(_)
        | Op::LinearAttention(_)
        | Op::Reduce(_)
        | Op::PlaceOf(_)
        | Op::Gather(_)
        | Op::GatherNd(_)
        | Op::GatherElements(_)
        | Op::ScatterNd(_)
        | Op::ScatterElements(_)
        | Op::Cumulate(_)
        | Op::TopK(_)
        | Op::NonZero(_)
        | Op::Unique(_)
        | Op::NonMaxSuppression(_)
        | Op::Expand(_)
        | Op::Bind(_)
        | Op::Expect(_)
        | Op::Conv(_)
        | Op::ConvInteger(_)
        | Op::ConvTranspose(_)
        | Op::DeformConv(_)
        | Op::Pool(_)
        | Op::Fold(_)
        | Op::Unpool(_)
        | Op::RegionPool(_)
        | Op::Pad(_)
        | Op::Resample(_)
        | Op::GridSample(_)
        | Op::Det(_)
        | Op::Gram(_)
        | Op::ChannelStats(_)
        | Op::If(_)
        | Op::Loop(_) => false,
    }
}

/// The axis of the tokens, where `ty` has a row for each: the first one but for axes of one in front.
fn row_axis(ty: &TensorType) -> Option<usize> {
    let axis = ty.shape.dims().iter().position(|d| d.fixed() != Some(1))?;
    (ty.shape.dims()[axis] == Dim::sym(new_tokens().as_str())).then_some(axis)
}

fn has_rows(ty: &TensorType) -> bool {
    row_axis(ty).is_some()
}

/// Whether `arg` has for each row of the results of `data`, which is row-wise, the one that it is made of: behind a row stand as
/// many axes in one as in the others, unless elements only get another shape.
fn in_rows(graph: &Graph, data: &NodeData, arg: Value) -> bool {
    let behind = |v: Value| row_axis(graph.ty(v)).map(|axis| graph.ty(v).shape.rank() - axis);
    let own = behind(arg);
    own.is_some() && (matches!(data.op, Op::Reshape(_)) || data.results.iter().all(|r| behind(*r) == own))
}

/// Values of which only the last row is ever needed.
fn narrow_values(graph: &Graph) -> BTreeSet<Value> {
    let mut wide: BTreeSet<Value> = graph.donated().iter().map(|(_, new)| *new).collect();
    let mut narrow: BTreeSet<Value> = graph.outputs().map(|(_, v)| v).filter(|v| has_rows(graph.ty(*v))).collect();
    for node in graph.order().iter().rev() {
        let data = graph.node(*node);
        let used = data.results.iter().any(|r| narrow.contains(r) || wide.contains(r));
        let wanted_wide = data.results.iter().any(|r| wide.contains(r) || !has_rows(graph.ty(*r)));
        for arg in &data.args {
            if used && !wanted_wide && row_wise(&data.op) && in_rows(graph, data, *arg) {
                narrow.insert(*arg);
            } else {
                wide.insert(*arg);
            }
        }
    }
    let inputs: BTreeSet<Value> = graph.inputs().map(|(_, v)| v).collect();
    narrow.retain(|v| !wide.contains(v) && !inputs.contains(v));
    // The first narrow value of a chain is still computed at full length unless its op is row-wise.
    narrow.retain(|v| graph.def_node(*v).is_some_and(|n| row_wise(&graph.node(n).op)));
    narrow
}

struct Copy<'a> {
    from: &'a Graph,
    to: Graph,
    fixed: &'a [(Symbol, u64)],
    narrow: BTreeSet<Value>,
    values: BTreeMap<Value, Value>,
    /// Last rows of full-length values.
    cut: BTreeMap<Value, Value>,
}

impl Copy<'_> {
    fn run(mut self) -> Result<Graph> {
        let consts: Vec<_> = self.from.constants().map(|(_, c)| c.clone()).collect();
        for constant in consts {
            self.to.add_const(constant);
        }
        for (name, value) in self.from.inputs() {
            let ty = self.ty(self.from.ty(value))?;
            let new = self.to.input(name, ty);
            self.values.insert(value, new);
        }
        self.nodes(self.from.body(), self.to.body())?;
        for (name, value) in self.from.outputs() {
            let mut new = self.values[&value];
            if !self.narrow.is_empty() && !self.narrow.contains(&value) && has_rows(self.from.ty(value)) {
                new = self.last_row(value)?;
            }
            self.to.output(name, new);
        }
        for (old, new) in self.from.donated() {
            let (old, new) = (self.values[old], self.values[new]);
            self.to.donate(old, new);
        }
        Ok(self.to.compact())
    }

    fn nodes(&mut self, from: Region, to: Region) -> Result<()> {
        for node in self.from.region_nodes(from) {
            let data = self.from.node(*node);
            if let Op::Const(id) = data.op {
                let new = self.to.const_node(to, id);
                self.values.insert(data.results[0], new);
                continue;
            }
            let narrow = data.results.iter().any(|r| self.narrow.contains(r));
            let mut args = Vec::with_capacity(data.args.len());
            for arg in &data.args {
                let cut = narrow && in_rows(self.from, data, *arg) && !self.narrow.contains(arg);
                args.push(if cut { self.last_row(*arg)? } else { self.values[arg] });
            }
            let mut regions = Vec::new();
            for region in &data.regions {
                regions.push(self.region(*region)?);
            }
            let op = self.op(&data.op, if narrow { row_axis(self.from.ty(data.results[0])) } else { None })?;
            let results = self.to.add_in(to, op, &args, regions, data.origin.clone())?;
            self.values.extend(data.results.iter().copied().zip(results));
        }
        Ok(())
    }

    fn region(&mut self, region: Region) -> Result<Region> {
        let types =
            self.from.region_params(region).iter().map(|v| self.ty(self.from.ty(*v))).collect::<Result<Vec<_>>>()?;
        let (new, params) = self.to.add_region(&types);
        self.values.extend(self.from.region_params(region).iter().copied().zip(params));
        self.nodes(region, new)?;
        let results = self.from.region_results(region).iter().map(|v| self.values[v]).collect();
        self.to.set_region_results(new, results);
        Ok(new)
    }

    fn last_row(&mut self, value: Value) -> Result<Value> {
        if let Some(cut) = self.cut.get(&value) {
            return Ok(*cut);
        }
        let full = self.values[&value];
        let axis = row_axis(self.from.ty(value)).unwrap_or_default();
        let tokens = self.dim(&Dim::sym(new_tokens().as_str()))?;
        let cut = if tokens == Dim::from(1) {
            full
        } else {
            let start = tokens.checked_sub(&Dim::from(1)).ok_or_else(overflow)?;
            self.to.add(Op::Slice(Slice { axis, start, len: Dim::from(1) }), &[full], "last token")?
        };
        self.cut.insert(value, cut);
        Ok(cut)
    }

    fn dim(&self, dim: &Dim) -> Result<Dim> {
        self.fixed.iter().try_fold(dim.clone(), |d, (s, n)| d.substitute(s, &Dim::from(*n)).ok_or_else(overflow))
    }

    fn shape(&self, shape: &Shape) -> Result<Shape> {
        shape.dims().iter().map(|d| self.dim(d)).collect::<Result<_>>().map(Shape)
    }

    fn ty(&self, ty: &TensorType) -> Result<TensorType> {
        Ok(TensorType::new(ty.dtype, self.shape(&ty.shape)?))
    }

    /// The op with its symbols replaced; of one row where `narrow` is the axis of its rows.
    fn op(&self, op: &Op, narrow: Option<usize>) -> Result<Op> {
        let mut op = op.with_dims(&mut |dim| self.dim(dim))?;
        if let (Op::Reshape(r), Some(axis)) = (&mut op, narrow) {
            r.shape.0[axis] = Dim::from(1);
        }
        Ok(op)
    }
}

fn overflow() -> Diagnostic {
    Diagnostic::new("dim-overflow", "a dimension exceeds 63 bits")
}
