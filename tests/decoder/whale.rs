//! The embedded model as exporters write it: with plain past keys, with both graphs merged by an `If`, and with the grouped
//! attention of onnxruntime. Weights are those of its safetensors file, in single precision.

use crate::nodes::{Nodes, float, int_list, tensor_attribute, weight};
use crate::writer::{int, opset, raw, subgraph, typed};
use actc_frontend::onnx::ElementType;
use actc_frontend::onnx::schema::*;
use prost::Message;
use std::path::{Path, PathBuf};

const LAYERS: usize = 6;
const HEADS: i64 = 6;
const SHARED: i64 = 2;
const HEAD: i64 = 32;
const WIDTH: i64 = 192;
const WORDS: &str = "2048";
const CONTEXT: i64 = 256;
const EPSILON: f32 = 1e-5;
const THETA: f64 = 10000.0;

/// How a model is exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// One graph, past keys and values are inputs.
    Plain,
    /// The graph for the first tokens and the one for the others, as branches.
    Merged,
    /// The grouped attention of onnxruntime, and `genai_config.json`.
    Grouped,
}

impl Form {
    pub(crate) const ALL: [Form; 3] = [Form::Plain, Form::Merged, Form::Grouped];
}

/// The folder of the embedded model.
pub(crate) fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models/whale-2m")
}

/// Writes the model in this form into `folder`, with the files that such exports come with; gives its path.
pub(crate) fn export(form: Form, folder: &Path) -> PathBuf {
    write(form, &model(form), folder)
}

/// Writes `model`, which has this form, as [`export`] does.
pub(crate) fn write(form: Form, model: &ModelProto, folder: &Path) -> PathBuf {
    let beside: &[&str] = match form {
        Form::Plain | Form::Merged => &["tokenizer.json", "tokenizer_config.json", "config.json"],
        Form::Grouped => &["tokenizer.json", "tokenizer_config.json"],
    };
    for name in beside {
        std::fs::copy(source().join(name), folder.join(name)).expect("copied");
    }
    if form == Form::Grouped {
        let text = r#"{"model": {"bos_token_id": 0, "eos_token_id": 0, "context_length": 256, "decoder": {
            "inputs": {"input_ids": "input_ids", "attention_mask": "attention_mask",
                "past_key_names": "past_key_values.%d.key", "past_value_names": "past_key_values.%d.value"},
            "outputs": {"logits": "logits", "present_key_names": "present.%d.key",
                "present_value_names": "present.%d.value"}}, "type": "llama", "vocab_size": 2048}}"#;
        std::fs::write(folder.join("genai_config.json"), text).expect("written");
    }
    let path = folder.join("model.onnx");
    std::fs::write(&path, model.encode_to_vec()).expect("written");
    path
}

/// The model in this form.
pub(crate) fn model(form: Form) -> ModelProto {
    let mut graph = GraphProto { name: Some("main_graph".into()), initializer: weights(), ..GraphProto::default() };
    graph.input = inputs(form);
    graph.output = outputs();
    match form {
        Form::Plain => {
            let nodes = plain("", true);
            graph.node = nodes.nodes;
            graph.initializer.extend(nodes.constants);
        }
        Form::Merged => {
            let branches = [("then_branch", "/past", true), ("else_branch", "/first", false)];
            let attributes = branches.map(|(name, prefix, cached)| {
                let nodes = plain(prefix, cached);
                let (node, initializer) = (nodes.nodes, nodes.constants);
                let branch = GraphProto {
                    name: Some(name.into()),
                    node,
                    initializer,
                    output: outputs(),
                    ..GraphProto::default()
                };
                subgraph(name, branch)
            });
            let names: Vec<String> = outputs().iter().map(|o| o.name().to_owned()).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let mut nodes = Nodes::default();
            nodes.named("If", &["use_cache_branch"], &names, attributes.to_vec());
            graph.node = nodes.nodes;
        }
        Form::Grouped => {
            let nodes = grouped();
            graph.node = nodes.nodes;
            graph.initializer.extend(nodes.constants);
        }
    }
    let opset_import = vec![opset("", 17), opset("com.microsoft", 1)];
    ModelProto { ir_version: Some(8), opset_import, graph: Some(graph), ..ModelProto::default() }
}

