//! How a constant is stored: the encodings, their text form and the sizes of their parts.
//!
//! An encoding never changes what a tensor means: its [`DType`](crate::DType) and [`Shape`](crate::Shape) stay those of
//! the logical tensor. Encodings other than `dense` describe matrices `[rows, cols]` (leading dimensions folded into
//! rows), rows being output channels and columns input channels.

use crate::block::BlockFormat;
use crate::braced::{Fields, write_fields};
use crate::diagnostic::{Diagnostic, Result};
use crate::dtype::DType;
use std::fmt;

/// How a constant is stored.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// Elements of the logical type, row-major, little-endian.
    Dense,
    /// A GGUF block format, kept as the file has it.
    Block(BlockFormat),
    /// Low-bit codes on one grid per row and group.
    Packed(Packed),
    /// Low-bit codes with some columns kept in 16 bits (OWQ's weak columns).
    Mixed(Mixed),
}

/// Low-bit codes: `w = scale * (code - zero)`, or `w = scale * code + minimum`, one grid per row and group of columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Packed {
    /// Bits of a code, 1 to 8.
    pub bits: u8,
    /// Which columns of a row share a scale and a zero.
    pub group: Group,
    /// What is stored of where the grid lies.
    pub zero: Zero,
    /// Element type of the scales: `f16` or `f32`.
    pub scale: DType,
    /// Where the bits of a code lie.
    pub order: Order,
}

/// Which columns of a row share a grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Group {
    /// The whole row.
    Channel,
    /// Runs of this many columns; the last run of a row may be short. A multiple of 16.
    Columns(u32),
}

/// What is stored of where grids lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Zero {
    /// Nothing: the zero point is `2^(bits-1)` everywhere.
    Symmetric,
    /// The zero point, an integer in `0..2^bits` per row and group: a nibble up to 4 bits, a byte above.
    Packed,
    /// The weight of code 0 per row and group, of the scales' type, as GGUF's formats have it.
    Minimum,
}

/// Where the bits of a code lie. One order per device class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Order {
    /// CPUs: panels of eight rows, chunks of 64 columns as bit planes; drawn in [`crate::packed`].
    Panels8,
    /// NVIDIA GPUs: panels of sixteen rows, chunks of 64 columns as operands of matrix instructions; drawn in
    /// [`crate::packed::mma16`].
    Mma16,
}

impl Order {
    /// All orders.
    pub const ALL: &[Order] = &[Order::Panels8, Order::Mma16];

    /// The name in the text form.
    pub fn name(self) -> &'static str {
        match self {
            Order::Panels8 => "panels8",
            Order::Mma16 => "mma16",
        }
    }

    /// The order called `name`.
    pub fn parse(name: &str) -> Option<Order> {
        Order::ALL.iter().copied().find(|o| o.name() == name)
    }
}

/// A packed body with some columns kept apart in 16 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mixed {
    /// The low-bit part.
    pub body: Packed,
    /// Number of weak columns.
    pub cols: u32,
    /// Where the weak columns lie among all columns.
    pub place: WeakPlace,
    /// Element type of the weak columns: `f16`, `bf16` or `f32`.
    pub weak: DType,
}

/// Where the weak columns lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WeakPlace {
    /// Anywhere, named by an ascending index. The body has a slot for every column; weak slots decode to exactly zero.
    Scattered,
    /// The last columns, without an index. In the order of CPUs the body is narrower by `cols`. In that of GPUs it has a slot for
    /// every column, as where they are scattered: layers whose numbers of weak columns differ are alike in all else, and share
    /// kernels.
    Suffix,
}

/// What a stored part of a constant is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Dense elements, or blocks of a GGUF format.
    Data,
    /// Packed codes.
    Codes,
    /// Scales of each row and group, see [`crate::packed`].
    Scales,
    /// Zero points of each row and group, nibbles up to 4 bits; or minima.
    Zeros,
    /// Weak columns.
    Weak,
    /// Ascending columns of the weak ones, `u32[cols]`.
    WeakIndex,
}

impl Role {
    /// All roles.
    pub const ALL: &[Role] = &[Role::Data, Role::Codes, Role::Scales, Role::Zeros, Role::Weak, Role::WeakIndex];

    /// The name used in manifests.
    pub fn name(self) -> &'static str {
        match self {
            Role::Data => "data",
            Role::Codes => "codes",
            Role::Scales => "scales",
            Role::Zeros => "zeros",
            Role::Weak => "weak",
            Role::WeakIndex => "weak_index",
        }
    }

    /// The role called `name`.
    pub fn parse(name: &str) -> Option<Role> {
        Role::ALL.iter().copied().find(|r| r.name() == name)
    }
}

