//! Convolutions of stored weights as products on tensor cores: places of images are tokens, channels by taps are columns.

use super::MANY;
use super::inputs::{self, Read, record_bytes};
use super::linear::Operands;
use crate::plan::matrices::{counted, weak_columns};
use crate::plan::steps::{Steps, overflow, product};
use crate::spec::Mat;
use crate::spec::gpu::{Axis, Each, Gemv, GpuKernel, Record, Sizes, What, Windows};
use crate::spec::linear::{Act, Epilogue, Linear, Tokens};
use actc_ir::ops::conv::Geometry;
use actc_ir::{ConstId, NodeData};
use actc_types::{Dim, Result};

/// Rows and columns from which a matrix is worth tensor cores: those of a panel and of a chunk.
const LEAST: (u32, u32) = (16, 64);

/// A convolution as a product.
pub(in crate::plan) struct Places {
    id: ConstId,
    linear: Linear,
    record: Record,
    axes: Vec<Axis>,
    /// The kernel, where there are only a few.
    few: Option<Gemv>,
    /// How many there are.
    count: Dim,
}

impl Steps<'_, '_> {
    /// The convolution of `data`, of the sizes `dims`, as a product by the matrix `id`; else why it is none.
    pub(in crate::plan) fn as_product(
        &self,
        data: &NodeData,
        geometry: &Geometry,
        id: ConstId,
        dims: &[Dim],
    ) -> Result<Places, String> {
        let said = |d: actc_types::Diagnostic| d.headline;
        if geometry.groups != 1 {
            return Err(format!("{} groups of channels", geometry.groups));
        }
        if self.handed(dims) != Sizes::Int {
            return Err("sizes that are read from memory".to_owned());
        }
        let (matrix, cols) = self.stored_matrix(id).map_err(said)?;
        let (rows_least, cols_least) = LEAST;
        if matrix.rows < rows_least || cols < cols_least {
            return Err(format!(
                "{} rows of {cols} columns where {rows_least} of {cols_least} are the least",
                matrix.rows
            ));
        }
        let mat = Mat { bias: data.args.len() == 3, encoding: counted(matrix.encoding.clone()), ..matrix };
        let window = &geometry.window;
        let places = product(&dims[3 + window.kernel.len()..]).map_err(said)?;
        let count = dims[0].checked_mul(&places).ok_or_else(|| said(overflow()))?;
        let (act, epilogue, tokens) = (Act::F32, Epilogue::None, Tokens::Many);
        let linear = Linear { mats: vec![mat], cols, tokens, act, epilogue };
        let few = self.few(&linear, &count).map_err(said)?;
        let tokens = few.as_ref().map_or(tokens, |gemv| gemv.linear.tokens);
        let record = Record::of(&linear.mats[0], cols, act, self.products(), tokens).map_err(said)?;
        let axis = |i: usize| {
            let number = |list: &[u64]| u32::try_from(list[i]).map_err(|_| "a window beyond 32 bits".to_owned());
            Ok(Axis {
                kernel: number(&window.kernel)?,
                stride: number(&window.strides)?,
                dilation: number(&window.dilations)?,
                pad: number(&window.pads)?,
            })
        };
        let axes = (0..window.kernel.len()).map(axis).collect::<Result<Vec<Axis>, String>>()?;
        let kernel = GpuKernel::Windows(Windows { record, axes: axes.clone() });
        kernel.check().map_err(said)?;
        Ok(Places { id, linear, record, axes, few, count })
    }

    /// Launches what `places` is: operands from the image, the product, and its places behind its channels.
    pub(in crate::plan) fn conv_by_product(
        &mut self,
        label: &str,
        data: &NodeData,
        places: Places,
        [x, y]: [u32; 2],
        dims: &[Dim],
    ) -> Result<()> {
        let Places { id, linear, record, axes, few, count } = places;
        let ([batch, _, _], extents) = dims.split_first_chunk().ok_or_else(overflow)?;
        let area = product(&extents[axes.len()..])?;
        let weak = weak_columns(self.graph, id);
        let prepared = self.buffers.scratch(record_bytes(&record, &count, weak as usize).ok_or_else(overflow)?);
        let kernel = GpuKernel::Windows(Windows { record, axes });
        let bufs = self.of_inputs(&kernel, id, &Read { buffer: x, normed: None }, prepared)?;
        let sizes = std::iter::once(batch).chain(extents).cloned().chain(inputs::counted(&record, weak)).collect();
        let reason = format!("inputs of {label}, a token for each place: {kernel}");
        self.template(&format!("{label} (windows)"), kernel, bufs, sizes, reason)?;
        let rows = Dim::from(u64::from(linear.mats[0].rows));
        // One place of an image is its channels already.
        let single = area.fixed() == Some(1);
        let bytes = count.checked_mul(&rows).and_then(|n| n.checked_mul(&Dim::from(4))).ok_or_else(overflow)?;
        let sums = if single { y } else { self.buffers.scratch(bytes) };
        let operands = Operands {
            weights: vec![id],
            biases: vec![data.args.get(2).copied()],
            prepared: vec![prepared],
            residual: None,
            outputs: vec![sums],
        };
        if let Some(gemv) = few {
            let places = format!("{} place(s)", gemv.linear.tokens);
            self.multiply(label, GpuKernel::Gemv(gemv), &operands, &count, places)?;
        } else {
            let about = count.fixed().map_or(MANY, |n| n as usize);
            self.many(label, linear, &[record], operands, (&count, about), format!("about {about} places"))?;
        }
        if single {
            return Ok(());
        }
        let dims = vec![batch.clone(), area, rows];
        let what = What::Transpose { size: 4, order: vec![0, 2, 1] };
        let kernel = GpuKernel::Each(Each { what, sizes: self.handed(&dims) });
        let reason = format!("places behind channels: {kernel}");
        self.template(&format!("{label} (transpose)"), kernel, vec![sums, y], dims, reason)
    }
}
