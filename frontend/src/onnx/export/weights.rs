//! Encoded constants: as products by matrices of few bits, and as blocks of codes that are turned into numbers.
//!
//! Codes of 1 to 8 bits become elements of 4 or 8 bits, the next wider ones that the standard's runtimes have; what a code
//! means stays the same number. Scales become f32, exactly.

use super::sheet::{Attr, MICROSOFT, Sheet};
use crate::onnx::ElementType;
use actc_ir::Const;
use actc_types::packed::CHUNK;
use actc_types::{DType, Encoding, Group, Mixed, Order, Packed, Result, Role, WeakPlace, Zero};
use bytes::Bytes;

/// The codes of a matrix `[rows, cols]` with a scale and a zero point for each row and group, all row-major.
struct Codes {
    rows: usize,
    cols: usize,
    group: Group,
    /// Bits of a code as it is written: 4 or 8.
    bits: usize,
    codes: Vec<u8>,
    scales: Vec<f32>,
    zeros: Vec<u8>,
}

/// `codes` of `bits` bits one behind the other, the first in the lowest bits.
pub(super) fn few_bits(codes: &[u8], bits: usize) -> Vec<u8> {
    let per = 8 / bits;
    codes.chunks(per).map(|run| run.iter().enumerate().fold(0, |byte, (i, c)| byte | c << (i * bits))).collect()
}

fn part(constant: &Const, role: Role) -> &[u8] {
    constant.parts.iter().find(|(r, _)| *r == role).map_or(&[], |(_, bytes)| bytes)
}

impl Codes {
    fn read(constant: &Const, layout: &Packed, cols: usize) -> Result<Codes> {
        let (rows, _) = constant.view().map(|v| (v.rows(), v.cols()))?;
        let groups = layout.group.count(cols);
        let stored = part(constant, Role::Codes);
        let (side, panel, chunk) = (layout.order.panel(), layout.panel_bytes(cols), layout.chunk_bytes());
        let mut codes = Vec::with_capacity(rows * cols);
        let mut run = [0u8; CHUNK];
        for row in 0..rows {
            let bytes = &stored[row / side * panel..][..panel];
            for (i, bytes) in bytes.chunks_exact(chunk).enumerate() {
                layout.unpack_chunk(bytes, row % side, &mut run);
                codes.extend(&run[..CHUNK.min(cols - i * CHUNK)]);
            }
        }
        let (scales, zeros) = (part(constant, Role::Scales), part(constant, Role::Zeros));
        let all = || (0..rows).flat_map(|row| (0..groups).map(move |group| (row, group)));
        Ok(Codes {
            rows,
            cols,
            group: layout.group,
            bits: if layout.bits <= 4 { 4 } else { 8 },
            codes,
            scales: all().map(|(row, group)| layout.scale_at(scales, row, group, cols)).collect(),
            zeros: all().map(|(row, group)| layout.zero_at(zeros, row, group, cols)).collect(),
        })
    }

    fn groups(&self) -> usize {
        self.group.count(self.cols)
    }

    /// Columns of a block of `MatMulNBits`: a power of two, of which a group has a whole number.
    fn block(&self) -> usize {
        match self.group {
            Group::Columns(n) => 1 << n.trailing_zeros().min(7),
            Group::Channel => 128,
        }
    }

    /// The same codes in groups of `block` columns.
    fn in_blocks(mut self, block: usize) -> Codes {
        let (groups, width) = (self.groups(), self.group.width(self.cols));
        let blocks = self.cols.div_ceil(block);
        let of = |i: usize| i / blocks * groups + i % blocks * block / width;
        self.scales = (0..self.rows * blocks).map(|i| self.scales[of(i)]).collect();
        self.zeros = (0..self.rows * blocks).map(|i| self.zeros[of(i)]).collect();
        self.group = Group::Columns(block as u32);
        self
    }

    fn scales(&self, sheet: &mut Sheet<'_>, name: &str, dims: &[u64]) -> String {
        let bytes: Vec<u8> = self.scales.iter().flat_map(|s| s.to_le_bytes()).collect();
        sheet.initializer(&format!("{name}.scales"), ElementType::Float32, dims, bytes.into())
    }