fn inputs(form: Form) -> Vec<ValueInfoProto> {
    let rows = ["batch_size", "sequence_length"];
    let mut all = vec![
        typed("input_ids", ElementType::Int64, &rows),
        typed("attention_mask", ElementType::Int64, &["batch_size", "past_sequence_length + 1"]),
    ];
    if form != Form::Grouped {
        all.push(typed("position_ids", ElementType::Int64, &rows));
    }
    let past = ["batch_size", "2", "past_sequence_length", "32"];
    for i in 0..LAYERS {
        for part in ["key", "value"] {
            all.push(typed(&format!("past_key_values.{i}.{part}"), ElementType::Float32, &past));
        }
    }
    if form == Form::Merged {
        all.push(typed("use_cache_branch", ElementType::Bool, &["1"]));
    }
    all
}

fn outputs() -> Vec<ValueInfoProto> {
    let mut all = vec![typed("logits", ElementType::Float32, &["batch_size", "sequence_length", WORDS])];
    let present = ["batch_size", "2", "total_sequence_length", "32"];
    for i in 0..LAYERS {
        for part in ["key", "value"] {
            all.push(typed(&format!("present.{i}.{part}"), ElementType::Float32, &present));
        }
    }
    all
}

/// The weights under their own names, matrices transposed as `MatMul` wants them, the embedding both ways.
fn weights() -> Vec<TensorProto> {
    let bytes = std::fs::read(source().join("model.safetensors")).expect("the model");
    let file = safetensors::SafeTensors::deserialize(&bytes).expect("a safetensors file");
    let mut all = Vec::new();
    for (name, view) in file.iter() {
        let numbers: Vec<f32> =
            view.data().chunks_exact(2).map(|b| half::f16::from_le_bytes([b[0], b[1]]).to_f32()).collect();
        let dims: Vec<i64> = view.shape().iter().map(|n| *n as i64).collect();
        let embedding = name == "model.embed_tokens.weight";
        if dims.len() == 1 || embedding {
            all.push(weight(name, &dims, &numbers));
        }
        if let &[rows, cols] = &dims[..] {
            let turned: Vec<f32> = (0..rows * cols).map(|i| numbers[(i % rows * cols + i / rows) as usize]).collect();
            all.push(weight(if embedding { "lm_head" } else { name }, &[cols, rows], &turned));
        }
    }
    all
}

fn layer(i: usize, name: &str) -> String {
    format!("model.layers.{i}.{name}.weight")
}

/// Angles of the first pairs of a head at `position`.
fn frequencies() -> impl Iterator<Item = f64> {
    (0..HEAD / 2).map(|i| THETA.powf(-2.0 * i as f64 / HEAD as f64))
}

/// The norm as it is written out.
fn norm(n: &mut Nodes, x: &str, weight: &str) -> String {
    let (two, epsilon) = (n.floats(&[], vec![2.0]), n.floats(&[], vec![EPSILON]));
    let squares = n.put("Pow", &[x, &two], Vec::new());
    let mean = n.put("ReduceMean", &[&squares], vec![int_list("axes", &[-1]), int("keepdims", 1)]);
    let mean = n.put("Add", &[&mean, &epsilon], Vec::new());
    let root = n.put("Sqrt", &[&mean], Vec::new());
    let one = n.floats(&[], vec![1.0]);
    let inverse = n.put("Div", &[&one, &root], Vec::new());
    let y = n.put("Mul", &[x, &inverse], Vec::new());
    n.put("Mul", &[weight, &y], Vec::new())
}

