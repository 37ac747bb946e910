//! Attention: of a few tokens by a generated kernel, of more, of a batch, or with a mask by the library.

use super::launch::Call;
use super::pointwise::small;
use super::steps::{FEW_TOKENS, Steps, fixed, overflow};
use crate::spec::{KernelSpec, attention};
use actc_artifact::{Builtin, BuiltinCall};
use actc_ir::NodeData;
use actc_ir::ops::attention::Attention;
use actc_types::{Diagnostic, Dim, Result, RowForm};

impl Steps<'_, '_> {
    pub(super) fn attention(&mut self, label: &str, data: &NodeData, a: &Attention) -> Result<()> {
        let form = self.cache_form(data)?;
        let [q, k] = [0, 1].map(|i| self.graph.ty(data.args[i]).shape.clone());
        let (Some((batch, [s, h, d])), Some((_, [t, kv, _]))) =
            (q.dims().split_last_chunk(), k.dims().split_last_chunk())
        else {
            return Err(overflow());
        };
        let one = batch.iter().all(|b| *b == Dim::from(1));
        let past = t.checked_sub(s).filter(|past| past.terms().all(|(n, _)| n >= 0));
        let few = s.fixed().is_some_and(|s| s <= FEW_TOKENS);
        let mut bufs = self.arguments_and_results(data)?;
        let mask = (data.args.len() > 3).then(|| bufs.remove(3));
        let (None, Some(past), true, true) = (mask, past, one, few) else {
            let batch = batch.first().cloned().unwrap_or_else(|| Dim::from(1));
            let mut dims = vec![batch, s.clone(), t.clone(), h.clone(), kv.clone(), d.clone()];
            if let Some(mask) = mask {
                bufs.push(mask);
                let own = &self.graph.ty(data.args[3]).shape.0;
                dims.extend(vec![Dim::from(1); 4 - own.len()].iter().chain(own).cloned());
            }
            let mut ints = vec![i64::from(a.causal), i64::from(a.window.unwrap_or(0))];
            match form {
                RowForm::F32 => {}
                RowForm::F16 | RowForm::Int8 => ints.push(form.bits().into()),
            }
            let call =
                BuiltinCall { bufs, dims, ints, floats: vec![a.scale], ..BuiltinCall::new(label, Builtin::Attention) };
            self.builtin(call, "many queries make matrix products");
            return Ok(());
        };
        let heads = small(fixed(Some(h), "the number of heads")?, "the number of heads")?;
        let spec = attention::Attention {
            heads,
            kv_heads: small(fixed(Some(kv), "the number of heads")?, "the number of heads")?,
            head_dim: small(fixed(Some(d), "the head")?, "the head")?,
            scale: a.scale as f32,
            causal: a.causal,
            window: a.window,
            cap: None,
            cache: form,
        };
        let scratch = self.buffers.scratch(spec.scratch_bytes(s, &past).ok_or_else(overflow)?);
        bufs.insert(3, scratch);
        let (spec, dims) = (KernelSpec::Attention(spec), vec![s.clone(), past]);
        self.launch(label, Call { reason: format!("few queries: {spec}"), spec, bufs, dims });
        Ok(())
    }

    /// How the rows of keys and values lie that `data`, an attention, reads; refuses values of another width than queries.
    fn cache_form(&self, data: &NodeData) -> Result<RowForm> {
        let (q, y, keys) = (self.graph.ty(data.args[0]), self.graph.ty(data.results[0]), self.graph.ty(data.args[1]));
        if y.shape.last() != q.shape.last() {
            return Err(Diagnostic::new("codegen-attention", "value heads are not as wide as query heads"));
        }
        RowForm::of(keys.dtype)
            .ok_or_else(|| Diagnostic::new("codegen-attention", format!("no kernel reads keys of {}", keys.dtype)))
    }
}
