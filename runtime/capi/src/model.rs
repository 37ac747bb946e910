//! `actc_model`: an artifact, opened once and shared.

use crate::log::{Log, actc_log_fn, actc_log_level};
use crate::names::Names;
use crate::session::{actc_dim_value, actc_session_options, bindings};
use crate::sized::{self, SizedStruct};
use crate::status::{actc_error, actc_status, call};
use actc_runtime::{Code, Footprint, Model, ReadOptions, RunShape, Trust};
use actc_types::{Diagnostic, Result};
use std::ffi::{CStr, c_char, c_void};
use std::path::Path;
use std::sync::Arc;

/// An artifact, opened once. It never changes: any number of threads and sessions may use it at the same time, and all
/// share one mapping of the file.
pub struct actc_model {
    pub(crate) model: Arc<Model>,
    pub(crate) names: Arc<Names>,
    pub(crate) log: Log,
}

/// How a model is opened. All zero, or NULL in its place: nothing is trusted, everything is checked.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct actc_model_options {
    /// sizeof(actc_model_options)
    pub struct_size: usize,
    /// 1: the machine code inside the artifact may be run in this process. It is native code and can do whatever the
    /// process can: only for files whose maker you trust. 0: it is not looked at; a model that needs it can be looked
    /// through, and actc_session_new fails with "code-untrusted".
    pub trust_code: u32,
    /// 1: the digests of the sections are not checked, so that opening does not read the whole file.
    pub skip_digests: u32,
    /// Takes messages, or NULL. It may be called by any thread that uses the model or a session of it.
    pub log: actc_log_fn,
    /// Given to `log`.
    pub log_user: *mut c_void,
}

// SAFETY: `repr(C)`, begins with its size, null pointers and zeros are a value.
unsafe impl SizedStruct for actc_model_options {
    const NAME: &'static str = "actc_model_options";
}

/// A run that a session is going to see.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct actc_run_shape {
    /// sizeof(actc_run_shape)
    pub struct_size: usize,
    /// Name of the entry.
    pub entry: *const c_char,
    /// Values of all its symbols, those that shapes of inputs would say included.
    pub dims: *const actc_dim_value,
    /// Number of values.
    pub dim_count: usize,
}

// SAFETY: as above.
unsafe impl SizedStruct for actc_run_shape {
    const NAME: &'static str = "actc_run_shape";
}

/// Bytes of memory of a session, by use. Stacks of threads, the small working memory that each thread grows for decoding
/// weights, and the mapping of the model are not in it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct actc_memory {
    /// sizeof(actc_memory)
    pub struct_size: usize,
    /// All of the following.
    pub total: u64,
    /// States.
    pub states: u64,
    /// Copies of inputs.
    pub inputs: u64,
    /// Outputs.
    pub outputs: u64,
    /// Everything between.
    pub slots: u64,
    /// Memory that threads share within a step.
    pub workspace: u64,
}

// SAFETY: as above.
unsafe impl SizedStruct for actc_memory {
    const NAME: &'static str = "actc_memory";
}

impl actc_memory {
    pub(crate) fn of(footprint: &Footprint) -> actc_memory {
        let Footprint { states, inputs, outputs, slots, workspace } = *footprint;
        let struct_size = size_of::<actc_memory>();
        actc_memory { struct_size, total: footprint.total(), states, inputs, outputs, slots, workspace }
    }
}

pub(crate) fn flag(value: u32, name: &str) -> Result<bool> {
    match value {
        0 => Ok(false),
        1 => Ok(true),
        n => Err(Diagnostic::request("flag", format!("{name} is {n}, expected 0 or 1"))),
    }
}

#[cfg(unix)]
fn file(bytes: &CStr) -> Result<&Path> {
    use std::os::unix::ffi::OsStrExt;
    Ok(Path::new(std::ffi::OsStr::from_bytes(bytes.to_bytes())))
}

