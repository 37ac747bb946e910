//! PTX text as a syntax tree: what stands in the file, names unresolved.

pub(crate) mod body;
mod lex;
pub(crate) mod parse;

use crate::ty::Type;

/// A whole file.
#[derive(Debug)]
pub(crate) struct Module {
    pub(crate) version: String,
    pub(crate) target: String,
    pub(crate) variables: Vec<Variable>,
    pub(crate) functions: Vec<Function>,
}

/// Where a declared variable lies; `Shared` may be `extern`: its size is the launch's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Storage {
    Global,
    Const,
    Shared,
    Local,
    Param,
}

#[derive(Clone, Debug)]
pub(crate) struct Variable {
    pub(crate) line: u32,
    pub(crate) storage: Storage,
    pub(crate) name: String,
    pub(crate) align: usize,
    pub(crate) element: Type,
    /// Bytes; 0 for `name[]`.
    pub(crate) bytes: usize,
    pub(crate) external: bool,
    pub(crate) values: Vec<Value>,
}

/// An element of an initialiser.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Bits(u64),
    Address(String, i64),
}

#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) line: u32,
    pub(crate) name: String,
    pub(crate) entry: bool,
    pub(crate) results: Vec<Variable>,
    pub(crate) params: Vec<Variable>,
    /// `.maxntid` and `.reqntid`: the most, or exactly the, threads of a block.
    pub(crate) most: Option<[u32; 3]>,
    pub(crate) exactly: Option<[u32; 3]>,
    pub(crate) body: Option<Vec<Item>>,
}

/// A statement of a body.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    Registers {
        line: u32,
        ty: Type,
        names: Vec<Name>,
    },
    Variable(Variable),
    Label {
        line: u32,
        name: String,
    },
    /// `name: .branchtargets a, b, …`.
    Targets {
        name: String,
        labels: Vec<String>,
    },
    Instruction(Raw),
    Open,
    Close,
}

/// `%r<9>` declares `%r0` to `%r8`, `%x` itself.
#[derive(Clone, Debug)]
pub(crate) struct Name {
    pub(crate) text: String,
    pub(crate) count: Option<u32>,
}

/// An instruction as it stands in the text.
#[derive(Clone, Debug)]
pub(crate) struct Raw {
    pub(crate) line: u32,
    /// Predicate register, and whether it is negated.
    pub(crate) guard: Option<(String, bool)>,
    /// Between its dots.
    pub(crate) opcode: Vec<String>,
    pub(crate) operands: Vec<Operand>,
}

impl Raw {
    pub(crate) fn name(&self) -> &str {
        &self.opcode[0]
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Operand {
    /// A register, special register, variable, label, or `_`.
    Name(String),
    /// `!%p`.
    Not(String),
    Integer(i128),
    F32(u32),
    F64(u64),
    /// `variable + bytes` outside of brackets.
    Offset(String, i64),
    /// `{a, b}`.
    Vector(Vec<Operand>),
    /// `[base + bytes]`; no base means an absolute address.
    Address(Option<String>, i64),
    /// `d|p`.
    Pair(String, String),
    /// `(a, b)` of a call.
    List(Vec<Operand>),
}

impl Operand {
    /// Whether a name stands in it.
    pub(crate) fn names(&self, name: &str) -> bool {
        match self {
            Self::Name(n) | Self::Not(n) | Self::Offset(n, _) | Self::Address(Some(n), _) => n == name,
            Self::Pair(d, p) => d == name || p == name,
            Self::Vector(list) | Self::List(list) => list.iter().any(|o| o.names(name)),
            Self::Integer(_) | Self::F32(_) | Self::F64(_) | Self::Address(None, _) => false,
        }
    }
}