/// Halves of heads turned by `angles`, cosines and sines.
fn turned(n: &mut Nodes, x: &str, angles: &[String; 2]) -> String {
    let straight = n.put("Mul", &[x, &angles[0]], Vec::new());
    let (a, b) = (n.part(x, 0, HEAD / 2), n.part(x, HEAD / 2, HEAD));
    let b = n.put("Neg", &[&b], Vec::new());
    let crossed = n.put("Concat", &[&b, &a], vec![int("axis", -1)]);
    let crossed = n.put("Mul", &[&crossed, &angles[1]], Vec::new());
    n.put("Add", &[&straight, &crossed], Vec::new())
}

/// `down(silu(gate x) * up x)`.
fn feed_forward(n: &mut Nodes, x: &str, i: usize) -> String {
    let gate = n.put("MatMul", &[x, &layer(i, "mlp.gate_proj")], Vec::new());
    let up = n.put("MatMul", &[x, &layer(i, "mlp.up_proj")], Vec::new());
    let sigmoid = n.put("Sigmoid", &[&gate], Vec::new());
    let gate = n.put("Mul", &[&gate, &sigmoid], Vec::new());
    let both = n.put("Mul", &[&gate, &up], Vec::new());
    n.put("MatMul", &[&both, &layer(i, "mlp.down_proj")], Vec::new())
}

/// Numbers of tokens: the batch, new ones and all, lists of one each.
struct Counts {
    batch: String,
    new: String,
    all: String,
}

/// What is added to the scores `[B, 1, S, T]`: the least number where a key is later or is masked.
fn mask(n: &mut Nodes, counts: &Counts) -> String {
    let least = f32::MIN;
    let shape = n.list(&[&counts.new, &counts.all]);
    let value = raw("", ElementType::Float32, &[1], &least.to_le_bytes());
    let filled = n.put("ConstantOfShape", &[&shape], vec![tensor_attribute("value", value)]);
    let next = n.ints(&[], &[1]);
    let upper = n.put("Trilu", &[&filled, &next], vec![int("upper", 1)]);
    let (zero, none) = (n.ints(&[], &[0]), n.ints(&[0], &[]));
    let all = n.put("Reshape", &[&counts.all, &none], Vec::new());
    let keys = n.put("Range", &[&zero, &all, &next], Vec::new());
    let column = n.ints(&[2], &[-1, 1]);
    let own = n.put("Reshape", &["position_ids", &column], Vec::new());
    let later = n.put("Greater", &[&keys, &own], Vec::new());
    let later = n.cast(&later, ElementType::Float32);
    let causal = n.put("Mul", &[&upper, &later], Vec::new());
    let causal = n.unsqueeze(&causal, &[0, 1]);
    let one = n.ints(&[1], &[1]);
    let shape = n.list(&[&counts.batch, &one, &counts.new, &counts.all]);
    let causal = n.put("Expand", &[&causal, &shape], Vec::new());
    let padding = n.unsqueeze("attention_mask", &[1, 2]);
    let padding = n.cast(&padding, ElementType::Float32);
    let sum = n.put("Add", &[&causal, &padding], Vec::new());
    let nothing = n.floats(&[], vec![0.0]);
    let padded = n.put("Equal", &[&sum, &nothing], Vec::new());
    let least = n.floats(&[], vec![least]);
    n.put("Where", &[&padded, &least, &causal], Vec::new())
}

