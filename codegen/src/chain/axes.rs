//! The axes of a chain: those of its result, neighbours joined along which all inputs do the same.

use crate::spec::elementwise::MOST_AXES;
use actc_ir::{Graph, Value};
use actc_types::Dim;

/// The extents of the axes of `output`, and for each of `inputs` along which of them it moves. `None` where an input does not
/// repeat over the output, or a product of extents has no form.
pub(super) fn joined(graph: &Graph, output: Value, inputs: &[Value]) -> Option<(Vec<Dim>, Vec<Vec<bool>>)> {
    let one = Dim::from(1);
    let whole = graph.ty(output).shape.dims();
    let own: Vec<&[Dim]> = inputs.iter().map(|v| graph.ty(*v).shape.dims()).collect();
    let mut axes: Vec<(Dim, Vec<bool>)> = Vec::new();
    for (i, extent) in whole.iter().enumerate() {
        let moves = |own: &&[Dim]| match (i + own.len()).checked_sub(whole.len()).map(|j| &own[j]) {
            Some(dim) if dim == extent => Some(true),
            Some(dim) => (*dim == one).then_some(false),
            None => Some(false),
        };
        let moves = own.iter().map(moves).collect::<Option<Vec<bool>>>()?;
        match axes.last_mut() {
            _ if *extent == one => {}
            Some((joined, along)) if *along == moves => *joined = joined.checked_mul(extent)?,
            Some(_) | None => axes.push((extent.clone(), moves)),
        }
    }
    if own.iter().any(|own| own.len() > whole.len()) || axes.len() > MOST_AXES {
        return None;
    }
    if axes.is_empty() {
        axes.push((one, vec![true; inputs.len()]));
    }
    let along = (0..inputs.len()).map(|n| axes.iter().map(|(_, moves)| moves[n]).collect()).collect();
    Some((axes.into_iter().map(|(extent, _)| extent).collect(), along))
}
