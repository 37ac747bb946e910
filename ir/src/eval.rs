//! The reference interpreter: f64 inside an op, one rounding at its end. It is the oracle, not the workhorse.

use crate::constant::Const;
use crate::evaluator::{Evaluator, Prepared};
use crate::graph::Graph;
use crate::handle::{Region, Value};
use crate::op::{Arg, Op};
use crate::ops::control::Loop;
use crate::types::TensorType;
use actc_types::dim::Bindings;
use actc_types::{Diagnostic, Dim, Place, Result, Shape, Symbol, Tensor, TensorData};
use std::cell::RefCell;
use std::collections::BTreeMap;

/// Runs graphs by the reference meaning of each op.
#[derive(Clone, Copy, Debug, Default)]
pub struct Interpreter;

impl Evaluator for Interpreter {
    fn prepare(&self, graph: &Graph) -> Result<Box<dyn Prepared>> {
        Ok(Box::new(Interpreted { graph: graph.clone() }))
    }

    fn describe(&self) -> String {
        "reference".into()
    }
}

struct Interpreted {
    graph: Graph,
}

impl Prepared for Interpreted {
    fn run(&mut self, inputs: Vec<Tensor>) -> Result<Vec<Tensor>> {
        evaluate(&self.graph, inputs)
    }
}

/// Values of symbols from the inputs' shapes: dimensions that are one symbol bind it, all others must agree.
pub fn bind(graph: &Graph, inputs: &[Tensor]) -> Result<Bindings> {
    if inputs.len() != graph.inputs().len() {
        return Err(Diagnostic::new(
            "input-count",
            format!("{} inputs given, expected {}", inputs.len(), graph.inputs().len()),
        ));
    }
    let mut bindings = Bindings::new();
    for ((_, value), tensor) in graph.inputs().zip(inputs) {
        for (dim, extent) in graph.ty(value).shape.dims().iter().zip(tensor.dims()) {
            if let [symbol] = dim.symbols()[..]
                && *dim == Dim::sym(symbol.as_str())
            {
                bindings.entry(symbol.clone()).or_insert(*extent);
            }
        }
    }
    for ((name, value), tensor) in graph.inputs().zip(inputs) {
        let ty = graph.ty(value);
        let wanted = ty.shape.eval(&bindings)?;
        if ty.dtype != tensor.dtype() || wanted != tensor.dims() {
            let headline =
                format!("input `{name}` is {}{:?}, expected {ty} = {wanted:?}", tensor.dtype(), tensor.dims());
            return Err(Diagnostic::new("input-type", headline));
        }
    }
    Ok(bindings)
}

/// Runs `graph`: outputs, then donated states.
pub fn evaluate(graph: &Graph, inputs: Vec<Tensor>) -> Result<Vec<Tensor>> {
    let bindings = bind(graph, &inputs)?;
    let mut values: BTreeMap<Value, Tensor> = graph.inputs().map(|(_, v)| v).zip(inputs).collect();
    let run = Run { graph, bindings: RefCell::new(bindings) };
    run.region(graph.body(), &mut values)?;
    let wanted = graph.outputs().map(|(_, v)| v).chain(graph.donated().iter().map(|(_, new)| *new));
    wanted.map(|v| run.result(v, &values)).collect()
}

/// The result of `op` on constants, where it is one, has no regions and depends on no symbol, and where it and they have at
/// most `most` elements each.
pub fn of_constants(op: &Op, args: &[&Const], most: u64) -> Result<Option<Tensor>> {
    let types: Vec<TensorType> = args.iter().map(|c| c.ty.clone()).collect();
    let results = op.infer(&types)?;
    let small = |ty: &TensorType| ty.shape.elements().ok().and_then(|n| n.fixed()).is_some_and(|n| n <= most);
    let fixed = types.iter().chain(&results).all(small);
    let mut symbols = false;
    op.with_dims(&mut |dim| {
        symbols |= dim.fixed().is_none();
        Ok::<Dim, Diagnostic>(dim.clone())
    })?;
    if !fixed || symbols || !in_proportion(op) {
        return Ok(None);
    }
    let args: Vec<Arg<'_>> = args.iter().map(|c| Arg::Const(c)).collect();
    let mut made = op.eval(&args, &results)?;
    Ok(if made.len() == 1 { made.pop() } else { None })
}

