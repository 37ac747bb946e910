//! Where a model runs, as one choice at one place: CPUs or a GPU.
//!
//! A program that lets its user choose reads a [`Device`], places the model there, and from then on works with an
//! [`AnySession`] as it would with a [`Session`].

#[cfg(feature = "cuda")]
use crate::device::cuda::{CudaModel, CudaSession};
use crate::footprint::Footprint;
use crate::model::{Code, Model, Trust};
use crate::session::{Session, SessionOptions, StepTime};
use crate::values::View;
use actc_types::dim::Bindings;
use actc_types::{Diagnostic, Result, Target, Tensor};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// What a model is to run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Device {
    /// The processor.
    #[default]
    Cpu,
    /// The NVIDIA GPU of this number, from 0.
    Cuda(usize),
}

impl Device {
    /// Reads `cpu`, `cuda` (the first GPU) or `cuda:N`.
    pub fn parse(text: &str) -> Result<Device> {
        let number = match text {
            "cpu" => return Ok(Device::Cpu),
            "cuda" => return Ok(Device::Cuda(0)),
            _ => text.strip_prefix("cuda:").filter(|n| n.bytes().all(|b| b.is_ascii_digit())),
        };
        number.and_then(|n| n.parse().ok()).map(Device::Cuda).ok_or_else(|| {
            Diagnostic::request("unknown-device", format!("unknown device `{text}`"))
                .help("`cpu`, `cuda`, or `cuda:1` for the second GPU")
        })
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Cpu => f.write_str("cpu"),
            Device::Cuda(0) => f.write_str("cuda"),
            Device::Cuda(n) => write!(f, "cuda:{n}"),
        }
    }
}

/// A model where it runs.
#[derive(Clone, Debug)]
pub enum Placed {
    /// On CPUs, linked where it needs code.
    Cpu(Arc<Model>),
    /// On a GPU.
    #[cfg(feature = "cuda")]
    Cuda(Arc<CudaModel>),
}

impl Placed {
    /// `model` on `device` with the artifact's own code, the best for what is there.
    ///
    /// Errors are those of [`Model::link`] and [`Model::embedded_target`] on CPUs, of [`CudaModel::embedded`] on a GPU;
    /// `cuda-missing` where this build has no support for GPUs.
    pub fn embedded(model: Arc<Model>, device: Device, trust: Trust) -> Result<Placed> {
        match device {
            Device::Cpu => {
                if model.needs_code() && !model.is_linked() {
                    model.link(Code::Embedded { target: model.embedded_target()?, trust })?;
                }
                Ok(Placed::Cpu(model))
            }
            #[cfg(feature = "cuda")]
            Device::Cuda(ordinal) => CudaModel::embedded(model, ordinal, trust).map(Placed::Cuda),
            #[cfg(not(feature = "cuda"))]
            Device::Cuda(_) => Err(Diagnostic::new("cuda-missing", "this build has no support for GPUs")
                .help("build with the cargo feature `cuda`, or run it with the device `cpu`")),
        }
    }

    /// The model itself.
    pub fn model(&self) -> &Arc<Model> {
        match self {
            Placed::Cpu(model) => model,
            #[cfg(feature = "cuda")]
            Placed::Cuda(model) => model.model(),
        }
    }

    /// What its code was made for, where it has any.
    pub fn target(&self) -> Option<&Target> {
        match self {
            Placed::Cpu(model) => model.linked_target(),
            #[cfg(feature = "cuda")]
            Placed::Cuda(model) => Some(model.target()),
        }
    }

    /// A session on it.
    pub fn session(&self, options: SessionOptions) -> Result<AnySession> {
        Ok(match self {
            Placed::Cpu(model) => AnySession::Cpu(Box::new(Session::new(model.clone(), options)?)),
            #[cfg(feature = "cuda")]
            Placed::Cuda(model) => AnySession::Cuda(Box::new(CudaSession::new(model.clone(), options)?)),
        })
    }
}

