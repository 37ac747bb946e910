//! The text form of a kernel: one node a line, loops indented.

use super::{Acc, Axis, Kernel, Mem, Node, Op, Peer, TeamOp, TeamStep, Test, Ty, Val, Var, VecOp};
use std::fmt;

impl fmt::Display for Val {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "%{}", self.0)
    }
}

impl fmt::Display for Var {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "${}", self.0)
    }
}

fn word(debug: impl fmt::Debug) -> String {
    format!("{debug:?}").to_lowercase()
}

impl fmt::Display for Ty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ty::I64 => f.write_str("i64"),
            Ty::F32 => f.write_str("f32"),
            Ty::F64 => f.write_str("f64"),
            Ty::Lane(elem) => write!(f, "lane {}", word(elem)),
            Ty::Vec(elem, n) => write!(f, "{}x{n}", word(elem)),
        }
    }
}

fn question(test: Test) -> &'static str {
    match test {
        Test::Equal => "same",
        Test::Less => "less",
        Test::LessEqual => "less_equal",
    }
}

fn hex(bytes: &[u8; 16]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn place(f: &mut fmt::Formatter<'_>, mem: Mem, addr: Val, offset: i32, step: u8) -> fmt::Result {
    write!(f, "{}[{addr}", word(mem))?;
    if offset != 0 {
        write!(f, " + {offset}")?;
    }
    match step {
        0 => f.write_str("]"),
        1 => f.write_str(" + lane]"),
        _ => write!(f, " + {step} lane]"),
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Op::Int(n) => write!(f, "{n}"),
            Op::Float(x) => write!(f, "{x:?}"),
            Op::Double(x) => write!(f, "{x:?}"),
            Op::Dim(n) => write!(f, "dim {n}"),
            Op::Buffer(n) => write!(f, "buffer {n}"),
            Op::Stack(n) => write!(f, "stack {n}"),
            Op::Part => f.write_str("part"),
            Op::Parts => f.write_str("parts"),
            Op::I(op, a, b) => write!(f, "i{} {a}, {b}", word(op)),
            Op::F(op, a, b) => write!(f, "f{} {a}, {b}", word(op)),
            Op::MulAdd(a, b, c) => write!(f, "muladd {a}, {b}, {c}"),
            Op::Fun(fun, a) => write!(f, "{} {a}", word(fun)),
            Op::Test(test, a, b) => write!(f, "{} {a}, {b}", question(*test)),
            Op::Logic(logic, a, b) => write!(f, "{} {a}, {b}", word(logic)),
            Op::Choose(mask, a, b) => write!(f, "choose {mask}, {a}, {b}"),
            Op::Convert(a) => write!(f, "convert {a}"),
            Op::Load { mem, addr, offset, step } => {
                f.write_str("load ")?;
                place(f, *mem, *addr, *offset, *step)
            }
            Op::Fetch(kind, addr, offset, 0) => write!(f, "fetch {} [{addr} + {offset}]", word(kind)),
            Op::Fetch(kind, addr, offset, gap) => write!(f, "fetch {} [{addr} + {offset}, + {gap}]", word(kind)),
            Op::Get(var) => write!(f, "{var}"),
            Op::Code { source, addr, offset, first } => {
                write!(f, "code {source} [{addr} + {offset}] column {first} + lane")
            }
            Op::Quad { bits, addr, offset, quad } => {
                write!(f, "quad{bits} [{addr} + {offset}] columns {} to {} of row lane", 4 * quad, 4 * quad + 3)
            }
            Op::QuadFloat(a, n) => write!(f, "quad_float {a}[{n}]"),
            Op::Four(addr, offset) => write!(f, "four [{addr} + {offset}]"),
            Op::LaneSum(var) => write!(f, "lane_sum {var}"),
            Op::LaneMax(var) => write!(f, "lane_max {var}"),
            Op::Sums([a, b, c, d]) => write!(f, "sums {a}, {b}, {c}, {d}"),
            Op::Each([a, b, c, d]) => write!(f, "each {a}, {b}, {c}, {d}"),
            Op::V(op) => write!(f, "{op}"),
            Op::Team(TeamOp::Thread) => f.write_str("thread"),
            Op::Team(TeamOp::Exchange(a, Peer::Across(bit))) => write!(f, "exchange {a}, across {bit}"),
            Op::Team(TeamOp::Exchange(a, Peer::First)) => write!(f, "exchange {a}, first"),
            Op::Team(TeamOp::Shared(n)) => write!(f, "shared {n}"),
        }
    }
}

