//! The same model in both containers computes the same: a small Llama and a small Gemma 3 are written as a Hugging Face
//! folder and as GGUF, with the layout changes that the reference converter makes, and both run on the interpreter.
//!
//! What independent code says about real files is in `families.rs`; this is about every path of the two families.

#[allow(dead_code, reason = "each test crate uses a part of the writer")]
mod writer;

use actc_frontend::load;
use actc_ir::{Evaluator, Graph, Interpreter, verify};
use actc_types::Tensor;
use proptest::prelude::*;
use serde_json::json;
use std::fs;
use std::path::Path;
use writer::{F32, STRING, U32, Writer};

const WIDTH: u64 = 32;
const HEADS: u64 = 4;
const KV_HEADS: u64 = 2;
const HEAD: u64 = 8;
const HIDDEN: u64 = 48;
const VOCABULARY: u64 = 40;
const TOKENS: usize = 11;

/// Numbers in [-1, 1) that depend on `seed` alone.
fn random(seed: u64, n: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

/// A tensor with its names in both containers.
struct Weight {
    gguf: String,
    hf: String,
    dims: Vec<u64>,
    /// As Hugging Face stores it.
    data: Vec<f32>,
    change: Change,
}

/// What the converter does to a tensor on the way to GGUF.
#[derive(Clone, Copy, PartialEq)]
enum Change {
    Nothing,
    /// Rows of each head from half-rotated to interleaved order.
    Interleave,
    /// One is added.
    PlusOne,
}

impl Weight {
    fn for_gguf(&self) -> Vec<f32> {
        match self.change {
            Change::Nothing => self.data.clone(),
            Change::PlusOne => self.data.iter().map(|v| v + 1.0).collect(),
            Change::Interleave => {
                let width: usize = self.dims[1..].iter().product::<u64>() as usize;
                let (head, half) = (HEAD as usize, HEAD as usize / 2);
                let row = |r: usize| {
                    let (h, i) = (r / head, r % head);
                    h * head + i / 2 + if i % 2 == 1 { half } else { 0 }
                };
                (0..self.dims[0] as usize).flat_map(|r| self.data[row(r) * width..][..width].to_vec()).collect()
            }
        }
    }
}

struct Model {
    config: serde_json::Value,
    keys: fn(&mut Writer) -> u64,
    weights: Vec<Weight>,
}

impl Model {
    fn add(&mut self, gguf: &str, hf: &str, dims: &[u64], change: Change) {
        let seed = self.weights.len() as u64 + 1;
        let data = random(seed, dims.iter().product()).iter().map(|v| v * 0.4).collect();
        self.weights.push(Weight { gguf: gguf.into(), hf: hf.into(), dims: dims.into(), data, change });
    }

    fn layer(&mut self, i: u64, gguf: &str, hf: &str, dims: &[u64], change: Change) {
        self.add(&format!("blk.{i}.{gguf}"), &format!("model.layers.{i}.{hf}"), dims, change);
    }

    fn layers(&mut self, layers: u64, norms: &[(&str, &str)], plain: Change, rotated: Change) {
        self.add("token_embd.weight", "model.embed_tokens.weight", &[VOCABULARY, WIDTH], Change::Nothing);
        self.add("output_norm.weight", "model.norm.weight", &[WIDTH], plain);
        for i in 0..layers {
            for (gguf, hf) in norms {
                let n = if gguf.ends_with("q_norm") || gguf.ends_with("k_norm") { HEAD } else { WIDTH };
                self.layer(i, &format!("{gguf}.weight"), &format!("{hf}.weight"), &[n], plain);
            }
            let (q, kv) = (HEADS * HEAD, KV_HEADS * HEAD);
            self.layer(i, "attn_q.weight", "self_attn.q_proj.weight", &[q, WIDTH], rotated);
            self.layer(i, "attn_k.weight", "self_attn.k_proj.weight", &[kv, WIDTH], rotated);
            self.layer(i, "attn_v.weight", "self_attn.v_proj.weight", &[kv, WIDTH], Change::Nothing);
            self.layer(i, "attn_output.weight", "self_attn.o_proj.weight", &[WIDTH, q], Change::Nothing);
            self.layer(i, "ffn_gate.weight", "mlp.gate_proj.weight", &[HIDDEN, WIDTH], Change::Nothing);
            self.layer(i, "ffn_up.weight", "mlp.up_proj.weight", &[HIDDEN, WIDTH], Change::Nothing);
            self.layer(i, "ffn_down.weight", "mlp.down_proj.weight", &[WIDTH, HIDDEN], Change::Nothing);
        }
    }

    fn llama() -> Model {
        let config = json!({
            "model_type": "llama", "hidden_size": WIDTH, "intermediate_size": HIDDEN, "num_hidden_layers": 2,
            "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "vocab_size": VOCABULARY,
            "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 500.0, "tie_word_embeddings": false,
            "rope_scaling": {"type": "linear", "factor": 2.0},
        });
        let keys = |w: &mut Writer| {
            w.text("general.architecture", "llama").number("llama.block_count", 2);
            w.number("llama.context_length", 64).number("llama.embedding_length", WIDTH as u32);
            w.number("llama.feed_forward_length", HIDDEN as u32).number("llama.attention.head_count", HEADS as u32);
            w.number("llama.attention.head_count_kv", KV_HEADS as u32).float("llama.rope.freq_base", 500.0);
            w.float("llama.attention.layer_norm_rms_epsilon", 1e-5).float("llama.rope.scaling.factor", 2.0);
            10
        };
        let mut model = Model { config, keys, weights: Vec::new() };
        let norms = [("attn_norm", "input_layernorm"), ("ffn_norm", "post_attention_layernorm")];
        model.layers(2, &norms, Change::Nothing, Change::Interleave);
        for i in 0..2 {
            model.layer(i, "attn_q.bias", "self_attn.q_proj.bias", &[HEADS * HEAD], Change::Interleave);
            model.layer(i, "attn_k.bias", "self_attn.k_proj.bias", &[KV_HEADS * HEAD], Change::Interleave);
            model.layer(i, "attn_v.bias", "self_attn.v_proj.bias", &[KV_HEADS * HEAD], Change::Nothing);
        }
        model.add("output.weight", "lm_head.weight", &[VOCABULARY, WIDTH], Change::Nothing);
        model
    }

    /// Seven layers, so that one of them sees everything; the window is shorter than the text.
    fn gemma3() -> Model {
        let config = json!({
            "model_type": "gemma3_text", "hidden_size": WIDTH, "intermediate_size": HIDDEN, "num_hidden_layers": 7,
            "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "head_dim": HEAD, "vocab_size": VOCABULARY,
            "max_position_embeddings": 64, "rms_norm_eps": 1e-6, "rope_theta": 1e6, "rope_local_base_freq": 1e4,
            "sliding_window": 4, "query_pre_attn_scalar": HEAD, "hidden_activation": "gelu_pytorch_tanh",
        });
        let keys = |w: &mut Writer| {
            w.text("general.architecture", "gemma3").number("gemma3.block_count", 7);
            w.number("gemma3.context_length", 64).number("gemma3.embedding_length", WIDTH as u32);
            w.number("gemma3.feed_forward_length", HIDDEN as u32).number("gemma3.attention.head_count", HEADS as u32);
            w.number("gemma3.attention.head_count_kv", KV_HEADS as u32).number("gemma3.attention.key_length", 8);
            w.number("gemma3.attention.value_length", 8).number("gemma3.attention.sliding_window", 4);
            w.float("gemma3.attention.layer_norm_rms_epsilon", 1e-6).float("gemma3.rope.freq_base", 1e6);
            12
        };
        let mut model = Model { config, keys, weights: Vec::new() };
        let norms = [
            ("attn_norm", "input_layernorm"),
            ("attn_q_norm", "self_attn.q_norm"),
            ("attn_k_norm", "self_attn.k_norm"),
            ("post_attention_norm", "post_attention_layernorm"),
            ("ffn_norm", "pre_feedforward_layernorm"),
            ("post_ffw_norm", "post_feedforward_layernorm"),
        ];
        model.layers(7, &norms, Change::PlusOne, Change::Nothing);
        model
    }

    fn write_folder(&self, folder: &Path) {
        fs::create_dir(folder).unwrap();
        fs::write(folder.join("config.json"), self.config.to_string()).unwrap();
        let bytes: Vec<Vec<u8>> =
            self.weights.iter().map(|w| w.data.iter().flat_map(|v| v.to_le_bytes()).collect()).collect();
        let views = self.weights.iter().zip(&bytes).map(|(w, bytes)| {
            let dims = w.dims.iter().map(|d| *d as usize).collect();
            (w.hf.clone(), safetensors::tensor::TensorView::new(safetensors::Dtype::F32, dims, bytes).unwrap())
        });
        fs::write(folder.join("model.safetensors"), safetensors::serialize(views, None).unwrap()).unwrap();
    }

    fn gguf(&self) -> Vec<u8> {
        self.gguf_with(&|_| 0)
    }

    /// With further keys, which `more` writes and counts.
    fn gguf_with(&self, more: &dyn Fn(&mut Writer) -> u64) -> Vec<u8> {
        let mut scratch = Writer::new(3, 0, 0);
        let pairs = (self.keys)(&mut scratch) + more(&mut scratch);
        let mut w = Writer::new(3, self.weights.len() as u64, pairs);
        (self.keys)(&mut w);
        more(&mut w);
        let mut offset = 0;
        for weight in &self.weights {
            let inner_first: Vec<u64> = weight.dims.iter().rev().copied().collect();
            w.tensor(&weight.gguf, &inner_first, 0, offset);
            offset += (weight.data.len() as u64 * 4).next_multiple_of(32);
        }
        w.pad(32);
        for weight in &self.weights {
            for v in weight.for_gguf() {
                w.raw(&v.to_le_bytes());
            }
            w.pad(32);
        }
        w.bytes
    }
}

/// Logits of every position, fed in pieces of the given lengths.
fn logits(graph: &Graph, pieces: &[usize]) -> Vec<f32> {
    assert_eq!(verify(graph), Vec::new());
    let ids: Vec<i64> = (0..TOKENS as i64).map(|i| (i * i * 7 + 3) % VOCABULARY as i64).collect();
    let mut model = Interpreter.prepare(graph).unwrap();
    let empty = Tensor::f32(&[0, KV_HEADS, HEAD], Vec::new()).unwrap();
    let mut states = vec![empty; graph.donated().len()];
    let (mut all, mut at) = (Vec::new(), 0);
    for n in pieces {
        let mut inputs = vec![Tensor::i64(&[*n as u64], ids[at..at + n].to_vec()).unwrap()];
        inputs.append(&mut states);
        let mut outputs = model.run(inputs).unwrap();
        states = outputs.split_off(1);
        all.extend_from_slice(outputs[0].as_f32().unwrap());
        at += n;
    }
    assert_eq!(at, TOKENS);
    all
}

fn compare(model: &Model) {
    let folder = tempfile::tempdir().unwrap();
    let (hf, gguf) = (folder.path().join("hf"), folder.path().join("model.gguf"));
    model.write_folder(&hf);
    fs::write(&gguf, model.gguf()).unwrap();
    let (a, b) = (load(&hf).unwrap(), load(&gguf).unwrap());
    assert!(a.text.is_none() && b.text.is_none());
    assert_ne!(a.source.digest, b.source.digest);
    let whole = logits(&a.graph, &[TOKENS]);
    let scale = whole.iter().fold(0f32, |m, v| m.max(v.abs()));
    // The order of channels inside a head differs, so sums round differently; pieces only change the cache's lengths.
    for other in [logits(&b.graph, &[TOKENS]), logits(&a.graph, &[5, 1, 1, 4]), logits(&b.graph, &[1; TOKENS])] {
        for (x, y) in whole.iter().zip(&other) {
            assert!((x - y).abs() < 2e-5 * scale, "{x} and {y} of {scale}");
        }
    }
}

#[test]
fn llama_is_the_same_in_both() {
    compare(&Model::llama());
}

#[test]
fn gemma3_is_the_same_in_both() {
    compare(&Model::gemma3());
}

/// A llama whose `config.json` stretches rotary positions by `scaling`, and whose GGUF file by `keys` and `divisors`.
fn stretched(scaling: serde_json::Value, keys: fn(&mut Writer) -> u64, divisors: Option<Vec<f32>>) {
    let mut model = Model::llama();
    model.config["rope_scaling"] = scaling;
    let folder = tempfile::tempdir().unwrap();
    let (hf, gguf) = (folder.path().join("hf"), folder.path().join("model.gguf"));
    model.write_folder(&hf);
    if let Some(data) = divisors {
        let dims = vec![data.len() as u64];
        model.weights.push(Weight {
            gguf: "rope_freqs.weight".into(),
            hf: String::new(),
            dims,
            data,
            change: Change::Nothing,
        });
    }
    // The model's own keys say a linear factor of 2: these take its place.
    model.keys = |w: &mut Writer| {
        w.text("general.architecture", "llama").number("llama.block_count", 2);
        w.number("llama.context_length", 64).number("llama.embedding_length", WIDTH as u32);
        w.number("llama.feed_forward_length", HIDDEN as u32).number("llama.attention.head_count", HEADS as u32);
        w.number("llama.attention.head_count_kv", KV_HEADS as u32).float("llama.rope.freq_base", 500.0);
        w.float("llama.attention.layer_norm_rms_epsilon", 1e-5);
        9
    };
    fs::write(&gguf, model.gguf_with(&keys)).unwrap();
    let (a, b) = (load(&hf).unwrap(), load(&gguf).unwrap());
    let (a, b) = (logits(&a.graph, &[TOKENS]), logits(&b.graph, &[4, TOKENS - 4]));
    let scale = a.iter().fold(0f32, |m, v| m.max(v.abs()));
    for (x, y) in a.iter().zip(&b) {
        assert!((x - y).abs() < 2e-5 * scale, "{x} and {y} of {scale}");
    }
}

/// What `config.json` means is checked against `transformers` in the root package; here both containers say the same.
#[test]
fn rotary_forms_are_the_same_in_both() {
    stretched(json!({"rope_type": "default"}), |w| w.text("llama.rope.scaling.type", "none").pairs(1), None);
    let linear =
        |w: &mut Writer| w.text("llama.rope.scaling.type", "linear").float("llama.rope.scaling.factor", 3.0).pairs(2);
    stretched(json!({"type": "linear", "factor": 3.0}), linear, None);
    let yarn = |w: &mut Writer| {
        w.text("llama.rope.scaling.type", "yarn").float("llama.rope.scaling.factor", 4.0);
        w.number("llama.rope.scaling.original_context_length", 16).pairs(3)
    };
    stretched(json!({"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}), yarn, None);
    let stated = |w: &mut Writer| {
        w.text("llama.rope.scaling.type", "yarn").float("llama.rope.scaling.factor", 4.0);
        w.float("llama.rope.scaling.yarn_beta_fast", 4.0).float("llama.rope.scaling.yarn_beta_slow", 0.5).pairs(4)
    };
    // The factor on cosines and sines is 1 + 0.1 ln 4 in GGUF, as it is where `config.json` does not state it.
    stretched(json!({"type": "yarn", "factor": 4.0, "beta_fast": 4.0, "beta_slow": 0.5}), stated, None);
    // Divisors of `llama3` for 4 frequencies of base 500: waves of 6.3, 29.7, 140 and 664 tokens in a context of 64.
    let llama3 = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64});
    let waves = |i: f32| 64.0 / (std::f32::consts::TAU * 500f32.powf(i / 4.0));
    let share = (waves(1.0) - 1.0) / 3.0;
    let mixed = 1.0 / ((1.0 - share) / 8.0 + share);
    stretched(llama3, |_| 0, Some(vec![1.0, mixed, 8.0, 8.0]));
}

#[test]
fn rotary_keys_that_cannot_be_said_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let code = |more: fn(&mut Writer) -> u64| {
        fs::write(&path, Model::llama().gguf_with(&more)).unwrap();
        load(&path).map(|_| ()).unwrap_err().code
    };
    assert_eq!(code(|w| w.text("llama.rope.scaling.type", "ntk").pairs(1)), "arch-unsupported");
    assert_eq!(code(|w| w.text("llama.rope.scaling.type", "longrope").pairs(1)), "arch-missing");
    let ext = |w: &mut Writer| {
        w.text("llama.rope.scaling.type", "yarn").float("llama.rope.scaling.yarn_ext_factor", 0.5).pairs(2)
    };
    assert_eq!(code(ext), "arch-unsupported");
    assert_eq!(code(|w| w.float("llama.rope.scaling.attn_factor", -1.0).pairs(1)), "arch-size");
    assert_eq!(code(|w| w.number("llama.rope.dimension_count", 7).pairs(1)), "arch-unsupported");
    assert_eq!(code(|w| w.number("llama.rope.dimension_count", 10).pairs(1)), "arch-unsupported");
}

#[test]
fn weights_stay_as_the_file_has_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let model = Model::llama();
    fs::write(&path, model.gguf()).unwrap();
    let graph = load(&path).unwrap().graph;
    assert_eq!(graph.constants().len(), model.weights.len());
    for (_, constant) in graph.constants() {
        let weight = model.weights.iter().find(|w| w.gguf == constant.name).unwrap();
        let bytes: Vec<u8> = weight.for_gguf().iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!(constant.parts[0].1, bytes, "{}", constant.name);
    }
}

