//! Decoders that are no language models: compiled with the ports of the file, and what is in the way is said.

use crate::nodes::Nodes;
use crate::whale::{Form, model};
use crate::writer::{int, typed};
use actc::codegen::Backend;
use actc::compile::as_shipped;
use actc::language::LanguageModel;
use actc::link::Native;
use actc::source::Source;
use actc_frontend::onnx::ElementType;
use actc_frontend::onnx::schema::ModelProto;
use prost::Message;

/// What keeps `model` from being a language model, with the files of `beside` in its folder.
fn obstacle(model: &ModelProto, beside: &[&str]) -> (Source, String) {
    let folder = tempfile::tempdir().unwrap();
    for name in beside {
        std::fs::copy(crate::whale::source().join(name), folder.path().join(name)).unwrap();
    }
    let path = folder.path().join("model.onnx");
    std::fs::write(&path, model.encode_to_vec()).unwrap();
    let source = Source::load(&path).unwrap();
    let found = source.import.obstacle.clone().expect("something is in the way");
    (source, found)
}

fn changed(change: impl FnOnce(&mut actc_frontend::onnx::schema::GraphProto)) -> ModelProto {
    let mut model = model(Form::Plain);
    change(model.graph.as_mut().unwrap());
    model
}

const TEXT: [&str; 3] = ["tokenizer.json", "tokenizer_config.json", "config.json"];

#[test]
fn what_is_in_the_way_is_named() {
    let embedded = changed(|g| g.input.push(typed("inputs_embeds", ElementType::Float32, &["batch", "s", "192"])));
    assert!(obstacle(&embedded, &TEXT).1.contains("`inputs_embeds`"));
    // A present output that is not the past with something behind it.
    let detached = changed(|g| {
        let mut nodes = Nodes { prefix: "/cut", ..Nodes::default() };
        let name = "present.0.key";
        let join = g.node.iter_mut().find(|n| n.output.iter().any(|o| o == name)).unwrap();
        join.output[0] = "joined".into();
        nodes.named("Neg", &["joined"], &[name], Vec::new());
        let at = g.node.iter().position(|n| n.output[0] == "joined").unwrap();
        g.node.insert(at + 1, nodes.nodes.remove(0));
    });
    let why = obstacle(&detached, &TEXT).1;
    assert!(why.contains("present.0.key") && why.contains("neg"), "{why}");
    // Past keys that something else reads.
    let read = changed(|g| {
        let mut nodes = Nodes { prefix: "/also", ..Nodes::default() };
        nodes.named("ReduceSum", &["past_key_values.0.key"], &["sum"], vec![int("keepdims", 0)]);
        g.node.insert(0, nodes.nodes.remove(0));
        g.output.push(typed("sum", ElementType::Float32, &[]));
    });
    let why = obstacle(&read, &TEXT).1;
    assert!(why.contains("past_key_values.0.key"), "{why}");
}

/// The graph for steps of one token, traced without a mask that later tokens need.
#[test]
fn queries_that_see_later_tokens_are_no_language_model() {
    let unmasked = changed(|g| {
        let sums: Vec<(String, String)> =
            g.node.iter().map(|n| (n.output[0].clone(), n.input.first().cloned().unwrap_or_default())).collect();
        for node in g.node.iter_mut().filter(|n| n.op_type() == "Softmax") {
            let (_, scores) = sums.iter().find(|(sum, _)| *sum == node.input[0]).unwrap();
            node.input[0].clone_from(scores);
        }
    });
    let why = obstacle(&unmasked, &TEXT).1;
    assert!(why.contains("later tokens"), "{why}");
}

#[test]
fn without_a_tokenizer_the_ports_are_those_of_the_file() {
    let (source, why) = obstacle(&model(Form::Plain), &["config.json"]);
    assert!(why.contains("tokenizer.json"), "{why}");
    let inputs: Vec<&str> = source.import.graph.inputs().map(|(name, _)| name).collect();
    assert_eq!(inputs[..4], ["input_ids", "attention_mask", "position_ids", "past_key_values.0.key"]);
    let artifact = as_shipped(&source, 1, Backend::best()).unwrap();
    let error = LanguageModel::new(artifact, Native::Embedded).unwrap_err();
    assert_eq!(error.code, "no-language-model");
    assert!(error.headline.contains("tokenizer.json"), "{error}");
}

#[test]
fn a_context_that_no_file_names_is_assumed_and_said() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(crate::whale::source().join("tokenizer.json"), folder.path().join("tokenizer.json")).unwrap();
    let path = folder.path().join("model.onnx");
    std::fs::write(&path, model(Form::Plain).encode_to_vec()).unwrap();
    let source = Source::load(&path).unwrap();
    let context = source.import.text.as_ref().unwrap().context;
    assert!(source.import.assumed.as_ref().unwrap().contains(&context.to_string()), "{context}");
}
