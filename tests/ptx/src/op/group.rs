//! `wgmma`: products of a group of four warps, 64 rows, whose right operands are in shared memory and whose sums are there when
//! they have been waited for.
//!
//! Each warp computes its sixteen rows when it issues the product: sums as those of `mma` in f64, rounded once. What may be used
//! meanwhile `machine::flight` and `machine::products` say.

use super::descriptor::Descriptor;
use super::fragment::{Factor, float, gather};
use crate::decode::form::Form;
use crate::machine::products::{GROUP, Issue};
use crate::machine::step::{Flow, Step, Stop};
use crate::machine::warp::{Lanes, Reg, Src, Truth};
use crate::number::exact::Exact;
use crate::number::{Round, bits32};
use crate::report::Fault;
use crate::ty::Type;

/// Barrier number of warps that wait for others of their group.
pub(crate) const OTHERS: u32 = super::barrier::BARRIERS as u32;

/// Columns of a product's left operand.
const K: usize = 16;

/// The only target that has these instructions.
const TARGET: &str = "sm_90a";

#[derive(Debug)]
pub(crate) enum Group {
    /// Registers that were used before may be used by products.
    Fence,
    Commit,
    /// At most so many committed groups of products stay under way.
    Wait {
        left: u32,
    },
    Multiply(Multiply),
}

#[derive(Debug)]
enum Left {
    Registers(Vec<Reg>),
    Memory(Src),
}

#[derive(Debug)]
pub(crate) struct Multiply {
    ty: Type,
    d: Vec<Reg>,
    a: Left,
    b: Src,
    /// Whether products are added to what is there.
    adds: Truth,
    sign: f64,
}

pub(crate) fn decode(form: &mut Form<'_>) -> Result<Group, String> {
    if form.target() != TARGET {
        return Err(format!("it needs `.target {TARGET}`"));
    }
    let kind = form.must(&[("fence", 0), ("commit_group", 1), ("wait_group", 2), ("mma_async", 3)])?;
    if !form.flag("sync") || !form.flag("aligned") {
        return Err("`.sync.aligned` is expected".to_owned());
    }
    match kind {
        0 => form.done(0..=0).map(|()| Group::Fence),
        1 => form.done(0..=0).map(|()| Group::Commit),
        2 => {
            form.done(1..=1)?;
            Ok(Group::Wait { left: immediate(form, 0)? as u32 })
        }
        _ => multiply(form).map(Group::Multiply),
    }
}

fn immediate(form: &Form<'_>, index: usize) -> Result<i64, String> {
    match form.src(index, Type::S32)? {
        Src::Imm(value) => Ok(value as i64),
        Src::Reg(_) | Src::Special(_) => Err("an immediate is expected".to_owned()),
    }
}

fn multiply(form: &mut Form<'_>) -> Result<Multiply, String> {
    let shape = form.prefixed("m64n").unwrap_or_default();
    let columns = shape.strip_prefix("m64n").and_then(|s| s.strip_suffix("k16")).and_then(|n| n.parse::<usize>().ok());
    let columns = columns.filter(|n| (8..=256).contains(n) && n.is_multiple_of(8));
    let columns = columns.ok_or_else(|| "a shape m64nNk16, N up to 256 in eights, is expected".to_owned())?;
    let [sum, ty, other] = [form.ty()?, form.ty()?, form.ty()?];
    if sum != Type::F32 || !matches!(ty, Type::F16 | Type::Bf16) || other != ty {
        return Err("only products of `.f16` or `.bf16` in `.f32` are supported".to_owned());
    }
    let d: Vec<Reg> = form.dsts(0)?.into_iter().map(|(reg, _)| reg).collect();
    let left = form.srcs(1, Type::B32)?;
    let in_registers = matches!(form.operand(1)?, crate::text::Operand::Vector(_));
    form.done(if in_registers { 7..=7 } else { 8..=8 })?;
    let a = if in_registers {
        let of = |src: &Src| if let Src::Reg(reg) = src { Ok(*reg) } else { Err("a register is expected".to_owned()) };
        Left::Registers(left.iter().map(of).collect::<Result<_, _>>()?)
    } else {
        Left::Memory(left[0])
    };
    if d.len() != columns / 2 || matches!(&a, Left::Registers(a) if a.len() != 4) {
        return Err("the fragments have other lengths".to_owned());
    }
    let sign = |index: usize| match immediate(form, index)? {
        1 => Ok(1.0),
        -1 => Ok(-1.0),
        other => Err(format!("an operand times {other}")),
    };
    let sign = sign(4)? * sign(5)?;
    if (6..form.count()).any(|i| immediate(form, i) != Ok(0)) {
        return Err("operands by columns are not supported".to_owned());
    }
    Ok(Multiply { ty, d, a, b: form.src(2, Type::B64)?, adds: form.truth(3)?, sign })
}

impl Group {
    /// Registers of products.
    pub(crate) fn registers(&self) -> Vec<Reg> {
        match self {
            Self::Fence | Self::Commit | Self::Wait { .. } => Vec::new(),
            Self::Multiply(multiply) => [&multiply.d[..], multiply.left()].concat(),
        }
    }

