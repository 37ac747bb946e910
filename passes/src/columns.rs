//! What the columns of a weight meet, as the rows of a tensor that observers look at.
//!
//! The columns of a linear layer meet the channels of its input. Those of a convolution meet an element of its image each:
//! column `c * taps + t` meets tap `t` of channel `c` of the group, a row for each window. A convolution whose weights are
//! ones and zeros lays windows out as rows, so that observers see ordinary tensors of an ordinary graph.

use actc_ir::ops::conv::{Conv, Geometry};
use actc_ir::ops::shaping::{Slice, Transpose};
use actc_ir::{Const, Graph, NodeData, Op, Value};
use actc_types::{Diagnostic, Dim, Result, Tensor};

/// Most elements of the weights that lay windows out.
const MOST: u64 = 1 << 28;

/// What the columns of a weight meet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Input {
    /// The tensor.
    pub value: Value,
    /// How a convolution looks at it; a linear layer sees its rows.
    pub windows: Option<Geometry>,
}

impl Input {
    /// What the weight of `node` meets, if it is a linear layer or a convolution.
    pub fn of(node: &NodeData) -> Option<Input> {
        match &node.op {
            Op::Linear(_) => Some(Input { value: *node.args.first()?, windows: None }),
            Op::Conv(conv) => Some(Input { value: *node.args.first()?, windows: Some(conv.0.clone()) }),
            _another_op => None,
        }
    }

    /// Parts that the columns of [`Input::rows`] are divided into, of equal width.
    pub fn groups(&self) -> usize {
        self.windows.as_ref().map_or(1, |g| g.groups as usize)
    }

    /// Columns of [`Input::rows`] in `graph`; an error where their number is not fixed.
    pub fn columns(&self, graph: &Graph) -> Result<u64> {
        let shape = &graph.ty(self.value).shape;
        let (channels, taps) = match &self.windows {
            None => (shape.last(), 1),
            Some(geometry) => (shape.dims().get(1), geometry.window.taps() as u64),
        };
        channels.and_then(Dim::fixed).and_then(|c| c.checked_mul(taps)).ok_or_else(|| {
            let headline = format!("a layer's input is {}: its channels are not fixed", graph.ty(self.value));
            Diagnostic::new("calibration-shape", headline)
        })
    }

    /// Adds to `graph`, where `value` is the input's tensor, the rows that the columns of all groups meet side by side,
    /// `[.., columns]`. What is added is called `name`.
    pub fn rows(&self, graph: &mut Graph, value: Value, name: &str) -> Result<Value> {
        let Some(geometry) = &self.windows else { return Ok(value) };
        let own = Input { value, windows: self.windows.clone() };
        let taps = geometry.window.taps();
        let columns = own.columns(graph)?;
        let channels = columns / taps as u64;
        if columns.saturating_mul(taps as u64) > MOST {
            let headline = format!("windows of {taps} elements over {channels} channels are too large to observe");
            return Err(Diagnostic::new("calibration-size", headline));
        }
        // Each channel of the result copies one tap of a channel.
        let mut weights = vec![0.0f32; columns as usize * taps];
        for (column, row) in weights.chunks_exact_mut(taps).enumerate() {
            row[column % taps] = 1.0;
        }
        let dims = [&[columns, 1], &geometry.window.kernel[..]].concat();
        let copies = graph.constant(Const::dense(name, &Tensor::f32(&dims, weights)?));
        let copy = Conv(Geometry { groups: channels, ..geometry.clone() });
        let laid = graph.add(Op::Conv(copy), &[value, copies], name)?;
        let order = [0].into_iter().chain(2..2 + geometry.extents.len()).chain([1]).collect();
        graph.add(Op::Transpose(Transpose { order }), &[laid], name)
    }

    /// The parts of `rows`, those of [`Input::rows`] in `graph`, that each group meets.
    pub fn parts(&self, graph: &mut Graph, rows: Value, name: &str) -> Result<Vec<Value>> {
        let groups = self.groups() as u64;
        if groups <= 1 {
            return Ok(vec![rows]);
        }
        let shape = &graph.ty(rows).shape;
        let axis = shape.rank() - 1;
        let width = shape.last().and_then(Dim::fixed).unwrap_or(0) / groups;
        let part = |g: u64| Slice { axis, start: Dim::from(g * width), len: Dim::from(width) };
        (0..groups).map(|g| graph.add(Op::Slice(part(g)), &[rows], name)).collect()
    }
}
