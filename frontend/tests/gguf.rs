//! The GGUF reader against files that are wrong in every way we know of: each is refused with its code, none panics.

#[allow(dead_code, reason = "each test crate uses a part of the writer")]
mod writer;

use actc_frontend::gguf::{File, Version};
use actc_types::{DType, Encoding};
use bytes::Bytes;
use proptest::prelude::*;
use writer::{ARRAY, BOOL, F32, STRING, U32, Writer};

fn parse(bytes: &[u8]) -> actc_types::Result<File> {
    File::parse(&Bytes::copy_from_slice(bytes), "test.gguf")
}

/// Three pairs and two tensors: `a` f32 [3, 2] and `b` q8_0 [2, 32].
fn valid(version: u32) -> Vec<u8> {
    let mut w = Writer::new(version, 2, 3);
    w.number("general.alignment", 32);
    w.array("words", STRING, 3).string(b"one").string("zwei \u{2581}".as_bytes()).string(b"");
    w.key("flag", BOOL).raw(&[1]);
    w.tensor("a", &[2, 3], 0, 0);
    w.tensor("b", &[32, 2], 8, 32);
    w.pad(32);
    for i in 0..6 {
        w.raw(&(i as f32).to_le_bytes());
    }
    w.pad(32);
    for block in 0..2u8 {
        // 1.0 in half precision, then the codes.
        w.raw(&[0x00, 0x3c]).raw(&[block; 32]);
    }
    w.bytes
}

#[test]
fn all_versions_are_read() {
    for (number, version) in [(1, Version::V1), (2, Version::V2), (3, Version::V3)] {
        let file = parse(&valid(number)).unwrap();
        assert_eq!(file.version, version);
        let words = file.metadata.array("words").unwrap().unwrap();
        assert_eq!(words.strings().unwrap().collect::<Vec<_>>(), ["one", "zwei \u{2581}", ""]);
        assert!(words.integers().is_none() && words.floats().is_none() && words.bools().is_none());
        assert_eq!(file.metadata.boolean("flag").unwrap(), Some(true));
        assert_eq!(file.metadata.unsigned("flag").unwrap_err().code, "gguf-metadata");
        let a = file.tensors.get("a").unwrap();
        assert_eq!((a.dtype, &a.encoding, a.dims.as_slice()), (DType::F32, &Encoding::Dense, &[3, 2][..]));
        assert_eq!(a.bytes[20..24], 5f32.to_le_bytes());
        let b = file.tensors.get("b").unwrap();
        assert_eq!((b.encoding.to_string().as_str(), b.dims.as_slice()), ("q8_0", &[2, 32][..]));
        assert_eq!((b.bytes.len(), b.bytes[67], b.matrix()), (68, 1, (2, 32)));
    }
}

/// A file with `pairs` written by `write` and no tensor.
fn with_pairs(pairs: u64, write: impl for<'a> Fn(&'a mut Writer) -> &'a mut Writer) -> Vec<u8> {
    let mut w = Writer::new(3, 0, pairs);
    write(&mut w);
    // Room for whatever counts promise.
    w.raw(&[0; 256]).bytes.clone()
}

/// A file with `tensors` written by `write` and `data` bytes behind.
fn with_tensors(tensors: u64, data: usize, write: impl for<'a> Fn(&'a mut Writer) -> &'a mut Writer) -> Vec<u8> {
    let mut w = Writer::new(3, tensors, 0);
    write(&mut w);
    w.pad(32);
    let length = w.bytes.len() + data;
    w.bytes.resize(length, 0);
    w.bytes
}

fn head(magic: &[u8], version: u32) -> Vec<u8> {
    [magic, &version.to_le_bytes(), &[0; 64]].concat()
}