impl Group {
    /// Columns in a full group of a row of `cols`.
    pub fn width(self, cols: usize) -> usize {
        match self {
            Group::Channel => cols.max(1),
            Group::Columns(n) => n as usize,
        }
    }

    /// Number of groups in a row of `cols`.
    pub fn count(self, cols: usize) -> usize {
        cols.div_ceil(self.width(cols))
    }

    /// Reads `channel` or a width.
    pub fn parse(text: &str) -> Option<Group> {
        match text {
            "channel" => Some(Group::Channel),
            _ => text.parse().ok().filter(|n| *n > 0 && n % 16 == 0 && *n <= 1 << 20).map(Group::Columns),
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Group::Channel => f.write_str("channel"),
            Group::Columns(n) => write!(f, "{n}"),
        }
    }
}

impl Packed {
    /// The layout that passes choose where nothing is said: f16 scales, stored zero points, CPU order.
    pub fn new(bits: u8, group: Group) -> Packed {
        Packed { bits, group, zero: Zero::Packed, scale: DType::F16, order: Order::Panels8 }
    }

    /// The layout that has the codes and grids of `format`, exactly, in `order`.
    pub fn of_blocks(format: BlockFormat, order: Order) -> Packed {
        Packed {
            bits: format.bits(),
            group: Group::Columns(format.run() as u32),
            zero: if format.has_minima() { Zero::Minimum } else { Zero::Symmetric },
            scale: if format.has_half_scales() { DType::F16 } else { DType::F32 },
            order,
        }
    }

    fn fields(&self) -> Vec<(&'static str, Option<String>)> {
        let zero = match self.zero {
            Zero::Symmetric => "symmetric",
            Zero::Packed => "packed",
            Zero::Minimum => "minimum",
        };
        vec![
            ("bits", Some(self.bits.to_string())),
            ("group", Some(self.group.to_string())),
            ("scale", Some(self.scale.to_string())),
            ("zero", Some(zero.into())),
            ("order", Some(self.order.name().into())),
        ]
    }

    fn read(fields: &mut Fields<'_>) -> Result<Packed> {
        let bits = fields.with("bits", "1 to 8", |v| v.parse().ok().filter(|b| (1..=8).contains(b)))?;
        let group = fields.with("group", "`channel` or a multiple of 16", Group::parse)?;
        let scale =
            fields.with("scale", "f16 or f32", |v| DType::parse(v).filter(|d| matches!(d, DType::F16 | DType::F32)))?;
        let zero = fields.with("zero", "`packed`, `symmetric` or `minimum`", |v| match v {
            "packed" => Some(Zero::Packed),
            "symmetric" => Some(Zero::Symmetric),
            "minimum" => Some(Zero::Minimum),
            _ => None,
        })?;
        let order = fields.with("order", "`panels8` or `mma16`", Order::parse)?;
        Ok(Packed {
            bits: fields.need("bits", bits)?,
            group: fields.need("group", group)?,
            scale: scale.unwrap_or(DType::F16),
            zero: zero.unwrap_or(Zero::Packed),
            order: order.unwrap_or(Order::Panels8),
        })
    }
}

impl Mixed {
    /// Columns of the body.
    pub fn body_cols(&self, cols: usize) -> usize {
        match (self.place, self.body.order) {
            (WeakPlace::Scattered, _) | (WeakPlace::Suffix, Order::Mma16) => cols,
            (WeakPlace::Suffix, Order::Panels8) => cols.saturating_sub(self.cols as usize),
        }
    }
}

fn overflow() -> Diagnostic {
    Diagnostic::new("encoding-overflow", "the stored size exceeds 63 bits")
}

fn product(factors: &[usize]) -> Result<u64> {
    factors.iter().try_fold(1u64, |n, f| n.checked_mul(*f as u64)).filter(|n| *n < 1 << 62).ok_or_else(overflow)
}

impl Encoding {
    /// The parts a matrix `[rows, cols]` of `dtype` is stored in, each with its bytes.
    pub fn parts(&self, dtype: DType, rows: usize, cols: usize) -> Result<Vec<(Role, u64)>> {
        match self {
            Encoding::Dense => Ok(vec![(Role::Data, product(&[rows, cols, dtype.size()])?)]),
            Encoding::Block(format) => {
                let width = format.block_len();
                if cols % width != 0 {
                    return Err(Diagnostic::new(
                        "encoding-shape",
                        format!("{cols} columns are no multiple of the {width} of {format}"),
                    ));
                }
                Ok(vec![(Role::Data, product(&[rows, cols / width, format.block_bytes()])?)])
            }
            Encoding::Packed(packed) => packed.parts(rows, cols),
            Encoding::Mixed(mixed) => {
                if mixed.cols as usize > cols {
                    return Err(Diagnostic::new("encoding-shape", format!("{} weak columns of {cols}", mixed.cols)));
                }
                let mut parts = mixed.body.parts(rows, mixed.body_cols(cols))?;
                let order = mixed.body.order;
                let weak =
                    [order.panels(rows), order.weak_columns(mixed.cols as usize), order.panel(), mixed.weak.size()];
                parts.push((Role::Weak, product(&weak)?));
                if mixed.place == WeakPlace::Scattered {
                    parts.push((Role::WeakIndex, product(&[mixed.cols as usize, 4])?));
                }
                Ok(parts)
            }
        }
    }

