//! A model folder: the length of `config.json` in four bytes, `config.json`, then a safetensors file.
#![no_main]

use actc_frontend::safetensors::{Config, read_file};
use actc_frontend::{arch, stored::TensorSet};
use actc_ir::verify;
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((length, rest)) = data.split_first_chunk::<4>() else { return };
    let (config, file) = rest.split_at(rest.len().min(u32::from_le_bytes(*length) as usize));
    let mut tensors = TensorSet::default();
    let read = read_file(&Bytes::copy_from_slice(file), "model.safetensors", &mut tensors);
    let Ok(config) = serde_json::from_slice::<Config>(config) else { return };
    let Ok(()) = read else { return };
    if let Ok(model) = arch::from_config(&config, &tensors, None) {
        assert_eq!(verify(&model.graph), Vec::new(), "an imported graph is well formed");
    }
});