#[test]
fn malformed_headers_and_metadata() {
    let huge = u64::MAX;
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("empty", vec![], "gguf-truncated"),
        ("three bytes", b"GGU".to_vec(), "gguf-truncated"),
        ("magic", head(b"GGML", 3), "gguf-magic"),
        ("version 0", head(b"GGUF", 0), "gguf-version"),
        ("version 4", head(b"GGUF", 4), "gguf-version"),
        ("big-endian", head(b"GGUF", 3u32.swap_bytes()), "gguf-endianness"),
        ("no counts", b"GGUF\x03\0\0\0".to_vec(), "gguf-truncated"),
        ("tensor count", Writer::new(3, huge, 0).raw(&[0; 64]).bytes.clone(), "gguf-count"),
        ("tensor count that wraps", Writer::new(3, 1 << 61, 0).raw(&[0; 64]).bytes.clone(), "gguf-count"),
        ("pair count", Writer::new(3, 0, huge).raw(&[0; 64]).bytes.clone(), "gguf-count"),
        ("pair count above the limit", Writer::new(3, 0, 70_000).raw(&[0; 1 << 20]).bytes.clone(), "gguf-count"),
        ("key length", with_pairs(1, |w| w.u64(huge)), "gguf-truncated"),
        ("key empty", with_pairs(1, |w| w.string(b"").u32(U32).u32(1)), "gguf-name"),
        ("key too long", with_pairs(1, |w| w.string(&[b'k'; 65536]).u32(U32).u32(1)), "gguf-name"),
        ("key no UTF-8", with_pairs(1, |w| w.string(b"a\xff").u32(U32).u32(1)), "gguf-utf8"),
        ("key twice", with_pairs(2, |w| w.number("k", 1).number("k", 1)), "gguf-key-duplicate"),
        ("value type", with_pairs(1, |w| w.key("k", 13).u32(1)), "gguf-value-type"),
        ("string length", with_pairs(1, |w| w.key("k", STRING).u64(huge)), "gguf-truncated"),
        ("string no UTF-8", with_pairs(1, |w| w.key("k", STRING).string(b"\xc3\x28")), "gguf-utf8"),
        ("boolean 2", with_pairs(1, |w| w.key("k", BOOL).raw(&[2])), "gguf-bool"),
        ("boolean 2 in an array", with_pairs(1, |w| w.array("k", BOOL, 2).raw(&[0, 2])), "gguf-bool"),
        ("array length", with_pairs(1, |w| w.array("k", U32, huge)), "gguf-count"),
        ("array length that wraps", with_pairs(1, |w| w.array("k", U32, 1 << 62)), "gguf-count"),
        ("string array length", with_pairs(1, |w| w.array("k", STRING, 1 << 40)), "gguf-count"),
        ("array type", with_pairs(1, |w| w.array("k", 99, 1)), "gguf-value-type"),
        ("array of arrays", with_pairs(1, |w| w.array("k", ARRAY, 1).u32(U32).u64(1).u32(7)), "gguf-nested-array"),
        ("alignment 0", with_pairs(1, |w| w.number("general.alignment", 0)), "gguf-alignment"),
        ("alignment 24", with_pairs(1, |w| w.number("general.alignment", 24)), "gguf-alignment"),
        ("alignment huge", with_pairs(1, |w| w.number("general.alignment", 1 << 31)), "gguf-alignment"),
        ("alignment type", with_pairs(1, |w| w.text("general.alignment", "32")), "gguf-metadata"),
        ("alignment float", with_pairs(1, |w| w.float("general.alignment", 32.0)), "gguf-metadata"),
    ];
    for (label, bytes, code) in cases {
        assert_eq!(parse(&bytes).map(|_| ()).map_err(|e| e.code), Err(code), "{label}");
    }
}

