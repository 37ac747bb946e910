//! What a caller hands over against what an entry wants: values of symbols, shapes and element types.

use crate::expr::UNBOUND;
use crate::program::{Port, Program};
use actc_types::dim::Bindings;
use actc_types::{Diagnostic, Result, Symbol, Tensor};
use std::fmt::Arguments;

fn wrong(program: &Program, headline: String) -> Diagnostic {
    Diagnostic::request("run-input", format!("`{}`: {headline}", program.name))
}

/// Values of the program's symbols, as far as they are known.
struct Values<'a> {
    program: &'a Program,
    known: Vec<Option<u64>>,
}

impl<'a> Values<'a> {
    /// What the program was specialised for and what the caller says.
    fn new(program: &'a Program, given: &Bindings) -> Result<Values<'a>> {
        let mut values = Values { program, known: vec![None; program.symbols.len()] };
        for (i, value) in &program.fixed {
            values.set(*i, *value, format_args!("the plan"))?;
        }
        for (symbol, value) in given {
            // Symbols of other entries may be among them.
            if let Some(i) = program.symbols.iter().position(|s| s == symbol) {
                values.set(i, *value, format_args!("the caller"))?;
            }
        }
        Ok(values)
    }

    fn set(&mut self, i: usize, value: u64, whence: Arguments<'_>) -> Result<()> {
        let symbol = &self.program.symbols[i];
        if self.program.late[i] {
            return Err(wrong(self.program, format!("`{symbol}` is computed, but {whence} says {value}")));
        }
        if i64::try_from(value).is_err() {
            return Err(Diagnostic::new("dim-overflow", format!("`{symbol}` = {value} exceeds 63 bits")));
        }
        match self.known[i].replace(value) {
            Some(before) if before != value => {
                Err(wrong(self.program, format!("`{symbol}` is {before}, but {whence} says {value}")))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// All of them, [`UNBOUND`] where a step gives the value; another one without value is an error.
    fn all(self) -> Result<Vec<u64>> {
        let program = self.program;
        let each = self.known.iter().zip(&program.symbols).zip(&program.late);
        let value = |((value, symbol), late): ((&Option<u64>, &Symbol), &bool)| match (value, late) {
            (Some(value), _) => Ok(*value),
            (None, true) => Ok(UNBOUND),
            (None, false) => Err(wrong(program, format!("`{symbol}` has no value"))),
        };
        each.map(value).collect()
    }
}

/// The values of the program's symbols where there are no inputs to look at yet: `given` has those that shapes would say.
pub(crate) fn without_inputs(program: &Program, given: &Bindings) -> Result<Vec<u64>> {
    Values::new(program, given)?.all()
}

/// The values of the program's symbols: what it was specialised for, what the caller says, and what the shapes of
/// inputs say where an extent is a bare symbol. All three must agree.
pub(crate) fn bind(program: &Program, inputs: &[&Tensor], given: &Bindings) -> Result<Vec<u64>> {
    if inputs.len() != program.inputs.len() {
        let names: Vec<&str> = program.inputs.iter().map(|p| p.name.as_str()).collect();
        let headline = format!("{} inputs given, it takes {}: {}", inputs.len(), names.len(), names.join(", "));
        return Err(wrong(program, headline));
    }
    let mut values = Values::new(program, given)?;
    for (port, tensor) in program.inputs.iter().zip(inputs) {
        if port.dtype != tensor.dtype() {
            let headline = format!("input `{}` is {}, expected {}", port.name, tensor.dtype(), port.dtype);
            return Err(wrong(program, headline));
        }
        if port.dims.len() != tensor.dims().len() {
            let headline =
                format!("input `{}` has shape {:?}, expected rank {}", port.name, tensor.dims(), port.dims.len());
            return Err(wrong(program, headline));
        }
        for (dim, extent) in port.dims.iter().zip(tensor.dims()) {
            if let Some(symbol) = dim.bare_symbol() {
                values.set(symbol, *extent, format_args!("the shape of `{}`", port.name))?;
            }
        }
    }
    let values = values.all()?;
    for (port, tensor) in program.inputs.iter().zip(inputs) {
        let wanted = extents(port, &values)?;
        if wanted != tensor.dims() {
            let headline = format!("input `{}` has shape {:?}, expected {wanted:?}", port.name, tensor.dims());
            return Err(wrong(program, headline));
        }
    }
    Ok(values)
}

/// The extents of `port`.
pub(crate) fn extents(port: &Port, values: &[u64]) -> Result<Vec<u64>> {
    port.dims.iter().map(|d| d.eval(values)).collect()
}
