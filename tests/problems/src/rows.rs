//! Rows of keys and values in every form: as bytes, and what those mean.

use actc_types::RowForm;
use actc_types::rounded::{int8_scale, round_f16, round_int8};
use half::f16;

/// The rows of `n` numbers that `x` holds, in `form`, as bytes.
pub fn rows(x: &[f32], n: usize, form: RowForm) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(x.len() / n * form.row_bytes(n));
    for row in x.chunks_exact(n) {
        match form {
            RowForm::F32 => bytes.extend(row.iter().flat_map(|v| v.to_le_bytes())),
            RowForm::F16 => bytes.extend(row.iter().flat_map(|v| round_f16(*v).to_le_bytes())),
            RowForm::Int8 => {
                let mut stored = vec![0; form.row_bytes(n)];
                round_int8(row, &mut stored);
                bytes.extend(stored);
            }
        }
    }
    bytes
}

/// The numbers that `rows` of `n` mean.
pub fn numbers(rows: &[u8], n: usize, form: RowForm) -> Vec<f64> {
    let each = rows.chunks_exact(form.row_bytes(n)).flat_map(|row| -> Vec<f64> {
        match form {
            RowForm::F32 => row.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b).into()).collect(),
            RowForm::F16 => row.as_chunks::<2>().0.iter().map(|b| f16::from_le_bytes(*b).into()).collect(),
            RowForm::Int8 => {
                let scale = f64::from(int8_scale(row));
                row[..n].iter().map(|code| f64::from(*code as i8) * scale).collect()
            }
        }
    });
    each.collect()
}
