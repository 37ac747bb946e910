//! Imported families run on the reference interpreter and say what independent implementations say.
//!
//! The embedded model always runs. Real models run where the environment variable `ACTC_MODELS` names the folder that
//! holds them; without it their test says that it was skipped.
#![expect(clippy::print_stderr, reason = "a skipped check must say so")]

use actc_frontend::load;
use actc_ir::{Evaluator, Interpreter, verify};
use actc_types::Tensor;
use std::path::{Path, PathBuf};

/// "The state of the Union is not the same. The report of the Secretary of the Treasury, however, that the report of the
/// Secretary" in the embedded model's tokens: a prompt and the greedy continuation that its README gives.
const WHALE_IDS: &[i64] = &[
    52, 258, 1142, 268, 260, 1220, 326, 380, 260, 862, 14, 351, 1060, 268, 260, 1156, 268, 260, 1097, 12, 1286, 12,
    316, 260, 1060, 268, 260, 1156,
];
/// Tokens of the prompt among them.
const WHALE_PROMPT: usize = 7;

/// "The capital of France is" for each model, and what llama.cpp (llama-cpp-python 0.3.36) gives: the best next token of
/// every position, and the logits of the last position's best five.
const REAL: &[Real] = &[
    Real {
        file: "SmolLM2-135M-Instruct.Q4_1.gguf",
        ids: &[504, 3575, 282, 4649, 314],
        said: &[29, 282, 260, 314, 7042],
        best: &[(7042, 17.344), (260, 14.804), (4528, 13.208), (1315, 13.149), (5145, 13.121)],
    },
    Real {
        file: "gemma-3-270m-q4_k_m.gguf",
        ids: &[2, 818, 5279, 529, 7001, 563],
        said: &[184, 236743, 529, 506, 236764, 506],
        best: &[(506, 18.999), (496, 18.492), (9079, 18.324), (886, 18.103), (3224, 17.701)],
    },
];

struct Real {
    file: &'static str,
    ids: &'static [i64],
    said: &'static [usize],
    best: &'static [(usize, f32)],
}

fn whale() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/models/whale-2m")
}

/// Feeds `ids` in two pieces, the second after the cache of the first, and gives the logits of every position.
fn logits(graph: &actc_ir::Graph, ids: &[i64], first: usize) -> Vec<Vec<f32>> {
    let mut model = Interpreter.prepare(graph).unwrap();
    let mut states: Vec<Tensor> = graph
        .inputs()
        .skip(1)
        .map(|(_, v)| {
            let dims = graph.ty(v).shape.dims();
            Tensor::f32(&[0, dims[1].fixed().unwrap(), dims[2].fixed().unwrap()], Vec::new()).unwrap()
        })
        .collect();
    let mut rows = Vec::new();
    for piece in [&ids[..first], &ids[first..]] {
        let mut inputs = vec![Tensor::i64(&[piece.len() as u64], piece.to_vec()).unwrap()];
        inputs.append(&mut states);
        let mut outputs = model.run(inputs).unwrap();
        states = outputs.split_off(1);
        let width = outputs[0].dims()[1] as usize;
        rows.extend(outputs[0].as_f32().unwrap().chunks_exact(width).map(<[f32]>::to_vec));
    }
    rows
}

fn argmax(row: &[f32]) -> usize {
    (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap()
}

#[test]
fn whale_continues_as_its_readme_says() {
    let import = load(&whale()).unwrap();
    assert_eq!(verify(&import.graph), Vec::new());
    assert_eq!(import.source.family, Some("llama"));
    let text = import.text.unwrap();
    assert_eq!((text.bos, text.add_bos, text.stop.as_slice(), text.context), (Some(0), false, &[0][..], 256));
    // "The state of the Union is not the same. The report of": the model says each next token from " not" on.
    let ids = WHALE_IDS;
    let rows = logits(&import.graph, ids, 4);
    let said: Vec<i64> = rows.iter().map(|r| argmax(r) as i64).collect();
    assert_eq!(said[WHALE_PROMPT - 1..ids.len() - 1], ids[WHALE_PROMPT..]);
}

#[test]
fn real_models_agree_with_llama_cpp() {
    let Some(folder) = std::env::var_os("ACTC_MODELS") else {
        eprintln!("skipped: ACTC_MODELS names no folder with the real models");
        return;
    };
    for Real { file, ids, said, best } in REAL {
        let path = Path::new(&folder).join(file);
        if !path.exists() {
            eprintln!("skipped: {} is not there", path.display());
            continue;
        }
        let import = load(&path).unwrap();
        assert_eq!(verify(&import.graph), Vec::new());
        let rows = logits(&import.graph, ids, 2);
        let found: Vec<usize> = rows.iter().map(|r| argmax(r)).collect();
        let last = rows.last().unwrap();
        let errors: Vec<f32> = best.iter().map(|(id, logit)| last[*id] - logit).collect();
        eprintln!("{file}: best {found:?}, logits off by {errors:?}");
        // llama.cpp rounds activations to 8 bits, so its own logits are off by a few tenths.
        assert_eq!(found, *said, "{file}");
        assert!(errors.iter().all(|e| e.abs() < 0.35), "{file}: {errors:?}");
    }
}