#[test]
fn malformed_directories() {
    let name = "n".repeat(1025);
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("name empty", with_tensors(1, 64, |w| w.tensor("", &[4], 0, 0)), "gguf-name"),
        ("name too long", with_tensors(1, 64, |w| w.tensor(&name, &[4], 0, 0)), "gguf-name"),
        ("name no UTF-8", with_tensors(1, 64, |w| w.string(b"\xff").u32(1).u64(4).u32(0).u64(0)), "gguf-utf8"),
        ("name twice", with_tensors(2, 64, |w| w.tensor("t", &[8], 0, 0).tensor("t", &[8], 0, 32)), "tensor-duplicate"),
        ("five dimensions", with_tensors(1, 64, |w| w.tensor("t", &[1; 5], 0, 0)), "gguf-dims"),
        ("rank huge", with_tensors(1, 64, |w| w.string(b"t").u32(u32::MAX)), "gguf-dims"),
        ("zero dimension", with_tensors(1, 64, |w| w.tensor("t", &[4, 0], 0, 0)), "gguf-dims"),
        ("dimension huge", with_tensors(1, 64, |w| w.tensor("t", &[u64::MAX], 0, 0)), "gguf-dims"),
        // CVE-2026-33298: a product that wraps to a small number.
        ("size wraps", with_tensors(1, 64, |w| w.tensor("t", &[1 << 32, 1 << 32], 0, 0)), "gguf-size"),
        ("rows wrap", with_tensors(1, 64, |w| w.tensor("t", &[1, 1 << 40, 1 << 40], 0, 0)), "gguf-size"),
        ("row of 31", with_tensors(1, 64, |w| w.tensor("t", &[31, 2], 8, 0)), "gguf-row"),
        ("row of 128 in k-quants", with_tensors(1, 256, |w| w.tensor("t", &[128], 12, 0)), "gguf-row"),
        ("past the end", with_tensors(1, 60, |w| w.tensor("t", &[16], 0, 0)), "gguf-truncated"),
        ("offset past the end", with_tensors(1, 64, |w| w.tensor("t", &[4], 0, 1 << 40)), "gguf-offset"),
        ("offset misaligned", with_tensors(1, 64, |w| w.tensor("t", &[4], 0, 4)), "gguf-offset"),
        ("hole", with_tensors(1, 96, |w| w.tensor("t", &[4], 0, 32)), "gguf-offset"),
        ("overlap", with_tensors(2, 96, |w| w.tensor("t", &[16], 0, 0).tensor("u", &[4], 0, 32)), "gguf-offset"),
        ("out of order", with_tensors(2, 96, |w| w.tensor("t", &[8], 0, 32).tensor("u", &[8], 0, 0)), "gguf-offset"),
        ("directory cut off", with_tensors(2, 64, |w| w.tensor("t", &[4], 0, 0)), "gguf-name"),
        (
            "old block layout",
            {
                let mut w = Writer::new(3, 1, 1);
                w.number("general.quantization_version", 1).tensor("t", &[32], 2, 0).pad(32).raw(&[0; 32]);
                w.bytes
            },
            "gguf-quantization-version",
        ),
    ];
    for (label, bytes, code) in cases {
        assert_eq!(parse(&bytes).map(|_| ()).map_err(|e| e.code), Err(code), "{label}");
    }
}

#[test]
fn types_without_an_encoding_are_named_together() {
    let bytes = with_tensors(4, 0, |w| {
        w.tensor("a", &[256], 16, 0).tensor("b", &[256], 16, 96).tensor("c", &[32], 20, 192).tensor("d", &[1], 77, 224)
    });
    let error = parse(&bytes).unwrap_err();
    assert_eq!(error.code, "gguf-types");
    for part in ["IQ2_XXS (2, first `a`)", "IQ4_NL (1, first `c`)", "number 77 (1, first `d`)"] {
        assert!(error.headline.contains(part), "{error}");
    }
}

#[test]
fn every_truncation_is_refused() {
    for version in 1..=3 {
        let whole = valid(version);
        for length in 0..whole.len() {
            let error = parse(&whole[..length]).map(|_| ()).unwrap_err();
            assert!(["gguf-truncated", "gguf-count"].contains(&error.code), "{length} of {}: {error}", whole.len());
        }
    }
}

