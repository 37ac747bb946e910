//! Rounding activations to eight bits, per row and chunk of 64 columns, as `linear{act=int8}` means it.

/// Columns that share a scale.
const CHUNK: usize = 64;

/// Rounds `x` into `out`; `weak` are the ascending columns that stay as they are and take no part in the scale.
///
/// Per chunk, in f32: `a = absmax / 127`, `x -> a * round_ties_even(x * (127 / absmax))`; a chunk of zeros stays zero.
pub(crate) fn round_row(x: &[f32], weak: &[usize], out: &mut [f32]) {
    let mut weak = weak;
    for (i, (x, out)) in x.chunks(CHUNK).zip(out.chunks_mut(CHUNK)).enumerate() {
        let here = weak.partition_point(|col| *col < (i + 1) * CHUNK);
        let (columns, rest) = weak.split_at(here);
        weak = rest;
        out.copy_from_slice(x);
        for col in columns {
            out[col % CHUNK] = 0.0;
        }
        round_chunk(out);
        for col in columns {
            out[col % CHUNK] = x[col % CHUNK];
        }
    }
}

fn round_chunk(chunk: &mut [f32]) {
    // Eight running maxima keep the loop free of a serial chain; the order does not change a maximum.
    let mut lanes = [0f32; 8];
    let (whole, tail) = chunk.as_chunks::<8>();
    for run in whole {
        for (m, x) in lanes.iter_mut().zip(run) {
            *m = if x.abs() > *m { x.abs() } else { *m };
        }
    }
    for (m, x) in lanes.iter_mut().zip(tail) {
        *m = if x.abs() > *m { x.abs() } else { *m };
    }
    let absmax = lanes.iter().fold(0f32, |m, x| m.max(*x));
    let (scale, inverse) = (absmax / 127.0, if absmax > 0.0 { 127.0 / absmax } else { 0.0 });
    for x in chunk {
        // Products are at most 127: adding and subtracting this rounds to the nearest integer, ties to even.
        const ROUND: f32 = 12_582_912.0;
        *x = (*x * inverse + ROUND - ROUND) * scale;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weak_columns_stay_out() {
        let mut x: Vec<f32> = (0..150).map(|i| (i as f32 - 70.0) / 3.0).collect();
        x[3] = 1e6;
        x[64] = -1e5;
        x[149] = 777.0;
        let mut out = vec![0.0; 150];
        round_row(&x, &[3, 64, 149], &mut out);
        for (i, (x, y)) in x.iter().zip(&out).enumerate() {
            let chunk = i / 64;
            if [3, 64, 149].contains(&i) {
                assert_eq!(x, y);
            } else {
                let absmax = match chunk {
                    0 => 70.0 / 3.0,
                    1 => 57.0 / 3.0,
                    _ => 78.0 / 3.0,
                };
                assert!((x - y).abs() <= absmax / 127.0 * 0.501, "{i}: {x} {y}");
            }
        }
        let mut zeros = vec![1.0; 70];
        round_row(&[0.0; 70], &[], &mut zeros);
        assert!(zeros.iter().all(|z| *z == 0.0));
    }

    #[test]
    fn ties_go_to_even() {
        let mut out = [0.0; 4];
        round_row(&[127.0, 0.5, 1.5, -2.5], &[], &mut out);
        assert_eq!(out, [127.0, 0.0, 2.0, -2.0]);
    }
}
