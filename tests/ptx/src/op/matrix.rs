//! `ldmatrix`, `stmatrix`, `movmatrix` and `mma.sync` of the shapes m16n8kK.
//!
//! Sums of floats are taken in f64, the accumulator last, and rounded once: the hardware truncates on the way, so that
//! results differ from a GPU's in the last bits of the accumulator's type. Integers and bits are exact.

use super::fragment::{Factor, float, gather, integer, sum_at};
use crate::decode::form::{Address, Form};
use crate::machine::step::{Flow, Step, Stop};
use crate::machine::warp::{Lanes, Reg, Src};
use crate::memory::shadow::Strength;
use crate::number::bits32;
use crate::number::exact::Exact;
use crate::number::small::F16;
use crate::report::Fault;
use crate::ty::Type;

#[derive(Debug)]
pub(crate) enum Matrix {
    /// One to four matrices of 8 x 8 elements of 16 bits; lane 8 i + r gives the address of row r of matrix i.
    Load {
        trans: bool,
        d: Vec<Reg>,
        from: Address,
    },
    Store {
        trans: bool,
        to: Address,
        values: Vec<Src>,
    },
    Transpose {
        d: Reg,
        a: Src,
    },
    Multiply(Multiply),
}

#[derive(Debug)]
pub(crate) struct Multiply {
    k: usize,
    types: [Type; 2],
    /// F32, F16 or S32.
    sum: Type,
    satfinite: bool,
    /// Of bits: `and` instead of `xor`.
    and: bool,
    d: Vec<Reg>,
    a: Vec<Src>,
    b: Vec<Src>,
    c: Vec<Src>,
}

pub(crate) fn decode(form: &mut Form<'_>) -> Result<Matrix, String> {
    if !form.flag("sync") || !form.flag("aligned") {
        return Err("`.sync.aligned` is expected".to_owned());
    }
    if form.name() == "mma" {
        return multiply(form).map(Matrix::Multiply);
    }
    if !form.flag("m8n8") {
        return Err("only matrices m8n8 are supported".to_owned());
    }
    let trans = form.flag("trans");
    if form.name() == "movmatrix" {
        form.flag("b16");
        form.done(2..=2)?;
        return Ok(Matrix::Transpose { d: form.dst(0)?, a: form.src(1, Type::B32)? });
    }
    let count = form.must(&[("x1", 1), ("x2", 2), ("x4", 4)])?;
    let place = form.space();
    if !form.flag("b16") {
        return Err("only `.b16` is supported".to_owned());
    }
    form.done(2..=2)?;
    if form.name() == "stmatrix" {
        let (to, values) = (form.address(0, place)?, form.srcs(1, Type::B32)?);
        return if values.len() == count {
            Ok(Matrix::Store { trans, to, values })
        } else {
            Err("the vector".to_owned())
        };
    }
    let d: Vec<Reg> = form.dsts(0)?.into_iter().map(|(reg, _)| reg).collect();
    let from = form.address(1, place)?;
    if d.len() == count { Ok(Matrix::Load { trans, d, from }) } else { Err("the vector has another length".to_owned()) }
}

