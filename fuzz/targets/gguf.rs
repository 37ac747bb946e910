//! A GGUF file: header, metadata, directory, then the model and the vocabulary that it describes.
#![no_main]

use actc_frontend::{arch, gguf};
use actc_ir::verify;
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(file) = gguf::File::parse(&Bytes::copy_from_slice(data), "input.gguf") else { return };
    if let Ok(model) = arch::from_gguf(&file.metadata, &file.tensors, None) {
        assert_eq!(verify(&model.graph), Vec::new(), "an imported graph is well formed");
    }
    let _ = gguf::text_model(&file.metadata, 64);
});
