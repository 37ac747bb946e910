//! Sparse tensors, made dense.
//!
//! A file of a few bytes can claim any dense size, so that all dense tensors of a model together may take no more than
//! decoding the model may.

use super::ElementType;
use super::external::External;
use super::schema::SparseTensorProto;
use super::tensor::{Tensor, TensorBytes, shape};
use actc_types::{Diagnostic, Place, Result};

/// The dense tensor; its bytes are taken from `budget`.
pub(super) fn densify(
    proto: SparseTensorProto,
    context: &str,
    external: &mut External,
    budget: &mut u64,
) -> Result<Tensor> {
    let missing =
        |what: &str| Diagnostic::new("onnx-sparse", format!("it has no {what}")).at(Place::Tensor(context.to_owned()));
    let values = Tensor::read(*proto.values.ok_or_else(|| missing("values"))?, context, external)?;
    let indices = Tensor::read(*proto.indices.ok_or_else(|| missing("indices"))?, context, external)?;
    let shown = if values.name.is_empty() { context } else { &values.name };
    let wrong = |headline: String| Diagnostic::new("onnx-sparse", headline).at(Place::Tensor(shown.to_owned()));
    let (dims, count) = shape(&proto.dims).map_err(wrong)?;
    let bits = values.element.bits().filter(|bits| bits % 8 == 0);
    let size = bits.and_then(|bits| usize::try_from(bits / 8).ok());
    let (TensorBytes::Raw(stored), Some(size)) = (&values.data, size) else {
        return Err(wrong(format!("sparse tensors of type {} are not supported", values.element)));
    };
    let length = values.element.bytes(count).filter(|length| length <= budget);
    let Some((length, Ok(room))) = length.map(|length| (length, usize::try_from(length))) else {
        let headline = format!("made dense, {count} elements of type {} would take too much memory", values.element);
        return Err(Diagnostic::new("onnx-bloat", headline).at(Place::Tensor(shown.to_owned())));
    };
    let positions = positions(&indices, &values.dims, &dims, count).map_err(wrong)?;
    *budget -= length;
    let mut dense = vec![0u8; room];
    for (position, value) in positions.iter().zip(stored.chunks_exact(size)) {
        let slot = usize::try_from(*position).ok().and_then(|p| dense.get_mut(p.checked_mul(size)?..)?.get_mut(..size));
        if let Some(slot) = slot {
            slot.copy_from_slice(value);
        }
    }
    let data = TensorBytes::Raw(dense.into());
    Ok(Tensor { name: values.name, element: values.element, dims, data })
}

/// Places of the stored values in the dense tensor, ascending and below `count`.
fn positions(indices: &Tensor, values: &[u64], dims: &[u64], count: u64) -> Result<Vec<u64>, String> {
    let TensorBytes::Raw(bytes) = &indices.data else { return Err("its indices are texts".into()) };
    if indices.element != ElementType::Int64 {
        return Err(format!("its indices have type {}, they must have int64", indices.element));
    }
    let &[stored] = values else {
        return Err(format!("its values have {} dimensions, they must have one", values.len()));
    };
    let per_value = match indices.dims[..] {
        [n] if n == stored => 1,
        [n, rank] if n == stored && rank == dims.len() as u64 && rank > 0 => dims.len(),
        _ => return Err(format!("its indices have the shape {:?} for {stored} values", indices.dims)),
    };
    let coordinates = indices.dims.len() == 2;
    let mut out: Vec<u64> = Vec::with_capacity(bytes.len() / 8 / per_value);
    let numbers: Vec<i64> =
        bytes.chunks_exact(8).map(|b| b.try_into().map(i64::from_le_bytes).unwrap_or_default()).collect();
    for index in numbers.chunks_exact(per_value) {
        let position = if coordinates {
            index.iter().zip(dims).try_fold(0u64, |at, (i, extent)| {
                let i = u64::try_from(*i).ok().filter(|i| i < extent)?;
                at.checked_mul(*extent)?.checked_add(i)
            })
        } else {
            u64::try_from(index[0]).ok()
        };
        let position =
            position.filter(|p| *p < count).ok_or_else(|| format!("its index {index:?} is outside of it"))?;
        if out.last().is_some_and(|last| *last >= position) {
            return Err(format!("its index {index:?} does not come after the one before"));
        }
        out.push(position);
    }
    Ok(out)
}
