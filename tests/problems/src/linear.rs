//! What linears mean, in double precision: a random problem, its matrices in any order of codes, and a check of results.

use crate::{Matrix, Rng};
use actc_codegen::spec::gpu::Products;
use actc_codegen::spec::{Act, Epilogue, Mat};
use actc_types::{DType, Encoding, Packed, Role};

/// The reference of one sum and the size of its terms.
struct Exact {
    value: f64,
    /// Sum of the sizes of all terms that the kernel adds, in the form it adds them.
    size: f64,
}

/// Inputs as the kernel sees them in the body: weak columns out, rounded with int8.
fn body_inputs(x: &[f32], weak: &[bool], act: Act) -> Vec<f64> {
    let x: Vec<f32> = x.iter().zip(weak).map(|(x, weak)| if *weak { 0.0 } else { *x }).collect();
    match act {
        Act::F32 => x.iter().map(|v| f64::from(*v)).collect(),
        Act::Int8 => x
            .chunks(64)
            .flat_map(|chunk| {
                let peak = chunk.iter().fold(0f32, |m, v| m.max(v.abs())).max(1e-30);
                let (a, inverse) = (peak / 127.0, 127.0 / peak);
                chunk.iter().map(move |v| f64::from((v * inverse).round_ties_even()) * f64::from(a)).collect::<Vec<_>>()
            })
            .collect(),
    }
}

/// Products of one row with all tokens, and how much larger than a weight the terms are that the kernel adds for it: the code's
/// range and the zero point's part.
fn exact(problem: &Problem, matrix: &Matrix, row: usize) -> Vec<Exact> {
    let view = matrix.view();
    let mut weak = vec![false; matrix.cols];
    view.weak_columns().for_each(|c| weak[c] = true);
    let mut w = vec![0f32; matrix.cols];
    view.row(row, &mut w);
    // A code and the form's bias are each at most the number of levels, so is the zero point: with its part of the sum, a
    // column's terms are at most four times scale * levels * x.
    let grid = |p: &Packed, cols: usize| {
        let scales = &matrix.parts.iter().find(|(role, _)| *role == Role::Scales).expect("the part exists").1;
        let scale = (0..p.group.count(cols)).map(|g| f64::from(p.scale_at(scales, row, g, cols))).fold(0.0, f64::max);
        4.0 * scale * f64::from(p.levels())
    };
    // The largest weight of a block format's row is at least a quarter of that for random codes.
    let term = match &matrix.encoding {
        Encoding::Dense => None,
        Encoding::Block(_) => Some(16.0 * w.iter().fold(0f64, |m, w| m.max(f64::from(w.abs())))),
        Encoding::Packed(p) => Some(grid(p, matrix.cols)),
        Encoding::Mixed(m) => Some(grid(&m.body, m.body_cols(matrix.cols))),
    };
    let of_token = |x: &[f32]| {
        let body = body_inputs(x, &weak, problem.act);
        let (mut value, mut size) = (0.0, 0.0);
        for c in 0..matrix.cols {
            let (w, x) = (f64::from(w[c]), if weak[c] { f64::from(x[c]) } else { body[c] });
            value += w * x;
            size += if weak[c] { (w * x).abs() } else { term.unwrap_or(w.abs()) * x.abs() };
        }
        Exact { value, size }
    };
    problem.x.chunks_exact(problem.cols).map(of_token).collect()
}

fn silu(x: f64) -> f64 {
    x / (1.0 + (-x).exp())
}

fn gelu_tanh(x: f64) -> f64 {
    0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x)).tanh())
}

/// Weak columns of a matrix.
pub fn weak_count(encoding: &Encoding) -> usize {
    match encoding {
        Encoding::Mixed(m) => m.cols as usize,
        Encoding::Dense | Encoding::Block(_) | Encoding::Packed(_) => 0,
    }
}

/// The error of a sum on a GPU relative to the size of its terms: sums of f32, and inputs in parts of 11 bits (8 with bf16).
pub fn bound(cols: usize, products: Products, brain: bool) -> f64 {
    let inputs = match (products, brain) {
        (Products::Half, false) => 2f64.powi(-11),
        (Products::Half, true) => 2f64.powi(-8),
        (Products::Single, _) => 2f64.powi(-22),
    };
    inputs + (2.0 * cols as f64 + 32.0) * 2f64.powi(-24)
}

/// The sizes that a kernel of a GPU asks for by name, `weak` those of its matrices' weak columns.
pub fn sizes(names: &[String], tokens: usize, weak: &[usize]) -> Vec<u64> {
    let value = |name: &String| match name.strip_prefix("weak").and_then(|i| i.parse::<usize>().ok()) {
        Some(i) => weak[i] as u64,
        None => tokens as u64,
    };
    names.iter().map(value).collect()
}

/// One launch's worth of matrices and inputs.
pub struct Problem {
    /// The matrices.
    pub matrices: Vec<Matrix>,
    /// Their columns.
    pub cols: usize,
    /// Rows of the input.
    pub tokens: usize,
    /// Whether the input is rounded.
    pub act: Act,
    /// What happens to the sums.
    pub epilogue: Epilogue,
    /// Whether each matrix has a bias.
    pub bias: bool,
    /// The input, `[tokens, cols]`.
    pub x: Vec<f32>,
    /// A bias for each matrix.
    pub biases: Vec<Vec<f32>>,
    /// What an epilogue adds, `[tokens, rows]`.
    pub residual: Vec<f32>,
}

