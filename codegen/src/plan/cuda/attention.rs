//! Attention: a few queries of one text read the cache at the speed of memory, more run on tensor cores.

use super::unexpected;
use crate::plan::attention::Asked;
use crate::plan::steps::{Steps, overflow};
use crate::spec::BufferRole;
use crate::spec::gpu::{Attend, Flash, GpuKernel};
use actc_ir::NodeData;
use actc_ir::ops::attention::Attention;
use actc_types::{Dim, Result};

impl Steps<'_, '_> {
    pub(super) fn attend(&mut self, label: &str, data: &NodeData, a: &Attention) -> Result<()> {
        let asked = Asked::of(self.graph, data)?;
        let attention = asked.spec(a)?;
        let mut read = Vec::new();
        for arg in &data.args {
            read.push(self.buffers.any(&mut self.shared.tensors, *arg)?);
        }
        let output = self.buffers.value(data.results[0])?;
        let role = |role: BufferRole, scratch: Option<u32>| match role {
            BufferRole::Input(_) => Ok(read[0]),
            BufferRole::Keys => Ok(read[1]),
            BufferRole::Values => Ok(read[2]),
            BufferRole::Mask => read.get(3).copied().ok_or_else(|| unexpected(role)),
            BufferRole::Scratch => scratch.ok_or_else(|| unexpected(role)),
            BufferRole::Output(_) => Ok(output),
            BufferRole::Weight { .. }
            | BufferRole::Bias(_)
            | BufferRole::Scale
            | BufferRole::Prepared(_)
            | BufferRole::WeakIndex(_)
            | BufferRole::Residual
            | BufferRole::Table
            | BufferRole::Factors
            | BufferRole::Error => Err(unexpected(role)),
        };
        let few = asked.few().map(|(queries, past)| (Attend::of(attention.clone(), queries as u8), past));
        // Heads whose rows are not whole loads run on tensor cores too.
        let few = few.filter(|(attend, _)| attend.takes_heads());
        let Some((attend, past)) = few else {
            let mut dims = vec![asked.batch.clone(), asked.queries.clone(), asked.positions.clone()];
            dims.extend(asked.mask.iter().flatten().cloned());
            let (products, sizes) = (self.products(), self.handed(&dims));
            let kernel = GpuKernel::Flash(Flash { attention, products, mask: asked.mask.is_some(), sizes });
            let bufs = kernel.buffers().iter().map(|b| role(b.role, None)).collect::<Result<_>>()?;
            let reason = format!("many queries, a batch, a mask, or odd heads: {kernel}");
            return self.template(label, kernel, bufs, dims, reason);
        };
        let combine = attend.combine();
        let bytes = u64::try_from(attend.scratch_bytes()).map_err(|_| overflow())?;
        let scratch = combine.is_some().then(|| self.buffers.scratch(Dim::from(bytes)));
        let kernel = GpuKernel::Attend(attend);
        let bufs = kernel.buffers().iter().map(|b| role(b.role, scratch)).collect::<Result<_>>()?;
        let reason = format!("few queries: {kernel}");
        self.template(label, kernel, bufs, vec![past.clone()], reason)?;
        if let Some(combine) = combine {
            let kernel = GpuKernel::Combine(combine);
            let bufs = kernel.buffers().iter().map(|b| role(b.role, scratch)).collect::<Result<_>>()?;
            let reason = format!("blocks share the positions: {kernel}");
            self.template(&format!("{label} (sum)"), kernel, bufs, Vec::new(), reason)?;
        }
        Ok(())
    }
}
