//! What can be wrong: with a module when it is loaded (`LoadError`, all places at once), and with a launch (`Finding`).

use std::fmt;

/// A module that cannot be run, with every place that says so.
#[derive(Clone, Debug)]
pub struct LoadError {
    /// Line, counted from 1, and what stands there.
    pub places: Vec<(u32, String)>,
}

impl LoadError {
    pub(crate) fn syntax(line: u32, what: &str) -> Self {
        Self { places: vec![(line, format!("not understood: {what}"))] }
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (line, what) in &self.places {
            writeln!(f, "PTX line {line}: {what}")?;
        }
        Ok(())
    }
}

impl std::error::Error for LoadError {}

/// Where bytes lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Space {
    /// Device memory, and a module's `.global` and `.const` variables.
    Global,
    /// Shared memory of a block.
    Shared,
    /// Memory of one thread.
    Local,
    /// Parameters of the kernel.
    Param,
}

impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Global => "global",
            Self::Shared => "shared",
            Self::Local => "local",
            Self::Param => "parameter",
        })
    }
}

/// What an access does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It reads.
    Read,
    /// It writes.
    Write,
    /// It reads and writes in one.
    Atomic,
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Atomic => "atomic",
        })
    }
}

/// What a launch did wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An access that no allocation, or not one alone, holds.
    OutOfBounds {
        /// Where.
        space: Space,
        /// What was tried.
        access: Access,
        /// Its first byte.
        address: u64,
        /// How many.
        bytes: usize,
        /// What is nearest.
        near: String,
    },
    /// An address that is no multiple of the access's size.
    Misaligned {
        /// Where.
        space: Space,
        /// What was tried.
        access: Access,
        /// Its first byte.
        address: u64,
        /// How many.
        bytes: usize,
    },
    /// Bytes that nobody has written.
    Uninitialised {
        /// Where.
        space: Space,
        /// The first byte that is read.
        address: u64,
        /// How many.
        bytes: usize,
    },
    /// A register that nobody has written decides where or whether something happens, or is stored.
    UninitialisedRegister {
        /// What it is used as.
        what: &'static str,
    },
    /// Two accesses that nothing orders, one of them a write.
    Race {
        /// Where.
        space: Space,
        /// The later one in this run.
        access: Access,
        /// The first byte of both.
        address: u64,
        /// The earlier one.
        other: Access,
        /// Its block's number in the grid.
        other_block: u32,
        /// Its thread's number in the block.
        other_thread: u32,
        /// Its line.
        other_line: u32,
    },
    /// Bytes that a copy is still writing.
    PendingCopy {
        /// The first byte that is used.
        address: u64,
        /// Line of the copy.
        copy_line: u32,
    },
    /// Shared memory is written while a product of a group of warps may read it.
    PendingProduct {
        /// The first byte that is written.
        address: u64,
        /// Line of the product.
        product_line: u32,
    },
    /// Sums are used while a product adds to them.
    PendingSums {
        /// Line of the product.
        product_line: u32,
    },
    /// A product's left operand is overwritten while the product reads it.
    PendingOperand {
        /// Line of the product.
        product_line: u32,
    },
    /// A product uses a register that another instruction has used since the last `wgmma.fence`.
    NoFence {
        /// That one's line.
        other_line: u32,
    },
    /// Shared memory is read by what reads it asynchronously and was written by a store that no `fence.proxy.async` handed over.
    NoProxyFence {
        /// The first byte.
        address: u64,
        /// Line of the store.
        other_line: u32,
    },
    /// A write where the module says `.const` or a kernel's parameters are.
    ReadOnly {
        /// The first byte.
        address: u64,
    },
    /// An instruction for a whole warp, or for the lanes of a mask, that others of these lanes do not execute with it.
    Divergent {
        /// The instruction.
        what: &'static str,
        /// Lanes that execute it.
        here: u32,
        /// Lanes that have to.
        wanted: u32,
    },
    /// A lane's value is taken from one that does not take part.
    InactiveLane {
        /// That one.
        lane: u32,
    },
    /// Nobody in the block can go on.
    Deadlock {
        /// Who waits where.
        waiting: String,
    },
    /// `trap`.
    Trap,
    /// More instructions than the launch may execute.
    Budget {
        /// How many were.
        instructions: u64,
    },
    /// An operand that the instruction does not allow.
    BadOperand {
        /// Which, and what is allowed.
        what: String,
    },
    /// A launch that the device does not take.
    Launch {
        /// Why.
        what: String,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfBounds { space, access, address, bytes, near } => {
                write!(f, "{access} of {bytes} bytes at {space} {address:#x} is out of bounds: {near}")
            }
            Self::Misaligned { space, access, address, bytes } => {
                write!(f, "{access} of {bytes} bytes at {space} {address:#x} is not aligned")
            }
            Self::Uninitialised { space, address, bytes } => {
                write!(f, "read of {bytes} bytes at {space} {address:#x}, not all of which were written")
            }
            Self::UninitialisedRegister { what } => write!(f, "a register that was not written is used as {what}"),
            Self::Race { space, access, address, other, other_block, other_thread, other_line } => write!(
                f,
                "race at {space} {address:#x}: this {access} and the {other} of block {other_block}, thread {other_thread}, \
                 PTX line {other_line}, are not ordered"
            ),
            Self::PendingCopy { address, copy_line } => {
                write!(f, "shared {address:#x} is used while the copy of PTX line {copy_line} has not been waited for")
            }
            Self::PendingProduct { address, product_line } => write!(
                f,
                "shared {address:#x} is written while the product of PTX line {product_line} has not been waited for"
            ),
            Self::PendingSums { product_line } => {
                write!(f, "sums are used while the product of PTX line {product_line} has not been waited for")
            }
            Self::PendingOperand { product_line } => {
                write!(
                    f,
                    "a left operand is written while the product of PTX line {product_line} has not been waited for"
                )
            }
            Self::NoFence { other_line } => {
                write!(
                    f,
                    "no `wgmma.fence` is between PTX line {other_line} and the product that uses the same register"
                )
            }
            Self::NoProxyFence { address, other_line } => write!(
                f,
                "shared {address:#x} is read asynchronously, and no `fence.proxy.async` is behind the store of PTX line {other_line}"
            ),
            Self::ReadOnly { address } => write!(f, "write to read-only memory at {address:#x}"),
            Self::Divergent { what, here, wanted } => {
                write!(f, "{what} is executed by lanes {here:#010x}, but lanes {wanted:#010x} have to be there")
            }
            Self::InactiveLane { lane } => write!(f, "a value is taken from lane {lane}, which does not take part"),
            Self::Deadlock { waiting } => write!(f, "no thread of the block can go on: {waiting}"),
            Self::Trap => f.write_str("trap"),
            Self::Budget { instructions } => write!(f, "stopped after {instructions} instructions of warps"),
            Self::BadOperand { what } | Self::Launch { what } => f.write_str(what),
        }
    }
}

/// A fault and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The kernel's name.
    pub kernel: String,
    /// Line of the PTX text, 0 if the launch itself is wrong.
    pub line: u32,
    /// That line.
    pub text: String,
    /// Block in the grid.
    pub block: [u32; 3],
    /// Thread in the block.
    pub thread: [u32; 3],
    /// What is wrong.
    pub fault: Fault,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kernel, line, text, block, thread, fault } = self;
        write!(f, "kernel {kernel}, PTX line {line}, block {block:?}, thread {thread:?}: {fault}\n    {}", text.trim())
    }
}

impl std::error::Error for Finding {}
