//! `recurrent` and `linear_attention`: states that change from token to token.
//!
//! `recurrent`: one direction of a layer over `T` steps. Arguments: `x [T, B, G H]`, the inputs of the gates with their biases;
//! `r [G H, H]`; `h [B, H]`; then, where the cell has a content, `c [B, H]`; the inner bias `[H]` of `gru_linear`; with
//! `peepholes` of an LSTM `p [3 H]`, for the gates input, output and forget; with `lengths` `i64 [B]`, the steps that each of
//! the batch has. Results: `y [T, B, H]`, zeros behind a length; the last `h [B, H]`; the last `c [B, H]` where there is one.
//! In `reverse` the steps of each are taken from its last to its first.
//!
//! `linear_attention`: `q [B, T, H, K]`, `k [B, T, N, K]`, `v [B, T, N, V]`, `N` divides `H`, `state [B, N, K, V]`; then, where
//! the rule decays, `decay [B, T, N, K]` or `[B, T, N, 1]`; where it corrects, `beta [B, T, N, 1]`. Results: `y [B, T, H, V]`
//! and the new state. For each token `S <- exp(decay) S`, `S <- S + k (beta (v - S^T k))^T` or `S + k v^T`, `y = scale S^T q`.

use crate::op::{Arg, Payload, PayloadFields, arity, mismatch};
use crate::types::TensorType;
use actc_types::braced::Fields;
use actc_types::recurrent::{Cell, Squash, SquashKind, StateRule};
use actc_types::{DType, Diagnostic, Dim, Result, Shape, Tensor};

/// Payload of `recurrent`.
#[derive(Clone, Debug, PartialEq)]
pub struct Recurrent {
    /// The cell.
    pub cell: Cell,
    /// As many functions as the cell has.
    pub functions: Vec<Squash>,
    /// Whether steps are taken from the last to the first.
    pub reverse: bool,
    /// Bound on the size of what enters a function of a gate, where there is one.
    pub clip: Option<f64>,
    /// Whether gates see the content.
    pub peepholes: bool,
    /// Whether each of the batch has a length of its own.
    pub lengths: bool,
}

/// Payload of `linear_attention`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinearAttention {
    /// How the state changes.
    pub rule: StateRule,
    /// Factor on the result.
    pub scale: f64,
}

fn floats(op: &str, args: &[TensorType]) -> Result<()> {
    match args.iter().find(|a| a.dtype != DType::F32) {
        None => Ok(()),
        Some(other) => Err(mismatch(op, "an argument", other, "f32")),
    }
}

fn shaped(op: &str, what: &str, found: Option<&TensorType>, dims: &[&Dim]) -> Result<()> {
    let wanted = Shape(dims.iter().copied().cloned().collect());
    match found {
        Some(ty) if ty.shape == wanted => Ok(()),
        Some(ty) => Err(mismatch(op, what, &ty.shape, wanted)),
        None => Err(mismatch(op, what, "missing", wanted)),
    }
}

fn times(n: usize, d: &Dim) -> Result<Dim> {
    let product = d.checked_mul(&Dim::from(n as u64));
    product.ok_or_else(|| Diagnostic::new("dim-overflow", "recurrent: gates exceed 63 bits"))
}

impl Recurrent {
    fn arguments(&self) -> usize {
        let inner = usize::from(self.cell == Cell::GruLinear);
        3 + usize::from(self.cell.has_content()) + inner + usize::from(self.peepholes) + usize::from(self.lengths)
    }

    fn squash(&self, i: usize, x: f64) -> f64 {
        self.functions[i].apply(x)
    }

    fn bounded(&self, x: f64) -> f64 {
        self.clip.map_or(x, |clip| x.clamp(-clip, clip))
    }
}