    /// `x W^T` by a product of few bits.
    fn product(&self, sheet: &mut Sheet<'_>, x: &str, name: &str, block: usize) -> String {
        let (groups, rows) = (self.groups(), self.rows);
        let blob = block * self.bits / 8;
        let mut bytes = Vec::with_capacity(rows * groups * blob);
        for row in self.codes.chunks_exact(self.cols.max(1)) {
            for run in row.chunks(block) {
                let first = bytes.len();
                bytes.extend(few_bits(run, self.bits));
                bytes.resize(first + blob, 0);
            }
        }
        let zeros: Vec<u8> = self.zeros.chunks_exact(groups.max(1)).flat_map(|z| few_bits(z, self.bits)).collect();
        let dims = [rows as u64, groups as u64, blob as u64];
        let codes = sheet.initializer(&format!("{name}.codes"), ElementType::Uint8, &dims, bytes.into());
        let scales = self.scales(sheet, name, &dims[..2]);
        let row = (groups * self.bits).div_ceil(8) as u64;
        let zeros = sheet.initializer(&format!("{name}.zeros"), ElementType::Uint8, &[dims[0], row], zeros.into());
        let number = |n: usize| Attr::Int(n as i64);
        let attributes = vec![
            ("K", number(self.cols)),
            ("N", number(rows)),
            ("bits", number(self.bits)),
            ("block_size", number(block)),
            // Activations stay f32.
            ("accuracy_level", Attr::Int(1)),
        ];
        sheet.nodes((MICROSOFT, "MatMulNBits"), &[x, &codes, &scales, &zeros], attributes, 1, name).swap_remove(0)
    }

    /// The matrix in f32.
    fn matrix(&self, sheet: &mut Sheet<'_>, name: &str) -> String {
        let element = if self.bits == 4 { ElementType::Uint4 } else { ElementType::Uint8 };
        let (rows, cols, groups) = (self.rows as u64, self.cols as u64, self.groups() as u64);
        let bytes = few_bits(&self.codes, self.bits).into();
        let codes = sheet.initializer(&format!("{name}.codes"), element, &[rows, cols], bytes);
        let (dims, attributes) = match self.group {
            Group::Channel => (vec![rows], vec![("axis", Attr::Int(0))]),
            Group::Columns(n) => {
                (vec![rows, groups], vec![("axis", Attr::Int(1)), ("block_size", Attr::Int(i64::from(n)))])
            }
        };
        let scales = self.scales(sheet, name, &dims);
        let zeros = few_bits(&self.zeros, self.bits).into();
        let zeros = sheet.initializer(&format!("{name}.zeros"), element, &dims, zeros);
        sheet.node("DequantizeLinear", &[&codes, &scales, &zeros], attributes, name)
    }

    /// `x W^T`. Blocks of codes before a product would be the same, but runtimes join both and round `x` to 8 bits.
    fn times(self, sheet: &mut Sheet<'_>, x: &str, name: &str) -> String {
        let block = self.block();
        self.in_blocks(block).product(sheet, x, name, block)
    }
}

/// `x W^T` of a matrix in f32.
pub(super) fn times(sheet: &mut Sheet<'_>, x: &str, matrix: &str, name: &str) -> String {
    let turned = sheet.node("Transpose", &[matrix], vec![("perm", Attr::Ints(vec![1, 0]))], name);
    sheet.node("MatMul", &[x, &turned], vec![], name)
}

/// The weak columns `[rows, k]` in f32.
fn weak(sheet: &mut Sheet<'_>, constant: &Const, mixed: &Mixed) -> Result<String> {
    let (rows, _) = constant.matrix()?;
    let (k, size) = (mixed.cols as usize, mixed.weak.size());
    let stored = part(constant, Role::Weak);
    let mut bytes = Vec::with_capacity(rows * k * size);
    for row in 0..rows {
        for i in 0..k {
            bytes.extend(&stored[mixed.body.order.weak_index(row, i, k) * size..][..size]);
        }
    }
    let element = super::sheet::element(mixed.weak)?;
    let name = format!("{}.weak", constant.name);
    let weak = sheet.initializer(&name, element, &[rows as u64, k as u64], bytes.into());
    sheet.cast(&weak, mixed.weak, DType::F32)
}

fn weak_index(sheet: &mut Sheet<'_>, constant: &Const) -> Result<String> {
    let index: Vec<u8> = constant.view()?.weak_columns().flat_map(|c| (c as i64).to_le_bytes()).collect();
    let count = (index.len() / 8) as u64;
    Ok(sheet.initializer(&format!("{}.weak_index", constant.name), ElementType::Int64, &[count], Bytes::from(index)))
}

