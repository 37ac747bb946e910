//! Attacks through texts: JSON, graphs, pipelines, tokenizers, templates; and names that reach a terminal.

use crate::files::Gguf;
use crate::{Attack, answered, attack};
use actc::ir::text::{parse, unbound};
use actc::passes::{PASSES, Pipeline};
use actc::text::{ChatTemplate, Message, Tokenizer};
use actc_types::{Diagnostic, Place};

#[test]
fn bombs() {
    let graphs: Vec<Attack<String>> = vec![
        attack(
            "S24",
            "regions in regions",
            format!("air 1 graph @g(%c: bool[]) {{ {}", "if %c { ".repeat(5000)),
            "air-syntax",
        ),
        attack(
            "S24",
            "a constant of 2^60 elements",
            "air 1 graph @g() { %w = const @w = iota : f32[1152921504606846976] return %w }".into(),
            "const-shape",
        ),
        attack(
            "S24",
            "a constant of 6 GB in a line",
            "air 1 graph @g() { %w = const @w = iota : f32[99999999, 4, 8] return %w }".into(),
            "air-made-up",
        ),
        attack(
            "S24",
            "a shape whose number of elements has 8^40 terms",
            format!(
                "air 1 graph @g(%x: f32[S]) {{ %y = reshape{{shape=\"1{}\"}} %x : f32[1] return %y }}",
                ", a+b+c+d+e+f+g+h".repeat(40)
            ),
            "shape-overflow",
        ),
    ];
    answered(graphs, |text| parse(&text, &unbound).map(|_| ()));
    let pipelines = vec![
        attack("S24", "braces in braces", "a{b=".repeat(5_000), "syntax"),
        attack("S24", "a long list", "clean,".repeat(5_000), "syntax"),
    ];
    answered(pipelines, |text| Pipeline::parse(&text, PASSES).map(|_| ()));
    let tokenizers: Vec<Attack<Vec<u8>>> = vec![
        attack("S24", "deep JSON", [b'['; 100_000].to_vec(), "tokenizer-json"),
        attack("S24", "deep normalizers", deep_normalizers(), "tokenizer-json"),
        attack("S12", "a table of characters that says it has 4 GB", huge_charsmap(), "tokenizer-json"),
        attack("S11", "no UTF-8", vec![0xff; 100], "tokenizer-json"),
    ];
    answered(tokenizers, |json| Tokenizer::from_json(&json).map(|_| ()));
    let templates = vec![
        attack(
            "S24",
            "rounds without end",
            "{% for i in range(100000) %}{% for j in range(100000) %}{{ i * j }}{% endfor %}{% endfor %}".to_owned(),
            "chat-template",
        ),
        attack(
            "S24",
            "a range of 2^62",
            "{% for i in range(4611686018427387904) %}x{% endfor %}".to_owned(),
            "chat-template",
        ),
        attack(
            "S24",
            "a template in itself",
            "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}".to_owned(),
            "chat-template",
        ),
        attack("S24", "brackets in brackets", format!("{{{{ {} }}}}", "(".repeat(20_000)), "chat-template"),
        attack("S20", "a look at the file system", "{% include '/etc/passwd' %}".to_owned(), "chat-template"),
    ];
    answered(templates, |source| {
        ChatTemplate::new(&source, "", "")?.render(&[Message::new("user", "x")], true).map(|_| ())
    });
}

/// The length of the trie, which is all there is, in base64.
fn huge_charsmap() -> Vec<u8> {
    let normalizer = r#"{"type":"Sequence","normalizers":[{"type":"Precompiled","precompiled_charsmap":"/////w=="}]}"#;
    format!(r#"{{"version":"1.0","normalizer":{normalizer},"model":{{"type":"BPE","vocab":{{}},"merges":[]}}}}"#).into()
}

/// A tokenizer whose normalizer is a list in a list in a list.
fn deep_normalizers() -> Vec<u8> {
    let open = r#"{"type":"Sequence","normalizers":["#.repeat(10_000);
    format!(r#"{{"version":"1.0","normalizer":{open}"#).into_bytes()
}

/// What is shown of a name is on its own line and cannot move the cursor, hide text or pretend to be another message.
#[test]
fn names_in_messages() {
    let name = "x\u{1b}[2J\u{202e}\r\nerror[fake]: forged\u{7}";
    let gguf = Gguf::new(0, 1).text("general.architecture", name).data(64).0;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.gguf");
    std::fs::write(&path, gguf).expect("written");
    let import = actc::frontend::load(&path).map(|_| ()).expect_err("no such architecture");
    let placed = |place| Diagnostic::new("code", "headline").at(place);
    let all = [
        import,
        placed(Place::Tensor(name.into())),
        placed(Place::Node(name.into())),
        placed(Place::File(name.into())),
        placed(Place::Offset { file: name.into(), offset: 1 }),
        Diagnostic::new("code", format!("`{name}` is wrong")).help(format!("not {name}")),
        Pipeline::parse(name, PASSES).err().expect("no pipeline"),
    ];
    for error in all {
        let shown = error.to_string();
        assert!(shown.contains('x'), "{shown}");
        assert!(!shown.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'), "{shown:?}");
        assert!(!shown.contains("\nerror[fake]"), "a forged line: {shown}");
    }
}