impl Payload for Recurrent {
    fn infer(&self, args: &[TensorType]) -> Result<Vec<TensorType>> {
        const OP: &str = "recurrent";
        let count = self.arguments();
        arity(OP, args.len(), count..=count)?;
        if self.functions.len() != self.cell.functions() {
            return Err(mismatch(OP, "number of functions", self.functions.len(), self.cell.functions()));
        }
        if self.peepholes && !self.cell.has_content() || self.clip.is_some_and(|c| c.is_nan() || c <= 0.0) {
            return Err(mismatch(OP, "the cell", self.cell.name(), "one with peepholes, and a positive `clip`"));
        }
        floats(OP, &args[..count - usize::from(self.lengths)])?;
        let ([t, b, gates], [_, h]) = (args[0].shape.dims(), args[1].shape.dims()) else {
            return Err(mismatch(OP, "x and r", format!("{} and {}", args[0], args[1]), "[T, B, G H] and [G H, H]"));
        };
        let all = times(self.cell.gates(), h)?;
        if *gates != all {
            return Err(mismatch(OP, "width of x", gates, all));
        }
        shaped(OP, "shape of r", args.get(1), &[&all, h])?;
        shaped(OP, "shape of h", args.get(2), &[b, h])?;
        let mut rest = args[3..].iter();
        if self.cell.has_content() {
            shaped(OP, "shape of c", rest.next(), &[b, h])?;
        }
        if self.cell == Cell::GruLinear {
            shaped(OP, "shape of the inner bias", rest.next(), &[h])?;
        }
        if self.peepholes {
            shaped(OP, "shape of the peepholes", rest.next(), &[&times(3, h)?])?;
        }
        if self.lengths {
            let lengths = rest.next();
            shaped(OP, "shape of the lengths", lengths, &[b])?;
            if lengths.is_some_and(|l| l.dtype != DType::I64) {
                return Err(mismatch(OP, "the lengths", "of another type", "i64"));
            }
        }
        let last = TensorType::new(DType::F32, Shape(vec![b.clone(), h.clone()]));
        let mut results = vec![TensorType::new(DType::F32, Shape(vec![t.clone(), b.clone(), h.clone()])), last.clone()];
        if self.cell.has_content() {
            results.push(last);
        }
        Ok(results)
    }

