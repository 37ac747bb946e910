//! Cells of recurrent layers, the functions in them, and rules of linear attention: what plans and graphs say of them.

use crate::words::words;

words! {
    /// A cell, and the order of its gates in a matrix of weights.
    Cell
    Lstm "lstm" "long short-term memory: gates input, output, forget and cell",
    LstmCoupled "lstm_coupled" "the same with a forget gate that is one less the input gate",
    Gru "gru" "gated recurrent unit: gates update, reset and hidden; the reset comes before the product",
    GruLinear "gru_linear" "the same with the reset behind the product and its bias",
    Rnn "rnn" "one gate",
}

impl Cell {
    /// Number of gates.
    pub fn gates(self) -> usize {
        match self {
            Cell::Lstm | Cell::LstmCoupled => 4,
            Cell::Gru | Cell::GruLinear => 3,
            Cell::Rnn => 1,
        }
    }

    /// Number of functions: of gates, of the new content, of the content that is shown.
    pub fn functions(self) -> usize {
        match self {
            Cell::Lstm | Cell::LstmCoupled => 3,
            Cell::Gru | Cell::GruLinear => 2,
            Cell::Rnn => 1,
        }
    }

    /// Whether it has a content beside what it shows.
    pub fn has_content(self) -> bool {
        match self {
            Cell::Lstm | Cell::LstmCoupled => true,
            Cell::Gru | Cell::GruLinear | Cell::Rnn => false,
        }
    }
}

words! {
    /// The kind of a function in a cell. Other spellings of names differ in case and underscores.
    SquashKind
    Relu "relu" "`max(x, 0)`",
    Tanh "tanh" "hyperbolic tangent",
    Sigmoid "sigmoid" "`1 / (1 + e^-x)`",
    Affine "affine" "`alpha x + beta`",
    LeakyRelu "leaky_relu" "`x`, of negative ones `alpha x`",
    ThresholdedRelu "thresholded_relu" "`x` where it is at least `alpha`, else 0",
    ScaledTanh "scaled_tanh" "`alpha tanh(beta x)`",
    HardSigmoid "hard_sigmoid" "`min(1, max(0, alpha x + beta))`",
    Elu "elu" "`x`, of negative ones `alpha (e^x - 1)`",
    Softsign "softsign" "`x / (1 + |x|)`",
    Softplus "softplus" "`log(1 + e^x)`",
}

impl SquashKind {
    /// Whether `alpha` and `beta` are in its formula.
    pub fn parameters(self) -> (bool, bool) {
        match self {
            SquashKind::Affine | SquashKind::ScaledTanh | SquashKind::HardSigmoid => (true, true),
            SquashKind::LeakyRelu | SquashKind::ThresholdedRelu | SquashKind::Elu => (true, false),
            SquashKind::Relu | SquashKind::Tanh | SquashKind::Sigmoid | SquashKind::Softsign | SquashKind::Softplus => {
                (false, false)
            }
        }
    }
}

/// A function in a cell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Squash {
    /// Its kind.
    pub kind: SquashKind,
    /// A parameter; 0 where the formula has none.
    pub alpha: f64,
    /// Another.
    pub beta: f64,
}

impl Squash {
    /// The function of `kind` without parameters.
    pub fn plain(kind: SquashKind) -> Squash {
        Squash { kind, alpha: 0.0, beta: 0.0 }
    }

    /// Its value at `x`.
    pub fn apply(self, x: f64) -> f64 {
        let Squash { kind, alpha, beta } = self;
        match kind {
            SquashKind::Relu if x < 0.0 => 0.0,
            SquashKind::Relu => x,
            SquashKind::Tanh => x.tanh(),
            SquashKind::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            SquashKind::Affine => alpha * x + beta,
            SquashKind::LeakyRelu if x < 0.0 => alpha * x,
            SquashKind::LeakyRelu => x,
            SquashKind::ThresholdedRelu if x < alpha => 0.0,
            SquashKind::ThresholdedRelu => x,
            SquashKind::ScaledTanh => alpha * (beta * x).tanh(),
            SquashKind::HardSigmoid => (alpha * x + beta).clamp(0.0, 1.0),
            SquashKind::Elu if x < 0.0 => alpha * x.exp_m1(),
            SquashKind::Elu => x,
            SquashKind::Softsign => x / (1.0 + x.abs()),
            SquashKind::Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
        }
    }
}

words! {
    /// How linear attention changes its state by a token.
    StateRule
    Linear "linear" "the product of key and value is added",
    Gated "gated" "the state decays before",
    Delta "delta" "what the key finds is taken from the value before",
    GatedDelta "gated_delta" "both",
}

impl StateRule {
    /// Whether the state decays.
    pub fn decays(self) -> bool {
        match self {
            StateRule::Gated | StateRule::GatedDelta => true,
            StateRule::Linear | StateRule::Delta => false,
        }
    }

    /// Whether what the key finds is taken from the value.
    pub fn corrects(self) -> bool {
        match self {
            StateRule::Delta | StateRule::GatedDelta => true,
            StateRule::Linear | StateRule::Gated => false,
        }
    }
}
