//! Prepared inputs of linears as `prepare` of CPUs makes them, which LLVM prints for GPUs too.

use crate::case::{Case, Near, Problem, Want, floats};
use crate::{EPS, Rng};
use actc_codegen::emit::SizesIn;
use actc_codegen::spec::{Act, KernelSpec, Prepare, Prepared, WeakSet};
use actc_types::Group;

/// Columns of a chunk, which have a scale of their own where inputs are rounded.
const CHUNK: usize = 64;

/// A part that is padded with zeros to a multiple of 64 bytes.
fn padded(floats: &[f32]) -> Want {
    let mut all = floats.to_vec();
    all.resize(floats.len().next_multiple_of(16), 0.0);
    Want::Floats(all)
}

/// The record of one token.
fn record(set: &Prepared, x: &[f32], index: &[usize]) -> Want {
    let body = set.cols as usize;
    let weak: Vec<f32> = match set.weak {
        WeakSet::None => Vec::new(),
        WeakSet::Scattered => index.iter().map(|c| x[*c]).collect(),
        WeakSet::Suffix(_) => x[body..].to_vec(),
    };
    let mut kept = x[..body].to_vec();
    index.iter().for_each(|c| kept[*c] = 0.0);
    kept.resize(set.padded(), 0.0);
    let mut parts = Vec::new();
    if set.act == Act::Int8 {
        let (mut codes, mut scales) = (Vec::new(), Vec::new());
        for chunk in kept.chunks_mut(CHUNK) {
            let peak = chunk.iter().fold(0f32, |m, v| m.max(v.abs())).max(1e-30);
            let (a, inverse) = (peak / 127.0, 127.0 / peak);
            for v in chunk {
                let code = (*v * inverse).round_ties_even();
                codes.push(code as i8 as u8);
                *v = code * a;
            }
            scales.push(a);
        }
        parts.extend([Want::Bytes(codes), padded(&scales)]);
    }
    if let Some(group) = set.sums {
        let width = group.width(body);
        let sum = |x: &[f32]| {
            let (want, size) =
                x.iter().fold((0.0, 0.0), |(sum, size), v| (sum + f64::from(*v), size + f64::from(v.abs())));
            // Any order rounds each of its sums.
            Near { want, tolerance: width as f64 * EPS * size }
        };
        let mut sums: Vec<Near> = kept[..body].chunks(width).map(sum).collect();
        sums.resize(sums.len().next_multiple_of(16), Near { want: 0.0, tolerance: 0.0 });
        parts.push(Want::Near(sums));
    }
    parts.insert(0, Want::Floats(kept));
    // What is behind weak inputs is not written.
    let rest = weak.len().next_multiple_of(16) - weak.len();
    parts.extend([Want::Floats(weak), Want::Bytes(vec![0xff; 4 * rest])]);
    Want::Parts(parts)
}

/// The records of `tokens` tokens of `cols` columns.
pub fn prepare(
    [tokens, cols]: [usize; 2],
    act: Act,
    sums: Option<Group>,
    weak: WeakSet,
    sizes: SizesIn,
    seed: u64,
) -> Case {
    let body = if let WeakSet::Suffix(n) = weak { cols as u32 - n } else { cols as u32 };
    let set = Prepared { cols: body, act, sums, weak };
    let spec = KernelSpec::Prepare(Prepare { cols: cols as u32, sets: vec![set] });
    Case::generated(format!("records {tokens} x {set}"), spec, sizes, move || {
        let x = Rng(seed).floats(tokens * cols);
        let index: Vec<usize> = match weak {
            WeakSet::Scattered => (0..cols).filter(|c| c % 7 == 3).collect(),
            WeakSet::None | WeakSet::Suffix(_) => Vec::new(),
        };
        let records = Want::Parts(x.chunks(cols).map(|x| record(&set, x, &index)).collect());
        let mut problem = Problem::default();
        let mut sizes = vec![tokens];
        problem.put(floats(&x));
        if weak == WeakSet::Scattered {
            problem.put(index.iter().flat_map(|c| (*c as u32).to_le_bytes()).collect());
            sizes.push(index.len());
        }
        assert_eq!(records.bytes(), tokens * set.record_bytes(index.len()), "the record as it is described");
        problem.grown(vec![0xff; records.bytes()], records);
        problem.launched(&sizes)
    })
}
