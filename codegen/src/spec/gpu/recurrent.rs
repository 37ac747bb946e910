//! `recurrent` of GPUs: one direction of a recurrent layer, all steps of it in one launch.
//!
//! A block has a row of the batch, so that no step waits for other blocks. Sums are of single precision, in an order that depends
//! on the number of units alone; functions are within 4 units in the last place. A length that is no number of steps sets an error
//! word, which whoever reads results looks at.

use super::geometry::{Geometry, Sizes, size};
use super::squash;
use super::text::Text;
use crate::spec::{Access, Buffer, BufferRole};
use actc_artifact::BuiltinCall;
use actc_templates::cuda;
use actc_types::recurrent::{Cell, Squash, SquashKind};
use actc_types::{DType, Diagnostic, Result};
use std::fmt;

/// Threads of a block.
const THREADS: u32 = 1024;

/// A direction of a recurrent layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Recurrent {
    /// The cell.
    pub cell: Cell,
    /// As many functions as it has.
    pub functions: Vec<Squash>,
    /// Whether steps are taken from the last to the first.
    pub reverse: bool,
    /// Bound on the size of what enters a function of a gate; 0 for none.
    pub clip: f32,
    /// Whether gates see the content.
    pub peepholes: bool,
    /// Whether each row of the batch has a length of its own.
    pub lengths: bool,
    /// How sizes are handed over; from memory the grid does not depend on them.
    pub sizes: Sizes,
}

/// What a cell does, in CUDA.
struct Steps {
    formula: &'static str,
    /// Rows of weights that are multiplied by the state as it was.
    early: usize,
    early_lines: Vec<String>,
    /// What is done with the product of the last gate, where that is by another state.
    late_lines: Vec<String>,
}

impl Recurrent {
    /// That of `call`; `None` where its integers or floats are none.
    pub(super) fn of(call: &BuiltinCall, sizes: Sizes) -> Option<Recurrent> {
        let int = |i: usize| call.ints.get(i).copied();
        let cell = Cell::from_code(int(0)?)?;
        let function = |i: usize| {
            let kind = SquashKind::from_code(int(4 + i)?)?;
            Some(Squash { kind, alpha: *call.floats.get(2 * i)?, beta: *call.floats.get(2 * i + 1)? })
        };
        Some(Recurrent {
            cell,
            functions: (0..cell.functions()).map(function).collect::<Option<_>>()?,
            reverse: int(1)? != 0,
            clip: *call.floats.get(6)? as f32,
            peepholes: int(2)? != 0,
            lengths: int(3)? != 0,
            sizes,
        })
    }

    pub(super) fn check(&self) -> Result<()> {
        let fits = self.functions.len() == self.cell.functions()
            && (self.cell.has_content() || !self.peepholes)
            && self.clip >= 0.0
            && self.clip.is_finite();
        if !fits {
            return Err(Diagnostic::new("kernel-shape", format!("no kernel for {self}")));
        }
        self.functions.iter().try_for_each(squash::check)
    }

    /// Which input each of what not all cells have is: the inner bias, the peepholes, the lengths. Behind them is their number.
    fn places(&self) -> [u8; 4] {
        let inner = 3 + u8::from(self.cell.has_content());
        let peepholes = inner + u8::from(self.cell == Cell::GruLinear);
        let lengths = peepholes + u8::from(self.peepholes);
        [inner, peepholes, lengths, lengths + u8::from(self.lengths)]
    }

    /// `x [T, B, G, N]`, `r [G, N, N]`, `h [B, N]`, where there are the content `[B, N]`, the inner bias `[N]`, the peepholes
    /// `[3, N]`, the lengths `i64[B]` and the error word; `y [T, B, N]`, the last `h [B, N]`, the last content.
    pub(super) fn buffers(&self) -> Vec<Buffer> {
        let [.., lengths, inputs] = self.places();
        let dtype = |i: u8| if self.lengths && i == lengths { DType::I64 } else { DType::F32 };
        let read = (0..inputs).map(|i| Buffer::read(BufferRole::Input(i), dtype(i)));
        let error = Buffer::error();
        let written = |i: u8| Buffer { role: BufferRole::Output(i), elem: DType::F32, access: Access::ReadWrite };
        let results = (0..2 + u8::from(self.cell.has_content())).map(written);
        read.chain(self.lengths.then_some(error)).chain(results).collect()
    }

    /// Steps, batch, units.
    pub(super) fn dims(&self) -> Vec<String> {
        ["T", "B", "N"].map(str::to_owned).into()
    }

    pub(super) fn sizes(&self) -> Sizes {
        self.sizes
    }

    pub(super) fn geometry(&self) -> Result<Geometry> {
        Geometry::round(self.sizes, Some(size(1)), "rows", 1, THREADS)
    }

