//! Norms, rope and attention against double-precision references, over random shapes, with equal bits whatever the
//! number of parts.

mod room;

use actc_codegen::emit::{Backend, SizesIn};
use actc_codegen::spec::{Attention, KernelSpec, RopeStyle, compile_all};
use actc_problems::EPS;
use actc_problems::norm::{self, Turned};
use actc_types::{Dim, RowForm, Target};
use proptest::prelude::*;
use room::{Buffer, Rng, Room, parts};

fn doubles(x: &[f32]) -> Vec<f64> {
    x.iter().map(|v| f64::from(*v)).collect()
}

/// Panics where `got` is further from `want` than that.
fn close(got: f32, want: f64, tolerance: f64, what: &str) {
    assert!((f64::from(got) - want).abs() <= tolerance, "{what}: {got} but {want} +- {tolerance}");
}

const SIZES: SizesIn = SizesIn::Parameters;

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rms_norm(cols in 1usize..300, rows in 1usize..9, add: bool, seed: u64) {
        parts::check(&norm::rms_norm([rows, cols], add, SIZES, seed));
    }

    #[test]
    fn layer_norm(cols in 2usize..300, rows in 1usize..6, add: bool, bias: bool, seed: u64) {
        parts::check(&norm::layer_norm([rows, cols], bias, add, SIZES, seed));
    }

    #[test]
    fn rope_tables(pairs in 1usize..70, tokens in 1usize..5, past in 0usize..131_072, factors: bool, seed: u64) {
        parts::check(&norm::rope_table(pairs, factors, [tokens, past], SIZES, seed));
    }

    #[test]
    fn rope(heads in 1usize..5, pairs in 1usize..40, rest in 0usize..9, tokens in 1usize..5, half: bool, seed: u64) {
        let style = if half { RopeStyle::Half } else { RopeStyle::Interleaved };
        for in_place in [false, true] {
            parts::check(&norm::rope(Turned { heads, pairs, rest, style, tokens, in_place }, SIZES, seed));
        }
    }

    #[test]
    fn attention(
        group in 1usize..6, kv in 1usize..4, dim in prop_oneof![1usize..90, (1usize..10).prop_map(|n| 16 * n)], tokens in 1usize..4, past in 0usize..80,
        causal: bool, window in proptest::option::of(1u32..40), capped: bool, seed: u64,
    ) {
        for cache in RowForm::ALL {
            Case { group, kv, dim, tokens, past, causal, window, capped, cache }.check(seed);
        }
    }
}

/// A shape of attention.
#[derive(Clone, Copy, Debug)]
struct Case {
    group: usize,
    kv: usize,
    dim: usize,
    tokens: usize,
    past: usize,
    causal: bool,
    window: Option<u32>,
    capped: bool,
    cache: RowForm,
}

impl Case {
    fn check(self, seed: u64) {
        for backend in Backend::ALL.into_iter().filter(|b| b.is_built()) {
            self.check_on(backend, seed);
        }
    }

