//! What is written is read back, the same content gives the same bytes, and files appear whole or not at all.

use crate::sample;

use actc_artifact::*;
use actc_types::{Encoding, Role};
use bytes::Bytes;

#[test]
fn everything_comes_back() {
    let bytes = sample::write();
    let artifact = Artifact::from_bytes(Bytes::from(bytes.clone()), &ReadOptions::default()).unwrap();
    let expected = sample::manifest(artifact.manifest().tensors.clone());
    assert_eq!(*artifact.manifest(), expected);
    assert_eq!(artifact.manifest().builtins().into_iter().collect::<Vec<_>>(), [Builtin::Linear, Builtin::Copy]);
    assert_eq!(artifact.ir().unwrap(), Some("air 1\n"));
    assert_eq!(artifact.tokenizer().unwrap().unwrap(), br#"{"model": {"vocab": {}}}"#.repeat(20));
    assert_eq!(artifact.report().unwrap().unwrap(), br#"{"layers": []}"#);
    let code = artifact.code(&sample::target()).unwrap().unwrap();
    assert_eq!(code.symbols().collect::<Vec<_>>(), [("add", 0), ("mul", 64)]);
    assert_eq!(code.image().len(), 200);
    assert!(artifact.code(&actc_types::Target::parse("sm_90").unwrap()).unwrap().is_none());
    let ptx = artifact.code(&sample::gpu()).unwrap().unwrap();
    assert_eq!(ptx.symbols().collect::<Vec<_>>(), [("attend", 0), ("copy", 8), ("gemv", 0)]);
    let bias = artifact.weight(0).unwrap();
    let mut row = [0f32; 3];
    bias.row(0, &mut row);
    assert_eq!(row, [0.5, -1.0, 2.0]);
    assert_eq!(artifact.weight(1).unwrap().weak_columns().collect::<Vec<_>>(), [7, 66]);
    for tensor in &artifact.manifest().tensors {
        for part in &tensor.parts {
            let padded = artifact.padded_part(part);
            assert_eq!(padded.as_ptr().align_offset(64), 0);
            assert_eq!(padded.len() as u64, part.length + 64);
        }
    }
    assert_eq!(artifact.digest(), Digest::of(&bytes[..HEADER_BYTES]));
}

#[test]
fn the_same_content_gives_the_same_bytes_in_memory_and_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.actc");
    let bytes = sample::write();
    assert_eq!(bytes, sample::write());
    let mut writer = Writer::to_file(&path, false).unwrap();
    let manifest = sample::fill(&mut writer).unwrap();
    let written = writer.finish(&manifest).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    assert_eq!(written.length, bytes.len() as u64);
    let opened = Artifact::open(&path, &ReadOptions::default()).unwrap();
    assert_eq!(opened.digest(), written.digest);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file stays");
}

#[test]
fn nothing_is_overwritten_unless_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.actc");
    std::fs::write(&path, "precious").unwrap();
    assert_eq!(Writer::to_file(&path, false).err().unwrap().code, "artifact-exists");
    // Dropping a writer leaves nothing behind and touches nothing.
    let mut writer = Writer::to_file(&path, true).unwrap();
    sample::fill(&mut writer).unwrap();
    drop(writer);
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    let mut writer = Writer::to_file(&path, true).unwrap();
    let manifest = sample::fill(&mut writer).unwrap();
    writer.finish(&manifest).unwrap();
    Artifact::open(&path, &ReadOptions::default()).unwrap();
    // A file that appears meanwhile wins.
    let late = folder.path().join("late.actc");
    let mut writer = Writer::to_file(&late, false).unwrap();
    let manifest = sample::fill(&mut writer).unwrap();
    std::fs::write(&late, "first").unwrap();
    assert_eq!(writer.finish(&manifest).unwrap_err().code, "artifact-exists");
    assert_eq!(std::fs::read(&late).unwrap(), b"first");
}

#[test]
fn writers_refuse_what_readers_would() {
    let mut writer = Writer::to_memory();
    let error = writer.tensor("w", actc_types::DType::F32, &[2, 2], Encoding::Dense, &[(Role::Data, &[0; 15])]);
    assert_eq!(error.unwrap_err().code, "artifact-tensor");
    let mut manifest = sample::fill(&mut writer).unwrap();
    manifest.entries[0].buffers[2].kind = BufferKind::Slot(9);
    assert_eq!(writer.finish(&manifest).unwrap_err().code, "artifact-plan");
    let mut writer = Writer::to_memory();
    sample::fill(&mut writer).unwrap();
    assert_eq!(writer.section(Section::Ir, b"again").unwrap_err().code, "artifact-order");
    assert_eq!(writer.section(Section::Manifest, b"").unwrap_err().code, "artifact-order");
    assert_eq!(writer.part(Role::Data, |part| part.write(b"late")).unwrap_err().code, "artifact-order");
}

#[test]
fn plans_are_equal_where_only_words_differ() {
    let bytes = sample::write();
    let artifact = Artifact::from_bytes(Bytes::from(bytes), &ReadOptions::default()).unwrap();
    let mut other = artifact.manifest().clone();
    other.pipeline = "something else".into();
    assert_eq!(artifact.manifest().encode_plan(), other.encode_plan());
    other.entries[0].buffers[2].bytes = sample::dim("24*S");
    assert_ne!(artifact.manifest().encode_plan(), other.encode_plan());
    let mut other = artifact.manifest().clone();
    other.cuda = None;
    assert_ne!(artifact.manifest().encode_plan(), other.encode_plan());
}

/// An artifact without a plan for GPUs has the bytes that it had before there were any.
#[test]
fn a_plan_for_gpus_is_one_more_field() {
    let manifest = sample::manifest(Vec::new());
    let without = Manifest { cuda: None, ..manifest.clone() }.encode();
    let with = manifest.encode();
    assert_eq!(with[..without.len()], without);
    assert_eq!(with[without.len()], 13 << 3 | 2);
    assert_eq!(Manifest::decode(&with, &Limits::default()).unwrap(), manifest);
}

#[test]
fn a_section_is_put_behind_a_finished_artifact() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.actc");
    let mut writer = Writer::to_file(&path, false).unwrap();
    writer.section(Section::Ir, b"air 1\n").unwrap();
    let before = writer.finish(&Manifest { pipeline: "clean".into(), ..Manifest::default() }).unwrap();
    append(&path, Section::Report, b"{}").unwrap();
    let artifact = Artifact::open(&path, &ReadOptions::default()).unwrap();
    assert_eq!((artifact.ir().unwrap(), artifact.manifest().pipeline.as_str()), (Some("air 1\n"), "clean"));
    assert_eq!(artifact.report().unwrap().unwrap(), b"{}");
    assert_ne!(artifact.digest(), before.digest);
    let length = artifact.length();
    drop(artifact);
    for section in [Section::Report, Section::Manifest, Section::Weights, Section::Code(sample::target())] {
        assert_eq!(append(&path, section, b"{}").unwrap_err().code, "artifact-order");
    }
    assert_eq!(std::fs::metadata(&path).unwrap().len(), length, "what is refused changes nothing");
    std::fs::write(&path, "no artifact").unwrap();
    assert_eq!(append(&path, Section::Report, b"{}").unwrap_err().code, "artifact-magic");
}
