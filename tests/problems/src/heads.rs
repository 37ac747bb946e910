//! Heads on their way to where they are kept: normed, turned, rounded, behind old rows of states or by themselves.

use crate::case::{Case, Near, Problem, Want, floats};
use crate::norm::{SMALL, sum_units};
use crate::rows::rows;
use crate::{EPS, Rng};
use actc_codegen::spec::RopeStyle;
use actc_codegen::spec::gpu::{Append, Destination, GpuKernel, Rows, Turn};
use actc_types::RowForm;
use half::f16;

/// `new` positions behind `past` ones of `states`, as they are: exact.
pub fn append(states: Vec<Rows>, form: RowForm, new: usize, past: usize) -> Case {
    let shapes: Vec<String> = states.iter().map(|r| format!("{} x {}", r.heads, r.n)).collect();
    let name = format!("append {new} behind {past} of {} in {form}", shapes.join(", "));
    let kernel = GpuKernel::Append(Append { rows: states.clone(), form });
    Case::of(name, kernel, move || {
        let mut rng = Rng(6);
        let mut problem = Problem::default();
        let mut grown = Vec::new();
        for r in &states {
            let (heads, n) = (r.heads as usize, r.n as usize);
            let mut x = rng.floats(new * heads * n);
            // A row of zeros, one too large for halves, one with what is not finite.
            x.iter_mut().take(n).for_each(|v| *v = 0.0);
            x.iter_mut().skip(n).take(n).for_each(|v| *v *= 1e5);
            let odd = if form == RowForm::Int8 { f32::INFINITY } else { f32::NAN };
            x.iter_mut().skip(4 * n).take(1).for_each(|v| *v = odd);
            problem.put(floats(&x));
            let old = vec![0xa5; past * heads * form.row_bytes(n)];
            let all = [&old[..], &rows(&x, n, form)].concat();
            let want = match form {
                RowForm::F32 => Want::Floats(all.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()),
                RowForm::F16 => Want::Halves(all.as_chunks::<2>().0.iter().map(|b| f16::from_le_bytes(*b)).collect()),
                RowForm::Int8 => Want::Bytes(all),
            };
            grown.push((old, want));
        }
        grown.into_iter().for_each(|(old, want)| {
            problem.grown(old, want);
        });
        problem.launched(&[new, past])
    })
}

/// `new` positions behind `past` ones of kinds of heads that are normed and turned.
pub fn on_the_way(kinds: Vec<Rows>, form: RowForm, new: usize, past: usize) -> Case {
    let kernel = GpuKernel::Append(Append { rows: kinds.clone(), form });
    Case::of(format!("heads {new} behind {past}: {kernel}"), kernel, move || {
        let mut rng = Rng(7);
        let mut problem = Problem::default();
        let rotary = kinds.iter().find_map(|r| r.turn).map_or(0, |t| t.rotary as usize);
        let angles: Vec<f32> = (0..new * rotary / 2).map(|_| 3.0 * rng.float()).collect();
        let row = |a: &[f32]| a.iter().map(|a| a.cos()).chain(a.iter().map(|a| a.sin())).collect::<Vec<_>>();
        let table: Vec<f32> = angles.chunks((rotary / 2).max(1)).flat_map(row).collect();
        let mut grown = Vec::new();
        for r in &kinds {
            let (heads, n) = (r.heads as usize, r.n as usize);
            let x = rng.floats(new * heads * n);
            problem.put(floats(&x));
            let scale = rng.floats(n);
            if r.norm.is_some() {
                problem.put(floats(&scale));
            }
            let each = x.chunks(n).enumerate();
            let near = each.flat_map(|(i, x)| {
                let near = turned(r.turn, normed(r, x, &scale), &table[i / heads * rotary..]);
                match r.to {
                    Destination::State => rounded(near, form),
                    Destination::Alone => near,
                }
            });
            let near = near.collect();
            grown.push(match r.to {
                Destination::State => {
                    let old = vec![0xa5; past * heads * form.row_bytes(n)];
                    (old.clone(), Want::Parts(vec![Want::Bytes(old), Want::Rows { n, form, near }]))
                }
                Destination::Alone => (Vec::new(), Want::Near(near)),
            });
        }
        if rotary > 0 {
            problem.put(floats(&table));
        }
        grown.into_iter().for_each(|(old, want)| {
            problem.grown(old, want);
        });
        problem.launched(&[new, past])
    })
}

