//! Altered plans: whatever opens may be run, and ends in a result or a typed error.

use crate::plans::{Plan, bindings, call, sharing};
use actc_artifact::{Artifact, Builtin, Section, Step};
use actc_runtime::{Limits, Model, ReadOptions, Session, SessionOptions};
use actc_types::{DType, Encoding, Group, Packed, Role, Tensor, TensorData};

/// Something of every builtin, in branches and rounds.
fn plan() -> Plan {
    let mut plan = Plan::new(&["S", "P"]);
    let ids = plan.input(DType::I64, &["S"]);
    let flag = plan.input(DType::Bool, &["1"]);
    let y = plan.output(DType::F32, &["S", "16"]);
    let gram = plan.state("gram", DType::F32, &["16", "16"]);
    let cache = plan.state("cache", DType::F32, &["P + S", "16"]);
    let a = plan.slot(0, "64*S");
    let b = plan.slot(1, "64*S");
    let trips = plan.slot(2, "8");
    let stats = plan.slot(3, "256");
    let packed = Packed::new(3, Group::Columns(16));
    let parts = vec![
        (Role::Codes, packed.pack_codes(&[5; 32 * 16], 32, 16)),
        (Role::Scales, packed.pack_scales(&[0.25; 32], 32)),
        (Role::Zeros, packed.pack_zeros(&[3; 32], 32)),
    ];
    let table = plan.tensor(DType::F16, &[32, 16], Encoding::Packed(packed), parts);
    let weight: Vec<u8> = (0..256).flat_map(|i| (i as f32 / 256.0).to_le_bytes()).collect();
    let weight = plan.tensor(DType::F32, &[16, 16], Encoding::Dense, vec![(Role::Data, weight)]);
    let embedding = plan.call(Builtin::Embedding, &[ids, a], &["S"], &[]);
    (embedding.tensors, embedding.floats) = (vec![table], vec![1.5]);
    plan.call(Builtin::Linear, &[a, b], &["S"], &[8]).tensors = vec![weight];
    plan.call(Builtin::Copy, &[b, cache], &["S", "64", "0", "64", "64*P", "64"], &[]);
    plan.call(Builtin::Attention, &[b, cache, cache, a], &["1", "S", "P + S", "4", "4", "4"], &[1, 3]).floats =
        vec![0.5];
    plan.call(Builtin::Range, &[trips], &["1", "2"], &[]);
    let (float, integer) = (DType::F32.code(), DType::I32.code());
    plan.call(Builtin::Matmul, &[a, gram, b], &["1", "S", "16", "16"], &[0, 0, integer]);
    plan.call(Builtin::Pad, &[a, gram, b], &["S", "16", "S", "14", "0", "1"], &[4]);
    plan.call(Builtin::Resample, &[a, ids, gram, b], &["1", "16*S", "1", "S", "1"], &[float]);
    plan.call(Builtin::GridSample, &[a, gram, b], &["1", "1", "8", "S", "16"], &[1, 2, 0, float, float]);
    plan.call(Builtin::Det, &[gram, b], &["1", "16"], &[float]);
    let body = vec![
        call(Builtin::Gram, &[a, gram], &["S", "16"], &[]),
        call(Builtin::ChannelStats, &[a, stats], &["S", "16"], &[0]),
    ];
    plan.entry.steps.push(Step::Loop { trips, live: None, index: None, body });
    let (h, c, state) = (plan.slot(4, "16"), plan.slot(5, "16"), plan.slot(6, "256"));
    let layer = [a, gram, stats, stats, b, h, c];
    plan.call(Builtin::Recurrent, &layer, &["S", "1", "4"], &[0, 1, 0, 0, 2, 1, 1]).floats = vec![0.5; 7];
    let heads = [a, a, a, gram, b, state];
    plan.call(Builtin::LinearAttention, &heads, &["1", "S", "4", "4", "4", "4", "0"], &[0]).floats = vec![0.5];
    let then = vec![call(Builtin::Softmax, &[a, y], &["S", "16"], &[])];
    let otherwise = vec![call(Builtin::Matmul, &[a, gram, y], &["1", "S", "16", "16"], &[0, 1])];
    plan.entry.steps.push(Step::If { cond: flag, then, otherwise });
    plan
}

fn run(bytes: Vec<u8>, threads: usize) -> Result<Vec<Tensor>, actc_types::Diagnostic> {
    let limits = Limits::default();
    let model = Model::from_bytes(bytes.into(), &ReadOptions { verify: false, limits })?;
    let given = bindings(&[("S", 3), ("P", 2)]);
    let options =
        SessionOptions { state_capacity: given.clone(), memory_limit: 1 << 24, max_rounds: 100, ..sharing(threads) };
    let mut session = Session::new(model, options)?;
    let flag = Tensor::new(&[1], TensorData::Bool(vec![0]))?;
    session.run("main", &[Tensor::i64(&[3], vec![1, 31, 7])?, flag], &given)
}

#[test]
fn altered_manifests_give_typed_errors() {
    let bytes = plan().write().to_vec();
    run(bytes.clone(), 2).unwrap();
    let artifact = Artifact::from_bytes(bytes.clone().into(), &ReadOptions::default()).unwrap();
    let row = artifact.sections().iter().find(|r| r.section == Section::Manifest).unwrap();
    let (mut ran, mut failed) = (0, 0);
    for at in row.offset as usize..(row.offset + row.length) as usize {
        for flip in [0x01u8, 0x02, 0x04, 0x07, 0x10, 0x80] {
            let mut altered = bytes.clone();
            altered[at] ^= flip;
            match run(altered, 1 + at % 2) {
                Ok(_) => ran += 1,
                Err(error) => {
                    assert!(!error.code.is_empty() && error.code != "runtime-panic", "byte {at}: {error}");
                    failed += 1;
                }
            }
        }
    }
    assert!(ran > 100 && failed > 100, "{ran} ran, {failed} failed");
}
