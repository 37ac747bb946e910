//! Cells of recurrent layers, the functions in them, and rules of linear attention: what plans and graphs say of them.

/// A cell, and the order of its gates in a matrix of weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cell {
    /// Long short-term memory: gates input, output, forget and cell.
    Lstm,
    /// The same with a forget gate that is one less the input gate.
    LstmCoupled,
    /// Gated recurrent unit: gates update, reset and hidden; the reset comes before the product.
    Gru,
    /// The same with the reset behind the product and its bias.
    GruLinear,
    /// One gate.
    Rnn,
}

impl Cell {
    /// All cells.
    pub const ALL: &[Cell] = &[Cell::Lstm, Cell::LstmCoupled, Cell::Gru, Cell::GruLinear, Cell::Rnn];

    /// The name in the text form.
    pub fn name(self) -> &'static str {
        match self {
            Cell::Lstm => "lstm",
            Cell::LstmCoupled => "lstm_coupled",
            Cell::Gru => "gru",
            Cell::GruLinear => "gru_linear",
            Cell::Rnn => "rnn",
        }
    }

    /// Its number in plans. Cells are only ever added at the end.
    pub fn code(self) -> i64 {
        self as i64
    }

    /// The cell of number `code`.
    pub fn from_code(code: i64) -> Option<Cell> {
        usize::try_from(code).ok().and_then(|i| Cell::ALL.get(i)).copied()
    }

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

macro_rules! squashes {
    ($($variant:ident $name:literal $alpha:literal $beta:literal $doc:literal),* $(,)?) => {
        /// The kind of a function in a cell.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum SquashKind { $(#[doc = $doc] $variant),* }

        impl SquashKind {
            /// All kinds.
            pub const ALL: &[SquashKind] = &[$(SquashKind::$variant),*];

            /// The name in the text form; other spellings differ in case and underscores.
            pub fn name(self) -> &'static str { match self { $(SquashKind::$variant => $name),* } }

            /// Whether `alpha` and `beta` are in its formula.
            pub fn parameters(self) -> (bool, bool) { match self { $(SquashKind::$variant => ($alpha, $beta)),* } }

            /// Its number in plans. Kinds are only ever added at the end.
            pub fn code(self) -> i64 { self as i64 }

            /// The kind of number `code`.
            pub fn from_code(code: i64) -> Option<SquashKind> {
                usize::try_from(code).ok().and_then(|i| SquashKind::ALL.get(i)).copied()
            }
        }
    };
}

squashes! {
    Relu "relu" false false "`max(x, 0)`",
    Tanh "tanh" false false "hyperbolic tangent",
    Sigmoid "sigmoid" false false "`1 / (1 + e^-x)`",
    Affine "affine" true true "`alpha x + beta`",
    LeakyRelu "leaky_relu" true false "`x`, of negative ones `alpha x`",
    ThresholdedRelu "thresholded_relu" true false "`x` where it is at least `alpha`, else 0",
    ScaledTanh "scaled_tanh" true true "`alpha tanh(beta x)`",
    HardSigmoid "hard_sigmoid" true true "`min(1, max(0, alpha x + beta))`",
    Elu "elu" true false "`x`, of negative ones `alpha (e^x - 1)`",
    Softsign "softsign" false false "`x / (1 + |x|)`",
    Softplus "softplus" false false "`log(1 + e^x)`",
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

/// How linear attention changes its state by a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StateRule {
    /// The product of key and value is added.
    Linear,
    /// The state decays before.
    Gated,
    /// What the key finds is taken from the value before.
    Delta,
    /// Both.
    GatedDelta,
}

impl StateRule {
    /// All rules.
    pub const ALL: &[StateRule] = &[StateRule::Linear, StateRule::Gated, StateRule::Delta, StateRule::GatedDelta];

    /// The name in the text form.
    pub fn name(self) -> &'static str {
        match self {
            StateRule::Linear => "linear",
            StateRule::Gated => "gated",
            StateRule::Delta => "delta",
            StateRule::GatedDelta => "gated_delta",
        }
    }

    /// Its number in plans. Rules are only ever added at the end.
    pub fn code(self) -> i64 {
        self as i64
    }

    /// The rule of number `code`.
    pub fn from_code(code: i64) -> Option<StateRule> {
        usize::try_from(code).ok().and_then(|i| StateRule::ALL.get(i)).copied()
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_theirs() {
        assert!(Cell::ALL.iter().all(|c| Cell::from_code(c.code()) == Some(*c)));
        assert!(SquashKind::ALL.iter().all(|k| SquashKind::from_code(k.code()) == Some(*k)));
        assert!(StateRule::ALL.iter().all(|r| StateRule::from_code(r.code()) == Some(*r)));
        assert_eq!((Cell::from_code(-1), SquashKind::from_code(99), StateRule::from_code(4)), (None, None, None));
    }
}
