//! `actc_session`: one caller's states and memory on a model.

use crate::log::actc_log_level;
use crate::model::{actc_memory, actc_model};
use crate::names::{ACTC_ANY, Names};
use crate::sized::{self, SizedStruct};
use crate::status::{actc_error, actc_status, call};
use crate::tensor::actc_tensor;
use crate::threads::{self, actc_start_thread_fn};
use actc_runtime::{Session, SessionOptions};
use actc_types::dim::Bindings;
use actc_types::{Diagnostic, Result, Symbol, Tensor};
use std::cell::UnsafeCell;
use std::ffi::{c_char, c_void};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The value of a symbol. This struct never grows.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct actc_dim_value {
    /// Name of the symbol, such as "P".
    pub name: *const c_char,
    /// Its value.
    pub value: u64,
}

/// How a session is set up. All zero, or NULL in its place: as many threads as processors, no symbols, 64 GiB at most.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct actc_session_options {
    /// sizeof(actc_session_options)
    pub struct_size: usize,
    /// Values of symbols for which states are laid out: P = 2048 and S = 0 make room for 2048 tokens.
    pub dims: *const actc_dim_value,
    /// Number of these.
    pub dim_count: usize,
    /// Most bytes of memory, 0 for 64 GiB. Exceeding it is an error before anything is taken.
    pub memory_limit: u64,
    /// Number of threads, the calling one included; 0 for as many as there are processors. Results do not depend on it.
    pub threads: usize,
    /// Brings the threads but the calling one, or NULL: the session starts its own.
    pub start_thread: actc_start_thread_fn,
    /// Given to `start_thread`.
    pub start_user: *mut c_void,
}

// SAFETY: `repr(C)`, begins with its size, null pointers and zeros are a value.
unsafe impl SizedStruct for actc_session_options {
    const NAME: &'static str = "actc_session_options";
}

/// One caller's states and memory on a model. Used by one thread at a time: a call while another one is at work on the
/// same session fails with "session-busy". Any number of sessions on a model run side by side, and none sees another.
pub struct actc_session {
    busy: AtomicBool,
    inner: UnsafeCell<Inner>,
}

struct Inner {
    session: Session,
    names: Arc<Names>,
    /// Values of symbols for the runs to come.
    dims: Bindings,
    /// The entry whose outputs can be asked for.
    last: Option<usize>,
}

fn symbol(name: &str) -> Result<Symbol> {
    Symbol::new(name).ok_or_else(|| Diagnostic::request("dim-name", format!("`{name}` is no name of a symbol")))
}

/// The `count` values from `at`.
///
/// # Safety
///
/// As for [`sized::slice`]; the names end with a zero byte.
pub(crate) unsafe fn bindings(at: *const actc_dim_value, count: usize) -> Result<Bindings> {
    let mut all = Bindings::new();
    // SAFETY: as the caller promises.
    for value in unsafe { sized::slice(at, count, "dims")? } {
        // SAFETY: as above.
        let name = unsafe { sized::text(value.name, "the name of a symbol")? };
        if all.insert(symbol(name)?, value.value).is_some_and(|before| before != value.value) {
            return Err(Diagnostic::request("dim-twice", format!("`{name}` has two values")));
        }
    }
    Ok(all)
}

/// Does `work` on the session at `at`, alone.
///
/// # Safety
///
/// `at` is NULL or a session that is not freed during the call.
unsafe fn enter<T>(at: *const actc_session, work: impl FnOnce(&mut Inner) -> Result<T>) -> Result<T> {
    struct Leave<'a>(&'a AtomicBool);
    impl Drop for Leave<'_> {
        fn drop(&mut self) {
            self.0.store(false, Ordering::Release);
        }
    }
    // SAFETY: as the caller promises.
    let session = unsafe { sized::object(at, "session")? };
    if session.busy.swap(true, Ordering::Acquire) {
        return Err(Diagnostic::request("session-busy", "another call is at work on the session")
            .help("use a session by one thread at a time, or make one for each thread"));
    }
    let _leave = Leave(&session.busy);
    // SAFETY: `busy` lets one call in at a time, and the reference ends with it.
    work(unsafe { &mut *session.inner.get() })
}

impl Inner {
    fn set_dim(&mut self, name: &str, value: u64) -> Result<()> {
        let mut entries = self.session.model().artifact().manifest().entries.iter();
        let symbol = symbol(name)?;
        if !entries.any(|e| e.symbols.contains(&symbol)) {
            return Err(Diagnostic::request("unknown-dim", format!("no entry of the model has a symbol `{name}`")));
        }
        match value {
            ACTC_ANY => drop(self.dims.remove(&symbol)),
            value => drop(self.dims.insert(symbol, value)),
        }
        Ok(())
    }

