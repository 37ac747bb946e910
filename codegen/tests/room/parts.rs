//! One kernel run by several numbers of parts, whose results must have equal bits.

use super::{Buffer, Room};
use actc_codegen::spec::KernelSpec;

/// Half a unit in the last place of 1.
pub(crate) const EPS: f64 = f32::EPSILON as f64 / 2.0;

/// Panics where `got` is further from `want` than that.
pub(crate) fn close(got: f32, want: f64, tolerance: f64, what: &str) {
    assert!((f64::from(got) - want).abs() <= tolerance, "{what}: {got} but {want} +- {tolerance}");
}

/// Runs `spec` with 1, 2, 3 and 8 parts on `inputs` and outputs of `lengths` bytes; all must agree.
pub(crate) fn bytes(spec: &KernelSpec, inputs: &[Buffer], lengths: &[usize], dims: &[i64]) -> Vec<Buffer> {
    let room = Room::new(std::slice::from_ref(spec));
    let run = |parts| {
        let outs: Vec<Buffer> = lengths.iter().map(|n| Buffer::new(*n)).collect();
        let pointers: Vec<*mut u8> = inputs.iter().chain(&outs).map(Buffer::ptr).collect();
        room.run(spec, &pointers, dims, parts);
        outs
    };
    let first = run(1);
    for parts in [2, 3, 8] {
        let all = |outs: &[Buffer]| outs.iter().map(|b| b.bytes().to_vec()).collect::<Vec<_>>();
        assert_eq!(all(&first), all(&run(parts)), "{parts} parts differ from one");
    }
    first
}

/// The same on floats.
pub(crate) fn outputs(spec: &KernelSpec, inputs: &[&[f32]], lengths: &[usize], dims: &[i64]) -> Vec<Vec<f32>> {
    let inputs: Vec<Buffer> = inputs.iter().map(|x| Buffer::floats(x)).collect();
    let lengths: Vec<usize> = lengths.iter().map(|n| 4 * n).collect();
    bytes(spec, &inputs, &lengths, dims).iter().map(Buffer::read).collect()
}
