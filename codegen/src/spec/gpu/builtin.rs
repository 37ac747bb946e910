//! What calls of the runtime's functions become on a GPU.

use super::{
    Axis, ChannelStats, Conv, Copy, Det, Each, Element, Fold, GpuKernel, Gram, GridSample, LinearAttention, Matmul, Of,
    Place, Pool, Put, Recurrent, RegionPool, Rowwise, Scatter, Sizes, Terms, To, TopK, What,
};
use actc_artifact::{Builtin, BuiltinCall};
use actc_types::function::{BinaryFunction, Extreme, RowFunction, Running, UnaryFunction};
use actc_types::window::PoolFunction;
use actc_types::{DType, Diagnostic, Result};

/// Elements of a row from which a block is worth more than a warp.
const WIDE: u64 = 2048;

/// Rows of a product that fill a tile.
const FEW: u64 = 8;

impl GpuKernel {
    /// The kernel that does what `call` does, with the same sizes in the same order and the same buffers, an error word in front
    /// of the result where indices are read. Refuses calls that no kernel of general tensors is for.
    ///
    /// A [`Place`] of long rows has several parts, which [`Place::choose`] compares.
    pub fn of_call(call: &BuiltinCall, sizes: Sizes) -> Result<GpuKernel> {
        let refuse = || {
            Diagnostic::new(
                "kernel-builtin",
                format!("no GPU kernel does `{}` with {:?}", call.builtin.name(), call.ints),
            )
        };
        let int = |i: usize| call.ints.get(i).copied().ok_or_else(refuse);
        let element = |i: usize| DType::from_code(int(i)?).ok_or_else(refuse).and_then(Element::of);
        let fixed = |i: usize| call.dims.get(i).and_then(actc_types::Dim::fixed);
        let size = |i: usize| int(i).and_then(|n| u8::try_from(n).map_err(|_| refuse()));
        // So many axes, with the extents of so many tensors.
        let rank = |tensors: usize| match call.dims.len() {
            n if n.is_multiple_of(tensors) => u8::try_from(n / tensors).map_err(|_| refuse()),
            _ => Err(refuse()),
        };
        let each = |what| Ok(GpuKernel::Each(Each { what, sizes }));
        let number = |i: usize| int(i).and_then(|n| u32::try_from(n).map_err(|_| refuse()));
        // Lists of integers from `first` on, of as many axes as have extents of two tensors behind `lead` sizes.
        let axes = |first: usize, lead: usize| {
            let extents = call.dims.len().checked_sub(lead).filter(|n| n.is_multiple_of(2)).ok_or_else(refuse)?;
            let rank = extents / 2;
            let axis = |i: usize| {
                let [kernel, stride, dilation, pad] = [0, 1, 2, 3].map(|list| number(first + list * rank + i));
                Ok(Axis { kernel: kernel?, stride: stride?, dilation: dilation?, pad: pad? })
            };
            (0..rank).map(axis).collect::<Result<Vec<_>>>()
        };
        let wide = fixed(1).is_none_or(|n| n >= WIDE);
        match call.builtin {
            Builtin::Unary => {
                let function = UnaryFunction::from_code(int(0)?).ok_or_else(refuse)?;
                each(What::Unary { function, dtype: element(1)? })
            }
            Builtin::Binary => {
                let function = BinaryFunction::from_code(int(0)?).ok_or_else(refuse)?;
                each(What::Binary { function, dtype: element(1)?, rank: rank(3)? })
            }
            Builtin::Select => each(What::Select { size: size(0)?, rank: rank(4)? }),
            Builtin::Cast if [Some(DType::F16), Some(DType::Bf16)].contains(&DType::from_code(int(0)?)) => {
                let (Some(from), Some(DType::F32)) = (DType::from_code(int(0)?), DType::from_code(int(1)?)) else {
                    return Err(refuse());
                };
                each(What::Widen { from })
            }
            Builtin::Cast => each(What::Cast { from: element(0)?, to: element(1)? }),
            Builtin::Transpose => {
                let order = call.ints[1.min(call.ints.len())..].iter().map(|a| u8::try_from(*a).map_err(|_| refuse()));
                each(What::Transpose { size: size(0)?, order: order.collect::<Result<_>>()? })
            }
            Builtin::Expand => each(What::Expand { size: size(0)?, rank: rank(2)? }),
            Builtin::Gather => each(What::Gather { size: size(0)? }),
            Builtin::GatherNd => {
                let tuple = call.dims.len().checked_sub(3).and_then(|n| u8::try_from(n).ok()).ok_or_else(refuse)?;
                each(What::GatherNd { size: size(0)?, tuple })
            }
            Builtin::GatherElements => each(What::GatherElements { size: size(0)?, rank: rank(2)?, axis: size(1)? }),
            Builtin::Cumulate => {
                let function = Running::from_code(int(0)?).ok_or_else(refuse)?;
                let (exclusive, reverse) = (int(2)? != 0, int(3)? != 0);
                each(What::Cumulate { function, dtype: element(1)?, rank: rank(1)?, exclusive, reverse })
            }
            Builtin::Row => each(What::Row),
            Builtin::Pad => each(What::Pad { size: size(0)?, rank: rank(3)? }),
            Builtin::Resample => match element(0)? {
                Element::F32 => each(What::Resample),
                Element::I64 | Element::I32 | Element::U8 | Element::I8 | Element::Bool => Err(refuse()),
            },
            Builtin::Range => each(What::Range),
            Builtin::Zero => each(What::Zero),
            Builtin::Copy => Ok(GpuKernel::Copy(Copy { sizes })),
            Builtin::Softmax => Ok(GpuKernel::Rowwise(Rowwise { of: Of::Softmax, wide, sizes })),
            Builtin::Reduce => {
                let function = RowFunction::from_code(int(0)?).ok_or_else(refuse)?;
                Ok(GpuKernel::Rowwise(Rowwise { of: Of::Function(function, element(1)?), wide, sizes }))
            }
            Builtin::Place => {
                let extreme = Extreme::from_code(int(0)?).ok_or_else(refuse)?;
                Ok(GpuKernel::Place(Place::of(extreme, element(1)?, fixed(1).unwrap_or(1))))
            }
            Builtin::Matmul => {
                if call.ints.get(2).is_some_and(|code| DType::from_code(*code) != Some(DType::F32)) {
                    return Err(refuse());
                }
                let few = fixed(1).is_some_and(|rows| rows <= FEW);
                Ok(GpuKernel::Matmul(Matmul { ta: int(0)? != 0, tb: int(1)? != 0, few, sizes }))
            }
            Builtin::Conv | Builtin::ConvTranspose => {
                if DType::from_code(int(1)?) != Some(DType::F32) {
                    return Err(refuse());
                }
                let (groups, axes) = (number(0)?, axes(2, 3)?);
                let few = fixed(2).is_some_and(|m| m <= FEW * u64::from(groups));
                let (transposed, bias) = (call.builtin == Builtin::ConvTranspose, call.bufs.len() > 3);
                Ok(GpuKernel::Conv(Conv { transposed, groups, axes, terms: Terms::Floats, bias, few, sizes }))
            }
            Builtin::ConvInteger => {
                let (groups, terms) =
                    (number(0)?, Terms::Integers { x: element(1)?, w: element(2)?, zeros: int(3)? != 0 });
                let few = fixed(2).is_some_and(|m| m <= FEW * u64::from(groups));
                Ok(GpuKernel::Conv(Conv {
                    transposed: false,
                    groups,
                    axes: axes(4, 3)?,
                    terms,
                    bias: false,
                    few,
                    sizes,
                }))
            }
            Builtin::Pool => {
                let function = PoolFunction::from_code(int(0)?).ok_or_else(refuse)?;
                let (dtype, p, axes) = (element(1)?, number(2)?, axes(3, 1)?);
                let behind = (0..axes.len()).map(|i| number(3 + 4 * axes.len() + i)).collect::<Result<_>>()?;
                Ok(GpuKernel::Pool(Pool { function, dtype, p, axes, behind, sizes }))
            }
            Builtin::ScatterNd | Builtin::ScatterElements => {
                let to = if call.builtin == Builtin::ScatterNd {
                    let tuple = call.dims.len().checked_sub(2).and_then(|n| u8::try_from(n).ok()).ok_or_else(refuse)?;
                    To::Parts { tuple }
                } else {
                    To::Elements { rank: rank(2)?, axis: size(2)? }
                };
                let put = match int(1)? {
                    -1 => Put::Replace { size: DType::from_code(int(0)?).ok_or_else(refuse)?.size() as u8 },
                    code => {
                        let function = BinaryFunction::from_code(code).ok_or_else(refuse)?;
                        Put::Join { function, dtype: element(0)? }
                    }
                };
                Ok(GpuKernel::Scatter(Scatter { to, put, sizes }))
            }
            Builtin::TopK => Ok(GpuKernel::TopK(TopK::of(element(0)?, int(1)? != 0, fixed(1), sizes))),
            Builtin::Recurrent => Recurrent::of(call, sizes).map(GpuKernel::Recurrent).ok_or_else(refuse),
            Builtin::LinearAttention => {
                LinearAttention::of(call, sizes).map(GpuKernel::LinearAttention).ok_or_else(refuse)
            }
            Builtin::DeformConv => {
                let terms = Terms::Moved { parts: number(1)?, mask: call.bufs.len() > 4 };
                let (groups, axes) = (number(0)?, axes(2, 3)?);
                let few = fixed(2).is_some_and(|m| m <= FEW * u64::from(groups));
                Ok(GpuKernel::Conv(Conv { transposed: false, groups, axes, terms, bias: false, few, sizes }))
            }
            Builtin::Fold => Ok(GpuKernel::Fold(Fold { dtype: element(0)?, axes: axes(1, 1)?, sizes })),
            Builtin::Unpool => {
                let put = Put::Replace { size: size(0)? };
                Ok(GpuKernel::Scatter(Scatter { to: To::Zeros, put, sizes }))
            }
            Builtin::GridSample => GridSample::of(call, sizes).map(GpuKernel::GridSample).ok_or_else(refuse),
            Builtin::RegionPool => RegionPool::of(call, sizes).map(GpuKernel::RegionPool).ok_or_else(refuse),
            Builtin::Det => match element(0)? {
                Element::F32 => Ok(GpuKernel::Det(Det::of(fixed(1), sizes))),
                Element::I64 | Element::I32 | Element::U8 | Element::I8 | Element::Bool => Err(refuse()),
            },
            Builtin::Gram => Ok(GpuKernel::Gram(Gram { sizes })),
            Builtin::ChannelStats => Ok(GpuKernel::ChannelStats(ChannelStats { first: int(0)? != 0, sizes })),
            Builtin::Linear
            | Builtin::Attention
            | Builtin::Embedding
            | Builtin::RoundRows
            | Builtin::NonZero
            | Builtin::Unique
            | Builtin::NonMaxSuppression
            | Builtin::Expect
            | Builtin::ConvStored => Err(refuse()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actc_types::Dim;

    #[test]
    fn calls_become_kernels_with_their_sizes() {
        let dims = |n: &[u64]| n.iter().map(|n| Dim::from(*n)).collect::<Vec<Dim>>();
        let f32s = DType::F32.code();
        for (builtin, sizes, ints) in [
            (Builtin::Unary, dims(&[7]), vec![UnaryFunction::Tanh.code(), f32s]),
            (Builtin::Binary, dims(&[2, 3, 2, 3, 1, 3]), vec![BinaryFunction::Add.code(), f32s]),
            (Builtin::Select, dims(&[2, 2, 1, 2]), vec![8]),
            (Builtin::Cast, dims(&[7]), vec![f32s, DType::I64.code(), 0, 0]),
            (Builtin::Cast, dims(&[7]), vec![DType::Bf16.code(), f32s, 0, 0]),
            (Builtin::Transpose, dims(&[2, 3, 4]), vec![4, 2, 0, 1]),
            (Builtin::Expand, dims(&[2, 3, 1, 3]), vec![4]),
            (Builtin::Gather, dims(&[1, 2, 3, 4]), vec![4]),
            (Builtin::Pad, dims(&[4, 2, 1]), vec![4]),
            (Builtin::GatherNd, dims(&[1, 5, 2, 3, 4]), vec![4]),
            (Builtin::GatherElements, dims(&[2, 3, 2, 5]), vec![8, 1]),
            (Builtin::Cumulate, dims(&[2, 3]), vec![Running::Sum.code(), f32s, 0, 1]),
            (Builtin::ScatterNd, dims(&[5, 2, 3, 4]), vec![f32s, -1]),
            (Builtin::ScatterElements, dims(&[2, 3, 2, 5]), vec![f32s, BinaryFunction::Add.code(), 1]),
            (Builtin::Row, dims(&[5, 12]), Vec::new()),
            (Builtin::Range, dims(&[4, 2]), Vec::new()),
            (Builtin::Zero, dims(&[4]), Vec::new()),
            (Builtin::Copy, dims(&[1, 2, 3, 4, 5, 6]), Vec::new()),
            (Builtin::Softmax, dims(&[2, 3]), Vec::new()),
            (Builtin::Reduce, dims(&[2, 3]), vec![RowFunction::Sum.code(), f32s]),
            (Builtin::Place, dims(&[1, 128_000]), vec![2, f32s]),
            (Builtin::Matmul, dims(&[1, 2, 3, 4]), vec![0, 1, f32s]),
            (Builtin::Conv, dims(&[1, 2, 3, 9, 9, 7, 7]), vec![1, f32s, 3, 3, 1, 1, 1, 1, 0, 0]),
            (Builtin::ConvInteger, dims(&[1, 2, 3, 4, 8]), vec![1, DType::U8.code(), DType::I8.code(), 1, 2, 2, 1, 0]),
            (Builtin::ConvTranspose, dims(&[1, 2, 3, 4, 8]), vec![1, f32s, 2, 2, 1, 0]),
            (
                Builtin::Pool,
                dims(&[6, 9, 9, 5, 5]),
                vec![PoolFunction::Most.code(), f32s, 0, 3, 3, 2, 2, 1, 1, 1, 1, 1, 1],
            ),
            (Builtin::TopK, dims(&[2, 9, 4]), vec![f32s, 1]),
            (Builtin::LinearAttention, dims(&[1, 5, 4, 2, 64, 64, 1]), vec![3]),
            (Builtin::Recurrent, dims(&[5, 2, 64]), vec![0, 0, 0, 1, 1, 2, 1]),
            (Builtin::DeformConv, dims(&[1, 2, 3, 9, 9, 7, 7]), vec![1, 2, 3, 3, 1, 1, 1, 1, 0, 0]),
            (Builtin::Fold, dims(&[6, 5, 5, 9, 9]), vec![f32s, 3, 3, 2, 2, 1, 1, 1, 1]),
            (Builtin::Unpool, dims(&[6, 50]), vec![4]),
            (Builtin::GridSample, dims(&[1, 2, 50, 9, 9]), vec![0, 0, 0, f32s, f32s]),
            (Builtin::RegionPool, dims(&[1, 2, 9, 9, 5]), vec![0, f32s, 7, 7, 2]),
            (Builtin::Det, dims(&[6, 5]), vec![f32s]),
            (Builtin::Gram, dims(&[6, 5]), Vec::new()),
            (Builtin::ChannelStats, dims(&[6, 5]), vec![1]),
            (Builtin::Resample, dims(&[1, 2, 3, 4, 5]), vec![f32s]),
        ] {
            let call = BuiltinCall { dims: sizes, ints, floats: vec![0.0; 7], ..BuiltinCall::new("x", builtin) };
            let kernel = GpuKernel::of_call(&call, Sizes::Int).unwrap();
            kernel.check().unwrap();
            assert_eq!(kernel.dims().len(), call.dims.len(), "{kernel}");
        }
        let doubles = BuiltinCall {
            dims: dims(&[1, 2, 3, 4]),
            ints: vec![0, 0, DType::F64.code()],
            ..BuiltinCall::new("x", Builtin::Matmul)
        };
        assert_eq!(GpuKernel::of_call(&doubles, Sizes::Int).unwrap_err().code, "kernel-builtin");
    }
}
