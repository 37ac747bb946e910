//! Tokenizers from the files of older formats, against the ids that their own libraries gave (see
//! `tests/scripts/tokenizer_goldens.py`) and against the same tokenizer in `tokenizer.json`.

use actc::text::{Tokenizer, to_json};
use actc_frontend::{TextModel, load};
use serde::Deserialize;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

#[derive(Deserialize)]
struct Golden {
    text: String,
    unigram: Vec<u32>,
    merging: Vec<u32>,
    words: Vec<u32>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

fn goldens() -> Vec<Golden> {
    serde_json::from_slice(&fs::read(root().join("data/tokenizers/golden.json")).unwrap()).unwrap()
}

/// The text model of the embedded model's weights beside `files` instead of its own tokenizer.
fn text_model(files: &[(&str, Vec<u8>)]) -> actc::types::Result<TextModel> {
    let folder = tempfile::tempdir().unwrap();
    for name in ["config.json", "model.safetensors"] {
        fs::copy(root().join("models/whale-2m").join(name), folder.path().join(name)).unwrap();
    }
    for (name, bytes) in files {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    load(folder.path()).map(|import| import.text.unwrap())
}

fn stored(name: &str) -> Vec<u8> {
    fs::read(root().join("data/tokenizers").join(name)).unwrap()
}

fn tokenizer(text: &TextModel) -> Tokenizer {
    Tokenizer::from_json(&to_json(&text.tokenizer).unwrap()).unwrap()
}

/// Texts that hold the literal form of a special token: here such a form is the token, in `sentencepiece` it is text.
fn names_a_special(text: &str) -> bool {
    text.contains("<s>")
}

fn compare(name: &str, tokenizer: &Tokenizer, wanted: impl Fn(&Golden) -> &[u32]) {
    let goldens = goldens();
    assert!(goldens.len() > 30);
    for golden in goldens.iter().filter(|g| !names_a_special(&g.text)) {
        let ids = tokenizer.encode(&golden.text).unwrap();
        assert_eq!(ids, wanted(golden), "{name}: {:?}", golden.text);
    }
}

#[test]
fn sentencepiece_unigram() {
    let text = text_model(&[("tokenizer.model", stored("unigram.model"))]).unwrap();
    assert_eq!((text.bos, text.add_bos), (Some(0), false));
    compare("unigram", &tokenizer(&text), |g| &g.unigram);
}

#[test]
fn sentencepiece_by_merging() {
    let words = json!({"bos_token": "<s>", "eos_token": {"content": "</s>"}});
    let files =
        [("tokenizer.model", stored("merging.model")), ("tokenizer_config.json", words.to_string().into_bytes())];
    let text = text_model(&files).unwrap();
    assert_eq!((text.bos, text.eos, text.add_bos), (Some(1), Some(2), true));
    let tokenizer = tokenizer(&text);
    compare("merging", &tokenizer, |g| &g.merging);
    let ids = tokenizer.encode("The report of the caf\u{e9}.").unwrap();
    assert_eq!(tokenizer.decode(&ids).unwrap(), "The report of the caf\u{e9}.");
}

#[test]
fn word_piece() {
    let text = text_model(&[("vocab.txt", stored("vocab.txt"))]).unwrap();
    compare("words", &tokenizer(&text), |g| &g.words);
    let cased = json!({"do_lower_case": false}).to_string().into_bytes();
    let text = text_model(&[("vocab.txt", stored("vocab.txt")), ("tokenizer_config.json", cased)]).unwrap();
    let (upper, lower) = (tokenizer(&text).encode("NATION").unwrap(), tokenizer(&text).encode("nation").unwrap());
    assert_ne!(upper, lower);
}

/// A GGUF file of metadata alone: a string, a number, a list of strings and one of numbers after the other.
fn gguf(model: &str, unknown: u32, tokens: &[String], types: &[u32]) -> Vec<u8> {
    let string = |s: &str| [&(s.len() as u64).to_le_bytes()[..], s.as_bytes()].concat();
    let key = |name: &str, kind: u32| [string(&format!("tokenizer.ggml.{name}")), kind.to_le_bytes().to_vec()].concat();
    let array = |kind: u32, n: usize| [&kind.to_le_bytes()[..], &(n as u64).to_le_bytes()].concat();
    [
        [&b"GGUF"[..], &3u32.to_le_bytes(), &0u64.to_le_bytes(), &4u64.to_le_bytes()].concat(),
        [key("model", 8), string(model)].concat(),
        [key("unknown_token_id", 4), unknown.to_le_bytes().to_vec()].concat(),
        [key("tokens", 9), array(8, tokens.len()), tokens.iter().flat_map(|t| string(t)).collect()].concat(),
        [key("token_type", 9), array(5, types.len()), types.iter().flat_map(|t| t.to_le_bytes()).collect()].concat(),
    ]
    .concat()
}

#[test]
fn word_piece_in_gguf() {
    let folder = text_model(&[("vocab.txt", stored("vocab.txt"))]).unwrap();
    // There the tokens that begin a word are marked, here those that do not.
    let text = String::from_utf8(stored("vocab.txt")).unwrap();
    let special = |t: &str| t.starts_with('[') && t.ends_with(']') && t.len() > 2;
    let marked = |t: &str| match t.strip_prefix("##") {
        Some(rest) => rest.to_owned(),
        None if special(t) => t.to_owned(),
        None => format!("\u{2581}{t}"),
    };
    let tokens: Vec<String> = text.lines().map(marked).collect();
    let types: Vec<u32> = text.lines().map(|t| if special(t) { 3 } else { 1 }).collect();
    let read = |unknown, tokens: &[String], types: &[u32]| {
        let file = actc_frontend::gguf::File::parse(&gguf("bert", unknown, tokens, types).into(), "t.gguf").unwrap();
        actc_frontend::gguf::text_model(&file.metadata, 64).map(Option::unwrap)
    };
    let found = read(1, &tokens, &types).unwrap();
    compare("words", &tokenizer(&found), |g| &g.words);
    assert_eq!(to_json(&found.tokenizer).unwrap(), to_json(&folder.tokenizer).unwrap());
    assert_eq!((found.add_bos, found.context), (false, 64));
    assert!(read(tokens.len() as u32, &tokens, &types).is_err(), "an id outside the vocabulary");
    assert!(read(1, &tokens, &types[1..]).is_err(), "fewer types than tokens");
}

/// The embedded model's tokenizer as `vocab.json` and `merges.txt`.
fn byte_level() -> [(&'static str, Vec<u8>); 2] {
    let path = root().join("models/whale-2m/tokenizer.json");
    let file: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let pair = |m: &Value| match m.as_str() {
        Some(text) => text.to_owned(),
        None => format!("{} {}", m[0].as_str().unwrap(), m[1].as_str().unwrap()),
    };
    let merges: Vec<String> = file["model"]["merges"].as_array().unwrap().iter().map(pair).collect();
    let merges = format!("#version: 0.2\n{}\n", merges.join("\n"));
    [("vocab.json", file["model"]["vocab"].to_string().into_bytes()), ("merges.txt", merges.into_bytes())]
}

#[test]
fn vocab_json_and_merges() {
    let own = tokenizer(&load(&root().join("models/whale-2m")).unwrap().text.unwrap());
    let [vocab, merges] = byte_level();
    let words = |class: &str| {
        let words = json!({"tokenizer_class": class, "bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>",
            "added_tokens_decoder": {"0": {"content": "<|endoftext|>", "special": true}}});
        ("tokenizer_config.json", words.to_string().into_bytes())
    };
    let text = text_model(&[vocab.clone(), merges.clone(), words("GPT2Tokenizer")]).unwrap();
    assert_eq!((text.bos, text.eos, text.add_bos, text.stop.as_slice()), (Some(0), Some(0), false, &[0][..]));
    let read = tokenizer(&text);
    for golden in goldens() {
        assert_eq!(read.encode(&golden.text).unwrap(), own.encode(&golden.text).unwrap(), "{:?}", golden.text);
    }
    // Qwen's cuts take digits one by one, and characters are composed first.
    let qwen = tokenizer(&text_model(&[vocab.clone(), merges.clone(), words("Qwen2TokenizerFast")]).unwrap());
    assert_eq!(qwen.encode("cafe\u{301}").unwrap(), own.encode("caf\u{e9}").unwrap());
    assert_ne!(read.encode("cafe\u{301}").unwrap(), own.encode("caf\u{e9}").unwrap());

    let code = |files: &[(&str, Vec<u8>)]| text_model(files).map(|_| ()).unwrap_err().code;
    assert_eq!(code(std::slice::from_ref(&vocab)), "tokenizer-files");
    assert_eq!(code(&[vocab.clone(), merges.clone(), words("BartTokenizer")]), "tokenizer-files");
    assert_eq!(code(&[("vocab.json", br#"{"a": 0, "b": 0}"#.to_vec()), merges.clone()]), "tokenizer-files");
    assert_eq!(code(&[("vocab.json", br#"{"a": 0, "b": 7}"#.to_vec()), merges.clone()]), "tokenizer-files");
    let added = |id: u64| ("added_tokens.json", json!({"<new>": id}).to_string().into_bytes());
    assert_eq!(code(&[vocab.clone(), merges.clone(), added(1)]), "tokenizer-files");
    assert_eq!(code(&[vocab.clone(), merges.clone(), added(1 << 40)]), "tokenizer-files");
    assert_eq!(code(&[("tokenizer.model", b"no model".to_vec())]), "sentencepiece");
}
