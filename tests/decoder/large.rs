//! A decoder whose weights take more than 2 GB, which no file of the schema can hold: they lie beside it, at offsets beyond
//! 2^31. `cargo test --release --test decoder -- --ignored` makes it of a sparse file, and needs 3 GB of space for artifacts.

use crate::nodes::Nodes;
use crate::writer::{external, int, model, typed};
use crate::{logits, near, open};
use actc_frontend::onnx::ElementType;
use actc_frontend::onnx::schema::{GraphProto, ModelProto};
use prost::Message;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

/// Rows of the table of tokens, of 1024 numbers: 2.4 GB.
const ROWS: u64 = 600_000;
const WIDTH: u64 = 1024;
const WORDS: u64 = 8;
/// Tokens whose rows are not zeros; all but the first lie beyond 2^31 bytes.
const TOKENS: [u32; 4] = [1, 540_000, 599_999, 580_123];

/// Row `token` of the table.
fn row(token: u32) -> Vec<f32> {
    (0..WIDTH).map(|i| ((u64::from(token) * 31 + i * 7) % 64) as f32 / 64.0).collect()
}

fn head() -> Vec<f32> {
    (0..WIDTH * WORDS).map(|i| (i % 13) as f32 / 4096.0).collect()
}

fn bytes(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// The sum of all tokens so far through the head: past rows come back from the cache.
fn export(folder: &Path) -> std::path::PathBuf {
    let mut file = File::create(folder.join("model.onnx_data")).unwrap();
    let table = ROWS * WIDTH * 4;
    file.set_len(table + WIDTH * WORDS * 4).unwrap();
    let mut put = |offset, numbers: &[f32]| {
        file.seek(SeekFrom::Start(offset)).unwrap();
        file.write_all(&bytes(numbers)).unwrap();
    };
    TOKENS.iter().for_each(|t| put(u64::from(*t) * WIDTH * 4, &row(*t)));
    put(table, &head());
    let at = |offset: u64, length: u64| {
        [("location", "model.onnx_data".to_owned()), ("offset", offset.to_string()), ("length", length.to_string())]
    };
    let tensor = |name: &str, dims: &[i64], entries: [(&str, String); 3]| {
        let entries = entries.each_ref().map(|(k, v)| (*k, v.as_str()));
        external(name, ElementType::Float32, dims, &entries)
    };
    let mut n = Nodes::default();
    let (batch, new) = (n.extent("input_ids", 0), n.extent("input_ids", 1));
    let x = n.put("Gather", &["table", "input_ids"], Vec::new());
    let [heads, open, width] = [2, -1, WIDTH as i64 / 2].map(|k| n.ints(&[1], &[k]));
    let shape = n.list(&[&batch, &new, &heads, &width]);
    let x = n.put("Reshape", &[&x, &shape], Vec::new());
    let x = n.transpose(&x, &[0, 2, 1, 3]);
    for part in ["key", "value"] {
        let (past, present) = (format!("past_key_values.0.{part}"), format!("present.0.{part}"));
        n.named("Concat", &[&past, &x], &[&present], vec![int("axis", 2)]);
    }
    let last = n.ints(&[], &[2]);
    let sums = n.put("CumSum", &["present.0.key", &last], Vec::new());
    // The rows of the new tokens: those behind the past ones.
    let (first, end) = (n.extent("past_key_values.0.key", 2), n.extent("present.0.key", 2));
    let scalar = n.ints(&[0], &[]);
    let [first, end] = [first, end].map(|x| n.put("Reshape", &[&x, &scalar], Vec::new()));
    let one = n.ints(&[], &[1]);
    let rows = n.put("Range", &[&first, &end, &one], Vec::new());
    let own = n.put("Gather", &[&sums, &rows], vec![int("axis", 2)]);
    let own = n.transpose(&own, &[0, 2, 1, 3]);
    let whole = n.ints(&[1], &[WIDTH as i64]);
    let shape = n.list(&[&batch, &open, &whole]);
    let own = n.put("Reshape", &[&own, &shape], Vec::new());
    n.named("MatMul", &[&own, "head"], &["logits"], Vec::new());
    let past = ["batch", "2", "past", "512"];
    let mut graph = GraphProto { name: Some("large".into()), node: n.nodes, ..GraphProto::default() };
    graph.input = vec![typed("input_ids", ElementType::Int64, &["batch", "new"])];
    graph.output = vec![typed("logits", ElementType::Float32, &["batch", "new", "8"])];
    for part in ["key", "value"] {
        graph.input.push(typed(&format!("past_key_values.0.{part}"), ElementType::Float32, &past));
        graph.output.push(typed(&format!("present.0.{part}"), ElementType::Float32, &["batch", "2", "all", "512"]));
    }
    graph.initializer = n.constants;
    graph.initializer.push(tensor("table", &[ROWS as i64, WIDTH as i64], at(0, table)));
    graph.initializer.push(tensor("head", &[WIDTH as i64, WORDS as i64], at(table, WIDTH * WORDS * 4)));
    let path = folder.join("model.onnx");
    std::fs::write(&path, ModelProto { ir_version: Some(8), ..model(graph) }.encode_to_vec()).unwrap();
    for name in ["tokenizer.json", "config.json"] {
        std::fs::copy(crate::whale::source().join(name), folder.join(name)).unwrap();
    }
    path
}

#[test]
#[ignore = "writes 3 GB"]
fn weights_beyond_two_gigabytes_are_read_beside_the_model() {
    let folder = tempfile::tempdir().unwrap();
    let model = open(&export(folder.path()));
    let head = head();
    let mut sum = vec![0f64; WIDTH as usize];
    let mut wanted = Vec::new();
    for token in TOKENS {
        sum.iter_mut().zip(row(token)).for_each(|(s, x)| *s += f64::from(x));
        let logit =
            |w: u64| sum.iter().zip(0..).map(|(s, i)| s * f64::from(head[(i * WORDS + w) as usize])).sum::<f64>();
        wanted.extend((0..WORDS).map(|w| logit(w) as f32));
    }
    near(&logits(&model, &TOKENS, &[TOKENS.len()]), &wanted, "at once");
    near(&logits(&model, &TOKENS, &[2]), &wanted, "token by token");
}
