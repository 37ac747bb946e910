//! Linears of many tokens by groups of warps, where the plan is for GPUs alone that have them.

use super::linear::Operands;
use super::{Device, Products};
use crate::plan::steps::Steps;
use crate::spec::gpu::{GpuKernel, Wgmma};
use crate::spec::linear::Linear;
use actc_types::{Dim, Result};

/// Whether groups of warps multiply a linear.
pub(super) enum Groups {
    Multiply(Wgmma),
    /// Why not, behind the number of tokens.
    Refuse(String),
}

impl Steps<'_, '_> {
    /// Whether groups of warps multiply `linear`, of about so many tokens; a gate is left to the kernel behind them.
    pub(super) fn groups(&self, linear: &Linear, tokens: usize) -> Groups {
        let refuse = |why: &str| Groups::Refuse(why.to_owned());
        match self.shared.device {
            Device::Cuda { alone: Some(arch), .. } if arch == Wgmma::ARCH => {}
            Device::Cuda { .. } | Device::Cpu { .. } => return refuse("on every GPU that the plan is for"),
        }
        if self.products() != Products::Half {
            return refuse("products are not `half`, which groups of warps ask for");
        }
        let sums = linear.sums();
        match Wgmma::refusal(&sums) {
            None => Groups::Multiply(Wgmma::of(sums, tokens)),
            Some(why) => Groups::Refuse(format!("which groups of warps do not multiply: {why}")),
        }
    }

    /// `linear` by `wgmma`, which gives its sums, or all of it where there is no gate.
    pub(super) fn by_groups(
        &mut self,
        label: &str,
        linear: Linear,
        wgmma: Wgmma,
        operands: Operands,
        (count, tokens): (&Dim, usize),
    ) -> Result<()> {
        let why = format!("about {tokens} tokens");
        if linear.gated() {
            let product = |linear| GpuKernel::Wgmma(Wgmma { linear, ..wgmma });
            return self.in_parts(label, linear, 1, product, operands, (count, why));
        }
        self.multiply(label, GpuKernel::Wgmma(Wgmma { linear, ..wgmma }), &operands, count, why)
    }
}
