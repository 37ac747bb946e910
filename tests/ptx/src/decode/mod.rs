//! From syntax to what is executed: names resolved to places, opcodes to a closed set, once.

pub(crate) mod code;
pub(crate) mod form;
mod place;

use crate::machine::warp::Truth;
use crate::memory::Memory;
use crate::op::Op;
use crate::report::LoadError;
use crate::target::Target;
use crate::text::parse::parse;
use crate::text::{Module as Text, Storage, Value};
use form::Touched;
use std::collections::HashMap;

/// An instruction.
pub(crate) struct Inst {
    pub(crate) line: u32,
    pub(crate) guard: Option<Truth>,
    pub(crate) op: Op,
    /// Registers of products of groups of warps, which are not there at once, where another instruction uses them.
    pub(crate) touched: Touched,
}

/// A kernel, ready to run.
pub struct Kernel {
    pub(crate) name: String,
    /// Offset and size of each parameter.
    pub(crate) params: Vec<(usize, usize)>,
    pub(crate) param_bytes: usize,
    /// Bytes of static shared memory.
    pub(crate) shared: u32,
    /// Bytes of local memory of a thread.
    pub(crate) local: u32,
    pub(crate) regs: usize,
    pub(crate) preds: usize,
    pub(crate) most: Option<[u32; 3]>,
    pub(crate) exactly: Option<[u32; 3]>,
    pub(crate) code: Vec<Inst>,
}

impl Kernel {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Offset and size in bytes of each parameter, in order.
    #[must_use]
    pub fn params(&self) -> &[(usize, usize)] {
        &self.params
    }

    /// Bytes of all parameters as they lie in memory.
    #[must_use]
    pub fn param_bytes(&self) -> usize {
        self.param_bytes
    }

    /// Parameters as they lie in memory, from their bytes one by one.
    ///
    /// # Errors
    /// Another number of parameters is given, or one of another size.
    pub fn pack(&self, values: &[&[u8]]) -> Result<Vec<u8>, String> {
        if values.len() != self.params.len() {
            return Err(format!("{} parameters are given, `{}` has {}", values.len(), self.name, self.params.len()));
        }
        let mut packed = vec![0; self.param_bytes];
        for (index, (value, (offset, size))) in values.iter().zip(&self.params).enumerate() {
            if value.len() != *size {
                return Err(format!("parameter {index} has {size} bytes, {} are given", value.len()));
            }
            packed[*offset..offset + size].copy_from_slice(value);
        }
        Ok(packed)
    }

    /// Bytes of static shared memory.
    #[must_use]
    pub fn shared(&self) -> u32 {
        self.shared
    }

    /// Bytes of local memory of a thread.
    #[must_use]
    pub fn local(&self) -> u32 {
        self.local
    }

    /// Threads that a block may have at most.
    #[must_use]
    pub fn most_threads(&self) -> u32 {
        self.exactly.or(self.most).map_or(crate::target::THREADS, |m| m.iter().product())
    }
}

/// A module of PTX for one target, its variables in device memory.
pub struct Module {
    pub(crate) target: Target,
    pub(crate) kernels: Vec<Kernel>,
    /// Address and size of each `.global` and `.const` variable.
    pub(crate) variables: HashMap<String, (u64, u64)>,
    /// Of the text, for messages.
    pub(crate) lines: Vec<String>,
}

impl Module {
    /// Reads PTX for a device of `target`.
    ///
    /// # Errors
    /// The text is not PTX, asks for a later target, or has instructions and operands that are not supported: all of them
    /// are named.
    pub fn load(text: &str, target: Target, memory: &mut Memory) -> Result<Self, LoadError> {
        let parsed = parse(text)?;
        let asked = Target::parse(&parsed.target);
        // Text for older targets than those of the table runs on all of them.
        let old = parsed.target.strip_prefix("sm_").and_then(|n| n.parse::<u32>().ok()).is_some_and(|n| n < 80);
        // What is of one architecture alone runs on no other.
        let alone = parsed.target.ends_with('a') && asked != Some(target);
        if !old && (alone || asked.is_none_or(|asked| asked > target)) {
            return Err(LoadError::syntax(1, &format!("`.target {}` for a device of {target:?}", parsed.target)));
        }
        let variables = place_variables(&parsed, memory)?;
        let mut kernels = Vec::new();
        let mut places = Vec::new();
        for function in parsed.functions.iter().filter(|f| f.entry) {
            match code::kernel(function, &parsed, &variables) {
                Ok(kernel) => kernels.push(kernel),
                Err(mut error) => places.append(&mut error.places),
            }
        }
        if !places.is_empty() {
            places.sort();
            places.dedup();
            return Err(LoadError { places });
        }
        let lines = text.lines().map(str::to_owned).collect();
        Ok(Self { target, kernels, variables, lines })
    }

    /// The kernels of the module.
    #[must_use]
    pub fn kernels(&self) -> &[Kernel] {
        &self.kernels
    }

    /// A kernel by name.
    #[must_use]
    pub fn kernel(&self, name: &str) -> Option<&Kernel> {
        self.kernels.iter().find(|k| k.name == name)
    }

    /// Address and bytes of a `.global` or `.const` variable.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<(u64, u64)> {
        self.variables.get(name).copied()
    }

    /// Gives the memory of the variables back.
    pub fn unload(self, memory: &mut Memory) {
        for (address, _) in self.variables.values() {
            memory.free(*address);
        }
    }
}

/// Puts `.global` and `.const` variables into memory.
fn place_variables(parsed: &Text, memory: &mut Memory) -> Result<HashMap<String, (u64, u64)>, LoadError> {
    let mut variables = HashMap::new();
    for variable in &parsed.variables {
        let read_only = match variable.storage {
            Storage::Global => false,
            Storage::Const => true,
            Storage::Shared => continue,
            Storage::Local | Storage::Param => return Err(LoadError::syntax(variable.line, &variable.name)),
        };
        if variable.external {
            return Err(LoadError::syntax(variable.line, &format!("`{}` is of another module", variable.name)));
        }
        let mut data = Vec::with_capacity(variable.bytes);
        for value in &variable.values {
            let bits = match value {
                Value::Bits(bits) => *bits,
                Value::Address(name, offset) => {
                    let found: Option<&(u64, u64)> = variables.get(name);
                    let base = found.ok_or_else(|| LoadError::syntax(variable.line, name))?.0;
                    base.wrapping_add_signed(*offset)
                }
            };
            data.extend_from_slice(&bits.to_le_bytes()[..variable.element.bytes().min(8)]);
        }
        data.resize(variable.bytes.max(data.len()), 0);
        let bytes = data.len() as u64;
        let address = memory.variable(data, variable.align as u64, read_only);
        let address = address.ok_or_else(|| LoadError::syntax(variable.line, "no memory is left for the variable"))?;
        variables.insert(variable.name.clone(), (address, bytes));
    }
    Ok(variables)
}
