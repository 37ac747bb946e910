//! What an artifact's weights take, and which of them a step reads.

use actc_artifact::{ALIGN, Artifact, CodeImage, HEADER_BYTES, Manifest, PartEntry, TensorEntry, bundle};
use actc_codegen::{Description, Program, graph_of};
use actc_ir::{ConstId, Graph, Op, text};
use actc_passes::columns::Input;
use actc_types::Result;
use std::collections::BTreeSet;

/// Bytes and elements of weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Number of weights.
    pub weights: u64,
    /// Stored bytes.
    pub bytes: u64,
}

/// What an artifact's weights take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Storage {
    /// Weights of linear layers and convolutions, without embedding tables and heads.
    pub layers: Share,
    /// Embedding tables and the heads that turn features into logits; tied ones are one.
    pub vocabulary: Share,
    /// Everything else: norms, biases, tables.
    pub rest: Share,
    /// Bytes that a step of one token reads: everything but tables that are only looked up.
    pub read_bytes: u64,
    /// Bytes that a position takes in the caches of keys and values.
    pub cache_bytes: u64,
}

impl Storage {
    /// Sorts the weights of `artifact` by what its graph does with them.
    pub fn of(artifact: &Artifact) -> Result<Storage> {
        Ok(Storage::of_graph(&graph_of(artifact)?))
    }

    /// Sorts the constants of `graph`.
    pub fn of_graph(graph: &Graph) -> Storage {
        let (mut linear, mut table, mut other) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for node in graph.order() {
            let data = graph.node(*node);
            for (slot, arg) in data.args.iter().enumerate() {
                let Some(id) = graph.as_const(*arg) else { continue };
                let set: &mut BTreeSet<ConstId> = match (&data.op, slot) {
                    (Op::Linear(_) | Op::Conv(_), 1) => &mut linear,
                    (Op::Embedding(_), 1) => &mut table,
                    _ => &mut other,
                };
                set.insert(id);
            }
        }
        // A head has a row for each token, as a table has.
        let rows: BTreeSet<_> = table.iter().map(|id| graph.const_data(*id).ty.shape.dims().first().cloned()).collect();
        let mut storage = Storage::default();
        for (id, constant) in graph.constants() {
            let bytes = constant.stored_bytes();
            let weights = constant.matrix().map_or(0, |(r, c)| (r * c) as u64);
            let vocabulary = table.contains(&id) || rows.contains(&constant.ty.shape.dims().first().cloned());
            let share = match linear.contains(&id) || table.contains(&id) {
                true if vocabulary => &mut storage.vocabulary,
                true => &mut storage.layers,
                false => &mut storage.rest,
            };
            share.weights += weights;
            share.bytes += bytes;
            if linear.contains(&id) || other.contains(&id) {
                storage.read_bytes += bytes;
            }
        }
        storage.cache_bytes = cache_bytes(graph);
        storage
    }

    /// Stored bits a weight of these layers, everything counted: codes, scales, zero points, weak columns, indices.
    pub fn bits_per_weight(&self) -> f64 {
        8.0 * self.layers.bytes as f64 / (self.layers.weights as f64).max(1.0)
    }
}

/// Bytes that each position adds to the states of `graph`.
fn cache_bytes(graph: &Graph) -> u64 {
    let caches = graph
        .donated()
        .iter()
        .filter(|(_, new)| graph.def_node(*new).is_some_and(|node| matches!(graph.node(node).op, Op::CacheAppend(_))));
    let rows = caches.map(|(old, _)| {
        let ty = graph.ty(*old);
        let numbers = ty.shape.dims()[1..].iter().map(|d| d.fixed().unwrap_or(0)).fold(1, u64::saturating_mul);
        numbers.saturating_mul(ty.dtype.size() as u64)
    });
    rows.fold(0, u64::saturating_add)
}

/// Bytes of a report on `layers` layers of `graph`, roughly: three digits for each channel that `calibrated` statistics saw,
/// and the errors of each layer, compressed.
fn report_bytes(graph: &Graph, layers: usize, calibrated: bool) -> u64 {
    let inputs: BTreeSet<Input> = graph.order().iter().filter_map(|n| Input::of(graph.node(*n))).collect();
    let channels: u64 = if calibrated { inputs.iter().map(|x| x.columns(graph).unwrap_or(0)).sum() } else { 0 };
    channels * 4 / 3 + layers as u64 * 90
}

/// Bytes of the artifact that `program` would be written to, within a percent: weights, graph, code and tokenizer are
/// counted as they are, manifest and report without what only a compile knows. `calibrated` says whether activations are
/// observed.
pub fn artifact_bytes(program: &Program, description: &Description, calibrated: bool) -> Result<u64> {
    let aligned = |bytes: u64| bytes.next_multiple_of(ALIGN);
    let mut manifest = Manifest {
        pipeline: description.pipeline.clone(),
        states: program.states.clone(),
        kernels: program.kernels.clone(),
        entries: program.entries.clone(),
        layers: description.layers.clone(),
        text: description.text.clone(),
        ..Manifest::default()
    };
    manifest.cuda = program.cuda.as_ref().map(|cuda| cuda.plan.clone());
    manifest.metadata.extend(program.makers());
    let mut total = HEADER_BYTES as u64 + ALIGN;
    program.each_tensor(&mut |name, constant| {
        let mut offset = 0;
        let mut parts = Vec::new();
        for (role, bytes) in &constant.parts {
            parts.push(PartEntry { role: *role, offset: total + offset, length: bytes.len() as u64 });
            offset += aligned(bytes.len() as u64);
        }
        total += offset;
        manifest.tensors.push(TensorEntry {
            name: name.into(),
            dtype: constant.ty.dtype,
            dims: constant.fixed_dims()?,
            encoding: constant.encoding.clone(),
            parts,
        });
        Ok(())
    })?;
    total += aligned(text::print(&program.graph).len() as u64);
    for (_, image) in program.sections() {
        let symbols = image.symbols.iter().map(|(name, at)| (name.as_str(), *at as u64));
        total += aligned(CodeImage::encode(symbols, &image.code).len() as u64);
    }
    if let Some(json) = &description.tokenizer {
        total += aligned(bundle::compress(json)?.len() as u64);
    }
    total += report_bytes(&program.graph, description.layers.len(), calibrated);
    Ok(total + manifest.encode().len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_sorted_by_use() {
        let text = "air 1\ngraph @m(%t: i64[S]) {\n\
            %e = const @embed = rng{seed=1, scale=1} : f32[32, 4]\n\
            %w = const @fc = rng{seed=2, scale=1} : f16[8, 4]\n\
            %v = const @out = rng{seed=3, scale=1} : f16[4, 8]\n\
            %x = embedding %t, %e : f32[S, 4]\n\
            %0 = linear %x, %w : f32[S, 8]\n\
            %1 = linear %0, %v : f32[S, 4]\n\
            %2 = linear %1, %e : f32[S, 32]\n\
            return logits=%2\n}\n";
        let graph = actc_ir::text::parse(text, &actc_ir::text::unbound).unwrap();
        let storage = Storage::of_graph(&graph);
        assert_eq!(storage.layers, Share { weights: 64, bytes: 128 });
        assert_eq!(storage.vocabulary, Share { weights: 128, bytes: 512 });
        assert_eq!(storage.rest, Share::default());
        assert_eq!(storage.read_bytes, 640);
        assert_eq!(storage.bits_per_weight(), 16.0);
    }
}
