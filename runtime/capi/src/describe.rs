//! What a model says about itself: entries, inputs, outputs, states.

use crate::model::actc_model;
use crate::names::{ACTC_ANY, Entry, Names, Port};
use crate::sized::{self, SizedStruct};
use crate::status::{actc_error, actc_status, call};
use actc_types::{Diagnostic, Result};
use std::ffi::c_char;

/// What a model says about itself. All pointers live as long as the model.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct actc_model_info {
    /// sizeof(actc_model_info)
    pub struct_size: usize,
    /// Name that its source gave.
    pub name: *const c_char,
    /// Architecture family, such as "llama".
    pub family: *const c_char,
    /// Digest of the artifact.
    pub digest: *const c_char,
    /// The passes that made it.
    pub pipeline: *const c_char,
    /// Number of entries.
    pub entry_count: usize,
    /// Number of states.
    pub state_count: usize,
    /// 1 if its machine code is ready to run, or it needs none.
    pub runnable: u32,
    /// For language models: 1 if the model expects `bos` before a text.
    pub add_bos: u32,
    /// For language models: the id that begins a text, else ACTC_ANY.
    pub bos: u64,
    /// For language models: tokens that it was made for, else 0.
    pub context: u64,
    /// For language models: ids that end an answer.
    pub stop: *const u64,
    /// Number of these.
    pub stop_count: usize,
}

// SAFETY: `repr(C)`, begins with its size, null pointers and zeros are a value.
unsafe impl SizedStruct for actc_model_info {
    const NAME: &'static str = "actc_model_info";
}

/// Something that can be run. All pointers live as long as the model.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct actc_entry_info {
    /// sizeof(actc_entry_info)
    pub struct_size: usize,
    /// Its name, such as "decode".
    pub name: *const c_char,
    /// Number of inputs.
    pub input_count: usize,
    /// Number of outputs.
    pub output_count: usize,
    /// The symbols that its sizes depend on, such as "S" (new tokens) and "P" (past tokens).
    pub symbols: *const *const c_char,
    /// The value of each symbol that the entry was made for, or ACTC_ANY.
    pub fixed: *const u64,
    /// Number of symbols.
    pub symbol_count: usize,
}

// SAFETY: as above.
unsafe impl SizedStruct for actc_entry_info {
    const NAME: &'static str = "actc_entry_info";
}

/// An input, an output or a state. All pointers live as long as the model.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct actc_port_info {
    /// sizeof(actc_port_info)
    pub struct_size: usize,
    /// Its name.
    pub name: *const c_char,
    /// An actc_dtype.
    pub dtype: i32,
    /// Number of extents.
    pub rank: u32,
    /// Each extent as a text over symbols, such as "P + S" or "576".
    pub dims: *const *const c_char,
    /// Each extent as a number, or ACTC_ANY where it depends on a symbol.
    pub extents: *const u64,
}

// SAFETY: as above.
unsafe impl SizedStruct for actc_port_info {
    const NAME: &'static str = "actc_port_info";
}

/// Fills `info`.
///
/// # Safety
///
/// Pointers are NULL or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn actc_model_get_info(
    model: *const actc_model,
    info: *mut actc_model_info,
    error: *mut *mut actc_error,
) -> actc_status {
    call(error, || {
        // SAFETY: pointers are NULL or valid, by the contract of the call.
        let model = unsafe { sized::object(model, "model")? };
        let (names, text) = (&model.names, model.model.artifact().manifest().text.as_ref());
        let value = actc_model_info {
            struct_size: size_of::<actc_model_info>(),
            name: names.name.as_ptr(),
            family: names.family.as_ptr(),
            digest: names.digest.as_ptr(),
            pipeline: names.pipeline.as_ptr(),
            entry_count: names.entries.len(),
            state_count: names.states.len(),
            runnable: u32::from(model.model.is_linked() || !model.model.needs_code()),
            add_bos: text.map_or(0, |t| u32::from(t.add_bos)),
            bos: text.and_then(|t| t.bos).unwrap_or(ACTC_ANY),
            context: text.map_or(0, |t| t.context),
            stop: text.map_or(std::ptr::null(), |t| t.stop.as_ptr()),
            stop_count: text.map_or(0, |t| t.stop.len()),
        };
        // SAFETY: as above.
        unsafe { sized::write(info, value) }
    })
}

