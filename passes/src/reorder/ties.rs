//! What each op says of the order of axes: which of its tensors' axes have one order, which are made of others, which keep
//! theirs. An op of which nothing is known here holds all axes that it touches.

use super::axes::{Axes, Part};
use super::reshape::runs;
use actc_ir::ops::attention::Attention;
use actc_ir::ops::conv::Geometry;
use actc_ir::ops::linear::Act;
use actc_ir::ops::pool::PoolFunction;
use actc_ir::{ConstId, Graph, NodeData, Op, Value};
use actc_types::RowForm;
use std::collections::BTreeSet;

/// All that `graph` says of its axes. States are seen by nobody else: each has one order before and after a step. Where
/// `looked_up` is there, what leaves the graph, and what meets the columns of these constants, is looked up by an index: outputs
/// hold nothing, and the columns tie nothing.
pub(super) fn axes<'g>(graph: &'g Graph, looked_up: Option<&BTreeSet<ConstId>>) -> Axes<'g> {
    let mut axes = Axes::new(graph);
    let states: BTreeSet<Value> = graph.donated().iter().map(|(old, _)| *old).collect();
    for (name, value) in graph.inputs().filter(|(_, v)| !states.contains(v)) {
        axes.hold_all(value, &format!("the input `{name}` keeps its order"));
    }
    for node in graph.order() {
        said(&mut axes, graph.node(*node), looked_up);
    }
    if looked_up.is_none() {
        for (name, value) in graph.outputs() {
            axes.hold_all(value, &format!("the output `{name}` keeps its order"));
        }
    }
    for id in looked_up.into_iter().flatten() {
        axes.hold_columns(*id, "they are looked up by an index");
    }
    for (old, new) in graph.donated() {
        axes.same(*old, *new);
    }
    for region in graph.order().iter().flat_map(|n| &graph.node(*n).regions) {
        hold_region(&mut axes, *region);
    }
    axes
}

/// Constants that nodes of a region use keep their order.
fn hold_region(axes: &mut Axes<'_>, region: actc_ir::Region) {
    let graph = axes.graph();
    let mut pending = vec![region];
    while let Some(region) = pending.pop() {
        for node in graph.region_nodes(region) {
            let data = graph.node(*node);
            if let Op::Const(id) = data.op {
                axes.hold_constant(id, "it is used inside a region");
            }
            pending.extend(&data.regions);
        }
    }
}

/// The node in words.
fn words(data: &NodeData) -> String {
    let name = data.op.name();
    if data.origin.is_empty() { format!("a `{name}`") } else { format!("the `{name}` of `{}`", data.origin) }
}

fn hold_node(axes: &mut Axes<'_>, data: &NodeData) {
    let why = format!("{} tells its elements by their order", words(data));
    data.args.iter().chain(&data.results).for_each(|v| axes.hold_all(*v, &why));
}