/// Whether an op takes time in proportion to its arguments and results, or to their product: what windows, layers and the like say
/// of themselves may be far more.
fn in_proportion(op: &Op) -> bool {
    match op {
        Op::Unary(_)
        | Op::Binary(_)
        | Op::Select(_)
        | Op::Cast(_)
        | Op::Bitcast(_)
        | Op::Matmul(_)
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
        | Op::Expand(_)
        | Op::Reshape(_)
        | Op::Transpose(_)
        | Op::Slice(_)
        | Op::Concat(_)
        | Op::Range(_)
        | Op::Expect(_) => true,
        Op::Const(_)
        | Op::Linear(_)
        | Op::Embedding(_)
        | Op::RmsNorm(_)
        | Op::LayerNorm(_)
        | Op::Rope(_)
        | Op::Attention(_)
        | Op::CacheAppend(_)
        | Op::RoundRows(_)
        | Op::NonMaxSuppression(_)
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
        | Op::Softmax(_)
        | Op::Recurrent(_)
        | Op::LinearAttention(_)
        | Op::Bind(_)
        | Op::Gram(_)
        | Op::ChannelStats(_)
        | Op::If(_)
        | Op::Loop(_) => false,
    }
}

struct Run<'a> {
    graph: &'a Graph,
    /// Grows as `bind` gives values.
    bindings: RefCell<Bindings>,
}

