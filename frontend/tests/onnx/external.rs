//! Data beside the model: what is read, and every known way out of the model's folder.

use crate::writer::*;
use actc_frontend::onnx::schema::{FunctionProto, ModelProto, TensorProto};
use actc_frontend::onnx::{AttributeKind, ElementType, Model, TensorBytes};
use actc_types::Result;
use prost::Message;
use std::path::Path;

/// A folder `model` with the file `data` of the bytes 0 to 99, beside a file `secret`.
fn folder() -> tempfile::TempDir {
    let outer = tempfile::tempdir().expect("a folder");
    let inner = outer.path().join("model");
    std::fs::create_dir_all(inner.join("sub")).expect("folders");
    let bytes: Vec<u8> = (0..100).collect();
    for name in ["model/data", "model/sub/data", "secret"] {
        std::fs::write(outer.path().join(name), &bytes).expect("written");
    }
    outer
}

fn open(model: &ModelProto, outer: &Path) -> Result<Model> {
    let path = outer.join("model/model.onnx");
    std::fs::write(&path, model.encode_to_vec()).expect("written");
    Model::open(&path)
}

fn four(entries: &[(&str, &str)]) -> TensorProto {
    external("w", ElementType::Uint8, &[4], entries)
}

fn first(model: &Model) -> &[u8] {
    match &model.graph.initialisers[0].1.data {
        TensorBytes::Raw(bytes) => bytes,
        TensorBytes::Texts(_) => panic!("texts"),
    }
}

#[test]
fn data_beside_the_model() {
    let outer = folder();
    let read =
        |entries: &[(&str, &str)]| open(&constant(four(entries)), outer.path()).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(first(&read(&[("location", "data")])), [0, 1, 2, 3]);
    let sum = ("checksum", "da39a3ee5e6b4b0d3255bfef95601890afd80709");
    let model = read(&[("length", "4"), ("offset", "96"), sum, ("location", "./sub/data")]);
    assert_eq!(first(&model), [96, 97, 98, 99]);
    assert_eq!(model.files.keys().collect::<Vec<_>>(), ["", "sub/data"]);
    // One mapping for all tensors of a file, however they spell it.
    let mut g = graph(&[], &[], Vec::new());
    g.initializer = vec![
        external("a", ElementType::Uint8, &[1], &[("location", "data")]),
        external("b", ElementType::Uint8, &[1], &[("location", "./data"), ("offset", "1")]),
    ];
    let model = open(&self::model(g), outer.path()).unwrap_or_else(|e| panic!("{e}"));
    let at = |i: usize| match &model.graph.initialisers[i].1.data {
        TensorBytes::Raw(bytes) => bytes.as_ptr() as usize,
        TensorBytes::Texts(_) => panic!("texts"),
    };
    assert_eq!(at(0) + 1, at(1));
    // An empty tensor at the very end.
    let empty = external("w", ElementType::Float32, &[0], &[("location", "data"), ("offset", "100")]);
    assert!(open(&constant(empty), outer.path()).is_ok());
}

#[test]
fn without_a_folder_it_is_refused() {
    assert_eq!(refused(&constant(four(&[("location", "data")]))), "onnx-external");
    let outer = folder();
    let bytes = constant(four(&[("location", "data")])).encode_to_vec();
    assert!(Model::from_bytes(bytes, Some(&outer.path().join("model"))).is_ok());
}

#[test]
fn locations_that_lead_out_or_nowhere() {
    let outer = folder();
    let absolute = outer.path().join("secret").display().to_string();
    let locations = [
        "../secret",
        "sub/../../secret",
        "sub/..",
        "..",
        "./../secret",
        "sub/../data",
        &absolute,
        "/etc/passwd",
        "",
        ".",
        "./",
        "/",
        "sub//data",
        "data/",
        "C:\\secret",
        "C:secret",
        "\\\\host\\secret",
        "..\\secret",
        "sub\\data",
        "data\0",
        "\0",
        "file:///etc/passwd",
        "missing",
        "sub",
        "sub/missing",
        "data/data",
    ];
    for location in locations {
        let error = open(&constant(four(&[("location", location)])), outer.path()).expect_err(location);
        assert_eq!(error.code, "onnx-external", "{location:?}: {error}");
    }
}