#[test]
fn findings_name_the_byte() {
    let mut bytes = valid(3);
    bytes[4] = 9;
    let error = parse(&bytes).unwrap_err();
    assert_eq!(
        error.to_string(),
        "error[gguf-version]: GGUF version 9, supported are 1 to 3\n  in test.gguf at byte 4"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn flipped_bytes_never_panic(
        version in 1u32..=3,
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = valid(version);
        for (at, value) in flips {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        // What is accepted is consistent: every tensor decodes.
        if let Ok(file) = parse(&bytes) {
            for t in file.tensors.iter() {
                let (rows, cols) = t.matrix();
                prop_assert_eq!(t.encoding.stored_bytes(t.dtype, rows as usize, cols as usize).unwrap(), t.bytes.len() as u64);
            }
            for key in ["words", "flag", "general.alignment"] {
                if let Ok(Some(array)) = file.metadata.array(key) {
                    let n = array.strings().map(Iterator::count).or(array.integers().map(Iterator::count))
                        .or(array.floats().map(Iterator::count)).or(array.bools().map(Iterator::count));
                    prop_assert_eq!(n, Some(array.len() as usize));
                }
            }
        }
    }
}

#[test]
fn a_float_key_is_no_integer() {
    let bytes = with_pairs(2, |w| w.float("x", f32::NAN).key("y", F32).raw(&1.5f32.to_le_bytes()));
    let file = parse(&bytes).unwrap();
    assert_eq!(file.metadata.float("x").unwrap_err().code, "gguf-metadata");
    assert_eq!(file.metadata.float("y").unwrap(), Some(1.5));
    assert_eq!(file.metadata.unsigned("y").unwrap_err().code, "gguf-metadata");
}

/// The three parts of a split model that llama.cpp's own package wrote.
const PARTS: [&str; 3] = ["model-00001-of-00003.gguf", "model-00002-of-00003.gguf", "model-00003-of-00003.gguf"];

#[test]
fn split_models_are_joined_and_checked() {
    let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/models/tiny/gpt2");
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let restore = || PARTS.iter().for_each(|p| assert!(std::fs::copy(source.join(p), path(p)).unwrap() > 0));
    let code = |name: &str| actc_frontend::load(&path(name)).map(|_| ()).unwrap_err().code;
    restore();
    let import = actc_frontend::load(&path(PARTS[0])).unwrap();
    let bytes: u64 = PARTS.iter().map(|p| path(p).metadata().unwrap().len()).sum();
    assert_eq!(
        (import.source.bytes, import.source.name.as_str(), import.source.family),
        (bytes, "model", Some("gpt2"))
    );
    assert_eq!(import.graph.constants().len(), 2 * 16 + 4);

    // Not the first part; a name that says something else; a name without a number.
    assert_eq!(code(PARTS[1]), "gguf-split");
    std::fs::rename(path(PARTS[0]), path("model-00002-of-00003.gguf")).unwrap();
    assert_eq!(code(PARTS[1]), "gguf-split");
    std::fs::rename(path(PARTS[1]), path("model.gguf")).unwrap();
    assert_eq!(code("model.gguf"), "gguf-split");
    // A part is missing, is another one, is of another model, is damaged.
    restore();
    std::fs::remove_file(path(PARTS[2])).unwrap();
    assert_eq!(code(PARTS[0]), "gguf-split");
    std::fs::copy(path(PARTS[1]), path(PARTS[2])).unwrap();
    assert_eq!(code(PARTS[0]), "gguf-split");
    let mut other = Writer::new(3, 0, 3);
    other.number("split.no", 2).number("split.count", 3).number("split.tensors.count", 9);
    std::fs::write(path(PARTS[2]), &other.bytes).unwrap();
    assert_eq!(code(PARTS[0]), "gguf-split");
    std::fs::write(path(PARTS[2]), b"GGUF").unwrap();
    assert_eq!(code(PARTS[0]), "gguf-truncated");
    // The same tensors twice, and none of the last ones.
    let mut twice = Writer::new(3, 1, 3);
    twice.number("split.no", 2).number("split.count", 3).number("split.tensors.count", 28);
    twice.tensor("token_embd.weight", &[4], 0, 0).pad(32).raw(&[0; 32]);
    std::fs::write(path(PARTS[2]), &twice.bytes).unwrap();
    assert_eq!(code(PARTS[0]), "tensor-duplicate");
    let mut none = Writer::new(3, 0, 3);
    none.number("split.no", 2).number("split.count", 3).number("split.tensors.count", 28);
    std::fs::write(path(PARTS[2]), &none.bytes).unwrap();
    assert_eq!(code(PARTS[0]), "gguf-split");
    // A first part that promises more parts than a name can count.
    let mut huge = Writer::new(3, 0, 2);
    huge.number("split.no", 0).number("split.count", u32::MAX);
    std::fs::write(path(PARTS[0]), &huge.bytes).unwrap();
    assert_eq!(code(PARTS[0]), "gguf-split");
}
