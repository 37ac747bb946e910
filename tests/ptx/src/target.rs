//! The targets and what a launch on them may ask for.

/// A GPU architecture by its compute capability. What `sm_90a` and the like have alone every such device has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// A100.
    Sm80,
    /// RTX 30.
    Sm86,
    /// RTX 40, L4, L40.
    Sm89,
    /// H100.
    Sm90,
    /// B200.
    Sm100,
    /// RTX 50.
    Sm120,
}

impl Target {
    /// All of them, oldest first.
    pub const ALL: [Self; 6] = [Self::Sm80, Self::Sm86, Self::Sm89, Self::Sm90, Self::Sm100, Self::Sm120];

    /// `sm_89` and the like; a letter at the end does not matter.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("sm_")?.trim_end_matches(['a', 'f']);
        Self::ALL.into_iter().find(|t| t.capability().0 * 10 + t.capability().1 == digits.parse().unwrap_or(0))
    }

    /// Major and minor number of the compute capability.
    #[must_use]
    pub fn capability(self) -> (u32, u32) {
        match self {
            Self::Sm80 => (8, 0),
            Self::Sm86 => (8, 6),
            Self::Sm89 => (8, 9),
            Self::Sm90 => (9, 0),
            Self::Sm100 => (10, 0),
            Self::Sm120 => (12, 0),
        }
    }

    /// Most bytes of shared memory that a block may have where it asks for more than 48 KiB.
    #[must_use]
    pub fn shared_optin(self) -> u32 {
        match self {
            Self::Sm80 => 163 << 10,
            Self::Sm86 | Self::Sm89 | Self::Sm120 => 99 << 10,
            Self::Sm90 | Self::Sm100 => 227 << 10,
        }
    }

    /// Shared memory of a multiprocessor.
    #[must_use]
    pub fn shared_multiprocessor(self) -> u32 {
        match self {
            Self::Sm80 => 164 << 10,
            Self::Sm86 | Self::Sm89 | Self::Sm120 => 100 << 10,
            Self::Sm90 | Self::Sm100 => 228 << 10,
        }
    }

    /// Threads that a multiprocessor holds.
    #[must_use]
    pub fn threads_multiprocessor(self) -> u32 {
        match self {
            Self::Sm80 | Self::Sm90 | Self::Sm100 => 2048,
            Self::Sm86 | Self::Sm89 | Self::Sm120 => 1536,
        }
    }

    /// Multiprocessors of the device that stands for the target.
    #[must_use]
    pub fn multiprocessors(self) -> u32 {
        match self {
            Self::Sm80 => 108,
            Self::Sm86 => 84,
            Self::Sm89 => 128,
            Self::Sm90 => 132,
            Self::Sm100 => 148,
            Self::Sm120 => 170,
        }
    }
}

/// Shared memory that a block may have without asking.
pub const SHARED_DEFAULT: u32 = 48 << 10;
/// Threads of a block.
pub const THREADS: u32 = 1024;
/// Threads of a block along each axis.
pub const BLOCK: [u32; 3] = [1024, 1024, 64];
/// Blocks of a grid along each axis.
pub const GRID: [u32; 3] = [0x7fff_ffff, 65535, 65535];

#[cfg(test)]
mod tests {
    use super::Target;

    #[test]
    fn names_are_read() {
        assert_eq!(Target::parse("sm_90a"), Some(Target::Sm90));
        assert_eq!(Target::parse("sm_120"), Some(Target::Sm120));
        assert_eq!(Target::parse("sm_75"), None);
    }
}
