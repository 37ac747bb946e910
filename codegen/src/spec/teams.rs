//! How families run on GPUs through LLVM: the team that has a unit of work, and the work of a launch.

use super::{Act, KernelSpec};
use crate::emit::Launch;
use crate::kir::Team;
use actc_types::{Diagnostic, Dim, Result};

/// Lanes of a chain's unit of work that a block has: a unit has more, unless its tensor is smaller, so that no block has two.
const CHAIN: u32 = 512;

/// What a launch does: a team has a unit, a block has `share` of `work`.
struct Plan {
    team: Team,
    work: Dim,
    share: u32,
}

impl KernelSpec {
    /// How it is launched on a GPU, and which threads have a unit of work. Refuses families whose kernels for GPUs come from
    /// templates.
    pub(super) fn on_gpu(&self) -> Result<(Team, Launch)> {
        self.check()?;
        let Plan { team, work, share } = self.plan()?;
        let (threads, shared) = (team.threads() * team.in_block(), 4 * team.slots());
        Ok((team, Launch { work, share, threads, shared }))
    }

    /// How it is launched on a GPU; see [`Self::gpu_symbol`].
    pub fn gpu_launch(&self) -> Result<Launch> {
        self.on_gpu().map(|(_, launch)| launch)
    }

    fn plan(&self) -> Result<Plan> {
        let too_large = || Diagnostic::new("kernel-launch", format!("too much work in {self}"));
        let each = |team: Team, work: Dim| Ok(Plan { team, work, share: team.in_block() });
        match self {
            KernelSpec::Linear(_) | KernelSpec::Attention(_) => {
                let headline = format!("LLVM makes no code for GPUs from {self}");
                Err(Diagnostic::new("kernel-target", headline).help("templates make it"))
            }
            KernelSpec::RmsNorm(s) => each(Team::of(s.cols as usize), Dim::sym("rows")),
            KernelSpec::LayerNorm(s) => each(Team::of(s.cols as usize), Dim::sym("rows")),
            // Chunks and groups are gone through one after the other.
            KernelSpec::Prepare(s) if s.sets.iter().any(|set| set.act == Act::Int8 || set.sums.is_some()) => {
                each(Team::Warp, Dim::sym("tokens"))
            }
            KernelSpec::Prepare(s) => each(Team::of(s.cols as usize), Dim::sym("tokens")),
            // An angle is as much work as eight lanes.
            KernelSpec::RopeTable(s) => each(Team::of(4 * s.rotary as usize), Dim::sym("S")),
            KernelSpec::Rope(s) => {
                let lanes = (s.rotary / 2).max(s.head_dim - s.rotary) as usize;
                let heads = Dim::from(u64::from(s.heads));
                each(Team::of(lanes), Dim::sym("S").checked_mul(&heads).ok_or_else(too_large)?)
            }
            KernelSpec::Elementwise(s) => {
                let mut work = Dim::from(1);
                for name in s.dims() {
                    work = work.checked_mul(&Dim::sym(&name)).ok_or_else(too_large)?;
                }
                Ok(Plan { team: Team::of(super::elementwise::CHUNK as usize * 2), work, share: CHAIN })
            }
        }
    }
}