fn multiply(form: &mut Form<'_>) -> Result<Multiply, String> {
    let shapes = [
        ("m16n8k4", 4),
        ("m16n8k8", 8),
        ("m16n8k16", 16),
        ("m16n8k32", 32),
        ("m16n8k64", 64),
        ("m16n8k128", 128),
        ("m16n8k256", 256),
    ];
    let k = form.must(&shapes)?;
    if !form.flag("row") || !form.flag("col") {
        return Err("`.row.col` is expected".to_owned());
    }
    let satfinite = form.flag("satfinite");
    form.prefixed("kind::f8f6f4");
    let and = form.must_bits()?;
    let [sum, a, b, c] = [form.ty()?, form.ty()?, form.ty()?, form.ty()?];
    form.done(4..=4)?;
    let bits = if a == Type::Tf32 { 32 } else { a.bits() };
    let registers = k * bits as usize / 128;
    let floats = float(a).is_some() && float(b).is_some() && matches!(sum, Type::F32 | Type::F16) && sum == c;
    let integers = integer(a).is_some() && integer(b).is_some() && sum == Type::S32 && c == Type::S32;
    let ones = a == Type::B1 && b == Type::B1 && sum == Type::S32 && c == Type::S32;
    // A has as many registers as 8 rows of it fill, twice; B half of them.
    if !(floats || integers || ones) || a.bits() != b.bits() || !matches!(registers, 1 | 2) {
        return Err(format!(
            "the product of `.{}` and `.{}` in `.{}` is not supported",
            a.name(),
            b.name(),
            sum.name()
        ));
    }
    if ones == and.is_none() || sum == Type::F16 && a != Type::F16 {
        return Err("the operation is not supported".to_owned());
    }
    let d: Vec<Reg> = form.dsts(0)?.into_iter().map(|(reg, _)| reg).collect();
    let (ra, rb, rc) = (form.srcs(1, Type::B32)?, form.srcs(2, Type::B32)?, form.srcs(3, Type::B32)?);
    let sums = if sum == Type::F16 { 2 } else { 4 };
    if (d.len(), ra.len(), rb.len(), rc.len()) != (sums, 2 * registers, registers, sums) {
        return Err("the fragments have other lengths".to_owned());
    }
    Ok(Multiply { k, types: [a, b], sum, satfinite, and: and == Some(true), d, a: ra, b: rb, c: rc })
}

impl Form<'_> {
    /// `.xor.popc` or `.and.popc` of a product of bits.
    fn must_bits(&mut self) -> Result<Option<bool>, String> {
        let and = self.pick(&[("and", true), ("xor", false)]);
        if and.is_some() == self.flag("popc") { Ok(and) } else { Err("`.popc` is expected".to_owned()) }
    }
}

impl Step<'_> {
    pub(crate) fn whole_warp(&self, what: &'static str) -> Result<(), Stop> {
        if self.mask == u32::MAX {
            Ok(())
        } else {
            Err(self.stop(Fault::Divergent { what, here: self.mask, wanted: u32::MAX }))
        }
    }
}

impl Matrix {
    pub(crate) fn run(&self, step: &mut Step<'_>) -> Result<Flow, Stop> {
        step.whole_warp("a matrix instruction")?;
        match self {
            Self::Load { trans, d, from } => {
                let addresses = step.addresses(from)?;
                for (matrix, reg) in d.iter().enumerate() {
                    let mut rows = [0u128; 8];
                    for (r, row) in rows.iter_mut().enumerate() {
                        let lane = matrix * 8 + r;
                        *row = step.load(lane, from.place, addresses[lane], 16, Strength::Weak)?.0;
                    }
                    let element = |r: usize, c: usize| (rows[r] >> (16 * c)) as u64 & 0xffff;
                    let values: Lanes = std::array::from_fn(|lane| {
                        let (g, t) = (lane / 4, 2 * (lane % 4));
                        if *trans {
                            element(t, g) | element(t + 1, g) << 16
                        } else {
                            element(g, t) | element(g, t + 1) << 16
                        }
                    });
                    step.set(*reg, u32::MAX, &values);
                }
            }
            Self::Store { trans, to, values } => {
                let addresses = step.addresses(to)?;
                for (matrix, src) in values.iter().enumerate() {
                    step.need(*src, "a value to store")?;
                    let words = step.get(*src);
                    let mut rows = [0u128; 8];
                    for (lane, word) in words.iter().enumerate() {
                        for half in 0..2 {
                            let (g, t) = (lane / 4, 2 * (lane % 4) + half);
                            let (r, c) = if *trans { (t, g) } else { (g, t) };
                            rows[r] |= u128::from(word >> (16 * half) & 0xffff) << (16 * c);
                        }
                    }
                    for (r, row) in rows.into_iter().enumerate() {
                        let lane = matrix * 8 + r;
                        step.store(lane, to.place, addresses[lane], 16, row, Strength::Weak)?;
                    }
                }
            }
            Self::Transpose { d, a } => {
                step.need(*a, "a matrix operand")?;
                let words = step.get(*a);
                let element = |r: usize, c: usize| words[4 * r + c / 2] >> (16 * (c % 2)) & 0xffff;
                let values = std::array::from_fn(|lane| {
                    let (g, t) = (lane / 4, 2 * (lane % 4));
                    element(t, g) | element(t + 1, g) << 16
                });
                step.set(*d, u32::MAX, &values);
            }
            Self::Multiply(multiply) => multiply.run(step)?,
        }
        Ok(Flow::Next)
    }
}

