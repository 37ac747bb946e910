//! `src/onnx/schema.rs` and `src/onnx/layout.rs` are what the standard's `.proto` file gives.
//!
//! With `ACTC_WRITE_SCHEMA` set the two files are written instead of compared.

use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Fields that are rarely set and large in memory: behind a pointer, so that messages around them stay small.
const BOXED: &[&str] = &[
    ".onnx.AttributeProto.t",
    ".onnx.AttributeProto.g",
    ".onnx.AttributeProto.sparse_tensor",
    ".onnx.AttributeProto.tp",
    ".onnx.SparseTensorProto.values",
    ".onnx.SparseTensorProto.indices",
    ".onnx.ValueInfoProto.type",
];

/// Fields that do not change what a model computes. Exporters fill some of them for every node, with documentation and
/// whole stack traces; without a place in the schema they are skipped and cost nothing.
const SKIPPED: &[&str] =
    &["doc_string", "training_info", "configuration", "device_configurations", "quantization_annotation"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/onnx")
}

/// The schema without what is skipped, and with enumerations as plain numbers: the reader has closed sets of its own, and a
/// code that is unknown must reach it as it stands in the file.
fn descriptors() -> FileDescriptorSet {
    let mut set = protox::compile(["onnx-ml.proto"], [folder()]).expect("the schema compiles");
    for file in &mut set.file {
        file.enum_type.clear();
        file.message_type.iter_mut().for_each(numbers_for_enums);
        file.message_type.iter_mut().for_each(without_skipped);
        let mut kept = BTreeSet::new();
        reach("ModelProto", &file.message_type, &mut kept);
        file.message_type.retain(|m| kept.contains(m.name()));
    }
    set
}

fn without_skipped(message: &mut DescriptorProto) {
    let of_model = message.name() == "ModelProto";
    message.field.retain(|f| !SKIPPED.contains(&f.name()) && (of_model || f.name() != "metadata_props"));
    message.nested_type.iter_mut().for_each(without_skipped);
}

/// The outermost messages that are needed for the one called `name`.
fn reach(name: &str, all: &[DescriptorProto], kept: &mut BTreeSet<String>) {
    fn fields<'a>(message: &'a DescriptorProto, out: &mut Vec<&'a str>) {
        out.extend(message.field.iter().map(|f| f.type_name()));
        message.nested_type.iter().for_each(|inner| fields(inner, out));
    }
    let Some(message) = all.iter().find(|m| m.name() == name) else { return };
    if !kept.insert(name.to_owned()) {
        return;
    }
    let mut types = Vec::new();
    fields(message, &mut types);
    for ty in types.iter().filter_map(|t| t.strip_prefix(".onnx.")) {
        reach(ty.split('.').next().unwrap_or(ty), all, kept);
    }
}

fn numbers_for_enums(message: &mut DescriptorProto) {
    message.enum_type.clear();
    for field in message.field.iter_mut().filter(|f| f.r#type() == Type::Enum) {
        field.set_type(Type::Int32);
        field.type_name = None;
    }
    message.nested_type.iter_mut().for_each(numbers_for_enums);
}

fn schema() -> String {
    let out = tempfile::tempdir().expect("a folder");
    let mut config = prost_build::Config::new();
    config.bytes(["."]).disable_comments(["."]).out_dir(out.path());
    for field in BOXED {
        config.boxed(field);
    }
    config.compile_fds(descriptors()).expect("code is made");
    let code = std::fs::read_to_string(out.path().join("onnx.rs")).expect("one package");
    let head = "//! The messages of the ONNX schema, made from `onnx-ml.proto` by the test `onnx_schema`; not edited by hand.\n\
                //!\n\
                //! Fields of bytes are slices of what was decoded.\n\
                #![allow(\n    missing_docs,\n    unreachable_pub,\n    clippy::all,\n    clippy::allow_attributes_without_reason,\n    \
                reason = \"made by prost-build\"\n)]\n";
    let body =
        code.lines().filter(|l| !l.starts_with("// This file is @generated")).fold(String::new(), |s, l| s + l + "\n");
    format!("{head}{body}")
}