/// Says what the node `data` does.
fn said(axes: &mut Axes<'_>, data: &NodeData, looked_up: Option<&BTreeSet<ConstId>>) {
    let graph = axes.graph();
    let (args, results) = (&data.args[..], &data.results[..]);
    let rank = |v: Value| graph.ty(v).shape.rank();
    let last = |v: Value| (v, rank(v).saturating_sub(1));
    let leading = |axes: &mut Axes<'_>, a: Value, b: Value| {
        (1..rank(a).max(1)).for_each(|i| axes.tie((a, i - 1), (b, i - 1)));
    };
    let tied = |w: Value| !graph.as_const(w).is_some_and(|id| looked_up.is_some_and(|all| all.contains(&id)));
    match &data.op {
        Op::Const(id) => axes.tie_constant(results[0], *id),
        Op::Linear(linear) => {
            let (x, w, y) = (args[0], args[1], results[0]);
            leading(axes, x, y);
            if tied(w) {
                axes.tie(last(x), (w, 1));
            }
            axes.tie(last(y), (w, 0));
            args[2..].iter().for_each(|bias| axes.tie(last(y), (*bias, 0)));
            match linear.act {
                Act::F32 => {}
                Act::Int8 => hold(axes, last(x), data, "rounds runs of its channels together"),
            }
        }
        Op::Embedding(_) => {
            let (ids, table, y) = (args[0], args[1], results[0]);
            axes.same(ids, y);
            if tied(table) {
                axes.tie(last(y), (table, 1));
            }
            hold(axes, (table, 0), data, "finds rows by their number");
        }
        Op::RmsNorm(_) | Op::LayerNorm(_) => {
            axes.same(args[0], results[0]);
            args[1..].iter().for_each(|w| axes.tie(last(args[0]), (*w, 0)));
        }
        Op::Rope(_) => {
            axes.same(args[0], results[0]);
            axes.tie((args[0], 0), (args[1], 0));
            hold(axes, last(args[0]), data, "turns pairs of channels");
            args[2..].iter().for_each(|f| hold(axes, (*f, 0), data, "turns pairs of channels"));
        }
        Op::Attention(_) => attention(axes, data),
        Op::CacheAppend(_) => {
            let (cache, new, y) = (args[0], args[1], results[0]);
            for value in [cache, new, y] {
                hold(axes, (value, 0), data, "puts rows behind others");
            }
            for i in 1..rank(y) {
                axes.tie((cache, i), (y, i));
                axes.tie((new, i), (y, i));
            }
        }
        Op::RoundRows(rows) => match rows.to {
            RowForm::F32 | RowForm::F16 => axes.same(args[0], results[0]),
            RowForm::Int8 => {
                leading(axes, args[0], results[0]);
                for value in [args[0], results[0]] {
                    hold(axes, last(value), data, "puts a scale behind rows");
                }
            }
        },
        Op::Unary(_) | Op::Cast(_) | Op::Bitcast(_) | Op::Softmax(_) | Op::Expect(_) => axes.same(args[0], results[0]),
        Op::Binary(_) | Op::Select(_) | Op::Expand(_) => args.iter().for_each(|a| axes.aligned(*a, results[0], 0)),
        Op::Matmul(_) => {
            let (a, b, y) = (args[0], args[1], results[0]);
            let row = |v: Value| (v, rank(v) - 2);
            axes.tie(last(a), row(b));
            axes.tie(row(a), row(y));
            axes.tie(last(b), last(y));
            axes.aligned(a, y, 2);
            axes.aligned(b, y, 2);
        }
        Op::Reduce(_) => leading(axes, args[0], results[0]),
        Op::PlaceOf(_) => {
            leading(axes, args[0], results[0]);
            hold(axes, last(args[0]), data, "tells elements by their place");
        }
        Op::Gather(gather) => {
            let (x, indices, y) = (args[0], args[1], results[0]);
            hold(axes, (x, gather.axis), data, "finds elements by their number");
            (0..gather.axis).for_each(|i| axes.tie((x, i), (y, i)));
            (0..rank(indices)).for_each(|i| axes.tie((indices, i), (y, gather.axis + i)));
            (gather.axis + 1..rank(x)).for_each(|i| axes.tie((x, i), (y, i + rank(indices) - 1)));
        }
        Op::TopK(_) => {
            for value in [args[0], results[0], results[1]] {
                leading(axes, args[0], value);
                hold(axes, last(value), data, "tells elements by their place");
            }
        }
        Op::Conv(conv) => {
            convolution(axes, data, &conv.0, false);
            args[2..].iter().for_each(|bias| axes.tie((*bias, 0), (results[0], 1)));
        }
        Op::ConvTranspose(conv) => {
            convolution(axes, data, &conv.0, true);
            args[2..].iter().for_each(|bias| axes.tie((*bias, 0), (results[0], 1)));
        }
        Op::ConvInteger(conv) => {
            convolution(axes, data, &conv.0, false);
            args[3..].iter().filter(|zero| rank(**zero) == 1).for_each(|zero| axes.tie((*zero, 0), (results[0], 1)));
        }
        Op::Pool(pool) => match pool.function {
            PoolFunction::Most | PoolFunction::Average | PoolFunction::AveragePadded | PoolFunction::Norm => {
                (0..2).for_each(|i| axes.tie((args[0], i), (results[0], i)));
                hold_places(axes, data, &[args[0], results[0]]);
            }
            PoolFunction::Place | PoolFunction::PlaceColumns => hold_node(axes, data),
        },
        Op::Pad(pad) => {
            for (i, (before, behind)) in pad.before.iter().zip(&pad.behind).enumerate() {
                let kept = *before == 0 && *behind == 0;
                along(axes, data, i, kept, "puts elements around others");
            }
        }
        Op::Resample(resample) => {
            for i in 0..rank(args[0]) {
                along(axes, data, i, i != resample.axis, "reads between neighbours");
            }
            args[1..].iter().for_each(|v| axes.hold_all(*v, "it says places"));
        }
        Op::Reshape(_) => reshape(axes, data),
        Op::Transpose(transpose) => {
            transpose.order.iter().enumerate().for_each(|(i, from)| axes.tie((args[0], *from), (results[0], i)));
        }
        Op::Slice(slice) => {
            (0..rank(args[0])).filter(|i| *i != slice.axis).for_each(|i| axes.tie((args[0], i), (results[0], i)));
            let extent = |v: Value| graph.ty(v).shape.dims()[slice.axis].fixed().unwrap_or(0);
            let (all, len) = (extent(args[0]), extent(results[0]));
            // One of several runs of equal length.
            let aligned = slice.start.fixed().is_some_and(|start| len > 0 && start % len == 0 && all % len == 0);
            if aligned {
                equal_runs(axes, data, (args[0], slice.axis), (results[0], slice.axis), all / len);
            } else {
                along(axes, data, slice.axis, false, "takes a run of its elements");
            }
        }
        Op::Concat(concat) => {
            for arg in args {
                for i in (0..rank(*arg)).filter(|i| *i != concat.axis || args.len() == 1) {
                    axes.tie((*arg, i), (results[0], i));
                }
            }
            let dims: Vec<_> = args.iter().map(|v| &graph.ty(*v).shape.dims()[concat.axis]).collect();
            if args.len() > 1 && dims.iter().all(|d| *d == dims[0] && d.fixed().is_some()) {
                for arg in args {
                    equal_runs(axes, data, (results[0], concat.axis), (*arg, concat.axis), args.len() as u64);
                }
            } else if args.len() > 1 {
                args.iter().chain(results).for_each(|v| hold(axes, (*v, concat.axis), data, "joins tensors there"));
            }
        }
        Op::GatherNd(_)
        | Op::GatherElements(_)
        | Op::ScatterNd(_)
        | Op::ScatterElements(_)
        | Op::Cumulate(_)
        | Op::NonZero(_)
        | Op::Unique(_)
        | Op::NonMaxSuppression(_)
        | Op::DeformConv(_)
        | Op::Fold(_)
        | Op::Unpool(_)
        | Op::RegionPool(_)
        | Op::GridSample(_)
        | Op::Det(_)
        | Op::Recurrent(_)
        | Op::LinearAttention(_)
        | Op::Range(_)
        | Op::Bind(_)
        | Op::Gram(_)
        | Op::ChannelStats(_)
        | Op::If(_)
        | Op::Loop(_) => hold_node(axes, data),
    }
}