#[cfg(unix)]
#[test]
fn links_pipes_and_second_names() {
    use std::os::unix::fs::symlink;
    let outer = folder();
    let inner = outer.path().join("model");
    symlink("../secret", inner.join("link")).expect("a link");
    symlink("data", inner.join("link-within")).expect("a link");
    symlink("..", inner.join("up")).expect("a link");
    symlink("sub", inner.join("side")).expect("a link");
    symlink("loop", inner.join("loop")).expect("a link");
    std::fs::hard_link(outer.path().join("secret"), inner.join("second-name")).expect("a hard link");
    let pipe = rustix::fs::CWD;
    rustix::fs::mkfifoat(pipe, inner.join("pipe"), rustix::fs::Mode::from_raw_mode(0o600)).expect("a pipe");
    for location in ["link", "link-within", "up/secret", "side/data", "loop", "second-name", "pipe"] {
        let error = open(&constant(four(&[("location", location)])), outer.path()).expect_err(location);
        assert_eq!(error.code, "onnx-external", "{location:?}: {error}");
    }
}

#[test]
fn keys_offsets_and_lengths() {
    let outer = folder();
    let at = ("location", "data");
    let cases: &[&[(&str, &str)]] = &[
        &[],
        &[("offset", "0")],
        &[at, ("other", "1")],
        &[at, ("", "")],
        &[at, at],
        &[at, ("offset", "0"), ("offset", "1")],
        &[at, ("offset", "-1")],
        &[at, ("offset", "+1")],
        &[at, ("offset", "")],
        &[at, ("offset", " 1")],
        &[at, ("offset", "1x")],
        &[at, ("offset", "97")],
        &[at, ("offset", "101")],
        &[at, ("offset", "18446744073709551615")],
        &[at, ("offset", "18446744073709551614"), ("length", "4")],
        &[at, ("offset", "18446744073709551616")],
        &[at, ("length", "3")],
        &[at, ("length", "5")],
        &[at, ("length", "100")],
        &[at, ("length", "-4")],
        &[at, ("length", "18446744073709551616")],
    ];
    for entries in cases {
        let error = open(&constant(four(entries)), outer.path()).expect_err("refused");
        assert_eq!(error.code, "onnx-external", "{entries:?}: {error}");
    }
    // More than the file holds, by the shape alone.
    let large = external("w", ElementType::Uint8, &[101], &[at]);
    assert_eq!(open(&constant(large), outer.path()).expect_err("refused").code, "onnx-external");
    for (extent, code) in [(1 << 59, "onnx-external"), (i64::MAX, "onnx-tensor"), (-1, "onnx-tensor")] {
        let huge = external("w", ElementType::Uint8, &[extent], &[at]);
        assert_eq!(open(&constant(huge), outer.path()).expect_err("refused").code, code, "{extent}");
    }
    // Both inside and outside, and texts.
    let mut both = four(&[at]);
    both.raw_data = Some(vec![0; 4].into());
    assert_eq!(open(&constant(both), outer.path()).expect_err("refused").code, "onnx-tensor");
    let texts = external("w", ElementType::Text, &[1], &[at]);
    assert_eq!(open(&constant(texts), outer.path()).expect_err("refused").code, "onnx-tensor");
}

