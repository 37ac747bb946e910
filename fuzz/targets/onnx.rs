//! The bytes of an ONNX model without a folder.
#![no_main]

use actc_frontend::onnx::Model;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(model) = Model::from_bytes(data.to_vec(), None) {
        for node in &model.graph.nodes {
            for name in node.attributes.names() {
                // Every getter answers for every attribute, with a value or with an error.
                let _ = (node.attributes.int(name), node.attributes.texts(name), node.attributes.tensor(name));
            }
        }
    }
});
