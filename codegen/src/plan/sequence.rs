//! Steps of what goes from token to token: recurrent layers and linear attention, by the library.

use super::steps::{Steps, overflow};
use actc_artifact::{Builtin, BuiltinCall};
use actc_ir::NodeData;
use actc_ir::ops::recurrent::{LinearAttention, Recurrent};
use actc_types::Result;
use actc_types::recurrent::{Squash, SquashKind};

impl Steps<'_, '_> {
    pub(super) fn recurrent(&mut self, label: &str, data: &NodeData, layer: &Recurrent) -> Result<()> {
        let (y, r) = (self.graph.ty(data.results[0]).shape.clone(), layer.cell);
        let filler = std::iter::repeat(Squash::plain(SquashKind::Tanh));
        let functions: Vec<Squash> = layer.functions.iter().copied().chain(filler).take(3).collect();
        let mut ints = vec![r.code(), layer.reverse.into(), layer.peepholes.into(), layer.lengths.into()];
        ints.extend(functions.iter().map(|f| f.kind.code()));
        let mut floats: Vec<f64> = functions.iter().flat_map(|f| [f.alpha, f.beta]).collect();
        floats.push(layer.clip.unwrap_or(0.0));
        let bufs = self.arguments_and_results(data)?;
        let call = BuiltinCall { bufs, dims: y.0, ints, floats, ..BuiltinCall::new(label, Builtin::Recurrent) };
        self.builtin(call, "step by step");
        Ok(())
    }

    pub(super) fn linear_attention(&mut self, label: &str, data: &NodeData, a: LinearAttention) -> Result<()> {
        let shape = |i: usize| self.graph.ty(data.args[i]).shape.clone();
        let (q, v) = (shape(0), shape(2));
        let ([b, t, h, k], [_, _, n, width]) = (q.dims(), v.dims()) else { return Err(overflow()) };
        let decays = if a.rule.decays() { shape(4).last().cloned() } else { None };
        let dims = [b, t, h, n, k, width, &decays.unwrap_or_default()].into_iter().cloned().collect();
        let bufs = self.arguments_and_results(data)?;
        let (ints, floats) = (vec![a.rule.code()], vec![a.scale]);
        let call = BuiltinCall { bufs, dims, ints, floats, ..BuiltinCall::new(label, Builtin::LinearAttention) };
        self.builtin(call, "token by token");
        Ok(())
    }
}