    /// The order of its bits in memory; `None` where all devices share one. Blocks are for CPUs, which read them as they are.
    pub fn order(&self) -> Option<Order> {
        match self {
            Encoding::Dense => None,
            Encoding::Block(_) => Some(Order::Panels8),
            Encoding::Packed(p) | Encoding::Mixed(Mixed { body: p, .. }) => Some(p.order),
        }
    }

    /// The same codes, grids and weak columns in `order`. The codes of blocks are packed for GPUs.
    pub fn in_order(&self, order: Order) -> Encoding {
        match (self, order) {
            (Encoding::Block(format), Order::Mma16) => Encoding::Packed(Packed::of_blocks(*format, order)),
            (Encoding::Dense, _) | (Encoding::Block(_), Order::Panels8) => self.clone(),
            (Encoding::Packed(p), _) => Encoding::Packed(Packed { order, ..*p }),
            (Encoding::Mixed(m), _) => Encoding::Mixed(Mixed { body: Packed { order, ..m.body }, ..*m }),
        }
    }

    /// Bytes of all parts of a matrix `[rows, cols]`.
    pub fn stored_bytes(&self, dtype: DType, rows: usize, cols: usize) -> Result<u64> {
        self.parts(dtype, rows, cols)?.iter().try_fold(0u64, |n, (_, b)| n.checked_add(*b)).ok_or_else(overflow)
    }

    /// Bits of a weight in the papers' meaning: codes plus the extra bits of weak columns.
    pub fn code_bits(&self, dtype: DType, cols: usize) -> f64 {
        match self {
            Encoding::Dense => dtype.size() as f64 * 8.0,
            Encoding::Block(format) => format.code_bits(),
            Encoding::Packed(p) => f64::from(p.bits),
            Encoding::Mixed(m) => {
                let share = f64::from(m.cols) / cols.max(1) as f64;
                f64::from(m.body.bits) + share * (m.weak.size() as f64 * 8.0 - f64::from(m.body.bits))
            }
        }
    }

    /// Reads an encoding called `name` from its fields.
    pub fn read(name: &str, fields: &mut Fields<'_>) -> Result<Encoding> {
        match name {
            "dense" => Ok(Encoding::Dense),
            "packed" => Ok(Encoding::Packed(Packed::read(fields)?)),
            "mixed" => {
                let body = Packed::read(fields)?;
                let cols = fields.number("cols")?;
                let place = fields.with("place", "`scattered` or `suffix`", |v| match v {
                    "scattered" => Some(WeakPlace::Scattered),
                    "suffix" => Some(WeakPlace::Suffix),
                    _ => None,
                })?;
                let weak = fields.with("weak", "f16, bf16 or f32", |v| {
                    DType::parse(v).filter(|d| matches!(d, DType::F16 | DType::Bf16 | DType::F32))
                })?;
                let cols = fields.need("cols", cols)?;
                let place = fields.need("place", place)?;
                Ok(Encoding::Mixed(Mixed { body, cols, place, weak: weak.unwrap_or(DType::F16) }))
            }
            _ => BlockFormat::parse(name)
                .map(Encoding::Block)
                .ok_or_else(|| Diagnostic::request("unknown-encoding", format!("unknown encoding `{name}`"))),
        }
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Encoding::Dense => f.write_str("dense"),
            Encoding::Block(format) => write!(f, "{format}"),
            Encoding::Packed(p) => {
                f.write_str("packed")?;
                write_fields(f, &p.fields())
            }
            Encoding::Mixed(m) => {
                f.write_str("mixed")?;
                let mut fields = m.body.fields();
                fields.push(("cols", Some(m.cols.to_string())));
                let place = match m.place {
                    WeakPlace::Scattered => "scattered",
                    WeakPlace::Suffix => "suffix",
                };
                fields.push(("place", Some(place.into())));
                fields.push(("weak", Some(m.weak.to_string())));
                write_fields(f, &fields)
            }
        }
    }
}