    pub(crate) fn run(&self, step: &mut Step<'_>) -> Result<Flow, Stop> {
        step.whole_warp("an instruction of a group of warps")?;
        match self {
            Self::Fence => step.warp.flight.fence(),
            Self::Commit => step.warp.flight.commit(),
            Self::Wait { left } => {
                let over = step.warp.flight.over(*left);
                let warp = step.warp.index as usize;
                if !step.block.products.begun(warp, over) {
                    step.warp.flight.wanted = over;
                    return Ok(Flow::Again { barrier: OTHERS });
                }
                for number in step.warp.flight.done..over {
                    step.block.products.wait(warp, number, &step.block.clocks);
                }
                step.warp.flight.finish(over);
            }
            Self::Multiply(multiply) => multiply.run(step)?,
        }
        Ok(Flow::Next)
    }
}

impl Multiply {
    fn left(&self) -> &[Reg] {
        match &self.a {
            Left::Registers(a) => a,
            Left::Memory(_) => &[],
        }
    }

    fn run(&self, step: &mut Step<'_>) -> Result<(), Stop> {
        let adds = self.adds(step)?;
        let sums = if adds { &self.d[..] } else { &[] };
        for reg in self.left().iter().chain(sums) {
            step.need(Src::Reg(*reg), "a matrix operand")?;
        }
        let b = described(step, self.b)?;
        let a = match self.a {
            Left::Registers(_) => None,
            Left::Memory(a) => Some(described(step, a)?),
        };
        let (warp, number, line) = (step.warp.index as usize, step.warp.flight.issued(), step.line);
        let issue = Issue { line, operands: [a.map_or(0, |a| a.0), b.0], adds };
        if let Err(other) = step.block.products.issue(warp, number, issue) {
            let what = if other.line == line {
                "another warp of the group gives this product other operands".to_owned()
            } else {
                format!("another warp of the group is at the product of PTX line {} instead", other.line)
            };
            return Err(step.stop(Fault::BadOperand { what }));
        }
        step.warp.flight.issue(line, &self.d, self.left()).map_err(|fault| step.stop(fault))?;
        let columns = self.d.len() * 2;
        step.cost.products += (16 * columns * K) as u64;
        let decode = float(self.ty).unwrap_or(|_| 0.0);
        let b = factor(step, &b.1, 0..columns, number, decode)?;
        let a = match (&self.a, a) {
            (Left::Registers(a), _) => {
                let a: Vec<Lanes> = a.iter().map(|reg| step.get(Src::Reg(*reg))).collect();
                gather(&a, self.ty.bits(), 16, K, decode)
            }
            (Left::Memory(_), Some((_, a))) => {
                let first = warp % GROUP * 16;
                factor(step, &a, first..first + 16, number, decode)?
            }
            (Left::Memory(_), None) => unreachable!("it was described"),
        };
        for (i, d) in self.d.iter().enumerate() {
            let before = step.get(Src::Reg(*d));
            let values: Lanes = std::array::from_fn(|lane| {
                let (row, column) = (lane / 4 + 8 * (i >> 1 & 1), i / 4 * 8 + 2 * (lane % 4) + (i & 1));
                let products: f64 = a.row(row).iter().zip(b.row(column)).map(|(x, y)| x * y).sum();
                let before = if adds { f64::from(f32::from_bits(before[lane] as u32)) } else { 0.0 };
                bits32(Exact::sum(self.sign * products, before).to_f32(Round::Nearest))
            });
            step.set(*d, u32::MAX, &values);
        }
        Ok(())
    }

    /// Whether products are added to what is there: all lanes say the same.
    fn adds(&self, step: &Step<'_>) -> Result<bool, Stop> {
        let (holds, ready) = step.truth(self.adds);
        match (holds, ready) {
            (_, ready) if ready != u32::MAX => {
                Err(step.stop(Fault::UninitialisedRegister { what: "a predicate of a product" }))
            }
            (0, _) => Ok(false),
            (u32::MAX, _) => Ok(true),
            _ => Err(step.stop(Fault::BadOperand { what: "lanes differ in whether products are added".to_owned() })),
        }
    }
}

/// A descriptor that all lanes give.
fn described(step: &Step<'_>, src: Src) -> Result<(u64, Descriptor), Stop> {
    step.need(src, "a descriptor")?;
    let lanes = step.get(src);
    if lanes.iter().any(|bits| *bits != lanes[0]) {
        return Err(step.stop(Fault::BadOperand { what: "lanes give different descriptors".to_owned() }));
    }
    let descriptor = Descriptor::read(lanes[0]).map_err(|what| step.stop(Fault::BadOperand { what }))?;
    Ok((lanes[0], descriptor))
}

/// Rows of a matrix in shared memory.
fn factor(
    step: &mut Step<'_>,
    at: &Descriptor,
    rows: std::ops::Range<usize>,
    number: usize,
    decode: fn(u32) -> f64,
) -> Result<Factor<f64>, Stop> {
    let mut values = Vec::with_capacity(rows.len() * K);
    let warp = step.warp.index as usize;
    for row in rows {
        for piece in 0..2 {
            let (place, bits) = step.load_async(step.first(), at.address(row, piece))?;
            step.block.products.reads(warp, number, place);
            values.extend((0..8).map(|e| decode((bits >> (16 * e)) as u32 & 0xffff)));
        }
    }
    Ok(Factor { k: K, values })
}
