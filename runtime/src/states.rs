//! States by name, their sizes, and what fits them.

use crate::model::Model;
use actc_types::dim::Bindings;
use actc_types::{Diagnostic, Place, Result, Shape, Tensor};

/// Extents and bytes of each state, laid out for `capacity`.
pub(crate) fn state_sizes(model: &Model, capacity: &Bindings) -> Result<Vec<(Vec<u64>, usize)>> {
    let states = model.artifact().manifest().states.iter();
    states
        .map(|s| {
            let place = || Place::Tensor(s.name.clone());
            let dims = Shape(s.dims.clone()).eval(capacity).map_err(|e| e.at(place()))?;
            let bytes = dims.iter().try_fold(s.dtype.size() as u64, |n, d| n.checked_mul(*d));
            let bytes = bytes.and_then(|n| usize::try_from(n).ok()).ok_or_else(|| {
                Diagnostic::new("dim-overflow", format!("state of shape {dims:?} exceeds the address space"))
                    .at(place())
            })?;
            Ok((dims, bytes))
        })
        .collect()
}

/// The index of the state called `name`.
pub(crate) fn index(model: &Model, name: &str) -> Result<usize> {
    let states = &model.artifact().manifest().states;
    states.iter().position(|s| s.name == name).ok_or_else(|| {
        let names: Vec<&str> = states.iter().map(|s| s.name.as_str()).collect();
        Diagnostic::request("unknown-state", format!("the artifact has no state `{name}`"))
            .help(format!("its states: {}", names.join(", ")))
    })
}

/// An error where `tensor` is not the first rows of state `index`, laid out with extents `dims`.
pub(crate) fn check_fits(model: &Model, index: usize, dims: &[u64], tensor: &Tensor) -> Result<()> {
    let state = &model.artifact().manifest().states[index];
    let fits = tensor.dims().len() == dims.len()
        && tensor.dims().first() <= dims.first()
        && tensor.dims().get(1..) == dims.get(1..);
    if fits && tensor.dtype() == state.dtype {
        return Ok(());
    }
    let headline = format!(
        "a {} tensor of shape {:?} does not fit the state, {} {dims:?}",
        tensor.dtype(),
        tensor.dims(),
        state.dtype
    );
    Err(Diagnostic::request("state-shape", headline).at(Place::Tensor(state.name.clone())))
}
