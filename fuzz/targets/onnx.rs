//! An ONNX file without files beside it: read, and made a graph that is well formed.
#![no_main]

use actc_frontend::onnx::{Model, import};
use actc_ir::verify;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(model) = Model::from_bytes(data.to_vec(), None) else { return };
    for node in &model.graph.nodes {
        for name in node.attributes.names() {
            // Every getter answers for every attribute, with a value or with an error.
            let _ = (node.attributes.int(name), node.attributes.texts(name), node.attributes.tensor(name));
        }
    }
    if let Ok(graph) = import(&model) {
        let findings = verify(&graph);
        assert!(findings.is_empty(), "{}", findings[0]);
    }
});
