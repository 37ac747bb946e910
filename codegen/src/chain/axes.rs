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

#[cfg(test)]
mod tests {
    use super::*;
    use actc_ir::TensorType;
    use actc_types::{DType, Shape};

    fn of(output: &[&str], inputs: &[&[&str]]) -> Option<(String, Vec<String>)> {
        let mut graph = Graph::new("axes");
        let mut add = |dims: &[&str]| {
            let shape = Shape(dims.iter().map(|d| Dim::parse(d).unwrap()).collect());
            graph.input("x", TensorType::new(DType::F32, shape))
        };
        let inputs: Vec<Value> = inputs.iter().map(|dims| add(dims)).collect();
        let output = add(output);
        let (extents, along) = joined(&graph, output, &inputs)?;
        let text = |along: Vec<bool>| along.iter().map(|moves| if *moves { '*' } else { '1' }).collect();
        let extents: Vec<String> = extents.iter().map(ToString::to_string).collect();
        Some((extents.join(", "), along.into_iter().map(text).collect()))
    }

    fn is(found: Option<(String, Vec<String>)>, extents: &str, along: &[&str]) {
        let (e, a) = found.unwrap();
        assert_eq!((e.as_str(), a), (extents, along.iter().map(ToString::to_string).collect()));
    }

    #[test]
    fn neighbours_that_do_the_same_are_one_axis() {
        is(of(&["B", "3", "H", "W"], &[&["B", "3", "H", "W"], &[], &["1"]]), "3*B*H*W", &["*", "1", "1"]);
        is(of(&["B", "3", "H", "W"], &[&["B", "3", "H", "W"], &["3", "1", "1"]]), "B, 3, H*W", &["***", "1*1"]);
        is(of(&["2", "1", "4"], &[&["2", "1", "4"], &["1", "4"]]), "2, 4", &["**", "1*"]);
        is(of(&["2", "5", "4"], &[&["2", "1", "4"], &["5", "1"]]), "2, 5, 4", &["*1*", "1*1"]);
        is(of(&[], &[&[], &["1"]]), "1", &["*", "*"]);
        assert_eq!(of(&["B", "4"], &[&["C", "4"]]), None);
        assert_eq!(of(&["4"], &[&["1", "4"]]), None);
    }
}