/// What makes the problem, without its numbers.
impl std::fmt::Debug for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Problem { cols, tokens, act, epilogue, bias, .. } = self;
        write!(f, "cols={cols} tokens={tokens} act={act} {epilogue:?} bias={bias}")?;
        self.matrices.iter().try_for_each(|m| write!(f, " [{} {} {}]", m.rows, m.dtype, m.encoding))
    }
}

impl Problem {
    /// Everything random from one seed; f32 activations and no epilogue.
    pub fn random(
        rows: &[usize],
        encodings: &[Encoding],
        dtype: DType,
        cols: usize,
        tokens: usize,
        bias: bool,
        seed: u64,
    ) -> Problem {
        let mut rng = Rng(seed);
        let random = |(rows, e): (&usize, &Encoding)| Matrix::random(e, dtype, *rows, cols, &mut rng);
        let matrices: Vec<Matrix> = rows.iter().zip(encodings).map(random).collect();
        let x = rng.floats(tokens * cols);
        let biases = rows.iter().map(|r| rng.floats(*r)).collect();
        let residual = rng.floats(rows[0] * tokens);
        Problem { matrices, cols, tokens, act: Act::F32, epilogue: Epilogue::None, bias, x, biases, residual }
    }

    /// The matrices as specs have them.
    pub fn mats(&self) -> Vec<Mat> {
        let mat =
            |m: &Matrix| Mat { rows: m.rows as u32, encoding: m.encoding.clone(), dtype: m.dtype, bias: self.bias };
        self.matrices.iter().map(mat).collect()
    }

    /// Compares outputs `[tokens, rows]` with what they should be and panics where one is not; `bound` is the error of a sum
    /// relative to the size of its terms.
    pub fn check(&self, got: &[Vec<f32>], bound: f64) {
        let worst = self.worst(got, bound, 1);
        assert!(worst.error <= 1.0, "{worst}");
    }

    /// What is furthest from what it should be, in tolerances; of every `pace`-th row only.
    pub fn worst(&self, got: &[Vec<f32>], bound: f64, pace: usize) -> Worst {
        let mut worst = Worst::default();
        for row in (0..self.matrices.iter().map(|m| m.rows).max().unwrap_or(0)).step_by(pace) {
            let sums: Vec<Vec<(f64, f64)>> =
                self.matrices.iter().enumerate().map(|(m, _)| self.sums(m, row, bound)).collect();
            for token in 0..self.tokens {
                for (m, want, tolerance) in self.wanted(&sums, row, token) {
                    worst.see(got[m][token * self.matrices[m].rows + row], want, tolerance, (token, row));
                }
            }
        }
        worst
    }

    /// Sums of row `row` of matrix `m` for each token and what they may be wrong by; none where it has no such row.
    fn sums(&self, m: usize, row: usize, bound: f64) -> Vec<(f64, f64)> {
        let matrix = &self.matrices[m];
        if row >= matrix.rows {
            return Vec::new();
        }
        let bias = if self.bias { f64::from(self.biases[m][row]) } else { 0.0 };
        exact(self, matrix, row).iter().map(|e| (e.value + bias, bound * (e.size + bias.abs()))).collect()
    }

    /// Output, value and tolerance of what is written for a row of a token.
    fn wanted(&self, sums: &[Vec<(f64, f64)>], row: usize, token: usize) -> Vec<(usize, f64, f64)> {
        let eps = f64::from(f32::EPSILON) / 2.0;
        match self.epilogue {
            Epilogue::None => {
                let each = sums.iter().enumerate();
                each.filter_map(|(m, of)| of.get(token).map(|(want, tolerance)| (m, *want, *tolerance))).collect()
            }
            Epilogue::AddResidual => {
                let (want, tolerance) = sums[0][token];
                let want = want + f64::from(self.residual[token * self.matrices[0].rows + row]);
                vec![(0, want, tolerance + 2.0 * eps * want.abs())]
            }
            Epilogue::GatedSilu | Epilogue::GatedGeluTanh => {
                let ((gate, gate_error), (up, up_error)) = (sums[0][token], sums[1][token]);
                let f = if self.epilogue == Epilogue::GatedSilu { silu(gate) } else { gelu_tanh(gate) };
                // Both functions have slopes below 1.13; their own error is below 16 eps of the gate.
                let f_error = 1.13 * gate_error + 16.0 * eps * gate.abs();
                let tolerance = f_error * (up.abs() + up_error) + f.abs() * up_error + 2.0 * eps * (f * up).abs();
                vec![(0, f * up, tolerance)]
            }
        }
    }
}

/// The number that is furthest from what it should be.
#[derive(Clone, Copy, Debug, Default)]
pub struct Worst {
    /// How far, in tolerances: above 1 is wrong. What is not finite is infinitely far.
    pub error: f64,
    token: usize,
    row: usize,
    got: f32,
    want: f64,
    tolerance: f64,
}

impl Worst {
    fn see(&mut self, got: f32, want: f64, tolerance: f64, (token, row): (usize, usize)) {
        let error = (f64::from(got) - want).abs() / (tolerance + 1e-30);
        let error = if error.is_nan() { f64::INFINITY } else { error };
        if error > self.error {
            *self = Worst { error, token, row, got, want, tolerance };
        }
    }
}

impl std::fmt::Display for Worst {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Worst { token, row, got, want, tolerance, error } = self;
        write!(f, "token {token} row {row}: {got} but {want} +- {tolerance}, {error:.3} tolerances off")
    }
}
