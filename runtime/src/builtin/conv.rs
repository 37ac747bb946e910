//! Convolutions of floats: products of weights with the image laid out so that each tap of neighbouring windows lies side by
//! side; or, where channels make no matrix, sums of weighted runs.
//!
//! With kernels of one tap that step by one the image is the matrix of columns already.

use super::call::Call;
use super::element::single;
use super::sheet::Sheet;
use super::spread::{Laid, Spread};
use super::window::{self, Axis, area, axes, place, rank, taps};
use crate::device::cpu::gemm::{Matrix, product};
use crate::device::cpu::memory::Grid;
use crate::device::cpu::product::{LANES, block_rows, multiply, put};
use crate::device::cpu::rows::Real;
use crate::device::cpu::team::Scratch;
use actc_types::Result;
use bytemuck::Pod;

/// Bytes that an image takes as it is laid out for a cell: it stays in the second cache.
pub(super) const BYTES: usize = 512 << 10;

/// Output channels of a group from which on they make a matrix.
pub(super) const MATRIX: usize = 4;

/// Sizes of a convolution; `m` and `c` are all channels, `own` and `outs` those of a group.
pub(super) struct Layout {
    pub n: usize,
    pub c: usize,
    pub m: usize,
    pub groups: usize,
    pub own: usize,
    pub outs: usize,
    pub axes: Vec<Axis>,
    /// Elements of a channel of the image, number of its windows, and taps of a window.
    pub area: usize,
    pub windows: usize,
    pub taps: usize,
}

impl Layout {
    /// Reads sizes `N, C, M`, extents of the image and numbers of windows; the window is behind `lead` integers, the first of
    /// which are the groups.
    pub(super) fn read(call: &Call<'_>, lead: usize) -> Result<Layout> {
        let r = rank(call, 3)?;
        Layout::of(call, axes(call, r, 3, 3 + r, lead)?)
    }

    /// The same with `axes`.
    pub(super) fn of(call: &Call<'_>, axes: Vec<Axis>) -> Result<Layout> {
        let (n, c, m) = (call.dim(0)?, call.dim(1)?, call.dim(2)?);
        let groups = usize::try_from(call.int(0)).ok().filter(|g| *g > 0).unwrap_or(0);
        if groups == 0 || !c.is_multiple_of(groups) || !m.is_multiple_of(groups) {
            return Err(call.refuse(format!("{groups} groups of {c} and {m} channels")));
        }
        let (area, windows, taps) = (area(call, &axes)?, window::windows(call, &axes)?, taps(call, &axes)?);
        Ok(Layout { n, c, m, groups, own: c / groups, outs: m / groups, axes, area, windows, taps })
    }

    /// Whether the image is the matrix of columns.
    fn is_plain(&self) -> bool {
        self.axes.iter().all(|a| a.kernel == 1 && a.stride == 1 && a.pad == 0 && a.image == a.windows)
    }

    /// Rows of a cell of one group of one image, and along the windows as many of `units` units, `most` at most; `parts` members
    /// make all.
    pub(super) fn cell(&self, parts: usize, units: usize, most: usize) -> (usize, usize) {
        let wanted = parts.div_ceil((self.n * self.groups).max(1));
        let fewest = units.div_ceil(most.clamp(1, units.max(1)));
        // Each member reads all weights, or lays out the whole image: the smaller of both.
        let across = if self.outs > 2 * self.windows { 1 } else { wanted.min(units) };
        let across = fewest.next_multiple_of(across.max(1)).max(1);
        let down = wanted.div_ceil(across).max(1);
        let rows = self.outs.div_ceil(down).next_multiple_of(block_rows()).min(self.outs.max(1));
        (rows, units.div_ceil(across).max(1))
    }
}

pub(super) fn run(call: &Call<'_>, scratch: &mut Scratch) -> Result<()> {
    let layout = Layout::read(call, 2)?;
    let weights = [layout.m, layout.own, layout.taps];
    match single(call, 1)? {
        true => singles(call, &layout, call.read(1, &weights)?, 2, scratch),
        false => floats::<f64>(call, &layout, call.read(1, &weights)?, 2),
    }
}

/// The convolution of f32 with the weights `w [m, own, taps]`; where there is a bias it is buffer `bias_at`, the result is the last.
pub(super) fn singles(
    call: &Call<'_>,
    layout: &Layout,
    w: &[f32],
    bias_at: usize,
    scratch: &mut Scratch,
) -> Result<()> {
    match layout.outs >= MATRIX {
        true => products(call, layout, w, bias_at, scratch),
        false => floats(call, layout, w, bias_at),
    }
}

/// The bias, if there is one, and the number of the result's buffer.
pub(super) fn bias<'a, T: Pod>(call: &Call<'a>, m: usize, least: usize) -> Result<(Option<&'a [T]>, usize)> {
    let last = call.bufs() - 1;
    Ok((if last > least { Some(call.read(least, &[m])?) } else { None }, last))
}

