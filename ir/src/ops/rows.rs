//! `round_rows`: rows in 16 or 8 bits, as a cache of keys and values holds them and `attention` reads them.
//!
//! `x: f32[.., D]` gives `f16[.., D]` with `to=f16`, and `u8[.., D + 4]` with `to=int8`: each row is `D` signed bytes and,
//! behind them, the f32 scale that they are multiplied by. The exact meaning is that of [`actc_types::rounded`]: f32
//! arithmetic, so that every machine makes the same bytes.

use crate::op::{Arg, Payload, PayloadFields, arity, mismatch};
use crate::types::TensorType;
use actc_types::braced::Fields;
use actc_types::rounded::{int8_scale, round_f16, round_int8};
use actc_types::{DType, Diagnostic, Dim, Result, RowForm, Tensor, TensorData};

/// Payload of `round_rows`. Argument: `x`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RoundRows {
    /// What rows become; not f32.
    pub to: RowForm,
}

/// Numbers of rows that are `stored` elements wide; `None` where rows are narrower than what stands behind the numbers.
pub(crate) fn numbers(form: RowForm, stored: &Dim) -> Option<Dim> {
    stored.checked_sub(&Dim::from(form.extra())).filter(|n| n.fixed().is_some() || !n.symbols().is_empty())
}

/// Extents and numbers of rows in any form.
pub(crate) fn restore(arg: Arg<'_>, form: RowForm) -> Result<(Vec<u64>, Vec<f64>)> {
    let (mut dims, stored) = arg.to_f64()?;
    match form {
        RowForm::F32 | RowForm::F16 => Ok((dims, stored)),
        RowForm::Int8 => {
            let width = dims.last().copied().unwrap_or(0);
            let n = width.checked_sub(form.extra()).ok_or_else(|| {
                Diagnostic::new("ir-type", format!("rows of {width} bytes hold no scale of {} bytes", form.extra()))
            })?;
            let bytes: Vec<u8> = stored.iter().map(|b| *b as u8).collect();
            let mut out = Vec::with_capacity(bytes.len());
            for row in bytes.chunks_exact(width as usize) {
                let scale = f64::from(int8_scale(row));
                out.extend(row[..n as usize].iter().map(|code| f64::from(*code as i8) * scale));
            }
            if let Some(last) = dims.last_mut() {
                *last = n;
            }
            Ok((dims, out))
        }
    }
}

impl Payload for RoundRows {
    fn infer(&self, args: &[TensorType]) -> Result<Vec<TensorType>> {
        arity("round_rows", args.len(), 1..=1)?;
        let mut shape = args[0].shape.clone();
        let Some(last) = shape.0.last_mut().filter(|_| args[0].dtype == DType::F32) else {
            return Err(mismatch("round_rows", "x", &args[0], "f32 with rows"));
        };
        *last = last
            .checked_add(&Dim::from(self.to.extra()))
            .ok_or_else(|| Diagnostic::new("dim-overflow", "round_rows: too wide a row"))?;
        Ok(vec![TensorType::new(self.to.dtype(), shape)])
    }

    fn eval(&self, args: &[Arg<'_>], _results: &[TensorType]) -> Result<Vec<Tensor>> {
        let (mut dims, x) = args[0].to_f64()?;
        let x: Vec<f32> = x.into_iter().map(|v| v as f32).collect();
        let width = dims.last().copied().unwrap_or(1);
        if let Some(last) = dims.last_mut() {
            *last += self.to.extra();
        }
        let data = match self.to {
            RowForm::F32 => TensorData::F32(x),
            RowForm::F16 => TensorData::F16(x.into_iter().map(round_f16).collect()),
            RowForm::Int8 => {
                let rows = dims[..dims.len() - 1].iter().product::<u64>() as usize;
                let stored = self.to.row_bytes(width as usize);
                let mut bytes = vec![0u8; rows * stored];
                for (i, row) in bytes.chunks_exact_mut(stored).enumerate() {
                    round_int8(&x[i * width as usize..][..width as usize], row);
                }
                TensorData::U8(bytes)
            }
        };
        Ok(vec![Tensor::new(&dims, data)?])
    }

    fn fields(&self) -> PayloadFields {
        vec![("to", Some(self.to.to_string()))]
    }

    fn read(fields: &mut Fields<'_>) -> Result<RoundRows> {
        let to = fields.with("to", "f16 or int8", |v| RowForm::parse(v).filter(|f| *f != RowForm::F32))?;
        Ok(RoundRows { to: fields.need("to", to)? })
    }
}
