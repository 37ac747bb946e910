//! Special registers.

use super::launch::Launch;
use super::warp::{Lanes, Warp};

macro_rules! specials {
    ($($variant:ident $($text:literal)+,)*) => {
        /// A special register.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Special { $($variant,)* }

        impl Special {
            pub(crate) fn parse(text: &str) -> Option<Self> {
                match text { $($($text)|+ => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

specials! {
    TidX "%tid.x", TidY "%tid.y", TidZ "%tid.z",
    NtidX "%ntid.x", NtidY "%ntid.y", NtidZ "%ntid.z",
    CtaidX "%ctaid.x", CtaidY "%ctaid.y", CtaidZ "%ctaid.z",
    NctaidX "%nctaid.x", NctaidY "%nctaid.y", NctaidZ "%nctaid.z",
    Lane "%laneid",
    Warp "%warpid",
    Warps "%nwarpid",
    Sm "%smid",
    Sms "%nsmid",
    Grid "%gridid",
    MaskEq "%lanemask_eq",
    MaskLe "%lanemask_le",
    MaskLt "%lanemask_lt",
    MaskGe "%lanemask_ge",
    MaskGt "%lanemask_gt",
    WarpSize "WARP_SZ" "%warpsize",
    Clock "%clock" "%clock_hi",
    Clock64 "%clock64",
    Timer "%globaltimer" "%globaltimer_lo",
    TimerHigh "%globaltimer_hi",
    SharedDynamic "%dynamic_smem_size",
    SharedTotal "%total_smem_size",
    SharedAll "%aggr_smem_size",
    // A cluster is one block here.
    ClusterZero "%cluster_ctaid.x" "%cluster_ctaid.y" "%cluster_ctaid.z" "%cluster_ctarank" "%is_explicit_cluster",
    ClusterOne "%cluster_nctaid.x" "%cluster_nctaid.y" "%cluster_nctaid.z" "%cluster_nctarank",
}

impl Special {
    pub(crate) fn lanes(self, warp: &Warp, launch: &Launch<'_>, block: [u32; 3]) -> Lanes {
        let all = |v: u32| [u64::from(v); 32];
        let each = |f: &dyn Fn(usize) -> u32| std::array::from_fn(|lane| u64::from(f(lane)));
        let clock = launch.executed.get();
        match self {
            Self::TidX => each(&|l| warp.thread[l][0]),
            Self::TidY => each(&|l| warp.thread[l][1]),
            Self::TidZ => each(&|l| warp.thread[l][2]),
            Self::NtidX => all(launch.block[0]),
            Self::NtidY => all(launch.block[1]),
            Self::NtidZ => all(launch.block[2]),
            Self::CtaidX => all(block[0]),
            Self::CtaidY => all(block[1]),
            Self::CtaidZ => all(block[2]),
            Self::NctaidX => all(launch.grid[0]),
            Self::NctaidY => all(launch.grid[1]),
            Self::NctaidZ => all(launch.grid[2]),
            Self::Lane => each(&|l| l as u32),
            Self::Warp => all(warp.index),
            Self::Warps => all(launch.block.iter().product::<u32>().div_ceil(32)),
            Self::Sm | Self::Grid | Self::ClusterZero => all(0),
            Self::Sms | Self::ClusterOne => all(1),
            Self::MaskEq => each(&|l| 1 << l),
            Self::MaskLe => each(&|l| u32::MAX >> (31 - l)),
            Self::MaskLt => each(&|l| (1u32 << l) - 1),
            Self::MaskGe => each(&|l| u32::MAX << l),
            Self::MaskGt => each(&|l| (u32::MAX << l) & !(1 << l)),
            Self::WarpSize => all(32),
            Self::Clock => all(clock as u32),
            Self::Clock64 | Self::Timer => [clock; 32],
            Self::TimerHigh => all((clock >> 32) as u32),
            Self::SharedDynamic => all(launch.dynamic_shared),
            Self::SharedTotal | Self::SharedAll => all(launch.kernel.shared + launch.dynamic_shared),
        }
    }
}
