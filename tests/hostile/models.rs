//! Attacks through model files: GGUF, safetensors folders, and files that are neither.

use crate::files::{Gguf, STRING, U32, one_tensor, safetensors};
use crate::{Attack, answered, attack};
use actc::frontend::load;
use actc_types::Diagnostic;
use std::path::{Path, PathBuf};

fn whale(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models/whale-2m").join(file)
}

fn import(path: &Path) -> Result<(), Diagnostic> {
    load(path).map(|_| ())
}

#[test]
fn safetensors_headers() {
    let f32s = |shape: &str, start, end, data| safetensors(&one_tensor("F32", shape, start, end), data);
    let two = |a: &str, b: &str| {
        let tensor = |name: &str, at: &str| format!(r#""{name}":{{"dtype":"F32","shape":[4],"data_offsets":[{at}]}}"#);
        safetensors(&format!("{{{},{}}}", tensor("t", a), tensor(if a == b { "t" } else { "u" }, b)), 32)
    };
    let attacks: Vec<Attack<Vec<u8>>> = vec![
        attack("S11", "a header over 100 MB", 100_000_001u64.to_le_bytes().to_vec(), "safetensors-header"),
        attack("S11", "a header of 2^64 bytes", u64::MAX.to_le_bytes().to_vec(), "safetensors-header"),
        attack("S11", "a header past the end", 50_000_000u64.to_le_bytes().to_vec(), "safetensors-truncated"),
        attack("S11", "no UTF-8", [&7u64.to_le_bytes()[..], b"{\"\xff\":1}"].concat(), "safetensors-utf8"),
        attack("S11", "no JSON", safetensors("{\"t\":", 0), "safetensors-json"),
        attack("S11", "a name twice", two("0,16", "0,16"), "safetensors-names"),
        attack("S11", "overlap", two("0,16", "8,24"), "safetensors-layout"),
        attack("S11", "a hole", two("0,16", "20,36"), "safetensors-layout"),
        attack("S11", "trailing bytes", f32s("4", 0, 16, 20), "safetensors-layout"),
        attack("S11", "too few bytes", f32s("4", 0, 16, 12), "safetensors-layout"),
        attack("S11", "an end past the file", f32s("8", 0, 32, 16), "safetensors-layout"),
        attack("S11", "a size that wraps", f32s("4611686018427387905,4", 0, 16, 16), "safetensors-layout"),
        attack("S11", "half a byte", safetensors(&one_tensor("F4", "3", 0, 2), 2), "safetensors-layout"),
        attack("S11", "a ZIP behind its header", safetensors("PK\x03\x04", 8), "safetensors-json"),
        attack("S12", "I32 bytes called I64", safetensors(&one_tensor("I64", "4", 0, 16), 16), "safetensors-layout"),
        attack(
            "S12",
            "a type that nothing maps",
            safetensors(&one_tensor("F8_E4M3", "16", 0, 16), 16),
            "safetensors-types",
        ),
    ];
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::copy(whale("config.json"), folder.path().join("config.json")).expect("a copy");
    answered(attacks, |bytes| {
        std::fs::write(folder.path().join("model.safetensors"), bytes).expect("a file is written");
        import(folder.path())
    });
}

#[test]
fn gguf_files() {
    let none = || Gguf::new(0, 1);
    let one = |dims: &[u64], code, offset| Gguf::new(1, 0).tensor("t", dims, code, offset).data(256).0;
    let with = |file: Gguf| file.raw(&[0; 256]).0;
    let two = |second: &str, at| Gguf::new(2, 0).tensor("t", &[8], 0, 0).tensor(second, &[8], 0, at).data(64).0;
    let attacks: Vec<Attack<Vec<u8>>> = vec![
        attack("S13", "2^32 x 2^32 elements are 0 bytes", one(&[1 << 32, 1 << 32], 0, 0), "gguf-size"),
        attack("S13", "rows that wrap", one(&[1, 1 << 40, 1 << 40], 0, 0), "gguf-size"),
        attack("S13", "a row that is no whole block", one(&[31, 2], 8, 0), "gguf-row"),
        attack("S13", "an offset behind the file", one(&[4], 0, 1 << 40), "gguf-offset"),
        attack("S13", "tensors that share bytes", two("u", 0), "gguf-offset"),
        attack("S13", "more bytes than the file", one(&[1000], 0, 0), "gguf-truncated"),
        attack("S14", "2^64 tensors", with(Gguf::new(u64::MAX, 0)), "gguf-count"),
        attack("S14", "2^64 keys", with(Gguf::new(0, u64::MAX)), "gguf-count"),
        attack("S14", "a key of 2^64 bytes", with(none().u64(u64::MAX)), "gguf-truncated"),
        attack("S14", "a text of 2^63 bytes", with(none().key("k", STRING).u64(1 << 63)), "gguf-truncated"),
        attack("S14", "an array of 2^62 numbers", with(none().array("k", U32, 1 << 62)), "gguf-count"),
        attack("S14", "an array of 2^40 texts", with(none().array("k", STRING, 1 << 40)), "gguf-count"),
        attack("S15", "a tensor at an odd offset", one(&[4], 0, 1), "gguf-offset"),
        attack("S15", "alignment 3", with(none().number("general.alignment", 3)), "gguf-alignment"),
        attack("S17", "magic", [b"GGML".as_slice(), &[3, 0, 0, 0], &[0; 64]].concat(), "gguf-magic"),
        attack("S17", "version 77", [b"GGUF".as_slice(), &[77, 0, 0, 0], &[0; 64]].concat(), "gguf-version"),
        attack("S17", "big-endian", [b"GGUF".as_slice(), &[0, 0, 0, 3], &[0; 64]].concat(), "gguf-endianness"),
        attack("S17", "a key twice", with(Gguf::new(0, 2).number("k", 1).number("k", 1)), "gguf-key-duplicate"),
        attack("S17", "a tensor twice", two("t", 32), "tensor-duplicate"),
        attack("S17", "alignment 0", with(none().number("general.alignment", 0)), "gguf-alignment"),
        attack("S17", "alignment as a text", with(none().text("general.alignment", "32")), "gguf-metadata"),
        attack("S17", "five dimensions", one(&[1; 5], 0, 0), "gguf-dims"),
        attack("S17", "2^32 dimensions", with(Gguf::new(1, 0).string("t").u32(u32::MAX)), "gguf-dims"),
        attack("S17", "a dimension of zero", one(&[4, 0], 0, 0), "gguf-dims"),
        attack("S17", "an unknown type of tensor", one(&[4], 9999, 0), "gguf-types"),
        attack("S17", "an unknown type of value", with(none().key("k", 99)), "gguf-value-type"),
        attack("S24", "arrays of arrays", with(none().array("k", 9, 1).u32(9).u64(1)), "gguf-nested-array"),
    ];
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.gguf");
    answered(attacks, |bytes| {
        std::fs::write(&path, bytes).expect("a file is written");
        import(&path)
    });
}

/// The embedded model with its files changed by `change`.
fn changed_whale(change: impl FnOnce(&Path)) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(whale(name), folder.path().join(name)).expect("a copy");
    }
    change(folder.path());
    folder
}

