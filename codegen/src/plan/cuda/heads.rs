//! Heads on their way from a product to attention: normed, turned, rounded, appended to states.
//!
//! What is done to heads is not done when its node's turn comes but on their way to where they are kept: keys to a state, queries to
//! memory of their own. And that waits until the first step reads any of it, so that queries, keys and values of a layer go in one
//! launch.

use crate::plan::pointwise::{small, turning};
use crate::plan::steps::{Steps, fixed, overflow};
use crate::spec::gpu::{Append, Destination, GpuKernel, Rows, Turn};
use actc_ir::{Node, NodeData, Op, Value};
use actc_types::{Diagnostic, Dim, Result, RowForm};

/// Heads that wait.
pub(in crate::plan) struct Waiting {
    label: String,
    rows: Rows,
    /// How a state keeps them.
    form: Option<RowForm>,
    from: u32,
    /// The scale of their norm.
    scale: Option<u32>,
    /// What they are turned by.
    table: Option<u32>,
    to: u32,
    new: Dim,
    /// Positions that the state has already.
    past: Option<Dim>,
}

/// What is done to heads on their way, and what they are before.
struct Way {
    from: Value,
    form: RowForm,
    turned: Option<Node>,
    normed: Option<Node>,
}

impl Steps<'_, '_> {
    /// Whether `data` is done to heads on their way: by whatever keeps its result, which nothing else reads.
    pub(super) fn on_the_way(&self, data: &NodeData) -> bool {
        let Some(reader) = self.sole_reader(data.results[0]) else { return false };
        let user = self.graph.node(reader);
        if user.args[0] != data.results[0] && !matches!(user.op, Op::CacheAppend(_)) {
            return false;
        }
        match (&data.op, &user.op) {
            (Op::RoundRows(_) | Op::Rope(_), Op::CacheAppend(_)) => self.keeps(user, data.results[0]),
            (Op::RmsNorm(_), Op::CacheAppend(_)) => self.keeps(user, data.results[0]) && self.is_of_heads(data),
            (Op::Rope(_), Op::RoundRows(_)) => self.on_the_way(user),
            (Op::RmsNorm(_), Op::RoundRows(_)) => self.is_of_heads(data) && self.on_the_way(user),
            (Op::RmsNorm(_), Op::Rope(_)) => self.is_of_heads(data),
            _ => false,
        }
    }

    /// Whether `user`, a `cache_append`, puts `value` behind the rows of a state.
    fn keeps(&self, user: &NodeData, value: Value) -> bool {
        user.args[0] != value && self.buffers.is_state(user.results[0])
    }

    /// Whether `data`, a norm, is of heads, and short enough for a warp each.
    fn is_of_heads(&self, data: &NodeData) -> bool {
        let dims = self.graph.ty(data.results[0]).shape.dims();
        matches!(dims, [_, heads, n] if heads.fixed().is_some() && n.fixed().is_some_and(|n| n <= 1024))
    }

    /// The node that makes `value` on its way, if it is one that `is` wants.
    fn made(&self, value: Value, is: impl Fn(&Op) -> bool) -> Option<Node> {
        let node = self.graph.def_node(value)?;
        let data = self.graph.node(node);
        (is(&data.op) && self.on_the_way(data)).then_some(node)
    }

    /// What is done on its way to what becomes `value`, rotary positions `turned` where that is known already.
    fn way(&self, value: Value, turned: Option<Node>) -> Way {
        let first = |node: Node| self.graph.node(node).args[0];
        let mut way = Way { from: value, form: RowForm::F32, turned, normed: None };
        if let Some(node) = self.made(way.from, |op| matches!(op, Op::RoundRows(_))) {
            if let Op::RoundRows(r) = &self.graph.node(node).op {
                way.form = r.to;
            }
            way.from = first(node);
        }
        if way.turned.is_none() {
            way.turned = self.made(way.from, |op| matches!(op, Op::Rope(_)));
            way.from = way.turned.map_or(way.from, first);
        }
        way.normed = self.made(way.from, |op| matches!(op, Op::RmsNorm(_)));
        way.from = way.normed.map_or(way.from, first);
        way
    }

    /// Heads that are turned, and that no state keeps, wait until somebody reads them.
    pub(super) fn turn_heads(&mut self, label: &str, data: &NodeData) -> Result<()> {
        let way = self.way(data.args[0], self.graph.def_node(data.results[0]));
        let to = self.buffers.value(data.results[0])?;
        self.await_reader(label, &way, to, None)
    }