impl fmt::Display for VecOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            VecOp::Const(bytes) => write!(f, "const {}", hex(bytes)),
            VecOp::Splat(a) => write!(f, "splat {a}"),
            VecOp::Extract(a, lane) => write!(f, "extract {a}[{lane}]"),
            VecOp::Shuffle(a, b, mask) => write!(f, "shuffle {a}, {b}, {}", hex(mask)),
            VecOp::Half(a, upper) => write!(f, "half {a}[{}]", u8::from(*upper)),
            VecOp::Lower(a, b) => write!(f, "lower {a}, {b}"),
            VecOp::Bits(a) => write!(f, "bits {a}"),
            VecOp::And(a, b) => write!(f, "and {a}, {b}"),
            VecOp::Or(a, b) => write!(f, "or {a}, {b}"),
            VecOp::Xor(a, b) => write!(f, "xor {a}, {b}"),
            VecOp::Add(a, b) => write!(f, "add {a}, {b}"),
            VecOp::Sub(a, b) => write!(f, "sub {a}, {b}"),
            VecOp::Shl(a, n) => write!(f, "shl {a}, {n}"),
            VecOp::Shr(a, n) => write!(f, "shr {a}, {n}"),
            VecOp::Sar(a, n) => write!(f, "sar {a}, {n}"),
            VecOp::ShrEach(a, n) => write!(f, "shr_each {a}, {n:?}"),
            VecOp::Equal(a, b) => write!(f, "equal {a}, {b}"),
            VecOp::Test(test, a, b) => write!(f, "{} {a}, {b}", question(*test)),
            VecOp::Select(m, a, b) => write!(f, "select {m}, {a}, {b}"),
            VecOp::DotPairs(a, b) => write!(f, "dot_pairs {a}, {b}"),
            VecOp::WidenPairs(a) => write!(f, "widen_pairs {a}"),
            VecOp::ToFloat(a) => write!(f, "to_float {a}"),
            VecOp::FromHalf(a) => write!(f, "from_half {a}"),
            VecOp::Narrow(a, b) => write!(f, "narrow {a}, {b}"),
            VecOp::DotWords(a, b) => write!(f, "dot_words {a}, {b}"),
            VecOp::DotQuads(sum, a, b) => write!(f, "dot_quads {sum}, {a}, {b}"),
        }
    }
}

impl Kernel {
    fn nodes(&self, f: &mut fmt::Formatter<'_>, nodes: &[Node], depth: usize) -> fmt::Result {
        let pad = "  ".repeat(depth);
        for node in nodes {
            f.write_str(&pad)?;
            match node {
                Node::Let(v, op) => writeln!(f, "{v}: {} = {op}", self.vals[v.0 as usize])?,
                Node::Set(var, v) => writeln!(f, "{var} = {v}")?,
                Node::Acc(var, Acc::Sum(a)) => writeln!(f, "{var} += {a}")?,
                Node::Acc(var, Acc::Max(a)) => writeln!(f, "{var} max= {a}")?,
                Node::Acc(var, Acc::Quad(a, b)) => writeln!(f, "{var} += quad {a} * {b}")?,
                Node::Acc(var, Acc::Dot(a, b)) => writeln!(f, "{var} += {a} * {b}")?,
                Node::Store { mem, value, addr, offset, step } => {
                    f.write_str("store ")?;
                    place(f, *mem, *addr, *offset, *step)?;
                    writeln!(f, " = {value}")?;
                }
                Node::Loop { axis, index, from, to, step, body } => {
                    match axis {
                        Axis::Grid { first, total } => {
                            writeln!(f, "grid {index} in {from}..{to}, unit {first} + {index} of {total} {{")?;
                        }
                        Axis::Seq => writeln!(f, "seq {index} in {from}..{to} step {step} {{")?,
                        Axis::Lane => writeln!(f, "lane {from}..{to} {{")?,
                        Axis::Narrow(n) => writeln!(f, "narrow {n} {from}..{to} {{")?,
                    }
                    self.nodes(f, body, depth + 1)?;
                    writeln!(f, "{pad}}}")?;
                }
                Node::Prefetch { addr, offset } => writeln!(f, "prefetch {addr} + {offset}")?,
                Node::Team(TeamStep::Meet) => f.write_str("meet\n")?,
                Node::Team(TeamStep::Share { slot, value }) => writeln!(f, "share {slot} = {value}")?,
                Node::IfLess { a, b, body } => {
                    writeln!(f, "if {a} < {b} {{")?;
                    self.nodes(f, body, depth + 1)?;
                    writeln!(f, "{pad}}}")?;
                }
            }
        }
        Ok(())
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "kernel {}({}; {}) {{", self.name, self.buffers.join(", "), self.dims.join(", "))?;
        for (i, var) in self.vars.iter().enumerate() {
            let ways = if var.ways > 1 { format!(" x {} ways", var.ways) } else { String::new() };
            writeln!(f, "  var ${i}: {}{ways}", var.ty)?;
        }
        for (i, bytes) in self.stacks.iter().enumerate() {
            writeln!(f, "  stack {i}: {bytes} bytes")?;
        }
        self.nodes(f, &self.body, 1)?;
        f.write_str("}\n")
    }
}
