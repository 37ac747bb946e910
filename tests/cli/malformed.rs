//! Damaged and hostile files: a typed error each, no panic, no hang.

use super::{Place, path, whale};
use std::fs;

/// Runs actc on a damaged file; it must fail with a diagnostic and without a panic.
#[track_caller]
fn refused(place: &Place, args: &[&str], what: &str) {
    let run = place.run(args);
    let (code, stderr) = (run.output.status.code(), run.stderr());
    assert!(matches!(code, Some(1 | 2)), "{what}: exit {code:?}\n{stderr}");
    assert!(stderr.contains("error["), "{what}: {stderr}");
    assert!(!stderr.contains("panicked"), "{what}: {stderr}");
}

#[test]
fn damaged_artifacts() {
    let place = Place::new();
    place.compile("a.actc", &["--passes", "rtn{bits=4},head{bits=8}"]).ok();
    let whole = fs::read(place.path("a.actc")).unwrap();
    let check = |bytes: &[u8], what: &str| {
        fs::write(place.path("b.actc"), bytes).unwrap();
        refused(&place, &["inspect", "b.actc"], what);
        refused(&place, &["generate", "b.actc", "-p", "a", "-n", "1"], what);
    };
    for length in [0, 3, 4, 8, 31, 100, 4095, 4096, 5000, whole.len() / 2, whole.len() - 1] {
        check(&whole[..length], &format!("cut to {length} bytes"));
    }
    // Bytes 12 to 15, the ABI of the code sections, only matter to who runs these.
    for at in [4, 8, 16, 24, 40, 64, 72, 90, 4096, 8000, whole.len() / 2, whole.len() - 10] {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x55;
        check(&bytes, &format!("byte {at} changed"));
    }
    let longer = [&whole[..], &[0; 64]].concat();
    check(&longer, "64 bytes behind the end");
}

#[test]
fn damaged_model_folders() {
    let place = Place::new();
    let folder = place.path("model");
    let files = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];
    let copy = || {
        fs::create_dir_all(&folder).unwrap();
        for f in files {
            fs::copy(whale().join(f), folder.join(f)).unwrap();
        }
    };
    let compile = ["compile", path(&folder), "-o", "x.actc"];
    for file in &files[..3] {
        copy();
        fs::remove_file(folder.join(file)).unwrap();
        if *file != "tokenizer.json" {
            refused(&place, &compile, &format!("without {file}"));
        }
        for (what, bytes) in [("empty", &b""[..]), ("text", b"hello"), ("list", b"[]"), ("deep", &[b'['; 4000])] {
            copy();
            fs::write(folder.join(file), bytes).unwrap();
            refused(&place, &compile, &format!("{file} is {what}"));
        }
        copy();
        let whole = fs::read(folder.join(file)).unwrap();
        fs::write(folder.join(file), &whole[..whole.len() / 2]).unwrap();
        refused(&place, &compile, &format!("half of {file}"));
    }
    for (from, to) in [
        ("\"hidden_size\": 192", "\"hidden_size\": 193"),
        ("\"hidden_size\": 192", "\"hidden_size\": 0"),
        ("\"num_hidden_layers\": 6", "\"num_hidden_layers\": 4000000000"),
        ("\"num_attention_heads\": 6", "\"num_attention_heads\": 5"),
        ("\"vocab_size\": 2048", "\"vocab_size\": -1"),
        ("\"model_type\": \"llama\"", "\"model_type\": \"nobody\""),
        ("\"rms_norm_eps\": 1e-05", "\"rms_norm_eps\": \"x\""),
    ] {
        copy();
        let config = fs::read_to_string(folder.join("config.json")).unwrap();
        assert!(config.contains(from), "the config has {from}");
        fs::write(folder.join("config.json"), config.replace(from, to)).unwrap();
        refused(&place, &compile, to);
    }
    copy();
    let weights = fs::read(folder.join("model.safetensors")).unwrap();
    for (what, header) in [
        ("a header of 2^63 bytes", u64::MAX / 2),
        ("a header longer than the file", weights.len() as u64),
        ("a header of no bytes", 0),
    ] {
        let mut bytes = weights.clone();
        bytes[..8].copy_from_slice(&header.to_le_bytes());
        fs::write(folder.join("model.safetensors"), bytes).unwrap();
        refused(&place, &compile, what);
    }
    assert!(!place.path("x.actc").exists());
}

#[test]
fn damaged_gguf_files() {
    let place = Place::new();
    let string = |s: &str| [&(s.len() as u64).to_le_bytes()[..], s.as_bytes()].concat();
    let head = |version: u32, tensors: u64, pairs: u64| {
        [&b"GGUF"[..], &version.to_le_bytes(), &tensors.to_le_bytes(), &pairs.to_le_bytes()].concat()
    };
    let architecture = [string("general.architecture"), 8u32.to_le_bytes().to_vec(), string("llama")].concat();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", vec![]),
        ("only the magic", b"GGUF".to_vec()),
        ("another magic", b"GGML\x03\0\0\0".to_vec()),
        ("version 99", head(99, 0, 0)),
        ("no metadata", head(3, 0, 0)),
        ("2^63 tensors", head(3, 1 << 63, 0)),
        ("2^40 pairs", head(3, 0, 1 << 40)),
        ("only an architecture", [head(3, 0, 1), architecture.clone()].concat()),
        ("a name of 2^62 bytes", [head(3, 0, 1), (1u64 << 62).to_le_bytes().to_vec()].concat()),
        ("an unknown type", [head(3, 0, 1), string("k"), 77u32.to_le_bytes().to_vec()].concat()),
        (
            "an array of 2^60 numbers",
            [
                head(3, 0, 1),
                string("k"),
                9u32.to_le_bytes().to_vec(),
                4u32.to_le_bytes().to_vec(),
                (1u64 << 60).to_le_bytes().to_vec(),
            ]
            .concat(),
        ),
        (
            "a tensor outside the file",
            [
                head(3, 1, 1),
                architecture,
                string("token_embd.weight"),
                2u32.to_le_bytes().to_vec(),
                (1u64 << 40).to_le_bytes().to_vec(),
                (1u64 << 40).to_le_bytes().to_vec(),
                0u32.to_le_bytes().to_vec(),
                (1u64 << 50).to_le_bytes().to_vec(),
            ]
            .concat(),
        ),
    ];
    for (what, bytes) in cases {
        fs::write(place.path("m.gguf"), bytes).unwrap();
        refused(&place, &["compile", "m.gguf", "-o", "x.actc"], what);
        refused(&place, &["inspect", "m.gguf"], what);
    }
}

#[test]
fn damaged_tensors_and_graphs() {
    let place = Place::new();
    place.compile("a.actc", &[]).ok();
    for (what, bytes) in [("empty", &b""[..]), ("no header", b"\x93NUMPY\x01\0"), ("text", b"hello world")] {
        fs::write(place.path("t.npy"), bytes).unwrap();
        refused(&place, &["run", "a.actc", "--input", "tokens=t.npy"], what);
    }
    for text in ["", "air 1", "air 1\ngraph @g(", "air 1\ngraph @g(%x: f32[99999999999999999999]) {\n return\n}"] {
        fs::write(place.path("g.air"), text).unwrap();
        refused(&place, &["opt", "g.air", "--passes", "clean"], text);
    }
    fs::write(place.path("bad.jsonl"), "{\"text\": \"a\"}\n{\"text\"").unwrap();
    let args = ["--passes", "calibrate", "--calib", "bad.jsonl"];
    place.compile("x.actc", &args).fails(2, "calib-jsonl");
}