#[cfg(not(unix))]
fn file(bytes: &CStr) -> Result<&Path> {
    bytes.to_str().map(Path::new).map_err(|_| Diagnostic::request("text-utf8", "the path is no UTF-8"))
}

fn open(file: &Path, options: &actc_model_options) -> Result<actc_model> {
    let trust = flag(options.trust_code, "trust_code")?;
    let verify = !flag(options.skip_digests, "skip_digests")?;
    let log = Log::new(options.log, options.log_user);
    let model = Model::open(file, &ReadOptions { verify, ..ReadOptions::default() })?;
    let (artifact, digest) = (model.artifact(), model.artifact().digest().to_string());
    let names = Names::new(artifact.manifest(), &digest)?;
    let info = actc_log_level::ACTC_LOG_INFO;
    log.say(info, || format!("opened {}: {} bytes, digest {digest}", file.display(), artifact.length()));
    if model.needs_code() && trust {
        let target = model.embedded_target()?.clone();
        model.link(Code::Embedded { target: &target, trust: Trust::Vouch })?;
        log.say(info, || format!("linked the artifact's own code for {target}"));
    } else if model.needs_code() {
        let warning = "the artifact's machine code is not trusted: the model can be looked through, not run";
        log.say(actc_log_level::ACTC_LOG_WARNING, || warning.to_owned());
    }
    Ok(actc_model { model, names: Arc::new(names), log })
}

/// Opens the artifact at `path`. `options` may be NULL. The model is put into `model`, which is set to NULL on failure.
///
/// # Safety
///
/// Pointers are NULL or valid; `path` ends with a zero byte.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn actc_model_open(
    path: *const c_char,
    options: *const actc_model_options,
    model: *mut *mut actc_model,
    error: *mut *mut actc_error,
) -> actc_status {
    call(error, || {
        // SAFETY: pointers are NULL or valid, by the contract of the call.
        unsafe {
            sized::give(model, std::ptr::null_mut(), "model")?;
            let options = sized::read_or_default(options)?;
            sized::object(path, "path")?;
            let opened = open(file(CStr::from_ptr(path))?, &options)?;
            sized::give(model, Box::into_raw(Box::new(opened)), "model")
        }
    })
}

/// Lets go of a model. Its sessions go on; what the model's descriptions point to is gone. NULL is fine.
///
/// # Safety
///
/// `model` is NULL or came from actc_model_open and was not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn actc_model_free(model: *mut actc_model) {
    if !model.is_null() {
        // SAFETY: made by `Box::into_raw` in `actc_model_open`, and not freed before.
        call(std::ptr::null_mut(), || Ok(drop(unsafe { Box::from_raw(model) })));
    }
}

/// Says how much memory a session with `options` takes that sees all of the `run_count` runs from `runs`. Takes none.
/// `options` may be NULL, if no state depends on a symbol.
///
/// # Safety
///
/// Pointers are NULL or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn actc_model_memory(
    model: *const actc_model,
    options: *const actc_session_options,
    runs: *const actc_run_shape,
    run_count: usize,
    memory: *mut actc_memory,
    error: *mut *mut actc_error,
) -> actc_status {
    call(error, || {
        // SAFETY: pointers are NULL or valid, by the contract of the call.
        unsafe {
            let model = sized::object(model, "model")?;
            let options = sized::read_or_default(options)?;
            let capacity = bindings(options.dims, options.dim_count)?;
            let mut shapes = Vec::new();
            for run in sized::read_all(runs, run_count)? {
                shapes.push((sized::text(run.entry, "entry")?, bindings(run.dims, run.dim_count)?));
            }
            let runs: Vec<RunShape<'_>> = shapes.iter().map(|(entry, dims)| RunShape { entry, dims }).collect();
            let footprint = model.model.footprint(&capacity, &runs)?;
            sized::write(memory, actc_memory::of(&footprint))
        }
    })
}
