//! What a launch cost, counted: the same on every run and machine.

use crate::report::Space;

macro_rules! families {
    ($($variant:ident $text:literal,)*) => {
        /// A family of instructions.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Family {
            $(#[doc = $text] $variant,)*
        }

        impl Family {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Its name in a report.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

families! {
    Integer "integer",
    Bits "bits",
    Float "float",
    Half "half",
    Convert "convert",
    Compare "compare",
    Move "move",
    Memory "memory",
    Atomic "atomic",
    Warp "warp",
    Barrier "barrier",
    Copy "copy",
    Matrix "matrix",
    Control "control",
}

/// Counts of one launch, or the sum of several.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Instructions of warps, by family.
    pub warps: [u64; Family::ALL.len()],
    /// Instructions of threads, by family.
    pub threads: [u64; Family::ALL.len()],
    /// Bytes read and written by threads: global, shared, local.
    pub bytes: [[u64; 2]; 3],
    /// Pieces of 32 bytes of device memory that warps read and wrote: what coalescing leaves.
    pub sectors: [u64; 2],
    /// Multiply-and-adds of matrix instructions.
    pub products: u64,
}

impl Cost {
    /// Instructions of warps, in all.
    #[must_use]
    pub fn instructions(&self) -> u64 {
        self.warps.iter().sum()
    }

    pub(crate) fn moved(&mut self, space: Space, write: bool, bytes: u64) {
        let row = match space {
            Space::Global => 0,
            Space::Shared => 1,
            Space::Local => 2,
            Space::Param => return,
        };
        self.bytes[row][usize::from(write)] += bytes;
    }

    /// Adds another launch's counts.
    pub fn add(&mut self, other: &Self) {
        let pairs = [(&mut self.warps, &other.warps), (&mut self.threads, &other.threads)];
        for (ours, theirs) in pairs {
            ours.iter_mut().zip(theirs).for_each(|(a, b)| *a += b);
        }
        self.bytes.iter_mut().flatten().zip(other.bytes.iter().flatten()).for_each(|(a, b)| *a += b);
        self.sectors.iter_mut().zip(other.sectors).for_each(|(a, b)| *a += b);
        self.products += other.products;
    }

    /// A time that follows from the counts alone, for events: 3 TB/s of sectors, 4 warp instructions a nanosecond and
    /// multiprocessor on 100 of these, and 2 microseconds a launch. It orders kernels roughly and measures nothing.
    #[must_use]
    pub fn nanoseconds(&self) -> u64 {
        let memory = self.sectors.iter().sum::<u64>() * 32 / 3000;
        2000 + memory.max(self.instructions() / 400)
    }
}

impl std::fmt::Display for Cost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, family) in Family::ALL.iter().enumerate().filter(|(i, _)| self.warps[*i] > 0) {
            writeln!(
                f,
                "{:>8} {:>14} warp instructions, {:>14} thread instructions",
                family.name(),
                self.warps[index],
                self.threads[index]
            )?;
        }
        for (name, [read, written]) in ["global", "shared", "local"].iter().zip(self.bytes) {
            writeln!(f, "{name:>8} {read:>14} bytes read, {written:>14} bytes written")?;
        }
        writeln!(f, "{:>8} {:>14} sectors read, {:>14} sectors written", "global", self.sectors[0], self.sectors[1])?;
        writeln!(f, "{:>8} {:>14} products", "matrix", self.products)
    }
}