fn replace(file: &'static str, from: &'static str, to: String) -> impl FnOnce(&Path) {
    move |folder: &Path| {
        let path = folder.join(file);
        let text = std::fs::read_to_string(&path).expect("a text");
        assert!(text.contains(from), "{file} has {from}");
        std::fs::write(path, text.replacen(from, &to, 1)).expect("a file is written");
    }
}

#[test]
fn ids_that_reach_outside() {
    let id = |key: &'static str, id: &str| changed_whale(replace("config.json", key, format!("{key} {id},\n \"x\":")));
    // The id counts where no file beside it names the token.
    let bos = id("\"bos_token_id\":", "4294967296");
    std::fs::write(bos.path().join("tokenizer_config.json"), "{}").expect("a file is written");
    let attacks = vec![
        attack("S16", "the first id behind the vocabulary", id("\"eos_token_id\":", "2048"), "token-id"),
        attack("S16", "a beginning behind the vocabulary", bos, "token-id"),
        attack("S16", "a negative id", id("\"eos_token_id\":", "-1"), "json"),
        attack("S16", "2^64", id("\"eos_token_id\":", "18446744073709551616"), "json"),
    ];
    answered(attacks, |folder| import(folder.path()));
}

#[test]
fn files_that_are_not_what_they_seem() {
    let index = |shard: &str| format!(r#"{{"weight_map":{{"t":"{shard}"}}}}"#);
    let shard = |name: &'static str| {
        changed_whale(move |f| std::fs::write(f.join("model.safetensors.index.json"), index(name)).expect("written"))
    };
    let pickle = changed_whale(|f| {
        std::fs::rename(f.join("model.safetensors"), f.join("pytorch_model.bin")).expect("renamed");
    });
    let mut attacks = vec![
        attack("S21", "a folder with a pickle", pickle, "no-weights"),
        attack("S22", "a shard above the folder", shard("../model.safetensors"), "file-name"),
        attack("S22", "a shard at an absolute path", shard("/etc/x.safetensors"), "file-name"),
        attack("S22", "a shard with a drive", shard("C:x.safetensors"), "file-name"),
        attack("S22", "a shard with a zero byte", shard("x\\u0000.safetensors"), "file-name"),
        attack("S22", "a shard that is no safetensors file", shard("x.tar"), "safetensors-index"),
    ];
    #[cfg(unix)]
    attacks.push(attack(
        "S19",
        "a file of the folder is a link to another",
        changed_whale(|f| {
            std::fs::remove_file(f.join("model.safetensors")).expect("removed");
            std::os::unix::fs::symlink(whale("model.safetensors"), f.join("model.safetensors")).expect("linked");
        }),
        "file-link",
    ));
    answered(attacks, |folder| import(folder.path()));

    let folder = tempfile::tempdir().expect("a folder");
    let named = vec![
        attack("S21", "a pickle", "model.pth", "model-format"),
        attack("S21", "a pickle by another name", "model.bin", "model-format"),
        attack("S21", "a pickle of OWQ", "checkpoint.pkl", "model-format"),
        attack("S22", "a bundle", "model.tgz", "model-format"),
        attack("S22", "an archive", "model.zip", "model-format"),
        attack("S22", "an archive called a model", "model.gguf", "gguf-magic"),
    ];
    answered(named, |name| {
        let path = folder.path().join(name);
        std::fs::write(&path, b"PK\x03\x04 and so on, long enough to hold a header").expect("written");
        import(&path)
    });
}