/// The convolution by products of matrices, a group of an image at a time.
fn products(call: &Call<'_>, layout: &Layout, w: &[f32], bias_at: usize, scratch: &mut Scratch) -> Result<()> {
    let &Layout { n, c, m, groups, own, outs, area, windows, taps, .. } = layout;
    let x: &[f32] = call.read(0, &[n, c, area])?;
    let (bias, out) = bias::<f32>(call, m, bias_at)?;
    call.count(&[n, m, windows])?;
    let rows = call.count(&[own, taps])?;
    let spread = (!layout.is_plain()).then(|| Spread::new(&layout.axes));
    let most = BYTES / size_of::<f32>();
    let (units, unit, most) = match &spread {
        None => (windows.div_ceil(LANES), LANES, most / LANES / rows.max(1)),
        Some(spread) => (spread.units(), windows / spread.units().max(1), spread.most(own, most)),
    };
    let (cell_rows, cell_units) = layout.cell(call.parts, units, most);
    let mut laid = spread.as_ref().map(|spread| Laid::new(spread, own));
    for item in 0..n * groups {
        let (image, group) = (item / groups, item % groups);
        let channels = &x[(image * c + group * own) * area..][..own * area];
        let weights = Matrix::dense(&w[group * outs * rows..][..outs * rows], outs, rows);
        let offset = (image * m + group * outs) * windows;
        let grid = Grid { offset, rows: outs, cols: windows, stride: windows, cell_rows, cell_cols: cell_units * unit };
        for mut tile in call.tiles_from::<f32>(out, grid, item)? {
            let (first, row, count) = (tile.col(), tile.row(), tile.rows());
            let weights = weights.rows_of(row, count);
            let bias = bias.map(|b| &b[group * outs + row..][..count]);
            let mut give = |row: usize, col: usize, sums: &[f32]| {
                let to = &mut tile.row_mut(row)[col..][..sums.len()];
                match bias {
                    None => put(to, sums),
                    Some(bias) => to.iter_mut().zip(sums).for_each(|(y, sum)| *y = sum + bias[row]),
                }
            };
            let Some(laid) = &mut laid else {
                let columns = Matrix::dense(channels, own, area).cols_of(first, grid.cell_cols.min(area - first));
                product(weights, columns, &mut scratch.product, give);
                continue;
            };
            let units = first / unit..(first + grid.cell_cols).min(windows) / unit;
            let (band, image) = laid.show(call, item, units.clone(), &mut scratch.floats, |band, to| {
                band.lay(channels, area, units.start, to);
            })?;
            multiply(
                weights,
                band.strips(image),
                (band.count(), LANES),
                &mut scratch.product.apart,
                |row, rows, strip, block| {
                    for piece in band.pieces(strip) {
                        for (i, sums) in block[..rows].iter().enumerate() {
                            give(row + i, piece.to, &sums[piece.lanes.clone()]);
                        }
                    }
                },
            );
        }
    }
    Ok(())
}

fn floats<T: Real + Default>(call: &Call<'_>, layout: &Layout, w: &[T], bias_at: usize) -> Result<()> {
    let &Layout { n, c, m, area, .. } = layout;
    let x: &[T] = call.read(0, &[n, c, area])?;
    let (bias, out) = bias::<T>(call, m, bias_at)?;
    let start = |m: usize| bias.map_or(T::default(), |b| b[m]);
    runs(call, layout, x, out, |x, _| x, |i, _| w[i], start, |s| s)
}

/// The convolution as sums of weighted runs, each channel of the result by itself. Numbers are those that `take` makes of
/// elements of `x`, `weight` gives by number and channel, and `start` by channel; `give` makes elements of the result.
#[expect(clippy::too_many_arguments, reason = "what is taken and given differs by type")]
pub(super) fn runs<S: Pod, T: Real + Default, O: Pod>(
    call: &Call<'_>,
    layout: &Layout,
    x: &[S],
    out: usize,
    take: impl Fn(S, usize) -> T + Copy,
    weight: impl Fn(usize, usize) -> T,
    start: impl Fn(usize) -> T,
    give: impl Fn(T) -> O,
) -> Result<()> {
    let &Layout { n, c, m, own, outs, .. } = layout;
    let (outer, row, col) = match layout.axes[..] {
        [ref outer @ .., row, col] => (outer, row, col),
        [col] => (&[][..], Axis::SINGLE, col),
        [] => return Ok(()),
    };
    let (slabs, slab_taps) = (window::windows(call, outer)?, taps(call, outer)?);
    let planes = call.count(&[n, m, slabs])?;
    let sheet = Sheet::new(call, row, col, planes)?;
    let (plane, flat) = (row.image * col.image, row.kernel * col.kernel);
    let size = call.count(&[row.windows, col.windows])?;
    call.count(&[planes, size])?;
    let cells = row.windows.div_ceil(sheet.cell_rows);
    let (mut laid, mut sums, mut weights) =
        (vec![T::default(); sheet.size()], vec![T::default(); sheet.cell_rows * sheet.width], vec![T::default(); flat]);
    for slab in 0..planes {
        let (image, channel, window) = (slab / slabs / m, slab / slabs % m, slab % slabs);
        let grid = Grid {
            offset: slab * size,
            rows: row.windows,
            cols: col.windows,
            stride: col.windows,
            cell_rows: sheet.cell_rows,
            cell_cols: col.windows.max(1),
        };
        for mut tile in call.tiles_from::<O>(out, grid, slab * cells)? {
            let rows = tile.row()..tile.row() + tile.rows();
            let sums = &mut sums[..sheet.run(tile.rows())];
            sums.fill(start(channel));
            for i in 0..own {
                let from = image * c + channel / outs * own + i;
                for tap in 0..slab_taps {
                    let Some(depth) = place(outer, window, tap) else { continue };
                    let seen = &x[from * layout.area + depth * plane..][..plane];
                    sheet.lay(seen, &rows, &mut laid, T::default(), |x| take(x, channel));
                    let first = (channel * own + i) * layout.taps + tap * flat;
                    weights.iter_mut().enumerate().for_each(|(k, w)| *w = weight(first + k, channel));
                    T::weigh(sums, &laid, &sheet.offsets, &weights);
                }
            }
            for (i, sums) in sums.chunks(sheet.width.max(1)).enumerate() {
                tile.row_mut(i).iter_mut().zip(sums).for_each(|(y, s)| *y = give(*s));
            }
        }
    }
    Ok(())
}