/// The graph as it is written out, with past keys or for the first tokens.
fn plain(prefix: &'static str, cached: bool) -> Nodes {
    let mut all = Nodes { prefix, ..Nodes::default() };
    let n = &mut all;
    let (batch, new) = (n.extent("input_ids", 0), n.extent("input_ids", 1));
    let past = n.extent("past_key_values.0.key", 2);
    let all_keys = if cached { n.put("Add", &[&past, &new], Vec::new()) } else { new.clone() };
    let counts = Counts { batch, new, all: all_keys };
    let mask = mask(n, &counts);
    let inverse = n.floats(&[1, HEAD / 2, 1], frequencies().map(|f| f as f32).collect());
    let (one, half) = (n.ints(&[1], &[1]), n.ints(&[1], &[HEAD / 2]));
    let shape = n.list(&[&counts.batch, &half, &one]);
    let inverse = n.put("Expand", &[&inverse, &shape], Vec::new());
    let own = n.unsqueeze("position_ids", &[1]);
    let own = n.cast(&own, ElementType::Float32);
    let angles = n.put("MatMul", &[&inverse, &own], Vec::new());
    let angles = n.transpose(&angles, &[0, 2, 1]);
    let angles = n.put("Concat", &[&angles, &angles], vec![int("axis", -1)]);
    let angles = ["Cos", "Sin"].map(|op| {
        let table = n.put(op, &[&angles], Vec::new());
        n.unsqueeze(&table, &[1])
    });
    let mut x = n.put("Gather", &["model.embed_tokens.weight", "input_ids"], Vec::new());
    for i in 0..LAYERS {
        let normed = norm(n, &x, &layer(i, "input_layernorm"));
        let y = attention(n, &normed, i, &counts, &angles, &mask, cached);
        x = n.put("Add", &[&x, &y], Vec::new());
        let normed = norm(n, &x, &layer(i, "post_attention_layernorm"));
        let y = feed_forward(n, &normed, i);
        x = n.put("Add", &[&x, &y], Vec::new());
    }
    let x = norm(n, &x, "model.norm.weight");
    n.named("MatMul", &[&x, "lm_head"], &["logits"], Vec::new());
    all
}

fn attention(
    n: &mut Nodes,
    x: &str,
    i: usize,
    counts: &Counts,
    angles: &[String; 2],
    mask: &str,
    cached: bool,
) -> String {
    let (open, head) = (n.ints(&[1], &[-1]), n.ints(&[1], &[HEAD]));
    let shape = n.list(&[&counts.batch, &counts.new, &open, &head]);
    let [q, k, v] = ["q", "k", "v"].map(|part| {
        let y = n.put("MatMul", &[x, &layer(i, &format!("self_attn.{part}_proj"))], Vec::new());
        let y = n.put("Reshape", &[&y, &shape], Vec::new());
        n.transpose(&y, &[0, 2, 1, 3])
    });
    let (q, k) = (turned(n, &q, angles), turned(n, &k, angles));
    let joined = [("key", k), ("value", v)].map(|(part, new)| {
        let (past, present) = (format!("past_key_values.{i}.{part}"), format!("present.{i}.{part}"));
        if cached {
            n.named("Concat", &[&past, &new], &[&present], vec![int("axis", -2)]);
        } else {
            n.named("Identity", &[&new], &[&present], Vec::new());
        }
        // Every head of queries has its own copy.
        let x = n.unsqueeze(&present, &[2]);
        let [shared, group, heads] = [SHARED, HEADS / SHARED, HEADS].map(|count| n.ints(&[1], &[count]));
        let wide = n.list(&[&counts.batch, &shared, &group, &counts.all, &head]);
        let x = n.put("Expand", &[&x, &wide], Vec::new());
        let whole = n.list(&[&counts.batch, &heads, &counts.all, &head]);
        n.put("Reshape", &[&x, &whole], Vec::new())
    });
    let columns = n.transpose(&joined[0], &[0, 1, 3, 2]);
    let scores = n.put("MatMul", &[&q, &columns], Vec::new());
    let root = n.floats(&[], vec![(HEAD as f32).sqrt()]);
    let scores = n.put("Div", &[&scores, &root], Vec::new());
    let scores = n.put("Add", &[&scores, mask], Vec::new());
    let shares = n.put("Softmax", &[&scores], vec![int("axis", -1)]);
    let y = n.put("MatMul", &[&shares, &joined[1]], Vec::new());
    let y = n.transpose(&y, &[0, 2, 1, 3]);
    let width = n.ints(&[1], &[WIDTH]);
    let shape = n.list(&[&counts.batch, &counts.new, &width]);
    let y = n.put("Reshape", &[&y, &shape], Vec::new());
    n.put("MatMul", &[&y, &layer(i, "self_attn.o_proj")], Vec::new())
}

