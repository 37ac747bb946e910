//! Entries prepared for running: names became indices, dimensions became [`Expr`], arguments lie flat.

use crate::expr::Expr;
use actc_artifact::plan;
use actc_artifact::{BufferKind, Builtin, Entry, Step};
use actc_types::{DType, Diagnostic, Result, Symbol};
use std::ops::Range;

/// An entry prepared for running.
#[derive(Debug)]
pub(crate) struct Program {
    pub name: String,
    pub symbols: Vec<Symbol>,
    /// For each symbol whether a step gives it its value.
    pub late: Vec<bool>,
    /// Values of symbols that the entry was specialised for, by position.
    pub fixed: Vec<(usize, u64)>,
    pub inputs: Vec<Port>,
    pub outputs: Vec<Port>,
    pub buffers: Vec<Buffer>,
    pub slots: usize,
    /// Straight runs of steps: the first is the program, others are branches and rounds.
    pub blocks: Vec<Block>,
    /// Buffers of all steps one behind the other; an op has a range of them.
    pub args: Vec<u32>,
    /// Sizes of all steps one behind the other; an op has a range of them.
    pub dims: Vec<Expr>,
    /// Calls of builtins.
    pub calls: Vec<Call>,
    /// What each leaf step computes.
    pub labels: Vec<String>,
    /// Whether a generated kernel is launched anywhere.
    pub launches: bool,
}

#[derive(Debug)]
pub(crate) struct Port {
    pub name: String,
    pub dtype: DType,
    pub dims: Vec<Expr>,
    /// Index of its buffer.
    pub buffer: usize,
}

#[derive(Debug)]
pub(crate) struct Buffer {
    pub kind: BufferKind,
    pub bytes: Expr,
}

/// Steps in order.
#[derive(Debug, Default)]
pub(crate) struct Block {
    pub ops: Vec<Op>,
    /// Whether a step in it, or in a block that it enters, gives a symbol its value: then sizes change on the way.
    pub binds: bool,
}

#[derive(Debug)]
pub(crate) enum Op {
    Launch { leaf: usize, kernel: usize, args: Range<usize>, dims: Range<usize> },
    Builtin { leaf: usize, call: usize },
    If { cond: usize, then: usize, otherwise: usize },
    Loop { trips: usize, live: Option<usize>, index: Option<usize>, body: usize },
    Bind { symbols: Vec<usize>, values: usize },
}

/// A call of a builtin; `args` and `dims` are ranges of the program's.
#[derive(Debug)]
pub(crate) struct Call {
    pub builtin: Builtin,
    pub args: Range<usize>,
    pub dims: Range<usize>,
    pub tensors: Vec<usize>,
    pub ints: Vec<i64>,
    pub floats: Vec<f64>,
}

/// The index of the program called `entry`.
pub(crate) fn index(programs: &[Program], entry: &str) -> Result<usize> {
    programs.iter().position(|p| p.name == entry).ok_or_else(|| {
        let names: Vec<&str> = programs.iter().map(|p| p.name.as_str()).collect();
        Diagnostic::request("unknown-entry", format!("the artifact has no entry `{entry}`"))
            .help(format!("its entries: {}", names.join(", ")))
    })
}

impl Program {
    /// Prepares `entry`, whose indices were checked when it was read.
    pub(crate) fn new(entry: &Entry) -> Result<Program> {
        let symbols = entry.symbols.clone();
        let exprs = |dims: &[actc_types::Dim]| dims.iter().map(|d| Expr::new(d, &symbols)).collect::<Result<Vec<_>>>();
        let port = |p: &plan::Port| {
            Ok(Port { name: p.name.clone(), dtype: p.dtype, dims: exprs(&p.dims)?, buffer: p.buffer as usize })
        };
        let fixed =
            entry.fixed.iter().filter_map(|(s, v)| symbols.iter().position(|k| k == s).map(|i| (i, *v))).collect();
        let mut program = Program {
            name: entry.name.clone(),
            fixed,
            inputs: entry.inputs.iter().map(port).collect::<Result<_>>()?,
            outputs: entry.outputs.iter().map(port).collect::<Result<_>>()?,
            buffers: entry
                .buffers
                .iter()
                .map(|b| Ok(Buffer { kind: b.kind, bytes: Expr::new(&b.bytes, &symbols)? }))
                .collect::<Result<_>>()?,
            slots: entry.slots as usize,
            blocks: vec![Block::default()],
            late: vec![false; symbols.len()],
            args: Vec::new(),
            dims: Vec::new(),
            calls: Vec::new(),
            labels: Vec::new(),
            launches: false,
            symbols,
        };
        program.blocks[0] = program.block(&entry.steps)?;
        Ok(program)
    }

