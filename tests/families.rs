//! Model families against `transformers`: tiny random checkpoints of each, run by the reference and by compiled code, give
//! the outputs that `tests/scripts/goldens.py` recorded, for a prompt in one piece and in pieces with state.
//!
//! The tolerance is 1e-4 of the largest output. Both sides compute in f32 (the reference in f64 inside an op): a sum of
//! up to 100 products rounds by at most 100 * 2^-24 = 6e-6 of its terms, and about 14 such sums lie one behind another,
//! which adds up to 8e-5. What is wrong about a model shows in the first digit: see `apart` in the script's output.

use actc::evaluator::Compiled;
use actc::frontend::{Import, Options, load_with};
use actc::ir::{Evaluator, Graph, Interpreter, Op, verify};
use actc::passes::fold::Folds;
use actc::passes::{PASSES, PassCx, Pipeline, Progress, Sample, Status, manager};
use actc::source::Source;
use actc::types::Tensor;
use safetensors::SafeTensors;
use serde_json::{Map, Value};
use std::fs;
use std::path::{Path, PathBuf};

const TOLERANCE: f32 = 1e-4;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models/tiny").join(name)
}

fn json(path: &Path) -> Map<String, Value> {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// The model of folder `name` with the changes of a case.
fn import(name: &str, case: &Value) -> Import {
    let changed = tempfile::tempdir().unwrap();
    fs::copy(folder(name).join("model.safetensors"), changed.path().join("model.safetensors")).unwrap();
    let mut config = json(&folder(name).join("config.json"));
    if let Some(changes) = case.get("config").and_then(Value::as_object) {
        config.extend(changes.clone());
    }
    fs::write(changed.path().join("config.json"), serde_json::to_vec(&config).unwrap()).unwrap();
    let context = case.get("context").and_then(Value::as_u64);
    load_with(changed.path(), &Options { context, ..Options::default() }).unwrap()
}

/// The same case from a GGUF file, whole or split, which llama.cpp's own package wrote.
fn gguf(name: &str, case: &Value) -> Import {
    let context = case.get("context").and_then(Value::as_u64);
    let whole = folder(name).join("model.gguf");
    let path = if whole.exists() { whole } else { folder(name).join("model-00001-of-00003.gguf") };
    load_with(&path, &Options { context, ..Options::default() }).unwrap()
}

/// The first output of every position, the tokens fed in pieces.
fn run(evaluator: &dyn Evaluator, graph: &Graph, tokens: &[i64], pieces: &[usize]) -> Vec<f32> {
    let mut model = evaluator.prepare(graph).unwrap();
    let empty = |(_, v)| {
        let dims: Vec<u64> = graph.ty(v).shape.dims().iter().map(|d| d.fixed().unwrap_or(0)).collect();
        Tensor::f32(&dims, Vec::new()).unwrap()
    };
    let mut states: Vec<Tensor> = graph.inputs().skip(1).map(empty).collect();
    let (mut all, mut rest) = (Vec::new(), tokens);
    for n in pieces {
        let (piece, more) = rest.split_at(*n);
        let tokens = Tensor::i64(&[*n as u64], piece.to_vec()).unwrap();
        let mut out = model.run([vec![tokens], states].concat()).unwrap();
        states = out.split_off(1);
        all.extend_from_slice(out[0].as_f32().unwrap());
        rest = more;
    }
    assert!(rest.is_empty());
    all
}

/// Largest difference as a share of the largest wanted value.
fn apart(found: &[f32], wanted: &[f32]) -> f32 {
    assert_eq!(found.len(), wanted.len());
    let largest = wanted.iter().fold(0f32, |m, v| m.max(v.abs()));
    // `max` would drop a value that is no number.
    let worst = found.iter().zip(wanted).map(|(a, b)| (a - b).abs());
    worst.fold(0f32, |m, v| if m.is_nan() || v <= m { m } else { v }) / largest
}

/// Ids that are stored under `key`.
fn ids(golden: &SafeTensors<'_>, key: &str) -> Vec<i64> {
    let data = golden.tensor(key).unwrap().data();
    data.chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap())).collect()
}