/// The graph in onnxruntime's own operators, as its builder of models writes it.
fn grouped() -> Nodes {
    let mut all = Nodes::default();
    let n = &mut all;
    let axis = n.ints(&[1], &[1]);
    let sum = n.put("ReduceSum", &["attention_mask", &axis], vec![int("keepdims", 1)]);
    let lengths = n.put("Sub", &[&sum, &axis], Vec::new());
    let lengths = n.cast(&lengths, ElementType::Int32);
    let shape = n.put("Shape", &["attention_mask"], Vec::new());
    let second = n.ints(&[], &[1]);
    let total = n.put("Gather", &[&shape, &second], vec![int("axis", 0)]);
    let total = n.cast(&total, ElementType::Int32);
    let table = |f: fn(f64) -> f64| -> Vec<f32> {
        (0..CONTEXT).flat_map(|p| frequencies().map(move |w| f(p as f64 * w) as f32)).collect()
    };
    let tables = [f64::cos, f64::sin].map(|f| n.floats(&[CONTEXT, HEAD / 2], table(f)));
    let mut x = n.put("Gather", &["model.embed_tokens.weight", "input_ids"], Vec::new());
    let simplified = || vec![float("epsilon", EPSILON), int("axis", -1)];
    let mut normed = n.put("SimplifiedLayerNormalization", &[&x, &layer(0, "input_layernorm")], simplified());
    for i in 0..LAYERS {
        let [q, k, v] = ["q", "k", "v"]
            .map(|part| n.put("MatMul", &[&normed, &layer(i, &format!("self_attn.{part}_proj"))], Vec::new()));
        let past = ["key", "value"].map(|part| format!("past_key_values.{i}.{part}"));
        let present = ["key", "value"].map(|part| format!("present.{i}.{part}"));
        let attended = format!("/layers.{i}/attention");
        n.microsoft(
            "GroupQueryAttention",
            &[&q, &k, &v, &past[0], &past[1], &lengths, &total, &tables[0], &tables[1]],
            &[&attended, &present[0], &present[1]],
            vec![
                int("num_heads", HEADS),
                int("kv_num_heads", SHARED),
                float("scale", 1.0 / (HEAD as f32).sqrt()),
                int("do_rotary", 1),
                int("rotary_interleaved", 0),
            ],
        );
        let y = n.put("MatMul", &[&attended, &layer(i, "self_attn.o_proj")], Vec::new());
        (normed, x) = skipped(n, &x, &y, &layer(i, "post_attention_layernorm"), &format!("/layers.{i}/middle"));
        let y = feed_forward(n, &normed, i);
        let weight = if i + 1 == LAYERS { "model.norm.weight".to_owned() } else { layer(i + 1, "input_layernorm") };
        (normed, x) = skipped(n, &x, &y, &weight, &format!("/layers.{i}/end"));
    }
    n.named("MatMul", &[&normed, "lm_head"], &["logits"], Vec::new());
    all
}

/// The norm of a sum, and the sum.
fn skipped(n: &mut Nodes, x: &str, y: &str, weight: &str, name: &str) -> (String, String) {
    let (normed, sum) = (format!("{name}/normed"), format!("{name}/sum"));
    let outputs = [normed.as_str(), "", "", sum.as_str()];
    n.microsoft("SkipSimplifiedLayerNormalization", &[x, y, weight], &outputs, vec![float("epsilon", EPSILON)]);
    (normed, sum)
}