impl Run<'_> {
    fn region(&self, region: Region, values: &mut BTreeMap<Value, Tensor>) -> Result<()> {
        let nodes = self.graph.region_nodes(region);
        let mut last: BTreeMap<Value, usize> = BTreeMap::new();
        for (i, node) in nodes.iter().enumerate() {
            last.extend(self.graph.node(*node).args.iter().map(|v| (*v, i)));
        }
        for v in self.graph.region_results(region).iter().chain(self.graph.donated().iter().map(|(_, new)| new)) {
            last.insert(*v, usize::MAX);
        }
        for (i, node) in nodes.iter().enumerate() {
            let data = self.graph.node(*node);
            let results = match &data.op {
                Op::Const(_) => continue,
                Op::If(_) => {
                    let taken = self.result(data.args[0], values)?.data().to_f64()[0] != 0.0;
                    let inputs = data.args[1..].iter().map(|v| self.result(*v, values)).collect::<Result<_>>()?;
                    self.call(data.regions[usize::from(!taken)], inputs)?
                }
                Op::Loop(l) => {
                    let args: Vec<Tensor> = data.args.iter().map(|v| self.result(*v, values)).collect::<Result<_>>()?;
                    self.rounds(l, data.regions[0], &args)?
                }
                Op::Bind(b) => {
                    let values_of = self.result(data.args[0], values)?;
                    let found = b.bindings(&values_of).map_err(|d| d.at(Place::Node(data.origin.clone())))?;
                    self.bindings.borrow_mut().extend(found);
                    vec![values_of]
                }
                op => {
                    let args: Vec<Arg<'_>> = data.args.iter().map(|v| self.arg(*v, values)).collect::<Result<_>>()?;
                    let types: Vec<TensorType> =
                        data.results.iter().map(|v| self.fix_type(self.graph.ty(*v))).collect::<Result<_>>()?;
                    self.fix(op)?.eval(&args, &types).map_err(|d| match d.place {
                        Place::Request => d.at(Place::Node(data.origin.clone())),
                        _ => d,
                    })?
                }
            };
            values.extend(data.results.iter().copied().zip(results));
            for dead in data.args.iter().filter(|v| last.get(v) == Some(&i)) {
                values.remove(dead);
            }
        }
        Ok(())
    }

    fn rounds(&self, op: &Loop, body: Region, args: &[Tensor]) -> Result<Vec<Tensor>> {
        let count = args[0].as_i64()?[0];
        let (carried, captured) = args[1..].split_at(op.carried(args.len()));
        let mut carried = carried.to_vec();
        let mut rows: Vec<Vec<u8>> = vec![Vec::new(); op.stacked.len()];
        for i in 0..count {
            if op.guarded && carried[0].data().to_integers()[0] == 0 {
                break;
            }
            let mut inputs = vec![Tensor::i64(&[], vec![i])?];
            let given = carried.len();
            inputs.append(&mut carried);
            inputs.extend_from_slice(captured);
            carried = self.call(body, inputs)?;
            for (rows, row) in rows.iter_mut().zip(carried.split_off(given)) {
                rows.extend(row.data().to_le_bytes());
            }
        }
        for (ty, mut bytes) in op.stacked.iter().zip(rows) {
            let dims = self.fix_shape(&ty.shape)?.eval(&Bindings::new())?;
            let whole = dims.iter().product::<u64>() as usize * ty.dtype.size();
            if bytes.len() > whole {
                return Err(Diagnostic::new("loop-rows", format!("more than the {} rounds of {ty}", dims[0])));
            }
            bytes.resize(whole, 0);
            carried.push(Tensor::new(&dims, TensorData::from_le_bytes(ty.dtype, &bytes))?);
        }
        Ok(carried)
    }

    fn call(&self, region: Region, inputs: Vec<Tensor>) -> Result<Vec<Tensor>> {
        let mut values: BTreeMap<Value, Tensor> =
            self.graph.region_params(region).iter().copied().zip(inputs).collect();
        self.region(region, &mut values)?;
        self.graph.region_results(region).iter().map(|v| self.result(*v, &values)).collect()
    }

    fn constant(&self, value: Value) -> Option<&Const> {
        self.graph.as_const(value).map(|id| self.graph.const_data(id))
    }

    fn arg<'v>(&'v self, value: Value, values: &'v BTreeMap<Value, Tensor>) -> Result<Arg<'v>> {
        match self.constant(value) {
            Some(c) => Ok(Arg::Const(c)),
            None => values
                .get(&value)
                .map(Arg::Tensor)
                .ok_or_else(|| Diagnostic::new("ir-order", format!("{value} has no value"))),
        }
    }

    fn result(&self, value: Value, values: &BTreeMap<Value, Tensor>) -> Result<Tensor> {
        match self.arg(value, values)? {
            Arg::Const(c) => c.decode(),
            Arg::Tensor(t) => Ok(t.clone()),
        }
    }

    fn fix_dim(&self, dim: &Dim) -> Result<Dim> {
        Ok(Dim::from(dim.eval(&self.bindings.borrow())?))
    }

    fn fix_shape(&self, shape: &Shape) -> Result<Shape> {
        shape.dims().iter().map(|d| self.fix_dim(d)).collect::<Result<_>>().map(Shape)
    }

    fn fix_type(&self, ty: &TensorType) -> Result<TensorType> {
        Ok(TensorType::new(ty.dtype, self.fix_shape(&ty.shape)?))
    }

    /// The op with the symbols of its payload replaced by their values.
    fn fix(&self, op: &Op) -> Result<Op> {
        op.with_dims(&mut |dim| self.fix_dim(dim))
    }
}

/// The symbol for new tokens.
pub fn new_tokens() -> Symbol {
    Symbol::new("S").expect("`S` is an identifier")
}

/// The symbol for past tokens.
pub fn past_tokens() -> Symbol {
    Symbol::new("P").expect("`P` is an identifier")
}