fn layout() -> String {
    let set = descriptors();
    let file = set.file.iter().find(|f| f.package() == "onnx").expect("the package");
    let mut messages = Vec::new();
    for message in &file.message_type {
        collect("", message, &mut messages);
    }
    let mut out = String::from(
        "//! What each field of each message takes in memory, made from `onnx-ml.proto` by the test `onnx_schema`.\n\
         //!\n\
         //! A field that is not named here is unknown to the schema and takes nothing: decoding skips it.\n\n\
         use super::scan::{Field::*, Message};\n\
         use super::schema::*;\n\n\
         /// All messages; the first is the outermost one.\n#[rustfmt::skip]\npub(super) static MESSAGES: &[Message] = &[\n",
    );
    messages.sort_by_key(|(name, _)| name != "ModelProto");
    let names: Vec<String> = messages.iter().map(|(name, _)| name.clone()).collect();
    for (name, message) in &messages {
        writeln!(out, "    // {name}").expect("text");
        writeln!(out, "    Message {{ size: size_of::<{}>(), fields: &[", rust_path(name)).expect("text");
        let mut fields: Vec<&FieldDescriptorProto> = message.field.iter().collect();
        fields.sort_by_key(|f| f.number());
        for field in fields {
            writeln!(out, "        ({}, {}), // {}", field.number(), memory(name, field, &names), field.name())
                .expect("text");
        }
        writeln!(out, "    ] }},").expect("text");
    }
    out.push_str("];\n");
    out
}

fn collect(outer: &str, message: &DescriptorProto, out: &mut Vec<(String, DescriptorProto)>) {
    let name = format!("{outer}{}", message.name());
    for inner in &message.nested_type {
        collect(&format!("{name}."), inner, out);
    }
    out.push((name, message.clone()));
}

/// The path of the struct of a message: messages inside of a message lie in a module of its name.
fn rust_path(name: &str) -> String {
    match name.split_once('.') {
        Some((outer, inner)) => {
            let mut module = String::new();
            for c in outer.chars() {
                if c.is_uppercase() && !module.is_empty() {
                    module.push('_');
                }
                module.extend(c.to_lowercase());
            }
            format!("{module}::{inner}")
        }
        None => name.to_owned(),
    }
}

fn memory(message: &str, field: &FieldDescriptorProto, names: &[String]) -> String {
    let repeated = field.label() == Label::Repeated;
    let kind = field.r#type();
    let size = match kind {
        Type::Message => {
            let inner = field.type_name().trim_start_matches(".onnx.");
            let index = names.iter().position(|n| n == inner).expect("a message of the schema");
            // Messages inside of a message hold each other in turn and may lie behind a pointer.
            let boxed = !repeated
                && (BOXED.contains(&format!(".onnx.{message}.{}", field.name()).as_str()) || message.contains('.'));
            return match (repeated, boxed) {
                (true, _) => format!("Messages({index})"),
                (false, true) => format!("Boxed({index})"),
                (false, false) => format!("Inline({index})"),
            };
        }
        Type::String => return if repeated { "Texts".into() } else { "Text".into() },
        Type::Bytes => return if repeated { "Slices".into() } else { "Nothing".into() },
        Type::Float | Type::Int32 | Type::Uint32 | Type::Bool => 4,
        Type::Double | Type::Int64 | Type::Uint64 => 8,
        Type::Fixed32 | Type::Fixed64 | Type::Sfixed32 | Type::Sfixed64 | Type::Sint32 | Type::Sint64 => {
            panic!("{kind:?} is new to the schema")
        }
        Type::Enum | Type::Group => panic!("{kind:?} is no type of the schema as it is compiled here"),
    };
    match (repeated, kind) {
        (false, _) => "Nothing".into(),
        (true, Type::Float | Type::Double) => format!("Fixed({size})"),
        (true, _) => format!("Varints({size})"),
    }
}

fn compare(name: &str, wanted: &str) {
    let path = folder().join(name);
    if std::env::var_os("ACTC_WRITE_SCHEMA").is_some() {
        std::fs::write(&path, wanted).expect("written");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == wanted, "{name} is not what the schema gives; run this test with ACTC_WRITE_SCHEMA=1");
}

#[test]
fn the_generated_files_are_those_of_the_schema() {
    compare("schema.rs", &schema());
    compare("layout.rs", &layout());
}
