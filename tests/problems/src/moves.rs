//! What is moved and not computed: axes in another order, repeated, chosen, padded; parts by their indices; rows of bytes.

use crate::Rng;
use crate::case::{Case, Near, Problem, Want, floats, integers};
use crate::extents::{coordinates, count, place};
use actc_codegen::spec::gpu::{Copy, Each, GpuKernel, Sizes, What};

/// Inputs, sizes and the result.
type Moved = (Vec<Vec<u8>>, Vec<usize>, Vec<u8>);

/// `what` with sizes of both kinds.
fn both(name: &str, what: &What, make: impl Fn() -> Moved + Clone + 'static) -> Vec<Case> {
    let case = |sizes| {
        let make = make.clone();
        let kernel = GpuKernel::Each(Each { what: what.clone(), sizes });
        let name = format!("each {name}{}", if sizes == Sizes::Memory { ", sizes in memory" } else { "" });
        Case::of(name, kernel, move || {
            let (inputs, dims, want) = make();
            let mut problem = Problem::default();
            inputs.into_iter().for_each(|x| {
                problem.put(x);
            });
            problem.want(Want::Bytes(want));
            problem.launched(&dims)
        })
    };
    [Sizes::Int, Sizes::Memory].map(case).into()
}

/// Random elements of `size` bytes.
fn elements(n: usize, size: usize) -> Vec<u8> {
    let mut rng = Rng(10);
    (0..n * size).map(|_| rng.word() as u8).collect()
}

/// Every way to move elements of 1, 2, 4 and 8 bytes between tensors whose extents are about `[a, b, c]`.
pub fn moves([a, b, c]: [usize; 3]) -> Vec<Case> {
    let mut all = Vec::new();
    for size in [1usize, 2, 4, 8] {
        let n = size as u8;
        let part = move |x: &[u8], i: usize| x[i * size..][..size].to_vec();
        let own = [a, b, c];
        for order in [[0u8, 2, 1], [2, 1, 0], [1, 2, 0]] {
            let what = What::Transpose { size: n, order: order.to_vec() };
            all.extend(both(&format!("transpose {own:?} to {order:?} of {size} bytes"), &what, move || {
                let x = elements(count(&own), size);
                let y = order.map(|axis| own[usize::from(axis)]);
                let from = |i| {
                    let mut at = [0; 3];
                    coordinates(i, &y).iter().zip(order).for_each(|(c, axis)| at[usize::from(axis)] = *c);
                    place(&at, &own)
                };
                let want = (0..count(&y)).flat_map(|i| part(&x, from(i))).collect();
                (vec![x], own.to_vec(), want)
            }));
        }
        let (y, row) = ([a, b, c], [a, 1, c]);
        all.extend(both(
            &format!("expand {row:?} to {y:?} of {size} bytes"),
            &What::Expand { size: n, rank: 3 },
            move || {
                let x = elements(count(&row), size);
                let want = (0..count(&y)).flat_map(|i| part(&x, place(&coordinates(i, &y), &row))).collect();
                (vec![x], [y, row].concat(), want)
            },
        ));
        all.extend(both(&format!("select {y:?} of {size} bytes"), &What::Select { size: n, rank: 3 }, move || {
            let x = elements(count(&row), size);
            let chosen: Vec<u8> = (0..c).map(|i| (i % 3 % 2) as u8).collect();
            let other = part(&x, 7);
            let element = |i: usize| {
                let at = coordinates(i, &y);
                if chosen[at[2]] != 0 { part(&x, place(&at, &row)) } else { other.clone() }
            };
            let want = (0..count(&y)).flat_map(element).collect();
            (vec![chosen.clone(), x.clone(), other.clone()], [y, [1, 1, c], row, [1, 1, 1]].concat(), want)
        }));
        let (y, inner, before) = ([a + 3, b + c], [a, c], [1, b - 1]);
        all.extend(both(
            &format!("pad {inner:?} to {y:?} of {size} bytes"),
            &What::Pad { size: n, rank: 2 },
            move || {
                let (x, around) = (elements(count(&inner), size), vec![0x5a; size]);
                let element = |i: usize| {
                    let at: Vec<Option<usize>> =
                        coordinates(i, &y).iter().zip(before).map(|(c, b)| c.checked_sub(b)).collect();
                    match (at[0], at[1]) {
                        (Some(r), Some(c)) if r < inner[0] && c < inner[1] => part(&x, r * inner[1] + c),
                        _ => around.clone(),
                    }
                };
                let want = (0..count(&y)).flat_map(element).collect();
                (vec![x.clone(), around.clone()], [y, inner, before].concat(), want)
            },
        ));
    }
    let nothing = What::Transpose { size: 4, order: vec![1, 0] };
    all.extend(both("transpose nothing", &nothing, || (vec![Vec::new()], vec![0, 5], Vec::new())));
    all
}

