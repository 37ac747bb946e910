//! `append` of GPUs: heads of new positions on their way from a product to where attention reads them: normed, turned by their
//! position, rounded, and put behind the old rows of a state, for several at once. Heads of queries, which no state keeps, go by
//! themselves.

use super::geometry::{Blocks, Geometry, Sizes, size};
use super::text::Text;
use crate::spec::rope::{Rope, RopeStyle};
use crate::spec::{Access, Buffer, BufferRole};
use actc_templates::cuda;
use actc_types::{DType, Diagnostic, Dim, Result, RowForm};
use std::fmt;

/// Warps of a block.
const WARPS: u32 = 4;

/// Where heads go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Behind the old rows of a state.
    State,
    /// To memory of their own, as they are.
    Alone,
}

/// Which of a head's numbers are turned by its position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// How many; even. The others stay.
    pub rotary: u32,
    /// Which belong together.
    pub style: RopeStyle,
}

/// The heads of a kind that one position has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rows {
    /// How many.
    pub heads: u32,
    /// Numbers of a head.
    pub n: u32,
    /// Of a norm of each head by the root of its mean square, what is added to the mean.
    pub norm: Option<f32>,
    /// How they are turned, after that.
    pub turn: Option<Turn>,
    /// Where they go.
    pub to: Destination,
}

impl Rows {
    /// Rows of a state, as they are.
    pub fn plain(heads: u32, n: u32) -> Rows {
        Rows { heads, n, norm: None, turn: None, to: Destination::State }
    }

    fn fits(&self) -> bool {
        let turned = self.turn.is_none_or(|t| {
            let rope = Rope { heads: self.heads, head_dim: self.n, rotary: t.rotary, style: t.style };
            rope.check().is_ok()
        });
        let normed = self.norm.is_none_or(|eps| eps.is_finite() && eps >= 0.0);
        self.heads > 0 && self.n > 0 && u64::from(self.heads) * u64::from(self.n) <= 1 << 24 && turned && normed
    }
}

/// New rows of states, and heads beside them.
#[derive(Clone, Debug, PartialEq)]
pub struct Append {
    /// The kinds of heads, 1 to 8 of them.
    pub rows: Vec<Rows>,
    /// How the rows of all states lie.
    pub form: RowForm,
}

impl Append {
    /// Most kinds of heads of a launch.
    pub const KINDS: usize = 8;

    pub(super) fn check(&self) -> Result<()> {
        if !(1..=Append::KINDS).contains(&self.rows.len()) || !self.rows.iter().all(Rows::fits) {
            return Err(Diagnostic::new("kernel-shape", format!("no kernel for {self}")));
        }
        Ok(())
    }

    /// For each kind its heads `f32[S, heads, n]`, then the scale `f32[n]` of their norm if they have one; the table of cosines and
    /// sines `f32[S, rotary]` if some are turned; for each kind the state, whose old rows are left as they are, or its own memory.
    pub(super) fn buffers(&self) -> Vec<Buffer> {
        let inputs: usize = self.rows.iter().map(|r| 1 + usize::from(r.norm.is_some())).sum();
        let mut buffers: Vec<Buffer> =
            (0..inputs).map(|i| Buffer::read(BufferRole::Input(i as u8), DType::F32)).collect();
        if self.rows.iter().any(|r| r.turn.is_some()) {
            buffers.push(Buffer::read(BufferRole::Table, DType::F32));
        }
        // Floats take their place as bytes do: a state is what its form says.
        let to = |i| Buffer { role: BufferRole::Output(i), elem: DType::U8, access: Access::Write };
        buffers.extend((0..self.rows.len() as u8).map(to));
        buffers
    }

    /// New positions, which the launch depends on, and old ones.
    pub(super) fn dims(&self) -> Vec<String> {
        vec!["S".to_owned(), "P".to_owned()]
    }

    pub(super) fn sizes(&self) -> Sizes {
        Sizes::Memory
    }

    pub(super) fn geometry(&self) -> Result<Geometry> {
        let rows: u64 = self.rows.iter().map(|r| u64::from(r.heads)).sum();
        let work = size(0).checked_mul(&Dim::from(rows));
        let work = work.ok_or_else(|| Diagnostic::new("kernel-shape", format!("{rows} rows of a position")))?;
        let grid = [Blocks::of(work, WARPS as usize), Blocks::one(), Blocks::one()];
        Ok(Geometry { grid, threads: 32 * WARPS, shared: 0 })
    }

    pub(super) fn source(&self, symbol: &str) -> Result<String> {
        let text = Text::new(symbol, self.to_string(), &self.buffers(), &self.dims(), Sizes::Memory, 32 * WARPS);
        let mut input = 0;
        let mut next = || {
            input += 1;
            input - 1
        };
        let kind = |r: &Rows| {
            let form = match r.to {
                Destination::State => self.form,
                Destination::Alone => RowForm::F32,
            };
            cuda::Appended {
                heads: r.heads,
                n: r.n,
                input: next(),
                scale: r.norm.map_or(String::new(), |_| format!("in{}", next())),
                eps: format!("{:?}f", r.norm.unwrap_or(0.0)),
                rotary: r.turn.map_or(0, |t| t.rotary),
                interleaved: r.turn.is_some_and(|t| t.style == RopeStyle::Interleaved),
                kept: r.to == Destination::State,
                form: form.name(),
                row_bytes: form.row_bytes(r.n as usize),
            }
        };
        let rows: Vec<cuda::Appended> = self.rows.iter().map(kind).collect();
        let mut forms: Vec<&str> = rows.iter().map(|r| r.form).collect();
        forms.sort_unstable();
        forms.dedup();
        cuda::Append {
            head: &text.head(),
            forms: &forms,
            turned: self.rows.iter().any(|r| r.turn.is_some()),
            normed: self.rows.iter().any(|r| r.norm.is_some()),
            warps: WARPS,
            rows: &rows,
        }
        .render()
        .map_err(|e| Diagnostic::new("kernel-template", e))
    }
}

impl fmt::Display for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} x {}", self.heads, self.n)?;
        if let Some(eps) = self.norm {
            write!(f, ", rms_norm{{eps={eps:e}}}")?;
        }
        if let Some(Turn { rotary, style }) = self.turn {
            write!(f, ", rope{{rotary={rotary}, style={}}}", format!("{style:?}").to_lowercase())?;
        }
        match self.to {
            Destination::State => f.write_str("]"),
            Destination::Alone => f.write_str(", alone]"),
        }
    }
}

impl fmt::Display for Append {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "gpu_append{{form={}}}", self.form)?;
        self.rows.iter().try_for_each(|r| write!(f, " {r}"))
    }
}