    fn eval(&self, args: &[Arg<'_>], _results: &[TensorType]) -> Result<Vec<Tensor>> {
        let ((dims, x), (rd, r), (_, mut h)) = (args[0].to_f64()?, args[1].to_f64()?, args[2].to_f64()?);
        let (&[t, b, _], &[_, width]) = (&dims[..], &rd[..]) else {
            return Err(Diagnostic::new("ir-type", "recurrent: arguments of other ranks"));
        };
        let (steps, n, gates) = (t as usize, width as usize, self.cell.gates());
        let mut rest = args[3..].iter();
        let mut next = |there: bool| -> Result<Vec<f64>> {
            let arg = if there { rest.next() } else { None };
            Ok(arg.map(|a| a.to_f64()).transpose()?.map(|(_, v)| v).unwrap_or_default())
        };
        let mut c = next(self.cell.has_content())?;
        let inner = next(self.cell == Cell::GruLinear)?;
        let peep = next(self.peepholes)?;
        let lengths = next(self.lengths)?;
        if let Some(length) = lengths.iter().find(|l| !(0.0..=t as f64).contains(*l)) {
            return Err(Diagnostic::new("recurrent-length", format!("a length of {length} of {steps} steps")));
        }
        let mut y = vec![0f32; steps * b as usize * n];
        let dot = |row: usize, v: &[f64]| -> f64 { r[row * n..][..n].iter().zip(v).map(|(a, b)| a * b).sum() };
        for i in 0..b as usize {
            let length = lengths.get(i).map_or(steps, |l| *l as usize);
            for step in 0..length {
                let time = if self.reverse { length - 1 - step } else { step };
                let input = |gate: usize, u: usize| x[((time * b as usize + i) * gates + gate) * n + u];
                let old = h[i * n..][..n].to_vec();
                let gate = |g: usize, u: usize| input(g, u) + dot(g * n + u, &old);
                let seen = |g: usize, u: usize, c: f64| if self.peepholes { peep[g * n + u] * c } else { 0.0 };
                let reset: Vec<f64> = match self.cell {
                    Cell::Gru => (0..n).map(|u| self.squash(0, self.bounded(gate(1, u))) * old[u]).collect(),
                    Cell::Lstm | Cell::LstmCoupled | Cell::GruLinear | Cell::Rnn => Vec::new(),
                };
                for u in 0..n {
                    let new = match self.cell {
                        Cell::Rnn => self.squash(0, self.bounded(gate(0, u))),
                        Cell::Gru | Cell::GruLinear => {
                            let z = self.squash(0, self.bounded(gate(0, u)));
                            let hidden = if self.cell == Cell::Gru {
                                input(2, u) + dot(2 * n + u, &reset)
                            } else {
                                let r = self.squash(0, self.bounded(gate(1, u)));
                                input(2, u) + r * (dot(2 * n + u, &old) + inner[u])
                            };
                            (1.0 - z) * self.squash(1, self.bounded(hidden)) + z * old[u]
                        }
                        Cell::Lstm | Cell::LstmCoupled => {
                            let before = c[i * n + u];
                            let enter = self.squash(0, self.bounded(gate(0, u) + seen(0, u, before)));
                            let keep = match self.cell {
                                Cell::LstmCoupled => 1.0 - enter,
                                Cell::Lstm | Cell::Gru | Cell::GruLinear | Cell::Rnn => {
                                    self.squash(0, self.bounded(gate(2, u) + seen(2, u, before)))
                                }
                            };
                            let content = keep * before + enter * self.squash(1, self.bounded(gate(3, u)));
                            c[i * n + u] = content;
                            let show = self.squash(0, self.bounded(gate(1, u) + seen(1, u, content)));
                            show * self.squash(2, content)
                        }
                    };
                    h[i * n + u] = new;
                    y[(time * b as usize + i) * n + u] = new as f32;
                }
            }
        }
        let single = |v: Vec<f64>| Tensor::f32(&[b, width], v.into_iter().map(|x| x as f32).collect());
        let mut results = vec![Tensor::f32(&[t, b, width], y)?, single(h)?];
        if self.cell.has_content() {
            results.push(single(c)?);
        }
        Ok(results)
    }

    fn fields(&self) -> PayloadFields {
        let mut fields = vec![("cell", Some(self.cell.name().to_owned()))];
        for (key, f) in ["f", "g", "h"].into_iter().zip(&self.functions) {
            let plain = f.alpha == 0.0 && f.beta == 0.0;
            let text = if plain { f.kind.name().into() } else { format!("{}/{}/{}", f.kind.name(), f.alpha, f.beta) };
            fields.push((key, Some(text)));
        }
        if let Some(clip) = self.clip {
            fields.push(("clip", Some(clip.to_string())));
        }
        let flags = [("reverse", self.reverse), ("peepholes", self.peepholes), ("lengths", self.lengths)];
        fields.extend(flags.into_iter().filter(|(_, on)| *on).map(|(key, _)| (key, None)));
        fields
    }

    fn read(fields: &mut Fields<'_>) -> Result<Recurrent> {
        let cell = fields.with("cell", "a cell", Cell::parse)?;
        let cell = fields.need("cell", cell)?;
        let mut functions = Vec::new();
        for key in ["f", "g", "h"].into_iter().take(cell.functions()) {
            let function = fields.with(key, "a function, or `function/alpha/beta`", read_squash)?;
            functions.push(fields.need(key, function)?);
        }
        Ok(Recurrent {
            cell,
            functions,
            clip: fields.number("clip")?,
            reverse: fields.flag("reverse")?,
            peepholes: fields.flag("peepholes")?,
            lengths: fields.flag("lengths")?,
        })
    }
}

fn read_squash(text: &str) -> Option<Squash> {
    let mut parts = text.split('/');
    let name = parts.next()?;
    let kind = SquashKind::parse(name)?;
    let mut number = || parts.next().map_or(Some(0.0), |v| v.parse().ok());
    let (alpha, beta) = (number()?, number()?);
    parts.next().is_none().then_some(Squash { kind, alpha, beta })
}

impl Payload for LinearAttention {
    fn infer(&self, args: &[TensorType]) -> Result<Vec<TensorType>> {
        const OP: &str = "linear_attention";
        let count = 4 + usize::from(self.rule.decays()) + usize::from(self.rule.corrects());
        arity(OP, args.len(), count..=count)?;
        floats(OP, args)?;
        let ([b, t, h, k], [_, _, n, v]) = (args[0].shape.dims(), args[2].shape.dims()) else {
            return Err(mismatch(
                OP,
                "q and v",
                format!("{} and {}", args[0], args[2]),
                "[B, T, H, K] and [B, T, N, V]",
            ));
        };
        match (h.fixed(), n.fixed()) {
            (Some(h), Some(n)) if n > 0 && h % n == 0 => {}
            _ => return Err(mismatch(OP, "number of query heads", h, format!("a multiple of {n}"))),
        }
        shaped(OP, "shape of k", args.get(1), &[b, t, n, k])?;
        shaped(OP, "shape of v", args.get(2), &[b, t, n, v])?;
        shaped(OP, "shape of the state", args.get(3), &[b, n, k, v])?;
        let one = Dim::from(1);
        let mut rest = args[4..].iter();
        if self.rule.decays() {
            let decay = rest.next();
            let width = decay.and_then(|d| d.shape.last()).filter(|d| **d == one).unwrap_or(k);
            shaped(OP, "shape of the decay", decay, &[b, t, n, width])?;
        }
        if self.rule.corrects() {
            shaped(OP, "shape of beta", rest.next(), &[b, t, n, &one])?;
        }
        let y = Shape(vec![b.clone(), t.clone(), h.clone(), v.clone()]);
        Ok(vec![TensorType::new(DType::F32, y), args[3].clone()])
    }

