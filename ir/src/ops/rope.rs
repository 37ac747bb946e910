//! `rope`: rotary position embedding (Su et al. 2021) of `x [S, H, D]` at `positions i64 [S]`.
//!
//! The first `dims` elements of each head are rotated in pairs, the rest pass. Pair `i` turns by
//! `position / factor * theta^(-2i / dims)`, divided by `frequencies[i]` where a third argument `f32 [dims / 2]` is given.
//! Cosines and sines are multiplied by `magnitude`, which long-context scaling sets above 1.

use crate::op::{Arg, Payload, PayloadFields, arity, mismatch};
use crate::types::TensorType;
use actc_types::braced::Fields;
use actc_types::{DType, Diagnostic, Result, Tensor};

/// Which elements make a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RopeStyle {
    /// `(i, i + dims/2)`: Hugging Face checkpoints.
    Half,
    /// `(2i, 2i + 1)`: GGUF's llama family.
    Interleaved,
}

/// Payload of `rope`. Arguments: `x`, `positions`, and per-pair frequency divisors where there are three.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rope {
    /// Elements of a head that are rotated; even.
    pub dims: u32,
    /// Base of the frequencies.
    pub theta: f64,
    /// Which elements make a pair.
    pub style: RopeStyle,
    /// Linear scaling: positions are divided by it.
    pub factor: f64,
    /// Factor on cosines and sines.
    pub magnitude: f64,
}

impl Payload for Rope {
    fn infer(&self, args: &[TensorType]) -> Result<Vec<TensorType>> {
        arity("rope", args.len(), 2..=3)?;
        let [s, _, d] = args[0].shape.dims() else {
            return Err(mismatch("rope", "rank of x", args[0].shape.rank(), 3));
        };
        if args[0].dtype != DType::F32 {
            return Err(mismatch("rope", "x", args[0].dtype, DType::F32));
        }
        if args[1].dtype != DType::I64 || args[1].shape.dims() != std::slice::from_ref(s) {
            return Err(mismatch("rope", "positions", &args[1], format!("i64[{s}]")));
        }
        if self.dims == 0 || self.dims % 2 != 0 || d.fixed().is_none_or(|d| u64::from(self.dims) > d) {
            return Err(mismatch("rope", "`dims`", self.dims, format!("an even number up to {d}")));
        }
        if let Some(f) = args.get(2)
            && f.shape.as_fixed() != Some(vec![u64::from(self.dims) / 2])
        {
            return Err(mismatch("rope", "shape of the frequencies", &f.shape, format!("[{}]", self.dims / 2)));
        }
        Ok(vec![args[0].clone()])
    }

    fn eval(&self, args: &[Arg<'_>], _results: &[TensorType]) -> Result<Vec<Tensor>> {
        let (dims, mut x) = args[0].to_f64()?;
        let (_, positions) = args[1].to_f64()?;
        let divisors = args.get(2).map(|f| f.to_f64()).transpose()?.map(|(_, f)| f);
        let [_, heads, width] = dims[..] else {
            return Err(Diagnostic::new("ir-type", "rope: x has not three dimensions"));
        };
        let half = self.dims as usize / 2;
        for (token, position) in x.chunks_exact_mut((heads * width) as usize).zip(positions) {
            for head in token.chunks_exact_mut(width as usize) {
                for i in 0..half {
                    let frequency = self.theta.powf(-2.0 * i as f64 / f64::from(self.dims));
                    let angle = position / self.factor * frequency / divisors.as_ref().map_or(1.0, |d| d[i]);
                    let (a, b) = match self.style {
                        RopeStyle::Half => (i, i + half),
                        RopeStyle::Interleaved => (2 * i, 2 * i + 1),
                    };
                    let (sin, cos) = angle.sin_cos();
                    let (sin, cos) = (sin * self.magnitude, cos * self.magnitude);
                    (head[a], head[b]) = (head[a] * cos - head[b] * sin, head[a] * sin + head[b] * cos);
                }
            }
        }
        Ok(vec![Tensor::f32(&dims, x.into_iter().map(|v| v as f32).collect())?])
    }

    fn fields(&self) -> PayloadFields {
        let style = match self.style {
            RopeStyle::Half => "half",
            RopeStyle::Interleaved => "interleaved",
        };
        let mut fields = vec![
            ("dims", Some(self.dims.to_string())),
            ("theta", Some(self.theta.to_string())),
            ("style", Some(style.into())),
        ];
        if self.factor != 1.0 {
            fields.push(("factor", Some(self.factor.to_string())));
        }
        if self.magnitude != 1.0 {
            fields.push(("magnitude", Some(self.magnitude.to_string())));
        }
        fields
    }

    fn read(fields: &mut Fields<'_>) -> Result<Rope> {
        let dims = fields.number("dims")?;
        let theta = fields.number("theta")?;
        let style = fields.with("style", "`half` or `interleaved`", |v| match v {
            "half" => Some(RopeStyle::Half),
            "interleaved" => Some(RopeStyle::Interleaved),
            _ => None,
        })?;
        Ok(Rope {
            dims: fields.need("dims", dims)?,
            theta: fields.need("theta", theta)?,
            style: fields.need("style", style)?,
            factor: fields.number("factor")?.unwrap_or(1.0),
            magnitude: fields.number("magnitude")?.unwrap_or(1.0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actc_types::Shape;

    #[test]
    fn only_floats_turn() {
        let rope = Rope { dims: 4, theta: 1e4, style: RopeStyle::Half, factor: 1.0, magnitude: 1.0 };
        let ty = |dtype, dims: &[u64]| TensorType::new(dtype, Shape::fixed(dims));
        let infer = |x, positions| rope.infer(&[ty(x, &[3, 2, 6]), ty(positions, &[3])]);
        assert_eq!(infer(DType::F32, DType::I64).unwrap(), [ty(DType::F32, &[3, 2, 6])]);
        for (x, positions) in [(DType::Bool, DType::I64), (DType::F64, DType::I64), (DType::F32, DType::F32)] {
            assert_eq!(infer(x, positions).unwrap_err().code, "ir-type", "{x} at {positions}");
        }
    }
}