/// Parts of `[outer, extent, inner]` elements of `size` bytes by `indices`.
fn gather(outer: usize, extent: usize, inner: usize, size: usize, indices: Vec<i64>) -> Case {
    let kernel = GpuKernel::Each(Each { what: What::Gather { size: size as u8 }, sizes: Sizes::Int });
    let n = indices.len();
    let some = &indices[..n.min(4)];
    let name = format!("each gather {n} of [{outer}, {extent}, {inner}] of {size} bytes by {some:?}");
    Case::of(name, kernel, move || {
        let x = elements(outer * extent * inner, size);
        let bound = extent as i64;
        let known = |i: i64| (-bound..bound).contains(&i).then(|| i.rem_euclid(bound) as usize);
        let element = |i: usize| match known(indices[i / inner % n]) {
            Some(e) => x[((i / inner / n * extent + e) * inner + i % inner) * size..][..size].to_vec(),
            None => vec![0; size],
        };
        let want: Vec<u8> = (0..outer * n * inner).flat_map(element).collect();
        let wrong = indices.iter().any(|i| known(*i).is_none());
        let mut problem = Problem::default();
        problem.put(x.clone());
        problem.put(integers(&indices));
        problem.grown(vec![0; 4], Want::Bytes(i32::from(wrong).to_le_bytes().into()));
        problem.want(Want::Bytes(want));
        problem.launched(&[outer, extent, inner, n])
    })
}

/// Weighted sums of `taps` of the elements along an axis; of one the index is outside where `outside`.
fn resample([outer, extent, inner, n, taps]: [usize; 5], outside: bool) -> Case {
    let kernel = GpuKernel::Each(Each { what: What::Resample, sizes: Sizes::Int });
    let name = format!("each resample [{outer}, {extent}, {inner}] to {n} by {taps}, outside: {outside}");
    Case::of(name, kernel, move || {
        let mut rng = Rng(19);
        let x = rng.floats(outer * extent * inner);
        let mut indices: Vec<i64> = (0..n * taps).map(|_| rng.below(extent) as i64).collect();
        let weights: Vec<f64> = (0..n * taps).map(|_| f64::from(rng.float())).collect();
        if outside {
            indices[5] = extent as i64;
        }
        let value = |i: usize| {
            let (row, col) = (i / inner, i % inner);
            let term = |t: usize| {
                let of = row % n * taps + t;
                let at = usize::try_from(indices[of]).unwrap_or(extent);
                let x = if at < extent { x[(row / n * extent + at) * inner + col] } else { 0.0 };
                weights[of] * f64::from(x)
            };
            let want: f64 = (0..taps).map(term).sum();
            // Sums of f64 in the same order, rounded once.
            Near { want, tolerance: 1e-12 + want.abs() * 2f64.powi(-24) }
        };
        let mut problem = Problem::default();
        problem.put(floats(&x));
        problem.put(integers(&indices));
        problem.put(weights.iter().flat_map(|w| w.to_le_bytes()).collect());
        problem.grown(vec![0; 4], Want::Bytes(i32::from(outside).to_le_bytes().into()));
        problem.want(Want::Near((0..outer * n * inner).map(value).collect()));
        problem.launched(&[outer, extent, inner, n, taps])
    })
}