impl Multiply {
    fn run(&self, step: &mut Step<'_>) -> Result<(), Stop> {
        for src in self.a.iter().chain(&self.b).chain(&self.c) {
            step.need(*src, "a matrix operand")?;
        }
        step.cost.products += (16 * 8 * self.k) as u64;
        let all = |list: &[Src]| list.iter().map(|s| step.get(*s)).collect::<Vec<Lanes>>();
        let (a, b, c) = (all(&self.a), all(&self.b), all(&self.c));
        let [ta, tb] = self.types;
        let bits = if ta == Type::Tf32 { 32 } else { ta.bits() };
        let mut sums = vec![[0u64; 32]; 4];
        let mut each = |f: &dyn Fn(usize, usize, u64) -> u64| {
            for (i, lanes) in sums.iter_mut().enumerate() {
                for (lane, sum) in lanes.iter_mut().enumerate() {
                    let (row, column) = sum_at(lane, i);
                    let before =
                        if self.sum == Type::F16 { c[i / 2][lane] >> (16 * (i % 2)) & 0xffff } else { c[i][lane] };
                    *sum = f(row, column, before);
                }
            }
        };
        if let (Some(da), Some(db)) = (float(ta), float(tb)) {
            let (a, b) = (gather(&a, bits, 16, self.k, da), gather(&b, bits, 8, self.k, db));
            each(&|row, column, before| {
                let products = dot(&a, row, &b, column);
                if self.sum == Type::F16 {
                    Exact::sum(products, F16.widen(before)).narrow(F16)
                } else {
                    bits32(
                        Exact::sum(products, f64::from(f32::from_bits(before as u32)))
                            .to_f32(crate::number::Round::Nearest),
                    )
                }
            });
        } else if let (Some(da), Some(db)) = (integer(ta), integer(tb)) {
            let (a, b) = (gather(&a, bits, 16, self.k, da), gather(&b, bits, 8, self.k, db));
            each(&|row, column, before| {
                let products: i32 = a.row(row).iter().zip(b.row(column)).map(|(x, y)| x * y).sum();
                let before = before as u32 as i32;
                let sum = if self.satfinite { before.saturating_add(products) } else { before.wrapping_add(products) };
                u64::from(sum as u32)
            });
        } else {
            let words = self.k / 32;
            let (a, b) = (gather(&a, 32, 16, words, |w| w), gather(&b, 32, 8, words, |w| w));
            each(&|row, column, before| {
                let pairs = a.row(row).iter().zip(b.row(column));
                let ones: u32 = pairs.map(|(x, y)| (if self.and { x & y } else { x ^ y }).count_ones()).sum();
                u64::from((before as u32).wrapping_add(ones))
            });
        }
        if self.sum == Type::F16 {
            for (i, d) in self.d.iter().enumerate() {
                let packed: Lanes = std::array::from_fn(|l| sums[2 * i][l] | sums[2 * i + 1][l] << 16);
                step.set(*d, u32::MAX, &packed);
            }
        } else {
            for (d, lanes) in self.d.iter().zip(&sums) {
                step.set(*d, u32::MAX, lanes);
            }
        }
        Ok(())
    }
}

fn dot(a: &Factor<f64>, row: usize, b: &Factor<f64>, column: usize) -> f64 {
    a.row(row).iter().zip(b.row(column)).map(|(x, y)| x * y).sum()
}