/// Number `index` of `all`, where an index from the caller says which.
fn at<'a, T>(all: &'a [T], index: usize, what: &str) -> Result<&'a T> {
    all.get(index).ok_or_else(|| Diagnostic::request("index", format!("{what} {index} of {}", all.len())))
}

fn port_info(port: &Port) -> actc_port_info {
    actc_port_info {
        struct_size: size_of::<actc_port_info>(),
        name: port.name.as_ptr(),
        dtype: port.dtype as i32,
        rank: port.extents.len() as u32,
        dims: port.dims.as_ptr(),
        extents: port.extents.as_ptr(),
    }
}

/// Describes entry `index`.
///
/// # Safety
///
/// Pointers are NULL or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn actc_model_entry(
    model: *const actc_model,
    index: usize,
    info: *mut actc_entry_info,
    error: *mut *mut actc_error,
) -> actc_status {
    call(error, || {
        // SAFETY: pointers are NULL or valid, by the contract of the call.
        let model = unsafe { sized::object(model, "model")? };
        let entry = at(&model.names.entries, index, "entry")?;
        let value = actc_entry_info {
            struct_size: size_of::<actc_entry_info>(),
            name: entry.name.as_ptr(),
            input_count: entry.inputs.len(),
            output_count: entry.outputs.len(),
            symbols: entry.symbols.as_ptr(),
            fixed: entry.fixed.as_ptr(),
            symbol_count: entry.symbols.len(),
        };
        // SAFETY: as above.
        unsafe { sized::write(info, value) }
    })
}

/// Describes one of the ports that `of` gives.
///
/// # Safety
///
/// Pointers are NULL or valid.
unsafe fn describe(
    model: *const actc_model,
    of: impl FnOnce(&Names) -> Result<&Port>,
    info: *mut actc_port_info,
    error: *mut *mut actc_error,
) -> actc_status {
    call(error, || {
        // SAFETY: as the caller promises.
        let model = unsafe { sized::object(model, "model")? };
        // SAFETY: as above.
        unsafe { sized::write(info, port_info(of(&model.names)?)) }
    })
}

fn port_of(names: &Names, entry: usize, index: usize, of: fn(&Entry) -> &[Port]) -> Result<&Port> {
    at(of(at(&names.entries, entry, "entry")?), index, "port")
}

/// Describes input `index` of entry `entry`.
///
/// # Safety
///
/// Pointers are NULL or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn actc_model_input(
    model: *const actc_model,
    entry: usize,
    index: usize,
    info: *mut actc_port_info,
    error: *mut *mut actc_error,
) -> actc_status {
    // SAFETY: as the caller promises.
    unsafe { describe(model, |names| port_of(names, entry, index, |e| &e.inputs), info, error) }
}

/// Describes output `index` of entry `entry`.
///
/// # Safety
///
/// Pointers are NULL or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn actc_model_output(
    model: *const actc_model,
    entry: usize,
    index: usize,
    info: *mut actc_port_info,
    error: *mut *mut actc_error,
) -> actc_status {
    // SAFETY: as the caller promises.
    unsafe { describe(model, |names| port_of(names, entry, index, |e| &e.outputs), info, error) }
}

/// Describes state `index`.
///
/// # Safety
///
/// Pointers are NULL or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn actc_model_state(
    model: *const actc_model,
    index: usize,
    info: *mut actc_port_info,
    error: *mut *mut actc_error,
) -> actc_status {
    // SAFETY: as the caller promises.
    unsafe { describe(model, |names| at(&names.states, index, "state"), info, error) }
}
