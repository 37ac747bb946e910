//! Attention: of a few tokens by a generated kernel, of more, of a batch, or with a mask by the library.

use super::launch::Call;
use super::pointwise::small;
use super::steps::{FEW_TOKENS, Steps, fixed, overflow};
use crate::spec::{KernelSpec, attention};
use actc_artifact::{Builtin, BuiltinCall};
use actc_ir::ops::attention::Attention;
use actc_ir::{Graph, NodeData};
use actc_types::{Diagnostic, Dim, Result, RowForm};

/// What an attention is asked, on any device.
pub(super) struct Asked {
    /// Number of texts.
    pub(super) batch: Dim,
    /// Queries of a text.
    pub(super) queries: Dim,
    /// Positions of a text.
    pub(super) positions: Dim,
    /// Positions before the queries, where the queries are the last ones.
    pub(super) past: Option<Dim>,
    /// Query heads, key heads, numbers of a head.
    heads: [Dim; 3],
    /// How rows of keys and values lie.
    pub(super) form: RowForm,
    /// Extents of the mask, four, where one is added.
    pub(super) mask: Option<Vec<Dim>>,
}

impl Asked {
    /// What `data`, an attention, is asked.
    pub(super) fn of(graph: &Graph, data: &NodeData) -> Result<Asked> {
        let form = cache_form(graph, data)?;
        let [q, k] = [0, 1].map(|i| &graph.ty(data.args[i]).shape);
        let (Some((batch, [s, h, d])), Some((_, [t, kv, _]))) =
            (q.dims().split_last_chunk(), k.dims().split_last_chunk())
        else {
            return Err(overflow());
        };
        let mask = data.args.get(3).map(|mask| {
            let own = &graph.ty(*mask).shape.0;
            vec![Dim::from(1); 4 - own.len()].iter().chain(own).cloned().collect()
        });
        Ok(Asked {
            batch: batch.first().cloned().unwrap_or_else(|| Dim::from(1)),
            queries: s.clone(),
            positions: t.clone(),
            past: t.checked_sub(s).filter(|past| past.terms().all(|(n, _)| n >= 0)),
            heads: [h.clone(), kv.clone(), d.clone()],
            form,
            mask,
        })
    }

    /// The number of queries, where it is known and small, of one text behind a known past, without a mask.
    pub(super) fn few(&self) -> Option<(u64, &Dim)> {
        let queries = self.queries.fixed().filter(|s| *s <= FEW_TOKENS)?;
        let past = self.past.as_ref().filter(|_| self.batch == Dim::from(1) && self.mask.is_none())?;
        Some((queries, past))
    }

    /// The kernel's parameters; refuses heads that are not known.
    pub(super) fn spec(&self, a: &Attention) -> Result<attention::Attention> {
        let [heads, kv_heads, head_dim] = &self.heads;
        let known = |dim: &Dim, what: &str| small(fixed(Some(dim), what)?, what);
        Ok(attention::Attention {
            heads: known(heads, "the number of heads")?,
            kv_heads: known(kv_heads, "the number of heads")?,
            head_dim: known(head_dim, "the head")?,
            scale: a.scale as f32,
            causal: a.causal,
            window: a.window,
            cap: None,
            cache: self.form,
        })
    }
}

/// How the rows of keys and values lie that `data`, an attention, reads; refuses values of another width than queries.
fn cache_form(graph: &Graph, data: &NodeData) -> Result<RowForm> {
    let (q, y, keys) = (graph.ty(data.args[0]), graph.ty(data.results[0]), graph.ty(data.args[1]));
    if y.shape.last() != q.shape.last() {
        return Err(Diagnostic::new("codegen-attention", "value heads are not as wide as query heads"));
    }
    RowForm::of(keys.dtype)
        .ok_or_else(|| Diagnostic::new("codegen-attention", format!("no kernel reads keys of {}", keys.dtype)))
}

impl Steps<'_, '_> {
    pub(super) fn attention(&mut self, label: &str, data: &NodeData, a: &Attention) -> Result<()> {
        let asked = Asked::of(self.graph, data)?;
        let mut bufs = self.arguments_and_results(data)?;
        let mask = (data.args.len() > 3).then(|| bufs.remove(3));
        let Some((_, past)) = asked.few() else {
            let [h, kv, d] = asked.heads.clone();
            let mut dims = vec![asked.batch, asked.queries, asked.positions, h, kv, d];
            bufs.extend(mask);
            dims.extend(asked.mask.unwrap_or_default());
            let mut ints = vec![i64::from(a.causal), i64::from(a.window.unwrap_or(0))];
            match asked.form {
                RowForm::F32 => {}
                RowForm::F16 | RowForm::Int8 => ints.push(asked.form.bits().into()),
            }
            let call =
                BuiltinCall { bufs, dims, ints, floats: vec![a.scale], ..BuiltinCall::new(label, Builtin::Attention) };
            self.builtin(call, "many queries make matrix products");
            return Ok(());
        };
        let spec = asked.spec(a)?;
        let scratch = self.buffers.scratch(spec.scratch_bytes(&asked.queries, past).ok_or_else(overflow)?);
        bufs.insert(3, scratch);
        let (spec, dims) = (KernelSpec::Attention(spec), vec![asked.queries.clone(), past.clone()]);
        self.launch(label, Call { reason: format!("few queries: {spec}"), spec, bufs, dims })
    }
}