/// `x W^T` by the constant `W`, `x` in f32.
pub(super) fn product(sheet: &mut Sheet<'_>, x: &str, constant: &Const) -> Result<String> {
    let moved = constant.in_order(Order::Panels8)?;
    let constant = moved.as_ref().unwrap_or(constant);
    let (name, (_, cols)) = (constant.name.clone(), constant.matrix()?);
    let dense = |sheet: &mut Sheet<'_>| {
        let matrix = whole(sheet, constant)?;
        let matrix = sheet.cast(&matrix, stored_type(constant), DType::F32)?;
        Ok(times(sheet, x, &matrix, &name))
    };
    match &constant.encoding {
        Encoding::Dense | Encoding::Block(_) => dense(sheet),
        Encoding::Packed(layout) | Encoding::Mixed(Mixed { body: layout, .. }) if layout.zero == Zero::Minimum => {
            dense(sheet)
        }
        Encoding::Packed(layout) => Ok(Codes::read(constant, layout, cols)?.times(sheet, x, &name)),
        Encoding::Mixed(mixed) => {
            let columns = mixed.body_cols(cols);
            let body = match mixed.place {
                WeakPlace::Scattered => x.to_owned(),
                WeakPlace::Suffix => {
                    let index: Vec<i64> = (0..columns as i64).collect();
                    let index = sheet.ints(&index);
                    sheet.node("Gather", &[x, &index], vec![("axis", Attr::Int(-1))], &name)
                }
            };
            let body = Codes::read(constant, &mixed.body, columns)?.times(sheet, &body, &name);
            if mixed.cols == 0 {
                return Ok(body);
            }
            let (index, weak) = (weak_index(sheet, constant)?, weak(sheet, constant, mixed)?);
            let x = sheet.node("Gather", &[x, &index], vec![("axis", Attr::Int(-1))], &name);
            let rest = times(sheet, &x, &weak, &name);
            Ok(sheet.node("Add", &[&body, &rest], vec![], &name))
        }
    }
}

/// The element type that [`whole`] gives a constant.
pub(super) fn stored_type(constant: &Const) -> DType {
    match constant.encoding {
        Encoding::Dense => constant.ty.dtype,
        Encoding::Block(_) | Encoding::Packed(_) | Encoding::Mixed(_) => DType::F32,
    }
}

/// The constant with its own extents: in its own type where it is dense, else in f32.
pub(super) fn whole(sheet: &mut Sheet<'_>, constant: &Const) -> Result<String> {
    let moved = constant.in_order(Order::Panels8)?;
    let constant = moved.as_ref().unwrap_or(constant);
    let name = constant.name.clone();
    let dims = constant.fixed_dims()?;
    let (rows, cols) = constant.matrix()?;
    let decoded = |sheet: &mut Sheet<'_>, what: &str| {
        sheet.notes.insert(format!("weights {what} are written as f32, which the standard can store"));
        let bytes = constant.decode()?.data().to_le_bytes();
        Ok(sheet.initializer(&name, ElementType::Float32, &dims, bytes.into()))
    };
    let matrix = match &constant.encoding {
        Encoding::Dense => return sheet.dense(constant),
        Encoding::Block(format) => return decoded(sheet, &format!("in {format}")),
        Encoding::Packed(layout) | Encoding::Mixed(Mixed { body: layout, .. }) if layout.zero == Zero::Minimum => {
            return decoded(sheet, "on grids with minima");
        }
        Encoding::Packed(layout) => Codes::read(constant, layout, cols)?.matrix(sheet, &name),
        Encoding::Mixed(mixed) => {
            let body = Codes::read(constant, &mixed.body, mixed.body_cols(cols))?.matrix(sheet, &name);
            let weak = weak(sheet, constant, mixed)?;
            match mixed.place {
                WeakPlace::Suffix => sheet.node("Concat", &[&body, &weak], vec![("axis", Attr::Int(1))], &name),
                WeakPlace::Scattered => {
                    let index: Vec<i64> = constant.view()?.weak_columns().map(|c| c as i64).collect();
                    let bytes: Vec<u8> = (0..rows).flat_map(|_| index.iter().flat_map(|c| c.to_le_bytes())).collect();
                    let of = [rows as u64, index.len() as u64];
                    let places = format!("{name}.weak_index");
                    let index = sheet.initializer(&places, ElementType::Int64, &of, bytes.into());
                    sheet.node("ScatterElements", &[&body, &index, &weak], vec![("axis", Attr::Int(1))], &name)
                }
            }
        }
    };
    if dims.len() == 2 {
        return Ok(matrix);
    }
    let shape: Vec<i64> = dims.iter().map(|d| *d as i64).collect();
    let shape = sheet.ints(&shape);
    Ok(sheet.node("Reshape", &[&matrix, &shape], vec![], &name))
}