/// Axis `run` is one of `count` runs of the axis `whole`, which stay where they are; their elements have one order.
fn equal_runs(axes: &mut Axes<'_>, data: &NodeData, whole: (Value, usize), run: (Value, usize), count: u64) {
    let runs = axes.fresh(count);
    axes.hold_fresh(runs, &format!("{} tells runs of its elements apart", words(data)));
    axes.split(whole, &[runs, Part::Of(run.0, run.1)], &words(data));
}

fn hold(axes: &mut Axes<'_>, (value, axis): (Value, usize), data: &NodeData, does: &str) {
    axes.hold(value, axis, &format!("{} {does}", words(data)));
}

/// Axis `axis` of argument and result has one order if it is `kept` as it is; else it keeps its order, for what the node `does`.
fn along(axes: &mut Axes<'_>, data: &NodeData, axis: usize, kept: bool, does: &str) {
    let (x, y) = (data.args[0], data.results[0]);
    if kept {
        axes.tie((x, axis), (y, axis));
    } else {
        hold(axes, (x, axis), data, does);
        hold(axes, (y, axis), data, does);
    }
}

/// Axes behind batch and channels, over which windows slide, keep their order.
fn hold_places(axes: &mut Axes<'_>, data: &NodeData, values: &[Value]) {
    for value in values {
        for i in 2..axes.graph().ty(*value).shape.rank() {
            hold(axes, (*value, i), data, "slides windows over it");
        }
    }
}