/// Every tensor of a model goes through the same checks, wherever it stands.
#[test]
fn no_tensor_goes_around_the_checks() {
    let outer = folder();
    let bad = || four(&[("location", "../secret")]);
    let indices = |location| external("", ElementType::Int64, &[2], &[("location", location)]);
    let constant_of = |attribute| with(node("Constant", &[], &["w"]), vec![attribute]);
    let value = |t: TensorProto| {
        let mut a = attribute("value", AttributeKind::Tensor);
        a.t = Some(Box::new(t));
        a
    };
    let list = |t: TensorProto| {
        let mut a = attribute("values", AttributeKind::Tensors);
        a.tensors = vec![t];
        a
    };
    let sparse_value = |t| {
        let mut a = attribute("sparse_value", AttributeKind::Sparse);
        a.sparse_tensor = Some(Box::new(sparse(t, &[4], &[9], &[1, 2, 3, 4])));
        a
    };
    let sparse_list = |t| {
        let mut a = attribute("sparse_values", AttributeKind::Sparses);
        a.sparse_tensors = vec![sparse(t, &[4], &[9], &[1, 2, 3, 4])];
        a
    };
    let in_graph = |n| model(graph(&[], &["w"], vec![n]));
    let in_branch = |g| in_graph(with(node("If", &[], &["w"]), vec![subgraph("then_branch", g)]));
    let function = |nodes, defaults| {
        let mut m = in_graph(of("f", node("F", &[], &["w"])));
        let output = vec!["w".to_owned()];
        let (name, domain) = (Some("F".to_owned()), Some("f".to_owned()));
        let opset_import = vec![opset("", 21)];
        let attribute_proto = defaults;
        m.functions.push(FunctionProto {
            name,
            domain,
            output,
            node: nodes,
            opset_import,
            attribute_proto,
            ..Default::default()
        });
        m
    };
    let sparse_initialiser = |s| {
        let mut g = graph(&[], &[], Vec::new());
        g.sparse_initializer.push(s);
        model(g)
    };
    let initialiser = || constant(bad()).graph.expect("a graph");
    let mut bad_indices = sparse(raw("w", ElementType::Uint8, &[2], &[1, 2]), &[2], &[9], &[1, 2]);
    bad_indices.indices = Some(Box::new(indices("../secret")));
    let places = [
        ("initialiser", constant(bad())),
        ("values of a sparse initialiser", sparse_initialiser(sparse(bad(), &[4], &[9], &[1, 2, 3, 4]))),
        ("indices of a sparse initialiser", sparse_initialiser(bad_indices)),
        ("attribute", in_graph(constant_of(value(bad())))),
        ("list attribute", in_graph(constant_of(list(bad())))),
        ("sparse attribute", in_graph(constant_of(sparse_value(bad())))),
        ("list of sparse attributes", in_graph(constant_of(sparse_list(bad())))),
        ("initialiser of a branch", in_branch(initialiser())),
        ("attribute in a branch", in_branch(graph(&[], &["w"], vec![constant_of(value(bad()))]))),
        ("attribute in a function", function(vec![constant_of(value(bad()))], vec![])),
        ("default of a function", function(vec![node("Constant", &[], &["w"])], vec![value(bad())])),
        ("unused function", {
            let mut m = function(vec![constant_of(sparse_value(bad()))], vec![]);
            m.graph.as_mut().expect("a graph").node[0] = node("Constant", &[], &["w"]);
            m
        }),
    ];
    for (what, model) in places {
        let error = open(&model, outer.path()).expect_err(what);
        assert_eq!(error.code, "onnx-external", "{what}: {error}");
        assert!(error.headline.contains("leads out of the model's folder"), "{what}: {error}");
    }
}

#[test]
fn one_file_of_the_reader_opens_others() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/onnx");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the sources") {
        let path = entry.expect("an entry").path();
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        let opens = ["File::open", "openat(", "std::fs", "map_file(", "map_beneath(", "memmap"];
        if opens.iter().any(|word| text.contains(word)) {
            found.push(path.file_name().expect("a name").to_string_lossy().into_owned());
        }
    }
    assert_eq!(found, ["external.rs"]);
}