/// A header of odd length puts every tensor at an odd address. The model is the same.
#[test]
fn odd_addresses_are_read() {
    let plain = load(&whale("")).expect("the embedded model loads");
    let shifted = changed_whale(|folder| {
        let path = folder.join("model.safetensors");
        let bytes = std::fs::read(&path).expect("the weights");
        let (length, rest) = bytes.split_first_chunk::<8>().expect("a header");
        let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
        let spaces = if header.len() % 2 == 0 { " " } else { "  " };
        let header = [header, spaces.as_bytes()].concat();
        let length = (header.len() as u64).to_le_bytes();
        std::fs::write(path, [&length[..], &header, data].concat()).expect("written");
    });
    let odd = load(shifted.path()).expect("the same model loads");
    let all = |graph: &actc::ir::Graph| graph.constants().map(|(_, c)| c.parts.clone()).collect::<Vec<_>>();
    assert_eq!(all(&plain.graph).len(), all(&odd.graph).len());
    for (a, b) in all(&plain.graph).iter().zip(&all(&odd.graph)) {
        assert!(a == b, "a constant differs");
    }
    assert!(all(&odd.graph).iter().flatten().any(|(_, bytes)| bytes.as_ptr().addr() % 2 == 1), "one lies oddly");
    let mut rows = [vec![0.0; 192], vec![0.0; 192]];
    for (graph, row) in [&plain.graph, &odd.graph].into_iter().zip(&mut rows) {
        let table = graph.constants().map(|(_, c)| c).find(|c| c.ty.shape.as_fixed() == Some(vec![2048, 192]));
        table.expect("an embedding").view().expect("a matrix").row(77, row);
    }
    assert!(rows[0] == rows[1] && rows[0].iter().any(|x| *x != 0.0));
}