/// Heads of queries are groups of those of keys and values; channels of queries are those of keys, channels of results
/// those of values.
fn attention(axes: &mut Axes<'_>, data: &NodeData) {
    let graph = axes.graph();
    let (q, k, v, y) = (data.args[0], data.args[1], data.args[2], data.results[0]);
    let dims = |v: Value| graph.ty(v).shape.dims();
    let rank = dims(q).len();
    let (rows, heads, channels) = (rank - 3, rank - 2, rank - 1);
    for value in [q, k, v, y] {
        (0..rows).for_each(|i| axes.tie((value, i), (y, i)));
        hold(axes, (value, rows), data, "tells rows by their place");
    }
    axes.tie((q, heads), (y, heads));
    axes.tie((k, heads), (v, heads));
    let fixed = |v: Value| dims(v)[heads].fixed().unwrap_or(0);
    let each = fixed(q).checked_div(fixed(k)).unwrap_or(0);
    let in_group = axes.fresh(each);
    axes.split((q, heads), &[Part::Of(k, heads), in_group], &words(data));
    axes.tie((q, channels), (k, channels));
    match RowForm::of(graph.ty(v).dtype) {
        Some(RowForm::F32 | RowForm::F16) => {
            axes.tie((v, channels), (y, channels));
        }
        Some(RowForm::Int8) | None => {
            for value in [q, k, v, y] {
                hold(axes, (value, channels), data, "reads scales behind rows");
            }
        }
    }
    if let (Some(mask), Some(scores)) = (data.args.get(3), Attention::scores(&graph.ty(q).shape, &graph.ty(k).shape)) {
        let own = graph.ty(*mask).shape.rank();
        for (i, at) in (0..own).map(|i| (i, i + scores.rank() - own)) {
            match scores.rank() - at {
                1 | 2 => hold(axes, (*mask, i), data, "tells rows by their place"),
                3 => axes.tie((*mask, i), (q, heads)),
                _batch => axes.tie((*mask, i), (q, 0)),
            }
        }
    }
}

/// Channels in groups, each of which makes some of the result; with `turned` the weight lies the other way.
fn convolution(axes: &mut Axes<'_>, data: &NodeData, geometry: &Geometry, turned: bool) {
    let (x, w, y) = (data.args[0], data.args[1], data.results[0]);
    axes.tie((x, 0), (y, 0));
    hold_places(axes, data, &[x, w, y]);
    // The tensor whose channels are the weight's rows, and the one whose channels of a group are its columns.
    let (by_row, by_column) = if turned { (x, y) } else { (y, x) };
    axes.tie((by_row, 1), (w, 0));
    if geometry.groups == 1 {
        axes.tie((by_column, 1), (w, 1));
        return;
    }
    let rows = axes.graph().ty(w).shape.dims()[0].fixed().unwrap_or(0);
    let (group, own) = (axes.fresh(geometry.groups), axes.fresh(rows / geometry.groups.max(1)));
    axes.split((by_row, 1), &[group, own], &words(data));
    axes.split((by_column, 1), &[group, Part::Of(w, 1)], &words(data));
}

fn reshape(axes: &mut Axes<'_>, data: &NodeData) {
    let graph = axes.graph();
    let (x, y) = (data.args[0], data.results[0]);
    let (from, to) = (graph.ty(x).shape.dims(), graph.ty(y).shape.dims());
    let long = |d: &actc_types::Dim| d.fixed() != Some(1);
    for run in runs(from, to) {
        let old: Vec<usize> = run.from.filter(|i| long(&from[*i])).collect();
        let new: Vec<usize> = run.to.filter(|i| long(&to[*i])).collect();
        let open = old.iter().map(|i| &from[*i]).chain(new.iter().map(|i| &to[*i])).any(|d| d.fixed().is_none());
        let parts = |v: Value, axes: &[usize]| axes.iter().map(|i| Part::Of(v, *i)).collect::<Vec<_>>();
        match (&old[..], &new[..]) {
            ([], []) => {}
            ([i], [j]) => axes.tie((x, *i), (y, *j)),
            ([i], _) if !open => axes.split((x, *i), &parts(y, &new), &words(data)),
            (_, [j]) if !open => axes.split((y, *j), &parts(x, &old), &words(data)),
            _axes_that_mix => {
                old.iter().for_each(|i| hold(axes, (x, *i), data, "mixes it with others"));
                new.iter().for_each(|j| hold(axes, (y, *j), data, "mixes it with others"));
            }
        }
    }
}
