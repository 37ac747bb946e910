//! `--device`: where an artifact runs, one option for every verb that runs one, and what ran, in words.

use actc::codegen::BACKEND_KEY;
use actc::link::Native;
use actc::runtime::{Device, Placed};
use actc_types::Diagnostic;

/// Where to run.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct DeviceArgs {
    /// Where to run: cpu, or cuda for an NVIDIA GPU, cuda:1 for the second one
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: String,
}

impl DeviceArgs {
    /// What is asked for.
    pub(super) fn device(&self) -> Result<Device, Diagnostic> {
        Device::parse(&self.device)
    }
}

/// What runs when `placed`, with code as `native` says, runs on `threads` threads: back end, machine, threads; or the GPU.
pub(super) fn running(placed: &Placed, native: Native, threads: usize) -> String {
    match placed {
        Placed::Cpu(model) => {
            let by = match native {
                Native::Made(backend) => backend.full_name(),
                Native::Embedded => model.artifact().manifest().metadata.get(BACKEND_KEY).cloned().unwrap_or_default(),
            };
            let by = if by.is_empty() { "unknown back end" } else { &by };
            let target = model.linked_target().map_or("no machine code".to_owned(), ToString::to_string);
            format!("{by} {target} x{threads}")
        }
        #[cfg(feature = "cuda")]
        Placed::Cuda(model) => format!("cuda {} on {}", model.target(), model.device().name()),
    }
}
