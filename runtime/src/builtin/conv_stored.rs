//! Convolutions of f32 whose weights are a stored matrix of any encoding: members decode panels of its rows into memory that
//! they share, then convolve as with any weights.

use super::call::{Call, Stop};
use super::conv::{self, Layout};
use super::window::room;
use crate::device::cpu::memory::Grid;
use crate::device::cpu::team::Scratch;
use crate::model::Model;
use crate::program;
use actc_types::packed::PANEL;
use actc_types::{Diagnostic, Result};

/// Bytes of the decoded weights.
pub(super) fn workspace(call: &program::Call, model: &Model) -> Result<usize> {
    let (m, k) = model.artifact().manifest().tensors[call.tensors[0]].matrix()?;
    let bytes = m.checked_mul(k).and_then(|n| n.checked_mul(size_of::<f32>()));
    bytes.ok_or_else(|| Diagnostic::new("dim-overflow", format!("weights [{m}, {k}] exceed the address space")))
}

pub(super) fn run(call: &Call<'_>, scratch: &mut Scratch) -> Result<(), Stop> {
    let layout = Layout::read(call, 1)?;
    let (m, k) = (layout.m, call.count(&[layout.own, layout.taps])?);
    let weight = call.weight(0)?;
    if (weight.rows(), weight.cols()) != (m, k) {
        let found = format!("weights [{}, {}], expected [{m}, {k}]", weight.rows(), weight.cols());
        return Err(call.refuse(found).into());
    }
    let decoder = call.decoder(0)?;
    for mut tile in call.workspace_tiles(Grid::of_rows(m, k, PANEL))? {
        let panel = room(&mut scratch.floats, call.count(&[tile.rows(), k])?)?;
        decoder.rows(tile.row(), panel, &mut scratch.grid);
        panel.chunks_exact(k.max(1)).enumerate().for_each(|(i, row)| tile.row_mut(i).copy_from_slice(row));
    }
    call.barrier()?;
    Ok(conv::singles(call, &layout, call.workspace(call.count(&[m, k])?)?, 1, scratch)?)
}
