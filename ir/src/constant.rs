//! Constants: named, typed, encoded bytes. Bytes are reference-counted views, of a mapping or owned.

use crate::types::TensorType;
use actc_types::repack::repack;
use actc_types::{Diagnostic, Encoding, Order, Place, Result, Role, Shape, Tensor, TensorData, WeightView};
use bytes::Bytes;

/// Where a constant's bytes come from; decides how the text form prints it.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// A file or a pass: printed inline up to 64 dense elements, else by name and digest.
    Data,
    /// `rng{seed, scale}`: uniform in `[-scale, scale)` from the seed, for tests.
    Rng {
        /// Seed of the generator.
        seed: u64,
        /// Half the width of the distribution.
        scale: f32,
    },
    /// `iota`: 0, 1, 2, … for tests.
    Iota,
}

/// A constant's type, encoding and bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Const {
    /// Unique in its graph: the name that the source gave it.
    pub name: String,
    /// Logical element type and fixed shape.
    pub ty: TensorType,
    /// How it is stored.
    pub encoding: Encoding,
    /// The stored parts, in the order of [`Encoding::parts`].
    pub parts: Vec<(Role, Bytes)>,
    /// Where the bytes come from.
    pub source: Source,
}

impl Const {
    /// A constant over `parts`; their roles and lengths must be those of the encoding.
    pub fn new(
        name: impl Into<String>,
        ty: TensorType,
        encoding: Encoding,
        parts: Vec<(Role, Bytes)>,
    ) -> Result<Const> {
        let constant = Const { name: name.into(), ty, encoding, parts, source: Source::Data };
        constant.view()?;
        Ok(constant)
    }

    /// A dense constant holding `tensor`.
    pub fn dense(name: impl Into<String>, tensor: &Tensor) -> Const {
        Const {
            name: name.into(),
            ty: TensorType::new(tensor.dtype(), Shape::fixed(tensor.dims())),
            encoding: Encoding::Dense,
            parts: vec![(Role::Data, Bytes::from(tensor.data().to_le_bytes()))],
            source: Source::Data,
        }
    }

    /// Test data: uniform values in `[-scale, scale)`, a function of `seed` alone.
    pub fn rng(name: impl Into<String>, ty: TensorType, seed: u64, scale: f32) -> Result<Const> {
        let (rows, cols) = matrix_extents(&ty)?;
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x2545_f491_4f6c_dd1d;
        let values: Vec<f64> = (0..rows * cols)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                ((state >> 11) as f64 / (1u64 << 53) as f64 * 2.0 - 1.0) * f64::from(scale)
            })
            .collect();
        Ok(Self::generated(name.into(), ty, &values, Source::Rng { seed, scale }))
    }

    /// Test data: 0, 1, 2, …
    pub fn iota(name: impl Into<String>, ty: TensorType) -> Result<Const> {
        let (rows, cols) = matrix_extents(&ty)?;
        let values: Vec<f64> = (0..rows * cols).map(|i| i as f64).collect();
        Ok(Self::generated(name.into(), ty, &values, Source::Iota))
    }

    fn generated(name: String, ty: TensorType, values: &[f64], source: Source) -> Const {
        let bytes = TensorData::from_f64(ty.dtype, values).to_le_bytes();
        Const { name, ty, encoding: Encoding::Dense, parts: vec![(Role::Data, Bytes::from(bytes))], source }
    }

    /// Extents as a matrix: a row for each index of the first axis, all others folded into columns, so that the weight of a
    /// convolution has a row for each output channel; a vector is one row, a scalar `[1, 1]`.
    pub fn matrix(&self) -> Result<(usize, usize)> {
        matrix_extents(&self.ty)
    }

    /// A checked view of the stored parts.
    pub fn view(&self) -> Result<WeightView<'_>> {
        let (rows, cols) = self.matrix()?;
        let parts = self.parts.iter().map(|(role, bytes)| (*role, bytes.as_ref()));
        WeightView::new(&self.encoding, self.ty.dtype, rows, cols, parts)
            .map_err(|d| d.at(Place::Tensor(self.name.clone())))
    }

    /// All elements decoded; integers keep their type, floats of an encoded constant come as f32.
    pub fn decode(&self) -> Result<Tensor> {
        let dims = self.fixed_dims()?;
        if self.encoding == Encoding::Dense {
            return Tensor::new(&dims, TensorData::from_le_bytes(self.ty.dtype, &self.parts[0].1));
        }
        let view = self.view()?;
        let mut out = vec![0f32; view.rows() * view.cols()];
        for (r, row) in out.chunks_exact_mut(view.cols().max(1)).enumerate() {
            view.row(r, row);
        }
        Tensor::f32(&dims, out)
    }

    /// The same weights with their bits in `order`; `None` where they lie so already, or lie alike on all devices.
    pub fn in_order(&self, order: Order) -> Result<Option<Const>> {
        if self.encoding.order().is_none_or(|own| own == order) {
            return Ok(None);
        }
        let Some((encoding, parts)) = repack(&self.view()?, order) else { return Ok(None) };
        let parts = parts.into_iter().map(|(role, bytes)| (role, Bytes::from(bytes))).collect();
        Const::new(self.name.clone(), self.ty.clone(), encoding, parts).map(Some)
    }

    /// The fixed extents.
    pub fn fixed_dims(&self) -> Result<Vec<u64>> {
        self.ty.shape.as_fixed().ok_or_else(|| {
            Diagnostic::new("const-shape", format!("constant has the symbolic shape {}", self.ty.shape))
                .at(Place::Tensor(self.name.clone()))
        })
    }

    /// Bytes of all stored parts.
    pub fn stored_bytes(&self) -> u64 {
        self.parts.iter().map(|(_, b)| b.len() as u64).sum()
    }

    /// blake3 of encoding, type and all parts: what the text form binds to.
    pub fn digest(&self) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new();
        hasher.update(format!("{} {}", self.ty, self.encoding).as_bytes());
        for (role, bytes) in &self.parts {
            hasher.update(format!("{} {}", role.name(), bytes.len()).as_bytes());
            hasher.update(bytes);
        }
        hasher.finalize()
    }
}

fn matrix_extents(ty: &TensorType) -> Result<(usize, usize)> {
    let error =
        || Diagnostic::new("const-shape", format!("constants need a fixed shape that fits memory, not {}", ty.shape));
    let dims = ty.shape.as_fixed().ok_or_else(error)?;
    let (rows, cols) = Shape::matrix(&dims).filter(|(rows, cols)| rows * cols < 1 << 48).ok_or_else(error)?;
    Ok((rows as usize, cols as usize))
}