    fn run(&mut self, entry: &str, given: &[(&str, Tensor)]) -> Result<()> {
        self.last = None;
        let model = self.session.model().clone();
        let entries = &model.artifact().manifest().entries;
        let index = entries.iter().position(|e| e.name == entry);
        let ports = index.map_or(&[][..], |i| &entries[i].inputs);
        if let Some((name, _)) = given.iter().find(|(name, _)| index.is_some() && ports.iter().all(|p| p.name != *name))
        {
            let known: Vec<&str> = ports.iter().map(|p| p.name.as_str()).collect();
            return Err(Diagnostic::request("unknown-input", format!("`{entry}` has no input `{name}`"))
                .help(format!("its inputs: {}", known.join(", "))));
        }
        let mut inputs = Vec::with_capacity(ports.len());
        for port in ports {
            let mut named = given.iter().filter(|(name, _)| port.name == *name);
            match (named.next(), named.next()) {
                (Some((_, tensor)), None) => inputs.push(tensor),
                (None, _) => {
                    let headline = format!("input `{}` of `{entry}` is not given", port.name);
                    return Err(Diagnostic::request("missing-input", headline));
                }
                (Some(_), Some(_)) => {
                    let headline = format!("input `{}` of `{entry}` is given twice", port.name);
                    return Err(Diagnostic::request("input-twice", headline));
                }
            }
        }
        self.session.execute(entry, &inputs, &self.dims)?;
        self.last = index;
        Ok(())
    }

    fn output(&self, name: &str) -> Result<actc_tensor> {
        let missing = || Diagnostic::request("run-output", "there is no run whose outputs could be asked for");
        let entry = &self.names.entries[self.last.ok_or_else(missing)?];
        let found = entry.outputs.iter().enumerate().find(|(_, port)| port.name.as_bytes() == name.as_bytes());
        let (index, port) = found.ok_or_else(|| {
            let known: Vec<_> = entry.outputs.iter().map(|p| p.name.to_string_lossy()).collect();
            Diagnostic::request("unknown-output", format!("the last run has no output `{name}`"))
                .help(format!("its outputs: {}", known.join(", ")))
        })?;
        Ok(actc_tensor::view(port.name.as_ptr(), &self.session.output(index)?))
    }
}

/// # Safety
///
/// As for `actc_session_new`.
unsafe fn open(model: &actc_model, options: &actc_session_options) -> Result<Inner> {
    if model.model.needs_code() && !model.model.is_linked() {
        return Err(Diagnostic::new("code-untrusted", "the model runs machine code, and nobody vouched for it")
            .help("open the model with trust_code = 1 if you trust the maker of the file"));
    }
    let defaults = SessionOptions::default();
    let or = |given: u64, default: u64| if given == 0 { default } else { given };
    let settings = SessionOptions {
        threads: or(options.threads as u64, defaults.threads as u64) as usize,
        // SAFETY: as the caller promises.
        state_capacity: unsafe { bindings(options.dims, options.dim_count)? },
        memory_limit: or(options.memory_limit, defaults.memory_limit),
        ..defaults
    };
    let (count, shared) = (settings.threads, model.model.clone());
    let session = match options.start_thread {
        None => Session::new(shared, settings)?,
        Some(start) => Session::on_threads(shared, settings, &mut threads::starter(start, options.start_user))?,
    };
    let bytes = session.footprint().total();
    model.log.say(actc_log_level::ACTC_LOG_INFO, || format!("session on {count} threads, {bytes} bytes of states"));
    Ok(Inner { session, names: model.names.clone(), dims: Bindings::new(), last: None })
}

/// Makes a session with all states zero. `options` may be NULL, if no state depends on a symbol. The session is put into
/// `session`, which is set to NULL on failure.
///
/// # Safety
///
/// Pointers are NULL or valid. `start_thread` keeps what it promises.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn actc_session_new(
    model: *const actc_model,
    options: *const actc_session_options,
    session: *mut *mut actc_session,
    error: *mut *mut actc_error,
) -> actc_status {
    call(error, || {
        // SAFETY: pointers are NULL or valid, by the contract of the call.
        unsafe {
            sized::give(session, std::ptr::null_mut(), "session")?;
            let options = sized::read_or_default(options)?;
            let inner = open(sized::object(model, "model")?, &options)?;
            let made = actc_session { busy: AtomicBool::new(false), inner: UnsafeCell::new(inner) };
            sized::give(session, Box::into_raw(Box::new(made)), "session")
        }
    })
}

/// Ends a session and waits for its threads. NULL is fine.
///
/// # Safety
///
/// `session` is NULL or came from actc_session_new, was not freed, and no call is at work on it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn actc_session_free(session: *mut actc_session) {
    if !session.is_null() {
        // SAFETY: made by `Box::into_raw` in `actc_session_new`, and not freed before.
        call(std::ptr::null_mut(), || Ok(drop(unsafe { Box::from_raw(session) })));
    }
}