/// The head `x` after its norm, if it has one.
fn normed(kind: &Rows, x: &[f32], scale: &[f32]) -> Vec<Near> {
    if kind.norm.is_none() {
        return x.iter().map(|v| Near { want: (*v).into(), tolerance: 0.0 }).collect();
    }
    let mean = x.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>() / x.len() as f64;
    let near = |(x, w): (&f32, &f32)| {
        let want = f64::from(*x) / (mean + f64::from(SMALL)).sqrt() * f64::from(*w);
        // The sum's relative error, halved by the root, and six roundings.
        Near { want, tolerance: (sum_units(scale.len()) / 2.0 + 6.0) * EPS * want.abs() }
    };
    x.iter().zip(scale).map(near).collect()
}

/// The head after its turn by the cosines and sines that `table` starts with, if it is turned.
fn turned(turn: Option<Turn>, x: Vec<Near>, table: &[f32]) -> Vec<Near> {
    let Some(Turn { rotary, style }) = turn else { return x };
    let pairs = rotary as usize / 2;
    let near = |i: usize| {
        if i >= 2 * pairs {
            return x[i];
        }
        let (a, b, pair) = match style {
            RopeStyle::Half => (i % pairs, i % pairs + pairs, i % pairs),
            RopeStyle::Interleaved => (i / 2 * 2, i / 2 * 2 + 1, i / 2),
        };
        let (c, s) = (f64::from(table[pair]), f64::from(table[pairs + pair]));
        let (first, second) = (x[a].want, x[b].want);
        let want = if i == a { first * c - second * s } else { second * c + first * s };
        // What the numbers are wrong by, and three roundings of terms that are no larger than they.
        Near { want, tolerance: x[a].tolerance + x[b].tolerance + 3.0 * EPS * (first.abs() + second.abs()) }
    };
    (0..x.len()).map(near).collect()
}

/// The head as a state keeps it, with half a step of its form in the tolerance.
fn rounded(x: Vec<Near>, form: RowForm) -> Vec<Near> {
    let most = x.iter().map(|x| x.want.abs() + x.tolerance).fold(0.0, f64::max);
    let step = |x: &Near| match form {
        RowForm::F32 => 0.0,
        RowForm::F16 => (2f64.powi(-11) * x.want.abs()).max(2f64.powi(-25)),
        // A code is half a step off, and what makes it is rounded three times.
        RowForm::Int8 => most / 254.0 + 4.0 * EPS * most,
    };
    x.iter().map(|x| Near { tolerance: x.tolerance + step(x), ..*x }).collect()
}

/// States of every form, of one new position behind old ones, of many, of none.
pub fn appends(new: usize, past: usize) -> Vec<Case> {
    let case = |form| {
        let normed = |r: Rows| Rows { norm: Some(SMALL), ..r };
        let turned = |r: Rows, style| Rows { turn: Some(Turn { rotary: 20, style }), ..r };
        let alone = |r: Rows| Rows { to: Destination::Alone, ..r };
        let (half, neighbours) = (RopeStyle::Half, RopeStyle::Interleaved);
        [
            append(vec![Rows::plain(2, 64), Rows::plain(2, 64)], form, 1, past),
            append(vec![Rows::plain(3, 20), Rows::plain(1, 130), Rows::plain(2, 8)], form, new, 0),
            append(vec![Rows::plain(1, 33)], form, 0, 3),
            on_the_way(
                vec![alone(turned(Rows::plain(4, 20), half)), turned(Rows::plain(2, 20), half), Rows::plain(2, 20)],
                form,
                new,
                past,
            ),
            on_the_way(
                vec![
                    alone(turned(normed(Rows::plain(3, 70)), neighbours)),
                    turned(normed(Rows::plain(1, 70)), half),
                    normed(Rows::plain(2, 33)),
                ],
                form,
                3,
                1,
            ),
        ]
    };
    RowForm::ALL.into_iter().flat_map(case).collect()
}
