//! Random matrices in any encoding.

use crate::Rng;
use actc_types::{BlockFormat, DType, Encoding, Packed, Role, WeakPlace, WeightView, Zero};
use half::{bf16, f16};

fn element(dtype: DType, x: f32) -> Vec<u8> {
    match dtype {
        DType::F16 => f16::from_f32(x).to_le_bytes().to_vec(),
        DType::Bf16 => bf16::from_f32(x).to_le_bytes().to_vec(),
        _ => x.to_le_bytes().to_vec(),
    }
}

/// A random matrix in an encoding.
pub struct Matrix {
    /// How it is stored.
    pub encoding: Encoding,
    /// The type of dense elements.
    pub dtype: DType,
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
    /// Its bytes, part by part.
    pub parts: Vec<(Role, Vec<u8>)>,
}

impl Matrix {
    /// Everything random.
    pub fn random(encoding: &Encoding, dtype: DType, rows: usize, cols: usize, rng: &mut Rng) -> Matrix {
        let mut parts = match encoding {
            Encoding::Dense => {
                vec![(Role::Data, (0..rows * cols).flat_map(|_| element(dtype, rng.float())).collect())]
            }
            Encoding::Block(format) => vec![(Role::Data, blocks(*format, rows * cols / format.block_len(), rng))],
            Encoding::Packed(p) => body(p, rows, cols, &[], rng),
            Encoding::Mixed(m) => {
                let k = m.cols as usize;
                let weak: Vec<usize> = match m.place {
                    // Those that have a slot.
                    WeakPlace::Suffix => (cols - k..m.body_cols(cols)).collect(),
                    WeakPlace::Scattered => {
                        let mut all: Vec<usize> = (0..cols).collect();
                        (0..cols).for_each(|i| all.swap(i, i + rng.below(cols - i)));
                        all.truncate(k);
                        all.sort_unstable();
                        all
                    }
                };
                let mut parts = body(&m.body, rows, m.body_cols(cols), &weak, rng);
                let order = m.body.order;
                let weights = order.panels(rows) * order.panel() * order.weak_columns(k);
                parts.push((Role::Weak, (0..weights).flat_map(|_| element(m.weak, 2.0 * rng.float())).collect()));
                if m.place == WeakPlace::Scattered {
                    parts.push((Role::WeakIndex, weak.iter().flat_map(|c| (*c as u32).to_le_bytes()).collect()));
                }
                parts
            }
        };
        parts.sort_by_key(|(role, _)| *role);
        Matrix { encoding: encoding.clone(), dtype, rows, cols, parts }
    }

    /// The bytes of its part `role`; panics where it has none.
    pub fn part(&self, role: Role) -> &[u8] {
        &self.parts.iter().find(|(r, _)| *r == role).expect("the part exists").1
    }

    /// A view that reads it.
    pub fn view(&self) -> WeightView<'_> {
        let parts = self.parts.iter().map(|(role, bytes)| (*role, &bytes[..]));
        WeightView::new(&self.encoding, self.dtype, self.rows, self.cols, parts).unwrap()
    }
}

fn body(p: &Packed, rows: usize, cols: usize, weak: &[usize], rng: &mut Rng) -> Vec<(Role, Vec<u8>)> {
    let groups = p.group.count(cols);
    let width = p.group.width(cols);
    let levels = p.levels() as usize;
    let zeros: Vec<u8> = (0..rows * groups)
        .map(|_| match p.zero {
            Zero::Symmetric => (levels / 2) as u8,
            Zero::Packed => rng.below(levels) as u8,
            Zero::Minimum => 0,
        })
        .collect();
    let mut codes: Vec<u8> = (0..rows * cols).map(|_| rng.below(levels) as u8).collect();
    for row in 0..rows {
        for c in weak {
            codes[row * cols + c] = zeros[row * groups + c / width];
        }
    }
    let scales: Vec<f32> = (0..rows * groups).map(|_| (rng.float() + 1.5) / levels as f32).collect();
    let minima: Vec<f32> = match p.zero {
        Zero::Symmetric | Zero::Packed => Vec::new(),
        Zero::Minimum => scales.iter().map(|scale| -scale * levels as f32 * rng.float().abs()).collect(),
    };
    let parts = [(Role::Codes, p.pack_codes(&codes, rows, cols)), (Role::Scales, p.pack_scales(&scales, rows))];
    let offsets = p.pack_offsets(&zeros, &minima, rows).map(|offsets| (Role::Zeros, offsets));
    parts.into_iter().chain(offsets).collect()
}

fn blocks(format: BlockFormat, n: usize, rng: &mut Rng) -> Vec<u8> {
    let floats: &[usize] = match format {
        BlockFormat::Q4_0 | BlockFormat::Q5_0 | BlockFormat::Q8_0 => &[0],
        BlockFormat::Q4_1 | BlockFormat::Q5_1 | BlockFormat::Q4K | BlockFormat::Q5K => &[0, 2],
        BlockFormat::Q2K => &[80, 82],
        BlockFormat::Q3K => &[108],
        BlockFormat::Q6K => &[208],
    };
    let mut bytes = Vec::new();
    for _ in 0..n {
        let mut block: Vec<u8> = (0..format.block_bytes()).map(|_| rng.word() as u8).collect();
        for at in floats {
            block[*at..at + 2].copy_from_slice(&f16::from_f32(rng.float() / 64.0).to_le_bytes());
        }
        bytes.extend(block);
    }
    bytes
}
