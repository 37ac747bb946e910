//! Branches and loops: regions as graphs in attributes.
//!
//! Graphs see the names around them, so that captures are called what they are called outside. Constants of regions are
//! initializers of the whole model. A loop stacks rows of the rounds that come; zeros follow for those that do not.

use super::call::Call;
use super::sheet::{Attr, Sheet, declared};
use crate::onnx::schema::{GraphProto, ValueInfoProto};
use actc_ir::ops::control::Loop;
use actc_ir::{Region, TensorType};
use actc_types::{DType, Result, Shape};

/// A name, and the type of what it stands for.
type Typed = (String, TensorType);

/// Writes the nodes of `region`, whose parameters are called `params`. Gives its results, unless something in it has no form.
fn written(sheet: &mut Sheet<'_>, region: Region, params: &[String]) -> Result<Option<Vec<Typed>>> {
    let graph = sheet.graph;
    for (param, name) in graph.region_params(region).iter().zip(params) {
        sheet.name(*param, name.clone());
    }
    for node in graph.region_nodes(region) {
        super::write(sheet, *node);
    }
    let results = graph.region_results(region);
    if !results.iter().all(|v| sheet.is_written(*v)) {
        return Ok(None);
    }
    results.iter().map(|v| Ok((sheet.typed(*v)?, graph.ty(*v).clone()))).collect::<Result<_>>().map(Some)
}

/// The graph called `name` of `inputs` that gives what `make` gives, if it does.
fn graph(
    sheet: &mut Sheet<'_>,
    name: &str,
    inputs: Vec<ValueInfoProto>,
    make: impl FnOnce(&mut Sheet<'_>) -> Result<Option<Vec<Typed>>>,
) -> Result<Option<GraphProto>> {
    let (output, node) = sheet.inside(|sheet| {
        let Some(results) = make(sheet)? else { return Ok(None) };
        let mut output = Vec::with_capacity(results.len());
        for (name, ty) in results {
            // What a graph gives is a name of its own, once.
            let own = sheet.fresh(&name);
            sheet.give(&name, &own);
            output.push(declared(&own, &ty)?);
        }
        Ok(Some(output))
    });
    let whole = |output| GraphProto { name: Some(name.into()), node, input: inputs, output, ..Default::default() };
    Ok(output?.map(whole))
}

/// The names of arguments from `first` on, of the types that the graph says.
fn arguments(c: &mut Call<'_, '_>, first: usize) -> Result<Vec<String>> {
    c.node.args[first..].iter().map(|v| c.sheet.typed(*v)).collect()
}

pub(super) fn branch(c: &mut Call<'_, '_>) -> Result<Vec<String>> {
    let (node, condition, captures) = (c.node, c.arg(0)?, arguments(c, 1)?);
    let mut attributes = Vec::new();
    for (name, region) in ["then_branch", "else_branch"].into_iter().zip(&node.regions) {
        let made = graph(c.sheet, name, Vec::new(), |sheet| written(sheet, *region, &captures))?;
        attributes.extend(made.map(|graph| (name, Attr::Graph(Box::new(graph)))));
    }
    if attributes.len() < node.regions.len() {
        return Ok(Vec::new());
    }
    Ok(c.sheet.nodes(("", "If"), &[&condition], attributes, node.results.len(), &node.origin))
}

/// The first carried value of a guarded loop is both the condition and carried, since the operator does not give the last condition.
pub(super) fn repeat(c: &mut Call<'_, '_>, op: &Loop) -> Result<Vec<String>> {
    let (node, count, outside) = (c.node, c.arg(0)?, arguments(c, 1)?);
    let (carried, captures) = outside.split_at(op.carried(node.args.len()));
    let types = [DType::I64, DType::Bool].map(|dtype| TensorType::new(dtype, Shape::default()));
    let [round, on] = ["round", "on"].map(|name| c.sheet.fresh(name));
    let mut inputs = vec![declared(&round, &types[0])?, declared(&on, &types[1])?];
    let mut params = vec![round];
    for i in 0..carried.len() {
        let name = c.sheet.fresh(&node.origin);
        inputs.push(declared(&name, c.ty(1 + i))?);
        params.push(name);
    }
    params.extend_from_slice(captures);
    let body = graph(c.sheet, "body", inputs, |sheet| {
        let Some(mut results) = written(sheet, node.regions[0], &params)? else { return Ok(None) };
        let again = if op.guarded { results[0].clone() } else { (on, types[1].clone()) };
        results.insert(0, again);
        Ok(Some(results))
    })?;
    let Some(body) = body else { return Ok(Vec::new()) };
    let condition = if op.guarded { carried[0].as_str() } else { "" };
    let inputs: Vec<&str> = [count.as_str(), condition].into_iter().chain(carried.iter().map(String::as_str)).collect();
    let attributes = vec![("body", Attr::Graph(Box::new(body)))];
    let mut made = c.sheet.nodes(("", "Loop"), &inputs, attributes, node.results.len(), &node.origin);
    for (rows, ty) in made[carried.len()..].iter_mut().zip(&op.stacked) {
        let all = c.sheet.dim(&ty.shape.dims()[0])?;
        *rows = c.filled(rows, 0, &all);
    }
    Ok(made)
}