    /// New rows of a state wait until somebody reads it.
    pub(super) fn append_rows(&mut self, label: &str, data: &NodeData) -> Result<()> {
        let way = self.way(data.args[1], None);
        let to = self.buffers.value(data.results[0])?;
        let past = self.graph.ty(data.args[0]).shape.dims()[0].clone();
        self.await_reader(label, &way, to, Some(past))
    }

    /// Lets what `way` makes wait for the reader of `to`, a state behind `past` positions where it is one.
    fn await_reader(&mut self, label: &str, way: &Way, to: u32, past: Option<Dim>) -> Result<()> {
        let (new, mut rows) = self.rows_of_heads(way.from)?;
        let mut labels = Vec::new();
        let mut scale = None;
        if let Some(data) = way.normed.map(|node| self.graph.node(node))
            && let Op::RmsNorm(norm) = &data.op
        {
            rows.norm = Some(norm.eps as f32);
            scale = Some(self.buffers.dense(&mut self.shared.tensors, data.args[1])?);
            labels.push(data.origin.clone());
        }
        let mut table = None;
        if let Some(data) = way.turned.map(|node| self.graph.node(node).clone())
            && let Op::Rope(rope) = &data.op
        {
            let turning = turning(self.graph, &data, rope)?;
            rows.turn = Some(Turn { rotary: turning.heads.rotary, style: turning.heads.style });
            table = Some(self.rope_table(&turning, &data)?);
            labels.push(data.origin.clone());
        }
        if past.is_none() {
            rows.to = Destination::Alone;
        }
        labels.push(label.to_owned());
        labels.dedup();
        let from = self.buffers.dense(&mut self.shared.tensors, way.from)?;
        self.append_before(&[from])?;
        let form = past.is_some().then_some(way.form);
        let waiting = Waiting { label: labels.join(" + "), rows, form, from, scale, table, to, new, past };
        if self.waiting.len() >= Append::KINDS || !self.waiting.iter().all(|w| w.goes_with(&waiting)) {
            self.append()?;
        }
        // What waits stays until then.
        [Some(from), scale, table].into_iter().flatten().for_each(|b| self.buffers.touch(b, self.clock));
        self.waiting.push(waiting);
        Ok(())
    }

    /// The positions of `x`, and the heads that each has.
    fn rows_of_heads(&self, x: Value) -> Result<(Dim, Rows)> {
        let shape = &self.graph.ty(x).shape;
        let [new, heads @ .., n] = shape.dims() else {
            return Err(Diagnostic::new("codegen-dim", format!("rows of the shape {shape}")));
        };
        let heads = heads
            .iter()
            .try_fold(1u64, |all, d| fixed(Some(d), "the heads of a state")?.checked_mul(all).ok_or_else(overflow))?;
        Ok((
            new.clone(),
            Rows::plain(small(heads, "the number of heads")?, small(fixed(Some(n), "the head")?, "the head")?),
        ))
    }

    /// Lets go what waits.
    pub(in crate::plan) fn append(&mut self) -> Result<()> {
        let waiting = std::mem::take(&mut self.waiting);
        let Some(first) = waiting.first() else { return Ok(()) };
        let form = waiting.iter().find_map(|w| w.form).unwrap_or(RowForm::F32);
        let kernel = GpuKernel::Append(Append { rows: waiting.iter().map(|w| w.rows).collect(), form });
        let inputs = waiting.iter().flat_map(|w| std::iter::once(w.from).chain(w.scale));
        let table = waiting.iter().find_map(|w| w.table);
        let bufs = inputs.chain(table).chain(waiting.iter().map(|w| w.to)).collect();
        let label = waiting.iter().map(|w| w.label.as_str()).collect::<Vec<_>>().join(" + ");
        let past = waiting.iter().find_map(|w| w.past.clone()).unwrap_or_else(|| Dim::from(0));
        let reason = format!("heads of {} kinds on their way: {kernel}", waiting.len());
        self.template(&label, kernel, bufs, vec![first.new.clone(), past], reason)
    }

    /// Lets go what waits before a step with buffers `bufs`, if that reads any of it.
    pub(super) fn append_before(&mut self, bufs: &[u32]) -> Result<()> {
        if self.waiting.iter().any(|w| bufs.contains(&w.to)) { self.append() } else { Ok(()) }
    }
}

impl Waiting {
    /// Whether one launch takes both.
    fn goes_with(&self, other: &Waiting) -> bool {
        fn alike<T: PartialEq>(a: &Option<T>, b: &Option<T>) -> bool {
            a.is_none() || b.is_none() || a == b
        }
        self.new == other.new
            && alike(&self.form, &other.form)
            && alike(&self.table, &other.table)
            && alike(&self.past, &other.past)
    }
}