/// Parts by indices, weighted sums by indices, integers one after the other, and zeros.
pub fn by_indices() -> Vec<Case> {
    let some = [vec![4i64, 0, -1, -5], vec![1, 5, i64::MIN, 2], vec![-6]];
    let mut all: Vec<Case> = some.into_iter().map(|indices| gather(2, 5, 3, 4, indices)).collect();
    all.push(gather(3, 4, 5, 8, vec![3, -2, 0]));
    all.extend([false, true].map(|outside| resample([2, 7, 3, 11, 4], outside)));
    all.extend(numbers(1000));
    all
}

/// The same of `n` parts or sums.
pub fn by_many_indices(n: usize) -> Vec<Case> {
    let mut rng = Rng(23);
    let mut all = Vec::new();
    for size in [1, 2, 4, 8] {
        all.push(gather(3, 1009, 65, size, (0..n).map(|_| rng.below(2018) as i64 - 1009).collect()));
    }
    all.push(resample([3, 501, 33, n, 6], false));
    all.extend(numbers(97 * n));
    all
}

/// `n` integers one after the other, and `n` bytes of zeros.
fn numbers(n: usize) -> [Case; 2] {
    let range = GpuKernel::Each(Each { what: What::Range, sizes: Sizes::Memory });
    let zero = GpuKernel::Each(Each { what: What::Zero, sizes: Sizes::Int });
    let range = Case::of(format!("each range, {n}"), range, move || {
        let start = 1usize << 40;
        let mut problem = Problem::default();
        problem.want(Want::Bytes(integers(&(0..n).map(|i| (start + i) as i64).collect::<Vec<_>>())));
        problem.launched(&[n, start])
    });
    let zero = Case::of(format!("each zero, {}", 8 * n - 1), zero, move || {
        let mut problem = Problem::default();
        problem.grown(vec![0xa5; 8 * n - 1], Want::Bytes(vec![0; 8 * n - 1]));
        problem.launched(&[8 * n - 1])
    });
    [range, zero]
}

/// Rows, bytes of a row, and offset and stride on both sides.
fn copy([rows, bytes, from_offset, from_stride, to_offset, to_stride]: [usize; 6], sizes: Sizes) -> Case {
    let memory = if sizes == Sizes::Memory { ", sizes in memory" } else { "" };
    let name = format!(
        "copy {rows} rows of {bytes} from {from_offset} by {from_stride} to {to_offset} by {to_stride}{memory}"
    );
    Case::of(name, GpuKernel::Copy(Copy { sizes }), move || {
        let mut rng = Rng(14);
        let reach = |offset: usize, stride: usize| offset + rows.saturating_sub(1) * stride + bytes;
        let from: Vec<u8> = (0..reach(from_offset, from_stride)).map(|_| rng.word() as u8).collect();
        let mut want = vec![0xee; reach(to_offset, to_stride)];
        let before = want.clone();
        for i in 0..rows {
            want[to_offset + i * to_stride..][..bytes].copy_from_slice(&from[from_offset + i * from_stride..][..bytes]);
        }
        let mut problem = Problem::default();
        problem.put(from);
        problem.grown(before, Want::Bytes(want));
        problem.launched(&[rows, bytes, from_offset, from_stride, to_offset, to_stride])
    })
}

/// Rows of bytes that lie as `rows` says.
pub fn copies(rows: &[[usize; 6]]) -> Vec<Case> {
    rows.iter().flat_map(|rows| [Sizes::Int, Sizes::Memory].map(|sizes| copy(*rows, sizes))).collect()
}
