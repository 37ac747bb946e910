//! From rounded matrices to stored constants, and what to say about them.

use super::plan::Rounded;
use crate::report::{LayerReport, Measured, Status};
use crate::spill;
use actc_ir::{Const, TensorType};
use actc_types::{DType, Diagnostic, Encoding, Mixed, Packed, Place, Result, Role, WeakPlace};
use half::f16;
use rayon::prelude::*;
use std::path::Path;

/// All elements of `constant` as f32, row-major, with the number of columns.
pub(crate) fn decode(constant: &Const) -> Result<(Vec<f32>, usize)> {
    let view = constant.view()?;
    let cols = view.cols();
    let mut out = vec![0.0f32; view.rows() * cols];
    out.par_chunks_exact_mut(cols.max(1)).enumerate().for_each(|(r, row)| view.row(r, row));
    Ok((out, cols))
}

/// `constant` with the elements `values` instead, dense in f32, in a file of `work`.
pub(crate) fn dense(constant: &Const, values: &[f32], work: &Path) -> Result<Const> {
    let ty = TensorType::new(DType::F32, constant.ty.shape.clone());
    let data = spill::store(work, values.iter().flat_map(|v| v.to_le_bytes()).collect())?;
    Const::new(constant.name.clone(), ty, Encoding::Dense, vec![(Role::Data, data)])
}

/// `constant` stored as `rounded` says: packed, or mixed where `weak` (ascending) names columns, which lie at `place`.
pub(super) fn encode(
    constant: &Const,
    rounded: &Rounded,
    body: Packed,
    (weak, place): (&[u32], WeakPlace),
    work: &Path,
) -> Result<Const> {
    let (rows, cols) = constant.matrix()?;
    let codes = match place {
        WeakPlace::Scattered => body.pack_codes(&rounded.codes, rows, cols),
        WeakPlace::Suffix => {
            let width = cols - weak.len();
            let codes: Vec<u8> = rounded.codes.chunks_exact(cols).flat_map(|row| &row[..width]).copied().collect();
            body.pack_codes(&codes, rows, width)
        }
    };
    let mut parts = vec![
        (Role::Codes, codes),
        (Role::Scales, body.pack_scales(&rounded.scales, rows)),
        (Role::Zeros, body.pack_zeros(&rounded.zeros, rows)),
    ];
    let mut encoding = Encoding::Packed(body);
    if !weak.is_empty() {
        let mut elements = Vec::with_capacity(rows * weak.len());
        for row in rounded.values.chunks_exact(cols) {
            for column in weak {
                let value = f16::from_f32(row[*column as usize]);
                if !value.is_finite() {
                    let headline = format!("weight {} of weak column {column} does not fit f16", row[*column as usize]);
                    return Err(Diagnostic::new("weak-overflow", headline).at(Place::Tensor(constant.name.clone())));
                }
                elements.push(value);
            }
        }
        let data = body.order.pack_weak(&elements, rows).iter().flat_map(|w| w.to_le_bytes()).collect();
        parts.push((Role::Weak, data));
        match place {
            WeakPlace::Scattered => {
                parts.push((Role::WeakIndex, weak.iter().flat_map(|c| c.to_le_bytes()).collect()));
            }
            WeakPlace::Suffix => {}
        }
        encoding = Encoding::Mixed(Mixed { body, cols: weak.len() as u32, place, weak: DType::F16 });
    }
    let parts =
        parts.into_iter().map(|(role, data)| Ok((role, spill::store(work, data)?))).collect::<Result<Vec<_>>>()?;
    Const::new(constant.name.clone(), constant.ty.clone(), encoding, parts)
}

/// `|W - Q|^2 / |W|^2` of matrices of equal shape; 0 where `W` is zero.
pub(super) fn relative_error(weights: &[f32], rounded: &[f32]) -> f64 {
    let square = |v: f32| f64::from(v) * f64::from(v);
    let energy: f64 = weights.iter().map(|w| square(*w)).sum();
    let lost: f64 = weights.iter().zip(rounded).map(|(w, q)| square(w - q)).sum();
    if energy > 0.0 { lost / energy } else { 0.0 }
}

/// How `constant` is stored.
pub(crate) fn describe(constant: &Const, status: Status, error: Option<f64>, reason: Option<String>) -> LayerReport {
    let (rows, cols) = constant.matrix().unwrap_or((0, 0));
    let bytes = constant.stored_bytes();
    LayerReport {
        name: constant.name.clone(),
        encoding: constant.encoding.clone(),
        bits: constant.encoding.code_bits(constant.ty.dtype, cols),
        stored_bits: 8.0 * bytes as f64 / (rows * cols).max(1) as f64,
        weak_columns: match &constant.encoding {
            Encoding::Mixed(m) => m.cols,
            Encoding::Dense | Encoding::Block(_) | Encoding::Packed(_) => 0,
        },
        bytes,
        error,
        reason,
        status,
        measured: Measured::default(),
    }
}