    fn eval(&self, args: &[Arg<'_>], _results: &[TensorType]) -> Result<Vec<Tensor>> {
        let ((qd, q), (_, keys), (vd, values)) = (args[0].to_f64()?, args[1].to_f64()?, args[2].to_f64()?);
        let (sd, mut state) = args[3].to_f64()?;
        let (&[b, t, h, k], &[_, _, n, v]) = (&qd[..], &vd[..]) else {
            return Err(Diagnostic::new("ir-type", "linear_attention: arguments of other ranks"));
        };
        let mut rest = args[4..].iter();
        let mut next = |there: bool| -> Result<Vec<f64>> {
            let arg = if there { rest.next() } else { None };
            Ok(arg.map(|a| a.to_f64()).transpose()?.map(|(_, v)| v).unwrap_or_default())
        };
        let (decay, beta) = (next(self.rule.decays())?, next(self.rule.corrects())?);
        let tokens = (b * t * n).max(1) as usize;
        let (dk, dv, group) = (k as usize, v as usize, (h / n) as usize);
        let width = decay.len() / tokens;
        let mut y = vec![0f32; (b * t * h * v) as usize];
        for batch in 0..b as usize {
            for head in 0..n as usize {
                let state = &mut state[(batch * n as usize + head) * dk * dv..][..dk * dv];
                for token in 0..t as usize {
                    let at = (batch * t as usize + token) * n as usize + head;
                    let key = &keys[at * dk..][..dk];
                    for (d, row) in state.chunks_exact_mut(dv.max(1)).enumerate() {
                        let factor = if width == 0 { 1.0 } else { decay[at * width + d % width].exp() };
                        row.iter_mut().for_each(|x| *x *= factor);
                    }
                    let mut value = values[at * dv..][..dv].to_vec();
                    if self.rule.corrects() {
                        for (m, value) in value.iter_mut().enumerate() {
                            let found: f64 = (0..dk).map(|d| state[d * dv + m] * key[d]).sum();
                            *value = beta[at] * (*value - found);
                        }
                    }
                    for (i, x) in state.iter_mut().enumerate() {
                        *x += key[i / dv] * value[i % dv];
                    }
                    for g in 0..group {
                        let place = (batch * t as usize + token) * h as usize + head * group + g;
                        let query = &q[place * dk..][..dk];
                        for m in 0..dv {
                            let sum: f64 = (0..dk).map(|d| query[d] * state[d * dv + m]).sum();
                            y[place * dv + m] = (self.scale * sum) as f32;
                        }
                    }
                }
            }
        }
        let state = state.into_iter().map(|x| x as f32).collect();
        Ok(vec![Tensor::f32(&[b, t, h, v], y)?, Tensor::f32(&sd, state)?])
    }

    fn fields(&self) -> PayloadFields {
        vec![("rule", Some(self.rule.name().to_owned())), ("scale", Some(self.scale.to_string()))]
    }

    fn read(fields: &mut Fields<'_>) -> Result<LinearAttention> {
        let rule = fields.with("rule", "a rule", StateRule::parse)?;
        let scale = fields.number("scale")?;
        Ok(LinearAttention { rule: fields.need("rule", rule)?, scale: fields.need("scale", scale)? })
    }
}
