//! Matrices that a file stores with the input axis first (GPT-2's `Conv1D`), turned round to `[output, input]`.
//!
//! The turned matrix lies in a temporary file without a name that is mapped, not in anonymous memory: a model of any size
//! is imported with a buffer of a few rows. The file goes when the last constant that views it does.

use crate::mapping;
use crate::stored::Stored;
use actc_types::{Diagnostic, Encoding, Place, Result};
use bytes::Bytes;
use std::ops::Range;

/// Rows of the turned matrix that are gathered at once: a run of neighbours in the stored rows.
const ROWS: usize = 64;

/// Columns `columns` of the dense matrix `stored [input, output]`, as rows.
pub(super) fn transposed(stored: &Stored, columns: Range<u64>) -> Result<Bytes> {
    let wrong = |headline: String| Diagnostic::new("arch-shape", headline).at(Place::Tensor(stored.name.clone()));
    let (&[inputs, outputs], Encoding::Dense) = (&stored.dims[..], &stored.encoding) else {
        return Err(wrong(format!("a matrix {:?} {} cannot be turned round", stored.dims, stored.encoding)));
    };
    if columns.start > columns.end || columns.end > outputs {
        return Err(wrong(format!("columns {columns:?} of {outputs}")));
    }
    // A stored tensor has exactly `inputs * outputs * size` bytes, so all of these fit memory.
    let (inputs, pitch, size) = (inputs as usize, outputs as usize * stored.dtype.size(), stored.dtype.size());
    mapping::temporary(|file| {
        let mut rows = Vec::new();
        for first in (columns.start as usize..columns.end as usize).step_by(ROWS) {
            let count = ROWS.min(columns.end as usize - first);
            rows.clear();
            rows.resize(count * inputs * size, 0);
            for (i, row) in stored.bytes.chunks_exact(pitch).enumerate() {
                for (c, element) in row[first * size..][..count * size].chunks_exact(size).enumerate() {
                    rows[(c * inputs + i) * size..][..size].copy_from_slice(element);
                }
            }
            file.write_all(&rows)?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use actc_types::DType;

    #[test]
    fn columns_become_rows() {
        let (inputs, outputs) = (5u64, 150u64);
        let values: Vec<f32> = (0..inputs * outputs).map(|v| v as f32).collect();
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let dims = vec![inputs, outputs];
        let mut stored =
            Stored { name: "w".into(), dtype: DType::F32, encoding: Encoding::Dense, dims, bytes: Bytes::from(bytes) };
        for (start, end) in [(0, 150), (3, 70), (149, 150), (7, 7)] {
            let turned = transposed(&stored, start..end).unwrap();
            let wanted: Vec<u8> = (start..end)
                .flat_map(|c| (0..inputs).map(move |i| (i * outputs + c) as f32))
                .flat_map(f32::to_le_bytes)
                .collect();
            assert_eq!(&turned[..], wanted, "{start}..{end}");
        }
        assert_eq!(transposed(&stored, 0..151).unwrap_err().code, "arch-shape");
        stored.dims = vec![750];
        assert_eq!(transposed(&stored, 0..1).unwrap_err().code, "arch-shape");
    }
}
