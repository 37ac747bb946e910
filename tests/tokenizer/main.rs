//! Tokenizers against what others say about the same text, and against the definition of their algorithm.
//!
//! Golden figures are a count and a digest of the ids, little-endian, of 1.3 MB: the built-in calibration text and traps.
//! The embedded model always runs. Real models run where the environment variable `ACTC_MODELS` names the folder that
//! holds them; without it their tests say that they were skipped.
#![expect(clippy::print_stderr, reason = "a skipped check must say so")]

mod older;
mod traps;

use actc::text::{Stream, Tokenizer, to_json};
use actc_frontend::{Preparation, TokenType, TokenizerSource, Vocabulary, VocabularyKind, load};
use proptest::prelude::*;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use traps::{Random, traps};

/// A count and the blake3 of all ids.
type Golden = (usize, &'static str);

const TEXT_DIGEST: &str = "7935e0f4245e14c0b93452763871f1438ed932ede4604118a2f4fb37e15b6ed7";
/// The Python package `tokenizers` 0.23.3 on the embedded model's `tokenizer.json`.
const WHALE: Golden = (617_299, "7a8bd7dfacedbe3fe1eb4e2d3f305b912a9aea8b84c46f4603072d47b88e6c14");
/// llama.cpp (llama-cpp-python 0.3.36) on a GGUF file with the embedded model's tokens and merges, under the names of six
/// pre-tokenizers.
const PRE: &[(&str, Golden)] = &[
    ("default", (620_507, "f2fd4a369b38cc357151a45a7af3254226c6d2b16ed85b1866842190712811f3")),
    ("gpt-2", (617_299, "7a8bd7dfacedbe3fe1eb4e2d3f305b912a9aea8b84c46f4603072d47b88e6c14")),
    ("smollm", (618_680, "b4d58f59b5a7bc8610a481169e0b5941abeefc6c9c14aed11f305902582837cb")),
    ("llama-bpe", (616_910, "dc0caa543853e5374a9a269ea840f86e968e2d19a2110c73ddcfb879b0fef76b")),
    ("qwen2", (617_174, "f8bc18fd8a5e7274d4090260adaec9b2a56e8231cc31b964bd7c22663701fe41")),
    ("dbrx", (616_910, "dc0caa543853e5374a9a269ea840f86e968e2d19a2110c73ddcfb879b0fef76b")),
];
/// llama.cpp on SmolLM2's vocabulary; the Python package with `Digits` and `ByteLevel`, as the model is published, agrees.
const SMOLLM2: Golden = (396_761, "a33e5c104863e9264d089d2c51ab5cb93fee49f81f7103bfae17aaf18c8d1a2b");
/// llama.cpp on Gemma 3's vocabulary.
const GEMMA3: Golden = (338_349, "254ee7bd37053b66756e5d3e78c58f2dcd8da2cab0440acfc998ab7be08cf546");

fn text() -> String {
    let text = format!("{}{}", actc::calibration::TEXT, traps(77, 400_000));
    assert_eq!(blake3::hash(text.as_bytes()).to_string(), TEXT_DIGEST);
    text
}

fn digest(ids: &[u32]) -> String {
    let bytes: Vec<u8> = ids.iter().flat_map(|i| i.to_le_bytes()).collect();
    blake3::hash(&bytes).to_string()
}

fn tokenizer(source: &TokenizerSource) -> Tokenizer {
    Tokenizer::from_json(&to_json(source).unwrap()).unwrap()
}

fn whale() -> Tokenizer {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models/whale-2m");
    tokenizer(&load(&folder).unwrap().text.unwrap().tokenizer)
}

/// Pieces that the stream gives, joined; each is whole characters by type.
fn streamed(tokenizer: &Tokenizer, ids: &[u32]) -> String {
    let mut stream = Stream::new(tokenizer);
    let mut out: String = ids.iter().map(|id| stream.push(*id).unwrap()).collect();
    out.push_str(&stream.finish().unwrap());
    out
}

#[test]
fn whale_tokenizes_as_the_python_package() {
    let (tokenizer, text) = (whale(), text());
    let ids = tokenizer.encode(&text).unwrap();
    assert_eq!((ids.len(), digest(&ids).as_str()), WHALE);
    // The text holds the literal form of the one special token, which output leaves out.
    let shown = text.replace("<|endoftext|>", "");
    assert_eq!(tokenizer.decode(&ids).unwrap(), shown);
    assert_eq!(streamed(&tokenizer, &ids), shown);
}

/// The embedded model's tokens and merges, as a GGUF file would hold them.
fn whale_vocabulary() -> Vocabulary {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models/whale-2m/tokenizer.json");
    let file: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let mut tokens = vec![String::new(); file["model"]["vocab"].as_object().unwrap().len()];
    for (token, id) in file["model"]["vocab"].as_object().unwrap() {
        tokens[id.as_u64().unwrap() as usize] = token.clone();
    }
    let pair = |m: &serde_json::Value| format!("{} {}", m[0].as_str().unwrap(), m[1].as_str().unwrap());
    let merges = file["model"]["merges"].as_array().unwrap().iter().map(pair).collect();
    let mut types = vec![TokenType::Normal; tokens.len()];
    types[0] = TokenType::Control;
    let kind = VocabularyKind::Bpe { pre: "gpt-2".into(), merges, compose: false };
    Vocabulary { kind, tokens, types, unknown: None, add_space_prefix: false }
}

#[test]
fn pre_tokenizers_cut_as_llama_cpp() {
    let (mut vocabulary, text) = (whale_vocabulary(), text());
    for (name, golden) in PRE {
        if let VocabularyKind::Bpe { pre, .. } = &mut vocabulary.kind {
            *pre = (*name).into();
        }
        let ids = tokenizer(&TokenizerSource::Vocabulary(vocabulary.clone())).encode(&text).unwrap();
        assert_eq!((ids.len(), digest(&ids).as_str()), *golden, "{name}");
    }
}

fn real(file: &str) -> Option<PathBuf> {
    let Some(folder) = std::env::var_os("ACTC_MODELS") else {
        eprintln!("skipped {file}: ACTC_MODELS names no folder with the real models");
        return None;
    };
    let path = Path::new(&folder).join(file);
    if !path.exists() {
        eprintln!("skipped: {} is not there", path.display());
    }
    path.exists().then_some(path)
}

#[test]
fn smollm2_tokenizes_as_llama_cpp() {
    let Some(path) = real("SmolLM2-135M-Instruct.Q4_1.gguf") else { return };
    let model = load(&path).unwrap().text.unwrap();
    assert_eq!((model.bos, model.eos, model.add_bos, model.stop.as_slice()), (Some(1), Some(2), false, &[0, 2][..]));
    let text = text();
    let tokenizer = tokenizer(&model.tokenizer);
    let ids = tokenizer.encode(&text).unwrap();
    assert_eq!((ids.len(), digest(&ids).as_str()), SMOLLM2);
    assert_eq!(streamed(&tokenizer, &ids), tokenizer.decode(&ids).unwrap());
}

#[test]
fn gemma_tokenizes_as_llama_cpp() {
    let Some(path) = real("gemma-3-270m-q4_k_m.gguf") else { return };
    let model = load(&path).unwrap().text.unwrap();
    assert_eq!((model.bos, model.eos, model.add_bos), (Some(2), Some(1), true));
    assert_eq!(model.stop, [1, 106, 212]);
    let tokenizer = tokenizer(&model.tokenizer);
    let ids = tokenizer.encode(&text()).unwrap();
    assert_eq!((ids.len(), digest(&ids).as_str()), GEMMA3);
    assert_eq!(streamed(&tokenizer, &ids), tokenizer.decode(&ids).unwrap());
}

/// A SentencePiece vocabulary over a few letters: bytes, letters, then tokens that join two earlier ones.
fn small_vocabulary(joins: &[(prop::sample::Index, prop::sample::Index)], add_space_prefix: bool) -> Vocabulary {
    let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>", "[x]"].map(String::from).to_vec();
    let mut types = vec![TokenType::Unknown, TokenType::Control, TokenType::Control, TokenType::UserDefined];
    tokens.extend((0..256).map(|b| format!("<0x{b:02X}>")));
    types.resize(tokens.len(), TokenType::Byte);
    let first = tokens.len();
    tokens.extend(["a", "b", "c", "\u{2581}", "é"].map(String::from));
    for (left, right) in joins {
        let (left, right) = (left.get(&tokens[first..]), right.get(&tokens[first..]));
        let joined = format!("{left}{right}");
        if !tokens.contains(&joined) && joined.chars().count() <= 8 {
            tokens.push(joined);
        }
    }
    types.resize(tokens.len(), TokenType::Normal);
    let scores = (0..tokens.len()).map(|i| if i < first { 0.0 } else { -((i - first) as f32) }).collect();
    let kind = VocabularyKind::SentencePiece { scores, preparation: Preparation::default() };
    Vocabulary { kind, tokens, types, unknown: Some(0), add_space_prefix }
}

/// SentencePiece by its definition: join the neighbours whose joined text scores highest, leftmost first, until none does.
fn by_definition(vocabulary: &Vocabulary, text: &str) -> Vec<u32> {
    let VocabularyKind::SentencePiece { scores, .. } = &vocabulary.kind else { panic!("made by small_vocabulary") };
    let ids: HashMap<&str, u32> = vocabulary.tokens.iter().map(String::as_str).zip(0..).collect();
    let mut parts: Vec<String> = text.replace(' ', "\u{2581}").chars().map(String::from).collect();
    loop {
        let mut best: Option<(f32, usize, String)> = None;
        for (i, pair) in parts.windows(2).enumerate() {
            let joined = pair.concat();
            if let Some(id) = ids.get(joined.as_str()) {
                let score = scores[*id as usize];
                if best.as_ref().is_none_or(|(s, ..)| score > *s) {
                    best = Some((score, i, joined));
                }
            }
        }
        let Some((_, i, joined)) = best else { break };
        parts.splice(i..i + 2, [joined]);
    }
    let bytes = |part: &str| part.bytes().map(|b| 4 + u32::from(b)).collect::<Vec<_>>();
    parts.iter().flat_map(|p| ids.get(p.as_str()).map_or_else(|| bytes(p), |id| vec![*id])).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn sentence_piece_follows_its_definition(
        joins in prop::collection::vec(any::<(prop::sample::Index, prop::sample::Index)>(), 0..30),
        texts in prop::collection::vec("[abc é\n日]{0,40}", 1..6),
    ) {
        let vocabulary = small_vocabulary(&joins, false);
        let tokenizer = tokenizer(&TokenizerSource::Vocabulary(vocabulary.clone()));
        for text in texts {
            prop_assert_eq!(tokenizer.encode(&text).unwrap(), by_definition(&vocabulary, &text), "{:?}", text);
        }
    }
}

#[test]
fn special_tokens_and_the_space_prefix() {
    let vocabulary = small_vocabulary(&[], true);
    let tokenizer = tokenizer(&TokenizerSource::Vocabulary(vocabulary.clone()));
    let id = |token: &str| tokenizer.id_of(token).unwrap();
    let (space, a, b) = (id("\u{2581}"), id("a"), id("b"));
    // A space before each stretch of text, also behind a token that is cut out of it.
    assert_eq!(tokenizer.encode("a b").unwrap(), [space, a, space, b]);
    assert_eq!(tokenizer.encode("<s>a[x]b</s>").unwrap(), [id("<s>"), space, a, id("[x]"), space, b, id("</s>")]);
    assert_eq!(tokenizer.encode_after(Some(id("<s>")), "a").unwrap(), [id("<s>"), space, a]);
    assert_eq!(tokenizer.encode_after(Some(id("<s>")), "<s>a").unwrap(), [id("<s>"), space, a]);
    assert!(tokenizer.encode_after(None, "").unwrap().is_empty());
    assert_eq!(tokenizer.decode(&[space, a, space, b]).unwrap(), "a b");
    assert_eq!(tokenizer.decode(&[id("<s>"), space, a, id("[x]")]).unwrap(), "a[x]");
    assert_eq!(tokenizer.token(a).as_deref(), Some("a"));
    assert_eq!((tokenizer.len(), tokenizer.token(99_999)), (vocabulary.tokens.len(), None));
}

#[test]
fn characters_come_whole() {
    let vocabulary = small_vocabulary(&[], false);
    let tokenizer = tokenizer(&TokenizerSource::Vocabulary(vocabulary));
    let ids = tokenizer.encode("a日b").unwrap();
    let mut stream = Stream::new(&tokenizer);
    let pieces: Vec<String> = ids.iter().map(|id| stream.push(*id).unwrap()).collect();
    assert_eq!(pieces, ["a", "", "", "日", "b"]);
    // Half a character at the end, and bytes that are no character at all.
    let byte = |b: u32| 4 + b;
    assert_eq!(streamed(&tokenizer, &ids[..3]), "a\u{fffd}\u{fffd}");
    let garbage: Vec<u32> = (0..40).map(|_| byte(0xff)).collect();
    let mut stream = Stream::new(&tokenizer);
    let shown: String = garbage.iter().map(|id| stream.push(*id).unwrap()).collect();
    assert!(shown.chars().count() >= 24 && shown.chars().all(|c| c == '\u{fffd}'), "{shown}");
}

#[test]
fn vocabularies_that_make_no_tokenizer() {
    let code = |change: &dyn Fn(&mut Vocabulary)| {
        let mut vocabulary = small_vocabulary(&[], false);
        change(&mut vocabulary);
        to_json(&TokenizerSource::Vocabulary(vocabulary)).map(|_| ()).map_err(|e| e.code)
    };
    assert_eq!(code(&|_| ()), Ok(()));
    assert_eq!(code(&|v| v.tokens[260] = "b".into()), Err("tokenizer-duplicate"));
    assert_eq!(code(&|v| v.tokens[260].clear()), Err("tokenizer-empty"));
    let bpe =
        |pre: &str, merge: &str| VocabularyKind::Bpe { pre: pre.into(), merges: vec![merge.into()], compose: false };
    assert_eq!(code(&|v| v.kind = bpe("gpt-3", "a b")), Err("tokenizer-pre"));
    assert_eq!(code(&|v| v.kind = bpe("gpt-2", "ab")), Err("tokenizer-merge"));
    assert_eq!(code(&|v| v.kind = bpe("gpt-2", "a b")), Err("tokenizer-merge"));
    for json in [&b"{"[..], b"[]", b"{\"model\":{\"type\":\"BPE\"}}", b"\xff"] {
        assert_eq!(Tokenizer::from_json(json).map(|_| ()).map_err(|e| e.code), Err("tokenizer-json"));
    }
}

#[test]
fn random_ids_stream_as_they_decode() {
    let tokenizer = whale();
    let mut random = Random(9);
    for _ in 0..300 {
        // Any ids, not only those of real text; but no endless garbage, which the stream lets go piece by piece.
        let ids: Vec<u32> = (0..20).map(|_| random.below(tokenizer.len()) as u32).collect();
        let text = tokenizer.decode(&ids).unwrap();
        if !text.contains('\u{fffd}') {
            assert_eq!(streamed(&tokenizer, &ids), text);
        }
    }
}