/// A session, wherever its model runs. Its calls are those of [`Session`].
pub enum AnySession {
    /// On CPUs.
    Cpu(Box<Session>),
    /// On a GPU.
    #[cfg(feature = "cuda")]
    Cuda(Box<CudaSession>),
}

impl AnySession {
    /// The model.
    pub fn model(&self) -> &Arc<Model> {
        match self {
            AnySession::Cpu(session) => session.model(),
            #[cfg(feature = "cuda")]
            AnySession::Cuda(session) => session.model().model(),
        }
    }

    /// Runs `entry` and gives copies of its outputs.
    pub fn run(&mut self, entry: &str, inputs: &[Tensor], bindings: &Bindings) -> Result<Vec<Tensor>> {
        match self {
            AnySession::Cpu(session) => session.run(entry, inputs, bindings),
            #[cfg(feature = "cuda")]
            AnySession::Cuda(session) => session.run(entry, inputs, bindings),
        }
    }

    /// Runs `entry`; its outputs are then in [`AnySession::output`].
    pub fn execute(&mut self, entry: &str, inputs: &[&Tensor], bindings: &Bindings) -> Result<()> {
        match self {
            AnySession::Cpu(session) => session.execute(entry, inputs, bindings),
            #[cfg(feature = "cuda")]
            AnySession::Cuda(session) => session.execute(entry, inputs, bindings),
        }
    }

    /// Output `i` of the last run.
    pub fn output(&self, i: usize) -> Result<View<'_>> {
        match self {
            AnySession::Cpu(session) => session.output(i),
            #[cfg(feature = "cuda")]
            AnySession::Cuda(session) => session.output(i),
        }
    }

    /// A copy of the state called `name`, at its full capacity.
    pub fn state(&self, name: &str) -> Result<Tensor> {
        match self {
            AnySession::Cpu(session) => session.state(name)?.to_tensor(),
            #[cfg(feature = "cuda")]
            AnySession::Cuda(session) => session.state(name),
        }
    }

    /// Sets the first rows of the state called `name` and makes the others zero.
    pub fn set_state(&mut self, name: &str, tensor: &Tensor) -> Result<()> {
        match self {
            AnySession::Cpu(session) => session.set_state(name, tensor),
            #[cfg(feature = "cuda")]
            AnySession::Cuda(session) => session.set_state(name, tensor),
        }
    }

    /// Makes all states zero.
    pub fn reset(&mut self) -> Result<()> {
        match self {
            AnySession::Cpu(session) => {
                session.reset();
                Ok(())
            }
            #[cfg(feature = "cuda")]
            AnySession::Cuda(session) => session.reset(),
        }
    }

    /// Bytes of memory that the session holds now, on the device where it runs.
    pub fn footprint(&self) -> Footprint {
        match self {
            AnySession::Cpu(session) => session.footprint(),
            #[cfg(feature = "cuda")]
            AnySession::Cuda(session) => session.footprint(),
        }
    }

    /// Time per step, by `entry/label`, where the session was made with `profile`.
    pub fn profile(&self) -> &BTreeMap<String, StepTime> {
        match self {
            AnySession::Cpu(session) => session.profile(),
            #[cfg(feature = "cuda")]
            AnySession::Cuda(session) => session.profile(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Device;

    #[test]
    fn devices_are_read_as_they_are_written() {
        for (text, device) in [("cpu", Device::Cpu), ("cuda", Device::Cuda(0)), ("cuda:3", Device::Cuda(3))] {
            assert_eq!(Device::parse(text).unwrap(), device);
            assert_eq!(device.to_string(), text);
        }
        for text in ["", "gpu", "cuda:", "cuda:-1", "cuda:+1", "CUDA", "cuda:99999999999999999999999"] {
            assert_eq!(Device::parse(text).unwrap_err().code, "unknown-device", "{text}");
        }
    }
}
