//! The safetensors reader and model folders against files that are wrong in every way we know of.

use actc_frontend::load;
use actc_frontend::safetensors::read_file;
use actc_frontend::stored::TensorSet;
use actc_types::Result;
use bytes::Bytes;
use proptest::prelude::*;
use std::fs;
use std::path::Path;

fn file(header: &[u8], data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header);
    bytes.resize(bytes.len() + data, 7);
    bytes
}

fn read(bytes: &[u8]) -> Result<TensorSet> {
    let mut set = TensorSet::default();
    read_file(&Bytes::copy_from_slice(bytes), "test.safetensors", &mut set)?;
    Ok(set)
}

const VALID: &str = r#"{"__metadata__":{"format":"pt"},"b":{"dtype":"F32","shape":[2,2],"data_offsets":[6,22]},
    "a":{"dtype":"BF16","shape":[3],"data_offsets":[0,6]}}"#;

#[test]
fn a_valid_file() {
    let set = read(&file(VALID.as_bytes(), 22)).unwrap();
    let shapes: Vec<_> = set.iter().map(|t| (t.name.as_str(), t.dtype.name(), t.dims.clone(), t.bytes.len())).collect();
    assert_eq!(shapes, [("a", "bf16", vec![3], 6), ("b", "f32", vec![2, 2], 16)]);
}

