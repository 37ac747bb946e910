//! An artifact: opened without its digests, its sections read, its entries run as far as that goes without machine code.
#![no_main]

use actc_artifact::{Artifact, Limits, ReadOptions};
use actc_runtime::{Model, Session, SessionOptions};
use actc_types::dim::Bindings;
use actc_types::{Symbol, Tensor, TensorData};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let limits = Limits { manifest_bytes: 1 << 20, messages: 1 << 14, nesting: 8, tokenizer_bytes: 1 << 20 };
    let options = ReadOptions { verify: false, limits };
    let Ok(artifact) = Artifact::from_bytes(Bytes::copy_from_slice(data), &options) else { return };
    for target in &artifact.manifest().targets {
        let _ = artifact.code(target);
    }
    let _ = (artifact.ir(), artifact.tokenizer());
    for (i, tensor) in artifact.manifest().tensors.iter().enumerate() {
        if let Ok(view) = artifact.weight(i) {
            assert_eq!(tensor.matrix().unwrap(), (view.rows(), view.cols()));
        }
    }
    let Ok(model) = Model::from_artifact(artifact) else { return };
    let given: Bindings =
        [("S", 3), ("P", 2), ("B", 1)].map(|(s, n)| (Symbol::new(s).expect("an identifier"), n)).into();
    let state_capacity = given.clone();
    let options = SessionOptions { threads: 1, state_capacity, memory_limit: 1 << 24, max_rounds: 100, share_from: 0, profile: false };
    let Ok(mut session) = Session::new(model.clone(), options) else { return };
    for entry in &model.artifact().manifest().entries {
        let inputs: Option<Vec<Tensor>> = entry
            .inputs
            .iter()
            .map(|port| {
                let dims: Vec<u64> = port.dims.iter().map(|d| d.eval(&given).ok()).collect::<Option<_>>()?;
                let count = dims.iter().try_fold(1u64, |n, d| n.checked_mul(*d)).filter(|n| *n < 1 << 16)?;
                Tensor::new(&dims, TensorData::zeros(port.dtype, count as usize)).ok()
            })
            .collect();
        let Some(inputs) = inputs else { continue };
        match session.run(&entry.name, &inputs, &given) {
            Ok(outputs) => assert_eq!(outputs.len(), entry.outputs.len()),
            Err(error) => assert_ne!(error.code, "runtime-panic", "{error}"),
        }
    }
});
