//! Versions of PTX: the least that a target has, and the driver that reads it.
//!
//! A driver refuses PTX that is newer than itself, and NVRTC stamps its own version on everything. Kernels use nothing that came
//! after their target, so the text is stamped with the version that introduced the target; ptxas refuses it in a test where
//! that is not true.

use actc_types::target::Arch;
use std::fmt;

/// A version of the PTX language.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PtxVersion {
    /// The number before the point.
    pub major: u8,
    /// The number behind it.
    pub minor: u8,
}

impl fmt::Display for PtxVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The least version that knows the GPU `arch`, and the least driver that reads it, as the driver states its version (CUDA
/// 12.8 is 12080); `None` for what is no GPU.
pub fn least(arch: Arch) -> Option<(PtxVersion, u32)> {
    let (major, minor, driver) = match arch {
        Arch::Sm80 => (7, 0, 11000),
        Arch::Sm86 => (7, 1, 11010),
        Arch::Sm89 | Arch::Sm90 => (7, 8, 11080),
        Arch::Sm90a => (8, 0, 12000),
        Arch::Sm100 => (8, 6, 12070),
        Arch::Sm120 => (8, 7, 12080),
        Arch::X86V2 | Arch::X86V3 | Arch::X86V4 | Arch::Aarch64 => return None,
    };
    Some((PtxVersion { major, minor }, driver))
}