    fn check_on(self, backend: Backend, seed: u64) {
        let Case { group, kv, dim, tokens, past, causal, window, capped, cache } = self;
        let mut rng = Rng(seed);
        let heads = group * kv;
        let all = past + tokens;
        let q = rng.floats(tokens * heads * dim);
        let (keys, values) = (rng.floats(all * kv * dim), rng.floats(all * kv * dim));
        let (keys, values) = (room::rows(&keys, dim, cache), room::rows(&values, dim, cache));
        let window = window.filter(|_| causal);
        let scale = 1.0 / (dim as f32).sqrt();
        let cap = capped.then_some(20.0f32);
        let a = Attention {
            heads: heads as u32,
            kv_heads: kv as u32,
            head_dim: dim as u32,
            scale,
            causal,
            window,
            cap,
            cache,
        };
        let spec = KernelSpec::Attention(a.clone());
        let room = Room::of(compile_all(std::slice::from_ref(&spec), backend, &Target::host()).unwrap());
        let inputs = [Buffer::floats(&q), Buffer::of(&keys), Buffer::of(&values)];
        let mut first: Option<Vec<f32>> = None;
        for parts in [1u32, 2, 3, 8] {
            let scratch = a.scratch_bytes(&Dim::from(tokens as u64), &Dim::from(past as u64));
            let scratch = Buffer::new(scratch.and_then(|d| d.fixed()).unwrap() as usize);
            let out = Buffer::new(4 * q.len());
            let pointers = [inputs[0].ptr(), inputs[1].ptr(), inputs[2].ptr(), scratch.ptr(), out.ptr()];
            room.run(&spec, &pointers, &[tokens as i64, past as i64], parts);
            scratch.bytes();
            let got = out.read();
            let first = first.get_or_insert_with(|| got.clone());
            assert!(first.iter().map(|x| x.to_bits()).eq(got.iter().map(|x| x.to_bits())), "{parts} parts: {self:?}");
        }
        let got = first.unwrap();
        let (keys, values) = (room::numbers(&keys, dim, cache), room::numbers(&values, dim, cache));
        // Queries of 16 bits: half a unit of the largest element, and the rounding of the product before it.
        let half_unit = if cache == RowForm::Int8 && dim.is_multiple_of(16) { 0.505 / 32767.0 } else { 0.0 };
        for t in 0..tokens {
            let end = if causal { past + t + 1 } else { all };
            let start = window.map_or(0, |w| end.saturating_sub(w as usize));
            for h in 0..heads {
                let q = doubles(&q[(t * heads + h) * dim..][..dim]);
                let unit = half_unit * q.iter().fold(0f64, |m, x| m.max(x.abs()));
                let head = |x: &[f64], j: usize| x[(j * kv + h / group) * dim..][..dim].to_vec();
                let mut worst = 0f64;
                let scores: Vec<f64> = (start..end)
                    .map(|j| {
                        let key = head(&keys, j);
                        let dot = |f: &dyn Fn(f64) -> f64| q.iter().zip(&key).map(|(a, b)| f(a * b)).sum::<f64>();
                        let rounding = key.iter().map(|x| x.abs()).sum::<f64>() * unit / EPS;
                        worst = worst.max((dot(&f64::abs) * (dim as f64 + 10.0) + rounding) * f64::from(scale));
                        let s = dot(&|x| x) * f64::from(scale);
                        cap.map_or(s, |c| f64::from(c) * (s / f64::from(c)).tanh())
                    })
                    .collect();
                let peak = scores.iter().fold(f64::MIN, |m, s| m.max(*s));
                let e: Vec<f64> = scores.iter().map(|s| (s - peak).exp()).collect();
                let sum: f64 = e.iter().sum();
                // An error of a score is a relative error of its weight; so are those of exp, of the sum, of the products.
                // The scales of rounded rows add two roundings to a score and one to a weight.
                let score_error = EPS * worst;
                let n = (end - start) as f64;
                for c in 0..dim {
                    let (mut want, mut size) = (0.0, 0.0);
                    for (j, e) in (start..end).zip(&e) {
                        let v = head(&values, j)[c];
                        want += e / sum * v;
                        size += e / sum * v.abs();
                    }
                    let tolerance =
                        (2.5 * score_error + (2.0 * n + 25.0) * EPS) * size + 4.0 * score_error * size + 1e-30;
                    close(got[(t * heads + h) * dim + c], want, tolerance, &format!("{backend}, {self:?}"));
                }
            }
        }
    }
}

#[test]
fn attention_over_long_caches_in_every_form() {
    let mut rng = Rng(7);
    for (i, dim) in [64, 80, 96, 128, 17].into_iter().enumerate() {
        for (j, group) in [1, 3, 8].into_iter().enumerate() {
            for (n, cache) in RowForm::ALL.into_iter().enumerate() {
                let turn = i + j + n;
                let case = Case {
                    group,
                    kv: 1 + turn % 2,
                    dim,
                    tokens: 1 + turn * 3 % 8,
                    past: rng.below(601),
                    causal: turn % 4 > 0,
                    window: (turn % 3 == 1).then_some(1 + rng.below(300) as u32),
                    capped: turn % 5 == 0,
                    cache,
                };
                case.check(rng.word());
            }
        }
    }
}