/// Numbers that are stored under `key`.
fn floats(golden: &SafeTensors<'_>, key: &str) -> Vec<f32> {
    let data = golden.tensor(key).unwrap().data();
    data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

fn check(name: &str) {
    let bytes = fs::read(folder(name).join("golden.safetensors")).unwrap();
    let golden = SafeTensors::deserialize(&bytes).unwrap();
    let tokens = ids(&golden, "tokens");
    let cases = json(&folder(name).join("cases.json"));
    assert!(!cases.is_empty());
    for (case, said) in &cases {
        let wanted = floats(&golden, case);
        compare(&format!("{name} {case}"), &import(name, said).graph, &tokens, &wanted);
        if said.get("gguf").is_some() {
            compare(&format!("{name} {case} as GGUF"), &gguf(name, said).graph, &tokens, &wanted);
        }
    }
}

fn compare(what: &str, graph: &Graph, tokens: &[i64], wanted: &[f32]) {
    assert_eq!(verify(graph), Vec::new(), "{what}");
    let n = tokens.len();
    let whole: &[usize] = &[n];
    // Up to eight tokens are generated kernels, more are library calls.
    let ways: &[&[usize]] = if graph.donated().is_empty() { &[whole] } else { &[whole, &[9, 1, 1, 4, n - 15]] };
    for pieces in ways {
        for evaluator in [&Interpreter as &dyn Evaluator, &Compiled::new(2)] {
            let off = apart(&run(evaluator, graph, tokens, pieces), wanted);
            assert!(off < TOLERANCE, "{what} {pieces:?} by {}: off by {off}", evaluator.describe());
        }
    }
}

/// OLMo 2 has no norm in front of its layers: they read the residual stream, which the embedding or a block gives.
#[test]
fn scales_are_searched_where_layers_read_the_residual_stream() {
    let mut graph = load_with(&folder("olmo2"), &Options::default()).unwrap().graph;
    let window = |w: u32| (0..24).map(|i| (i * (7 + w) + i * i) % 97).collect::<Vec<u32>>();
    let samples = [0, 1, 2].map(|w| Sample::tokens("tokens", &window(w)));
    let (evaluator, mut quiet) = (Compiled::new(2), |_: Progress<'_>| ());
    let mut cx = PassCx { samples: &samples, ..PassCx::new(&evaluator, &mut quiet) };
    let pipeline = Pipeline::parse("awq{bits=4,group=16}", PASSES).unwrap().normalise(PASSES).unwrap();
    let timed = manager::run(&pipeline, &mut graph, &mut cx, &manager::Config::default(), &mut |_| ()).unwrap();
    let layers = &timed.last().unwrap().report.layers;
    let scaled = layers.iter().filter(|l| l.status == Status::Quantised && l.reason.is_none());
    // The attention's output and `down` of both layers.
    assert_eq!(scaled.count(), 4, "{layers:#?}");
}

/// Folding rounds each weight twice by 2^-24, both of sums of up to 100 products behind up to 24 layers.
const FOLD_TOLERANCE: f32 = 1e-5;

/// Scales every linear input of `graph` that can be scaled, by factors between 1/4 and 4; how many there are.
fn fold(graph: &mut Graph) -> usize {
    let linear = |n: &&actc::ir::Node| matches!(graph.node(**n).op, Op::Linear(_));
    let mut inputs: Vec<actc::ir::Value> =
        graph.order().iter().filter(linear).map(|n| graph.node(*n).args[0]).collect();
    inputs.dedup();
    let mut state = 7u64;
    let mut factor = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        ((state >> 40) as f32 / (1 << 22) as f32 - 2.0).exp2()
    };
    let mut count = 0;
    for input in inputs {
        let Ok(fold) = Folds::new(graph).find(input) else { continue };
        let factors: Vec<f32> = (0..fold.classes).map(|_| factor()).collect();
        fold.apply(graph, &factors, &std::env::temp_dir()).unwrap();
        count += 1;
    }
    assert_eq!(verify(graph), Vec::new());
    count
}

#[test]
fn folded_scales_change_no_output_of_any_family() {
    // Of each layer in front of q, k and v, of the attention's output, of gate and up, and of down; of a head that is not
    // tied. None where norms stand behind layers, and behind GELU without a gate.
    for (name, folds) in [
        ("qwen2", 9),
        ("qwen3", 8),
        ("phi3", 9),
        ("olmo2", 5),
        ("gpt2", 6),
        ("opt", 8),
        ("opt-narrow", 5),
        ("bert", 2),
        ("../whale-2m", 24),
    ] {
        let before = load_with(&folder(name), &Options::default()).unwrap().graph;
        let tokens: Vec<i64> = (0..21).map(|i| (i * 29 + i * i) % 97).collect();
        let mut after = before.clone();
        assert_eq!(fold(&mut after), folds, "{name}");
        let ways: &[&[usize]] = if before.donated().is_empty() { &[&[21]] } else { &[&[21], &[9, 1, 1, 4, 6]] };
        for pieces in ways {
            let evaluator = Compiled::new(2);
            let (wanted, got) = (run(&evaluator, &before, &tokens, pieces), run(&evaluator, &after, &tokens, pieces));
            let off = apart(&got, &wanted);
            assert!(off < FOLD_TOLERANCE, "{name} {pieces:?}: off by {off}");
        }
    }
}

/// The reference rounds to f32 at the end of each op, which hides in which order f64 sums came. Of compiled sums each rounds
/// by up to 2^-24 of its terms in either order, as against other implementations.
#[test]
fn channels_in_another_order_change_no_output_of_any_family() {
    // Classes: the residual stream, and the inside of each feed-forward part; of `opt-narrow` the stream's narrow ends too.
    for (name, classes) in [
        ("qwen2", 3),
        ("qwen3", 3),
        ("phi3", 3),
        ("olmo2", 3),
        ("gpt2", 3),
        ("opt", 3),
        ("opt-narrow", 4),
        // What it gives is the stream itself, looked up.
        ("bert", 3),
        ("../whale-2m", 7),
    ] {
        for options in ["per=network", "heads=gather", "per=network,heads=inside", "per=input"] {
            let before = load_with(&folder(name), &Options::default()).unwrap().graph;
            let window = |w: u32| (0..24).map(|i| (i * (7 + w) + i * i) % 97).collect::<Vec<u32>>();
            let input = before.inputs().next().unwrap().0.to_owned();
            let samples = [0, 1].map(|w| Sample::tokens(&*input, &window(w)));
            let (evaluator, mut quiet) = (Compiled::new(2), |_: Progress<'_>| ());
            let mut cx = PassCx { samples: &samples, ..PassCx::new(&evaluator, &mut quiet) };
            let mut after = before.clone();
            let pipeline = format!("calibrate,reorder{{{options}}}");
            let pipeline = Pipeline::parse(&pipeline, PASSES).unwrap();
            let timed = manager::run(&pipeline, &mut after, &mut cx, &manager::Config::default(), &mut |_| ()).unwrap();
            let report = &timed.last().unwrap().report;
            if options == "per=network" {
                assert_eq!(report.orders.len(), classes, "{name}: {:#?}", report.layers);
            }
            let tokens: Vec<i64> = (0..21).map(|i| (i * 29 + i * i) % 97).collect();
            let ways: &[&[usize]] = if before.donated().is_empty() { &[&[21]] } else { &[&[21], &[9, 1, 1, 4, 6]] };
            for pieces in ways {
                for (evaluator, most) in [(&Interpreter as &dyn Evaluator, 1e-10), (&Compiled::new(2), TOLERANCE)] {
                    let (wanted, got) =
                        (run(evaluator, &before, &tokens, pieces), run(evaluator, &after, &tokens, pieces));
                    let off = apart(&got, &wanted);
                    assert!(off <= most, "{name} {options} {pieces:?} by {}: off by {off}", evaluator.describe());
                }
            }
        }
    }
}

#[test]
fn qwen2() {
    check("qwen2");
}

#[test]
fn qwen3() {
    check("qwen3");
}

#[test]
fn phi3() {
    check("phi3");
}

#[test]
fn olmo2() {
    check("olmo2");
}

#[test]
fn gpt2() {
    check("gpt2");
}

#[test]
fn opt() {
    check("opt");
    check("opt-narrow");
}

#[test]
fn bert() {
    check("bert");
}

/// Twelve sums lie behind one another in the six layers of the real model, each of up to 1536 terms; random signs keep
/// their rounding far below the bound of the tiny models, which serves here too.
#[test]
#[expect(clippy::print_stderr, reason = "says that the real model was not there")]
fn minilm_says_what_transformers_say() {
    let path = std::env::var_os("ACTC_MODELS").map(|f| Path::new(&f).join("all-MiniLM-L6-v2"));
    let Some(path) = path.filter(|p| p.exists()) else {
        eprintln!("skipped: ACTC_MODELS names no folder with all-MiniLM-L6-v2");
        return;
    };
    let bytes = fs::read(folder("../../data/minilm.safetensors")).unwrap();
    let golden = SafeTensors::deserialize(&bytes).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let sentences = header.metadata().as_ref().unwrap();
    let source = Source::load(&path).unwrap();
    let tokenizer = source.tokenizer.as_ref().unwrap();
    let special = |text: &str| tokenizer.id_of(text).unwrap();
    for i in 0..3 {
        let tokens = ids(&golden, &format!("{i}.tokens"));
        let words = tokenizer.encode(&sentences[&i.to_string()]).unwrap();
        let own = [vec![special("[CLS]")], words, vec![special("[SEP]")]].concat();
        assert_eq!(own.into_iter().map(i64::from).collect::<Vec<_>>(), tokens);
        let wanted = floats(&golden, &format!("{i}.last_hidden_state"));
        let off = apart(&run(&Compiled::new(2), &source.import.graph, &tokens, &[tokens.len()]), &wanted);
        assert!(off < TOLERANCE, "sentence {i}: off by {off}");
    }
}