#[test]
fn malformed_files() {
    let one = |info: &str| file(format!("{{\"t\":{info}}}").as_bytes(), 16);
    let deep = format!("{{\"t\":{}1{}}}", "[".repeat(5000), "]".repeat(5000));
    let long = format!("{{\"{}\":{{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}}}}", "n".repeat(2000));
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("empty", vec![], "safetensors-truncated"),
        ("seven bytes", vec![0; 7], "safetensors-truncated"),
        ("header past the end", 100u64.to_le_bytes().to_vec(), "safetensors-truncated"),
        ("header huge", u64::MAX.to_le_bytes().to_vec(), "safetensors-header"),
        ("header above the limit", 100_000_001u64.to_le_bytes().to_vec(), "safetensors-header"),
        ("no header", file(b"", 8), "safetensors-json"),
        ("another format", file(b"PK\x03\x04", 8), "safetensors-json"),
        ("no UTF-8", file(b"{\"\xff\":1}", 0), "safetensors-utf8"),
        ("no JSON", file(b"{\"a\":", 0), "safetensors-json"),
        ("trailing JSON", file(b"{}{}", 0), "safetensors-json"),
        ("nested deeply", file(deep.as_bytes(), 0), "safetensors-json"),
        ("a list", file(b"{\"t\":[]}", 0), "safetensors-json"),
        ("name empty", file(br#"{"":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}"#, 16), "safetensors-names"),
        ("name too long", file(long.as_bytes(), 16), "safetensors-names"),
        (
            "name twice",
            file(
                br#"{"t":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"t":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}"#,
                16,
            ),
            "safetensors-names",
        ),
        (
            "metadata twice",
            file(br#"{"__metadata__":{},"__metadata__":{}}"#, 0),
            "safetensors-names",
        ),
        ("unknown type", one(r#"{"dtype":"F33","shape":[4],"data_offsets":[0,16]}"#), "safetensors-json"),
        ("type without an encoding", one(r#"{"dtype":"F8_E4M3","shape":[16],"data_offsets":[0,16]}"#), "safetensors-types"),
        ("negative extent", one(r#"{"dtype":"F32","shape":[-4],"data_offsets":[0,16]}"#), "safetensors-json"),
        ("size wraps", one(r#"{"dtype":"F32","shape":[4611686018427387905,4],"data_offsets":[0,16]}"#), "safetensors-layout"),
        ("too few bytes", one(r#"{"dtype":"F32","shape":[5],"data_offsets":[0,16]}"#), "safetensors-layout"),
        ("offsets reversed", one(r#"{"dtype":"F32","shape":[4],"data_offsets":[16,0]}"#), "safetensors-layout"),
        ("offset past the end", one(r#"{"dtype":"F32","shape":[8],"data_offsets":[0,32]}"#), "safetensors-layout"),
        ("trailing bytes", one(r#"{"dtype":"F32","shape":[2],"data_offsets":[0,8]}"#), "safetensors-layout"),
        ("hole before", one(r#"{"dtype":"F32","shape":[2],"data_offsets":[8,16]}"#), "safetensors-layout"),
        ("empty tensor", file(br#"{"t":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}"#, 0), "safetensors-dims"),
        (
            "overlap",
            file(
                br#"{"t":{"dtype":"F32","shape":[3],"data_offsets":[0,12]},"u":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}}"#,
                16,
            ),
            "safetensors-layout",
        ),
        ("misaligned half byte", one(r#"{"dtype":"F4","shape":[3],"data_offsets":[0,16]}"#), "safetensors-layout"),
    ];
    for (label, bytes, code) in cases {
        assert_eq!(read(&bytes).map(|_| ()).map_err(|e| e.code), Err(code), "{label}");
    }
}

#[test]
fn every_truncation_is_refused() {
    let whole = file(VALID.as_bytes(), 22);
    for length in 0..whole.len() {
        assert!(read(&whole[..length]).is_err(), "{length} of {}", whole.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn flipped_bytes_never_panic(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = file(VALID.as_bytes(), 22);
        for (at, value) in flips {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(set) = read(&bytes) {
            for t in set.iter() {
                let size = t.dims.iter().product::<u64>() * t.dtype.size() as u64;
                prop_assert_eq!(size, t.bytes.len() as u64);
            }
        }
    }
}

/// The code of the error that loading `folder` gives.
fn refused(folder: &Path) -> &'static str {
    load(folder).map(|_| ()).unwrap_err().code
}

fn whale() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/models/whale-2m")
}

/// A copy of the embedded model with `config.json` edited.
fn edited(edit: impl Fn(&mut serde_json::Map<String, serde_json::Value>)) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["model.safetensors", "tokenizer.json", "tokenizer_config.json"] {
        fs::copy(whale().join(name), folder.path().join(name)).unwrap();
    }
    let mut config: serde_json::Value =
        serde_json::from_slice(&fs::read(whale().join("config.json")).unwrap()).unwrap();
    edit(config.as_object_mut().unwrap());
    fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    folder
}

#[test]
fn configs_that_say_what_is_not_supported() {
    use serde_json::json;
    let cases = [
        ("model_type", json!("mamba"), "arch-unknown"),
        ("model_type", json!(7), "json"),
        ("hidden_size", json!(null), "config"),
        ("hidden_size", json!(0), "arch-size"),
        ("hidden_size", json!(-5), "json"),
        ("hidden_size", json!(200), "arch-shape"),
        ("num_attention_heads", json!(0), "arch-size"),
        ("num_attention_heads", json!(u64::MAX), "arch-size"),
        ("num_key_value_heads", json!(4), "arch-size"),
        ("num_hidden_layers", json!(7), "arch-missing"),
        ("num_hidden_layers", json!(5), "arch-extra"),
        ("num_hidden_layers", json!(1u64 << 40), "arch-size"),
        ("head_dim", json!(31), "arch-unsupported"),
        ("rms_norm_eps", json!(-1.0), "config-unsupported"),
        ("rope_theta", json!(0.0), "arch-size"),
        ("rope_scaling", json!({"type": "yarn", "factor": -4.0}), "arch-size"),
        ("rope_scaling", json!({"type": "proportional", "factor": 4.0}), "arch-unsupported"),
        ("rope_scaling", json!({"rope_type": "linear"}), "config"),
        ("rope_parameters", json!(3), "config-unsupported"),
        ("hidden_act", json!("relu"), "arch-unsupported"),
        ("partial_rotary_factor", json!(0.5), "config-unsupported"),
        ("quantization_config", json!({"quant_method": "gptq"}), "config-unsupported"),
        ("tie_word_embeddings", json!(false), "arch-missing"),
        ("eos_token_id", json!(5000), "token-id"),
    ];
    for (field, value, code) in cases {
        let folder = edited(|c| drop(c.insert(field.into(), value.clone())));
        assert_eq!(refused(folder.path()), code, "{field} = {value}");
    }
}

#[test]
fn supported_scalings_and_windows_change_the_graph() {
    use serde_json::json;
    let text = |edit: &dyn Fn(&mut serde_json::Map<String, serde_json::Value>)| {
        let graph = load(edited(edit).path()).unwrap().graph;
        actc_ir::text::print(&graph)
    };
    let plain = text(&|_| ());
    assert!(plain.contains("style=half") && !plain.contains("factor=") && !plain.contains("window="));
    let linear = text(&|c| drop(c.insert("rope_scaling".into(), json!({"rope_type": "linear", "factor": 4.0}))));
    assert!(linear.contains("factor=4"));
    let llama3 = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 128});
    assert!(text(&|c| drop(c.insert("rope_scaling".into(), llama3.clone()))).contains("@rope_freqs"));
    let yarn = json!({"type": "yarn", "factor": 4.0, "attention_factor": 1.5});
    assert!(text(&|c| drop(c.insert("rope_scaling".into(), yarn.clone()))).contains("magnitude=1.5"));
    assert!(text(&|c| drop(c.insert("sliding_window".into(), json!(64)))).contains("window=64"));
}

#[test]
fn ids_and_templates_come_from_the_files_beside() {
    let folder = edited(|_| ());
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("generation_config.json", r#"{"eos_token_id": [5, 0, 9]}"#);
    write(
        "tokenizer_config.json",
        r#"{"bos_token": {"content": "<|endoftext|>"}, "add_bos_token": true,
            "chat_template": [{"name": "tool", "template": "T"}, {"name": "default", "template": "D"}]}"#,
    );
    let text = load(folder.path()).unwrap().text.unwrap();
    assert_eq!((text.stop.as_slice(), text.bos, text.add_bos), (&[0, 5, 9][..], Some(0), true));
    assert_eq!(text.chat_template.as_deref(), Some("D"));
    write("chat_template.jinja", "J");
    assert_eq!(load(folder.path()).unwrap().text.unwrap().chat_template.as_deref(), Some("J"));
}

#[test]
fn shards_are_joined_and_checked() {
    let folder = edited(|_| ());
    let whole = fs::read(folder.path().join("model.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&whole).unwrap();
    let digest = load(folder.path()).unwrap().source.digest;
    let mut map = serde_json::Map::new();
    let mut shards = [Vec::new(), Vec::new()];
    for (i, (name, view)) in tensors.tensors().into_iter().enumerate() {
        map.insert(name.clone(), format!("part-{}.safetensors", i % 2).into());
        shards[i % 2].push((name, view));
    }
    for (i, shard) in shards.into_iter().enumerate() {
        let bytes = safetensors::serialize(shard, None).unwrap();
        fs::write(folder.path().join(format!("part-{i}.safetensors")), bytes).unwrap();
    }
    fs::remove_file(folder.path().join("model.safetensors")).unwrap();
    let index = |map: &serde_json::Map<String, serde_json::Value>| {
        let text = serde_json::json!({"metadata": {}, "weight_map": map}).to_string();
        fs::write(folder.path().join("model.safetensors.index.json"), text).unwrap();
    };
    index(&map);
    let import = load(folder.path()).unwrap();
    assert_eq!(actc_ir::text::print(&import.graph), actc_ir::text::print(&load(&whale()).unwrap().graph));
    assert_ne!(import.source.digest, digest);

    let with = |name: &str, shard: &str| {
        let mut map = map.clone();
        map.insert(name.into(), shard.into());
        index(&map);
        refused(folder.path())
    };
    let name = "model.norm.weight";
    assert_eq!(with(name, "../part-0.safetensors"), "file-name");
    assert_eq!(with(name, "/etc/hosts.safetensors"), "file-name");
    assert_eq!(with(name, "tokenizer.json"), "safetensors-index");
    assert_eq!(with(name, "part-7.safetensors"), "safetensors-index");
    let other = if map[name] == "part-0.safetensors" { "part-1.safetensors" } else { "part-0.safetensors" };
    assert_eq!(with(name, other), "safetensors-index");
    assert_eq!(with("phantom.weight", "part-0.safetensors"), "safetensors-index");
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("part-0.safetensors", folder.path().join("a-link.safetensors")).unwrap();
        assert_eq!(with(name, "a-link.safetensors"), "file-link");
    }
}

#[test]
fn other_paths_say_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for name in ["a.pth", "a.safetensors", "a.txt"] {
        fs::write(path(name), b"x").unwrap();
        let error = load(&path(name)).unwrap_err();
        assert_eq!((error.code, error.help.is_some()), ("model-format", true), "{name}");
    }
    assert!(load(&path("a.pth")).unwrap_err().headline.contains("pickle"));
    assert_eq!(load(Path::new("HuggingFaceTB/SmolLM2-135M")).unwrap_err().code, "model-format");
    assert_eq!(load(&path("missing.gguf")).unwrap_err().code, "file-missing");
    assert_eq!(refused(folder.path()), "model-format");
    fs::write(path("config.json"), "{\"model_type\": \"llama\"}").unwrap();
    assert_eq!(refused(folder.path()), "no-weights");
    fs::write(path("pytorch_model.bin"), b"x").unwrap();
    assert!(load(folder.path()).unwrap_err().help.unwrap().contains("pickle"));
    fs::write(path("config.json"), "[".repeat(100_000)).unwrap();
    assert_eq!(refused(folder.path()), "json");
}
