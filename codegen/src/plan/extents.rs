//! Extents that are known only when the graph runs: steps that bind symbols, and steps that check what was assumed.

use super::steps::Steps;
use actc_artifact::{Builtin, BuiltinCall, Step};
use actc_ir::NodeData;
use actc_types::{Result, Shape, Symbol};

impl Steps<'_, '_> {
    pub(super) fn bind(&mut self, data: &NodeData, symbols: &[Symbol]) -> Result<()> {
        let values = self.buffers.any(&mut self.shared.tensors, data.args[0])?;
        self.tick(&[values]);
        self.buffers.bound(symbols, self.clock);
        self.list.push(Step::Bind { symbols: symbols.to_vec(), values });
        Ok(())
    }

    /// What is the same by its form is not checked again.
    pub(super) fn expect(&mut self, label: &str, data: &NodeData, shape: &Shape) -> Result<()> {
        let own = self.graph.ty(data.args[0]).shape.clone();
        if own != *shape {
            let dims = [own.0, shape.0.clone()].concat();
            let call = BuiltinCall { dims, ..BuiltinCall::new(label, Builtin::Expect) };
            self.on_host(call, "extents that are known when it runs");
        }
        Ok(())
    }
}
