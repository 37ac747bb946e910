//! What the process's one device holds. Handles are numbers, from 1 on; none is used twice.

use crate::status::Status;
use crate::work::Work;
use actc_ptx::{Memory, Module, Target};
use std::collections::HashMap;
use std::io::Write;
use std::sync::{Arc, LazyLock, Mutex};

/// A handle as the caller holds it: a pointer that is none.
pub(crate) type Handle = usize;

pub(crate) struct Function {
    pub(crate) module: Arc<Module>,
    pub(crate) kernel: String,
    /// Most dynamic shared memory that launches may ask for, as the caller set it.
    pub(crate) dynamic_allowed: u32,
}

#[derive(Default)]
pub(crate) struct Event {
    /// Nanoseconds of counted work before it; none until it was recorded.
    pub(crate) at: Option<u64>,
    /// The capture that it was recorded in.
    pub(crate) capture: Option<Handle>,
}

pub(crate) struct State {
    pub(crate) initialised: bool,
    pub(crate) target: Target,
    pub(crate) memory: Memory,
    pub(crate) modules: HashMap<Handle, Arc<Module>>,
    pub(crate) functions: HashMap<Handle, Function>,
    /// Streams that were made, each with the capture that it takes part in.
    pub(crate) streams: HashMap<Handle, Option<Handle>>,
    pub(crate) events: HashMap<Handle, Event>,
    /// Graphs, those under capture too, and what was instantiated from them: their work in order.
    pub(crate) graphs: HashMap<Handle, Vec<Work>>,
    /// The stream that a capture began in, by its graph.
    pub(crate) captures: HashMap<Handle, Handle>,
    /// Host memory that `cuMemHostAlloc` gave, by address.
    pub(crate) pinned: HashMap<usize, std::alloc::Layout>,
    /// Nanoseconds of counted work.
    pub(crate) clock: u64,
    pub(crate) budget: u64,
    /// What is wrong with the variables of the environment.
    pub(crate) mistake: Option<String>,
    /// What a finding left behind.
    pub(crate) broken: Option<Status>,
    made: Handle,
}

pub(crate) static STATE: LazyLock<Mutex<State>> = LazyLock::new(|| Mutex::new(State::new()));

/// What a variable says, or `otherwise` where it is not set. What it must not say is kept as a mistake, for `cuInit`.
fn variable<T>(name: &str, otherwise: T, read: impl Fn(&str) -> Option<T>, mistake: &mut Option<String>) -> T {
    let Ok(text) = std::env::var(name) else { return otherwise };
    read(&text).unwrap_or_else(|| {
        *mistake = Some(format!("{name}={text} is not understood"));
        otherwise
    })
}

impl State {
    fn new() -> Self {
        let mut mistake = None;
        let target = variable("ACTC_PTX_ARCH", Target::Sm90, Target::parse, &mut mistake);
        let total = variable("ACTC_PTX_MEMORY", 8 << 30, |v| v.parse().ok(), &mut mistake);
        let budget = variable("ACTC_PTX_BUDGET", 1 << 30, |v| v.parse().ok(), &mut mistake);
        Self {
            initialised: false,
            target,
            memory: Memory::new(total),
            modules: HashMap::new(),
            functions: HashMap::new(),
            streams: HashMap::new(),
            events: HashMap::new(),
            graphs: HashMap::new(),
            captures: HashMap::new(),
            pinned: HashMap::new(),
            clock: 0,
            budget,
            mistake,
            broken: None,
            made: 0,
        }
    }

    pub(crate) fn handle(&mut self) -> Handle {
        self.made += 1;
        self.made
    }

    pub(crate) fn module(&self, handle: Handle) -> Result<&Arc<Module>, Status> {
        self.modules.get(&handle).ok_or(Status::InvalidHandle)
    }

    pub(crate) fn function(&self, handle: Handle) -> Result<&Function, Status> {
        self.functions.get(&handle).ok_or(Status::InvalidHandle)
    }

    /// The capture that a stream takes part in. The default streams, 0 to 2, are never captured.
    pub(crate) fn capture(&self, stream: Handle) -> Result<Option<Handle>, Status> {
        if stream <= 2 && !self.streams.contains_key(&stream) {
            return Ok(None);
        }
        self.streams.get(&stream).copied().ok_or(Status::InvalidHandle)
    }

    /// Calls that wait for the device are refused while something is captured.
    pub(crate) fn not_capturing(&self) -> Result<(), Status> {
        if self.captures.is_empty() { Ok(()) } else { Err(Status::CaptureUnsupported) }
    }
}

/// Appends to the file that a variable names, if it is set.
pub(crate) fn append(variable: &str, text: &str) {
    if let Some(path) = std::env::var_os(variable) {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
        if let Ok(mut file) = file {
            // The report on standard error is there in any case.
            let _ = file.write_all(text.as_bytes());
        }
    }
}

/// Says what is wrong on standard error and in the file of `ACTC_PTX_REPORT`.
pub(crate) fn report(text: &str) {
    let text = format!("actc-ptx: {text}\n");
    let _ = std::io::stderr().write_all(text.as_bytes());
    append("ACTC_PTX_REPORT", &text);
}