    fn block(&mut self, steps: &[Step]) -> Result<Block> {
        let ops = steps.iter().map(|s| self.step(s)).collect::<Result<Vec<Op>>>()?;
        let binds = ops.iter().any(|op| self.binds(op));
        Ok(Block { ops, binds })
    }

    /// Whether `op` gives a symbol its value, or enters a block that does.
    pub(crate) fn binds(&self, op: &Op) -> bool {
        match op {
            Op::Launch { .. } | Op::Builtin { .. } => false,
            Op::If { then, otherwise, .. } => self.blocks[*then].binds || self.blocks[*otherwise].binds,
            Op::Loop { body, .. } => self.blocks[*body].binds,
            Op::Bind { .. } => true,
        }
    }

    fn entered(&mut self, steps: &[Step]) -> Result<usize> {
        let block = self.block(steps)?;
        self.blocks.push(block);
        Ok(self.blocks.len() - 1)
    }

    /// The position of `symbol`, whose value a step gives.
    fn late(&mut self, symbol: &Symbol) -> Result<usize> {
        let found = self.symbols.iter().position(|s| s == symbol);
        let missing = || Diagnostic::new("dim-unbound", format!("`{symbol}` is no symbol of the entry"));
        let at = found.ok_or_else(missing)?;
        self.late[at] = true;
        Ok(at)
    }

    fn leaf(&mut self, label: &str) -> usize {
        self.labels.push(label.to_owned());
        self.labels.len() - 1
    }

    fn args(&mut self, bufs: &[u32]) -> Range<usize> {
        let start = self.args.len();
        self.args.extend_from_slice(bufs);
        start..self.args.len()
    }

    fn dims(&mut self, dims: &[actc_types::Dim]) -> Result<Range<usize>> {
        let start = self.dims.len();
        for dim in dims {
            self.dims.push(Expr::new(dim, &self.symbols)?);
        }
        Ok(start..self.dims.len())
    }

    fn step(&mut self, step: &Step) -> Result<Op> {
        Ok(match step {
            Step::Launch(l) => {
                self.launches = true;
                let (leaf, args, dims) = (self.leaf(&l.label), self.args(&l.bufs), self.dims(&l.dims)?);
                Op::Launch { leaf, kernel: l.kernel as usize, args, dims }
            }
            Step::Builtin(b) => {
                let call = Call {
                    builtin: b.builtin,
                    args: self.args(&b.bufs),
                    dims: self.dims(&b.dims)?,
                    tensors: b.tensors.iter().map(|t| *t as usize).collect(),
                    ints: b.ints.clone(),
                    floats: b.floats.clone(),
                };
                self.calls.push(call);
                Op::Builtin { leaf: self.leaf(&b.label), call: self.calls.len() - 1 }
            }
            Step::If { cond, then, otherwise } => Op::If {
                cond: self.args(&[*cond]).start,
                then: self.entered(then)?,
                otherwise: self.entered(otherwise)?,
            },
            Step::Loop { trips, live, index, body } => Op::Loop {
                trips: self.args(&[*trips]).start,
                live: live.map(|i| self.args(&[i]).start),
                index: index.map(|i| self.args(&[i]).start),
                body: self.entered(body)?,
            },
            Step::Bind { symbols, values } => Op::Bind {
                symbols: symbols.iter().map(|s| self.late(s)).collect::<Result<_>>()?,
                values: self.args(&[*values]).start,
            },
        })
    }
}