/// Sets the value of a symbol for the runs to come; ACTC_ANY forgets it. Symbols that stand alone as an extent of an input
/// need no value: the shape says it.
///
/// # Safety
///
/// Pointers are NULL or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn actc_session_set_dim(
    session: *mut actc_session,
    name: *const c_char,
    value: u64,
    error: *mut *mut actc_error,
) -> actc_status {
    // SAFETY: pointers are NULL or valid, by the contract of the call.
    call(error, || unsafe {
        let name = sized::text(name, "name")?;
        enter(session, |inner| inner.set_dim(name, value))
    })
}

/// Runs an entry on `input_count` inputs, by name and in any order. All are copied before the run. After an error states
/// may hold part of a step.
///
/// # Safety
///
/// Pointers are NULL or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn actc_session_run(
    session: *mut actc_session,
    entry: *const c_char,
    inputs: *const actc_tensor,
    input_count: usize,
    error: *mut *mut actc_error,
) -> actc_status {
    // SAFETY: pointers are NULL or valid, by the contract of the call.
    call(error, || unsafe {
        let entry = sized::text(entry, "entry")?;
        let mut given = Vec::new();
        for tensor in sized::read_all(inputs, input_count)? {
            let name = sized::text(tensor.name, "the name of an input")?;
            given.push((name, tensor.copy(name)?));
        }
        enter(session, |inner| inner.run(entry, &given))
    })
}

/// Fills `tensor` with output `name` of the last run. What it points to lives until the next call that runs, resets,
/// loads or frees the session.
///
/// # Safety
///
/// Pointers are NULL or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn actc_session_output(
    session: *mut actc_session,
    name: *const c_char,
    tensor: *mut actc_tensor,
    error: *mut *mut actc_error,
) -> actc_status {
    // SAFETY: pointers are NULL or valid, by the contract of the call.
    call(error, || unsafe {
        let name = sized::text(name, "name")?;
        sized::write(tensor, enter(session, |inner| inner.output(name))?)
    })
}

/// Makes all states zero.
///
/// # Safety
///
/// Pointers are NULL or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn actc_session_reset(session: *mut actc_session, error: *mut *mut actc_error) -> actc_status {
    // SAFETY: pointers are NULL or valid, by the contract of the call.
    call(error, || unsafe {
        enter(session, |inner| {
            inner.session.reset();
            Ok(())
        })
    })
}

/// Puts the states into `buffer` as bytes that actc_session_load takes. `dims` say how many rows are in use, such as P = the
/// tokens so far and S = 0; with no values, all rows are saved. `needed` is always set, if not NULL; a NULL `buffer` only
/// asks for it, and a `capacity` below it is an error.
///
/// # Safety
///
/// Pointers are NULL or valid; `buffer` has room for `capacity` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn actc_session_save(
    session: *mut actc_session,
    dims: *const actc_dim_value,
    dim_count: usize,
    buffer: *mut c_void,
    capacity: usize,
    needed: *mut usize,
    error: *mut *mut actc_error,
) -> actc_status {
    // SAFETY: pointers are NULL or valid, by the contract of the call.
    call(error, || unsafe {
        let used = bindings(dims, dim_count)?;
        enter(session, |inner| {
            let bytes = inner.session.saved_bytes(&used)?;
            if !needed.is_null() {
                needed.write(bytes);
            }
            if buffer.is_null() {
                return Ok(());
            }
            if capacity < bytes {
                let headline = format!("the session takes {bytes} bytes, the buffer has {capacity}");
                return Err(Diagnostic::request("buffer-small", headline));
            }
            let saved = inner.session.save(&used)?;
            std::ptr::copy_nonoverlapping(saved.as_ptr(), buffer.cast::<u8>(), saved.len());
            Ok(())
        })
    })
}

/// Sets all states to what actc_session_save gave, in a session of the same artifact with as much room; rows behind those
/// saved become zero. The bytes may come from anywhere: what does not fit is an error, and then nothing has changed.
///
/// # Safety
///
/// Pointers are NULL or valid; `bytes` has `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn actc_session_load(
    session: *mut actc_session,
    bytes: *const c_void,
    length: usize,
    error: *mut *mut actc_error,
) -> actc_status {
    // SAFETY: pointers are NULL or valid, by the contract of the call.
    call(error, || unsafe {
        let bytes = sized::slice(bytes.cast::<u8>(), length, "bytes")?;
        enter(session, |inner| inner.session.load(bytes))
    })
}

/// Says how much memory the session holds now.
///
/// # Safety
///
/// Pointers are NULL or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn actc_session_memory(
    session: *mut actc_session,
    memory: *mut actc_memory,
    error: *mut *mut actc_error,
) -> actc_status {
    // SAFETY: pointers are NULL or valid, by the contract of the call.
    call(error, || unsafe {
        let footprint = enter(session, |inner| Ok(inner.session.footprint()))?;
        sized::write(memory, actc_memory::of(&footprint))
    })
}