    fn steps(&self) -> Steps {
        let [inner, peepholes, ..] = self.places();
        // What enters the function of a gate.
        let entering = |value: String| if self.clip > 0.0 { format!("bounded({value})") } else { value };
        let seen = |gate: usize, content: &str| match self.peepholes {
            true => format!(" + in{peepholes}[{gate} * n + u] * {content}"),
            false => String::new(),
        };
        let gate = |gate: usize, more: String| entering(format!("sums[{gate}] + given[{gate}]{more}"));
        match self.cell {
            Cell::Rnn => Steps {
                formula: "h = f(x + r h)",
                early: 1,
                early_lines: vec![format!("now[u] = squash0({});", gate(0, String::new()))],
                late_lines: Vec::new(),
            },
            // Where the reset comes first, y has the state that is reset, and the last h the update gate, then the new state.
            Cell::Gru => Steps {
                formula: "z, r = f(x + r h), n = g(x + r (r h)), h = (1 - z) n + z h",
                early: 2,
                early_lines: vec![
                    format!("out1[row * n + u] = squash0({});", gate(0, String::new())),
                    format!("now[u] = squash0({}) * old[u];", gate(1, String::new())),
                ],
                late_lines: vec![
                    "const float update = out1[row * n + u];".to_owned(),
                    format!("const float fresh = squash1({});", entering("sums[0] + given".to_owned())),
                    "out1[row * n + u] = (1.0f - update) * fresh + update * old[u];".to_owned(),
                ],
            },
            Cell::GruLinear => Steps {
                formula: "z, r = f(x + r h), n = g(x + r (r h + b)), h = (1 - z) n + z h",
                early: 3,
                early_lines: vec![
                    format!("const float update = squash0({});", gate(0, String::new())),
                    format!("const float reset = squash0({});", gate(1, String::new())),
                    format!(
                        "const float fresh = squash1({});",
                        entering(format!("(sums[2] + in{inner}[u]) * reset + given[2]"))
                    ),
                    "now[u] = (1.0f - update) * fresh + update * old[u];".to_owned(),
                ],
                late_lines: Vec::new(),
            },
            Cell::Lstm | Cell::LstmCoupled => {
                let coupled = self.cell == Cell::LstmCoupled;
                let keep = if coupled {
                    "1.0f - enter".to_owned()
                } else {
                    format!("squash0({})", gate(2, seen(2, "before")))
                };
                Steps {
                    formula: match coupled {
                        true => "i, o = f(x + r h), c = (1 - i) c + i g(x + r h), h = o h(c)",
                        false => "i, o, f = f(x + r h), c = f c + i g(x + r h), h = o h(c)",
                    },
                    early: 4,
                    early_lines: vec![
                        "const float before = content[u];".to_owned(),
                        format!("const float enter = squash0({});", gate(0, seen(0, "before"))),
                        format!("const float keep = {keep};"),
                        format!("const float after = keep * before + enter * squash1({});", gate(3, String::new())),
                        "out2[row * n + u] = after;".to_owned(),
                        format!("now[u] = squash0({}) * squash2(after);", gate(1, seen(1, "after"))),
                    ],
                    late_lines: Vec::new(),
                }
            }
        }
    }

    pub(super) fn source(&self, symbol: &str) -> Result<String> {
        let text = Text::new(symbol, self.to_string(), &self.buffers(), &self.dims(), self.sizes, THREADS);
        let Steps { formula, early, early_lines, late_lines } = self.steps();
        let [.., lengths, _] = self.places();
        let clip = if self.clip > 0.0 { format!("{:?}f", self.clip) } else { String::new() };
        cuda::Recurrent {
            head: &text.head(),
            formula,
            gates: self.cell.gates(),
            content: self.cell.has_content(),
            inner: self.cell == Cell::GruLinear,
            peepholes: self.peepholes,
            lengths: &if self.lengths { format!("in{lengths}") } else { String::new() },
            reverse: self.reverse,
            clip: &clip,
            functions: &squash::functions(&self.functions),
            early,
            early_lines: &early_lines,
            late: !late_lines.is_empty(),
            late_lines: &late_lines,
        }
        .render()
        .map_err(|e| Diagnostic::new("kernel-template", e))
    }
}

impl fmt::Display for Recurrent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Recurrent { cell, functions, reverse, clip, peepholes, lengths, sizes } = self;
        write!(f, "gpu_recurrent{{{}", cell.name())?;
        for Squash { kind, alpha, beta } in functions {
            write!(f, ", {}/{alpha}/{beta}", kind.name())?;
        }
        if *clip != 0.0 {
            write!(f, ", clip={clip}")?;
        }
        let said = [(*reverse, "reverse"), (*peepholes, "peepholes"), (*lengths, "lengths")];
        said.iter().filter(|(is, _)| *is).try_for_each(|(_, word)| write!(f, ", {word}"))?;
        write!(f, "{}}}", sizes.said())
    }
}