/// Writes a vocabulary of `n` tokens `t0`, `t1`, … of `types`, with `scores` scores.
fn vocabulary(w: &mut Writer, model: &str, n: u64, types: &[u32], scores: u64) -> u64 {
    w.text("tokenizer.ggml.model", model).array("tokenizer.ggml.tokens", STRING, n);
    for i in 0..n {
        w.string(if i == 5 { "</s>".into() } else { format!("t{i}") }.as_bytes());
    }
    w.array("tokenizer.ggml.token_type", U32, types.len() as u64);
    for t in types {
        w.u32(*t);
    }
    w.array("tokenizer.ggml.scores", F32, scores);
    for i in 0..scores {
        w.raw(&(-(i as f32)).to_le_bytes());
    }
    4
}

#[test]
fn vocabularies_are_checked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let import = |more: &dyn Fn(&mut Writer) -> u64| {
        fs::write(&path, Model::llama().gguf_with(more)).unwrap();
        load(&path)
    };
    let types: Vec<u32> = (0..40).map(|i| if i < 6 { 3 } else { 1 }).collect();
    let good = |w: &mut Writer| vocabulary(w, "llama", 40, &types, 40);
    let text = import(&good).unwrap().text.unwrap();
    // Nothing is said of ids: SentencePiece means Llama's. Token 5 ends texts by what it says.
    assert_eq!((text.bos, text.eos, text.add_bos, text.context), (Some(1), Some(2), true, 64));
    assert_eq!(text.stop, [2, 5]);
    let with = |key: &'static str, id: u32| {
        move |w: &mut Writer| {
            w.number(key, id);
            good(w) + 1
        }
    };
    let text = import(&with("tokenizer.ggml.eot_token_id", 7)).unwrap().text.unwrap();
    assert_eq!(text.stop, [2, 5, 7]);

    let code = |more: &dyn Fn(&mut Writer) -> u64| import(more).map(|_| ()).unwrap_err().code;
    assert_eq!(code(&with("tokenizer.ggml.bos_token_id", 40)), "token-id");
    assert_eq!(code(&with("tokenizer.ggml.eom_token_id", u32::MAX)), "token-id");
    assert_eq!(code(&with("tokenizer.ggml.add_bos_token", 1)), "gguf-metadata");
    assert_eq!(code(&|w| vocabulary(w, "llama", 41, &[1; 41], 41)), "arch-vocabulary");
    assert_eq!(code(&|w| vocabulary(w, "llama", 40, &[1; 39], 40)), "gguf-metadata");
    assert_eq!(code(&|w| vocabulary(w, "llama", 40, &[1; 40], 39)), "gguf-metadata");
    assert_eq!(code(&|w| vocabulary(w, "llama", 40, &[9; 40], 40)), "gguf-metadata");
    assert_eq!(code(&|w| vocabulary(w, "gpt2", 40, &[1; 40], 40)), "gguf-metadata");
    assert_eq!(code(&|w| vocabulary(w, "t5", 40, &[1; 40], 40)), "gguf-tokenizer");
    let no_tokens = |w: &mut Writer| {
        w.text("tokenizer.ggml.model", "llama");
        1
    };
    assert_eq!(code(&no_tokens), "gguf-metadata");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Flips in the header, metadata and directory of a whole model: an import or a typed error, never a panic.
    #[test]
    fn flipped_models_never_panic(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let model = Model::llama();
        let mut bytes = model.gguf();
        let data: usize = model.weights.iter().map(|w| (w.data.len() * 4).next_multiple_of(32)).sum();
        let head = bytes.len() - data;
        for (at, value) in flips {
            bytes[at.index(head)] = value;
        }
        let bytes = bytes::Bytes::from(bytes);
        if let Ok(file) = actc_frontend::gguf::File::parse(&bytes, "flipped.gguf")
            && let Ok(model) = actc_frontend::arch::from_gguf(&file.metadata, &file.tensors, None)
        {
            prop_assert_eq!(verify(&model.graph), Vec::new());
        }
    }
}
