//! What linears mean, in double precision: a random problem, its matrices in any order of codes, and a check of results.

use super::{Matrix, Rng};
use actc_codegen::spec::{Act, Epilogue, Mat};
use actc_types::{DType, Encoding, Packed, Role};

/// The reference of one sum and the size of its terms.
pub(crate) struct Exact {
    value: f64,
    /// Sum of the sizes of all terms that the kernel adds, in the form it adds them.
    size: f64,
}

/// Inputs as the kernel sees them in the body: weak columns out, rounded with int8.
fn body_inputs(x: &[f32], weak: &[usize], act: Act) -> Vec<f64> {
    let mut x: Vec<f32> = x.to_vec();
    weak.iter().for_each(|c| x[*c] = 0.0);
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

/// How much larger than a weight the terms are that the kernel adds for it: the code's range and the zero point's part.
fn exact(matrix: &Matrix, row: usize, x: &[f32], act: Act) -> Exact {
    let view = matrix.view();
    let weak: Vec<usize> = view.weak_columns().collect();
    let mut w = vec![0f32; matrix.cols];
    view.row(row, &mut w);
    let body = body_inputs(x, &weak, act);
    let (mut value, mut size) = (0.0, 0.0);
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
    for c in 0..matrix.cols {
        if weak.contains(&c) {
            value += f64::from(w[c]) * f64::from(x[c]);
            size += (f64::from(w[c]) * f64::from(x[c])).abs();
        } else {
            value += f64::from(w[c]) * body[c];
            size += term.unwrap_or(f64::from(w[c]).abs()) * body[c].abs();
        }
    }
    Exact { value, size }
}

fn silu(x: f64) -> f64 {
    x / (1.0 + (-x).exp())
}

fn gelu_tanh(x: f64) -> f64 {
    0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x)).tanh())
}

pub(crate) fn weak_count(encoding: &Encoding) -> usize {
    match encoding {
        Encoding::Mixed(m) => m.cols as usize,
        Encoding::Dense | Encoding::Block(_) | Encoding::Packed(_) => 0,
    }
}

/// One launch's worth of matrices and inputs.
pub(crate) struct Problem {
    pub(crate) matrices: Vec<Matrix>,
    pub(crate) cols: usize,
    pub(crate) tokens: usize,
    pub(crate) act: Act,
    pub(crate) epilogue: Epilogue,
    pub(crate) bias: bool,
    pub(crate) x: Vec<f32>,
    pub(crate) biases: Vec<Vec<f32>>,
    pub(crate) residual: Vec<f32>,
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
    pub(crate) fn random(
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
    pub(crate) fn mats(&self) -> Vec<Mat> {
        let mat =
            |m: &Matrix| Mat { rows: m.rows as u32, encoding: m.encoding.clone(), dtype: m.dtype, bias: self.bias };
        self.matrices.iter().map(mat).collect()
    }

    /// Compares outputs `[tokens, rows]` with what they should be; `bound` is the error of a sum relative to the size of its
    /// terms.
    pub(crate) fn check(&self, got: &[Vec<f32>], bound: f64) {
        let eps = f64::from(f32::EPSILON) / 2.0;
        for t in 0..self.tokens {
            let x = &self.x[t * self.cols..][..self.cols];
            for row in 0..self.matrices.iter().map(|m| m.rows).max().unwrap_or(0) {
                let sum = |m: usize| {
                    let e = exact(&self.matrices[m], row, x, self.act);
                    let b = if self.bias { f64::from(self.biases[m][row]) } else { 0.0 };
                    (e.value + b, bound * (e.size + b.abs()))
                };
                let check = |got: f32, want: f64, tolerance: f64| {
                    assert!(
                        (f64::from(got) - want).abs() <= tolerance + 1e-30,
                        "token {t} row {row}: {got} but {want} +- {tolerance}"
                    );
                };
                match self.epilogue {
                    Epilogue::None => {
                        for (m, matrix) in self.matrices.iter().enumerate().filter(|(_, m)| row < m.rows) {
                            let (want, tolerance) = sum(m);
                            check(got[m][t * matrix.rows + row], want, tolerance);
                        }
                    }
                    Epilogue::AddResidual => {
                        let (want, tolerance) = sum(0);
                        let r = f64::from(self.residual[t * self.matrices[0].rows + row]);
                        check(
                            got[0][t * self.matrices[0].rows + row],
                            want + r,
                            tolerance + 2.0 * eps * (want + r).abs(),
                        );
                    }
                    Epilogue::GatedSilu | Epilogue::GatedGeluTanh => {
                        let (gate, gate_error) = sum(0);
                        let (up, up_error) = sum(1);
                        let f = if self.epilogue == Epilogue::GatedSilu { silu(gate) } else { gelu_tanh(gate) };
                        // Both functions have slopes below 1.13; their own error is below 16 eps of the gate.
                        let f_error = 1.13 * gate_error + 16.0 * eps * gate.abs();
                        let tolerance =
                            f_error * (up.abs() + up_error) + f.abs() * up_error + 2.0 * eps * (f * up).abs();
                        check(got[0][t * self.matrices[0].rows + row], f * up, tolerance);
                    }
                }
            }
        }
    }
}
