//! Convolutions of floats: windows as columns times the library's matrix product, or, where channels make no matrix, sums
//! of weighted runs.
//!
//! With kernels of one tap that step by one the image is the matrix of columns already. Else each cell of the result makes
//! the columns of its windows; where the weights are the larger matrix, cells are rows of them instead, and each makes all
//! columns.

use super::call::Call;
use super::element::single;
use super::sheet::Sheet;
use super::window::{self, Axis, area, axes, place, rank, room, taps};
use crate::device::cpu::gemm::{Matrix, gemm};
use crate::device::cpu::memory::Grid;
use crate::device::cpu::rows::Real;
use crate::device::cpu::team::Scratch;
use actc_types::Result;
use bytemuck::Pod;

/// Most columns of a cell, and most bytes of them: the library packs weights once for each cell.
const COLUMNS: usize = 1024;
const BYTES: usize = 2 << 20;

/// Fewest columns that a cell is cut to for the sake of another member.
const FEWEST: usize = 48;

/// Output channels of a group from which on they make a matrix.
const MATRIX: usize = 4;

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

    /// Rows and columns of a cell of one group of one image, of which `parts` members make all.
    fn cell(&self, parts: usize, rows: usize) -> (usize, usize) {
        let wanted = parts.div_ceil((self.n * self.groups).max(1));
        let most =
            if self.is_plain() { usize::MAX } else { (BYTES / size_of::<f32>() / rows.max(1)).clamp(16, COLUMNS) };
        let fewest = self.windows.div_ceil(most.min(self.windows.max(1)));
        // Each member packs all weights, or makes all columns: the smaller of both.
        let across = if self.outs > 2 * self.windows { 1 } else { wanted.min(self.windows.div_ceil(FEWEST)) };
        let across = fewest.next_multiple_of(across.max(1)).max(1);
        let down = wanted.div_ceil(across).max(1);
        let rows = self.outs.div_ceil(down).next_multiple_of(8).min(self.outs.max(1));
        (rows, self.windows.div_ceil(across).max(1))
    }
}

/// A run of windows of one row: the first window of the row, which of its windows, and where they begin among the columns.
struct Segment {
    row: usize,
    from: usize,
    to: usize,
    start: usize,
}

/// Writes the columns `first..first + width` of the windows of `channels` into `to`, a row for each channel and tap: `take` of
/// each element, `outside` in the padding. `channels` has `layout.own` channels one behind the other.
pub(super) fn columns<S: Copy>(
    layout: &Layout,
    channels: &[S],
    (first, width): (usize, usize),
    to: &mut [f32],
    outside: f32,
    take: impl Fn(S) -> f32 + Copy,
) {
    let (Some((last, outer)), true) = (layout.axes.split_last(), layout.area > 0 && width > 0) else {
        return to.fill(outside);
    };
    let mut segments = Vec::new();
    let mut at = first;
    while at < first + width {
        let (row, from) = (at / last.windows, at % last.windows);
        let to = last.windows.min(from + first + width - at);
        segments.push(Segment { row, from, to, start: at - first });
        at += to - from;
    }
    // For each tap of the outer axes, where the row of the image begins that each segment sees.
    let outer_taps = layout.taps / last.kernel;
    let sources: Vec<Option<usize>> = (0..outer_taps)
        .flat_map(|tap| segments.iter().map(move |s| place(outer, s.row, tap).map(|row| row * last.image)))
        .collect();
    let mut rows = to.chunks_exact_mut(width.max(1));
    for channel in channels.chunks_exact(layout.area) {
        for sources in sources.chunks_exact(segments.len()) {
            for k in 0..last.kernel {
                let Some(row) = rows.next() else { return };
                let inside = last.inside(k);
                for (s, source) in segments.iter().zip(sources) {
                    let run = &mut row[s.start..][..s.to - s.from];
                    let from = inside.start.clamp(s.from, s.to);
                    let end = inside.end.clamp(from, s.to);
                    let (Some(source), true) = (source, from < end) else {
                        run.fill(outside);
                        continue;
                    };
                    run[..from - s.from].fill(outside);
                    run[end - s.from..].fill(outside);
                    let run = &mut run[from - s.from..end - s.from];
                    let x = &channel[source + from * last.stride + k * last.dilation - last.pad..];
                    match last.stride {
                        1 => run.iter_mut().zip(x).for_each(|(t, x)| *t = take(*x)),
                        2 => run.iter_mut().zip(x.chunks(2)).for_each(|(t, x)| *t = take(x[0])),
                        n => run.iter_mut().zip(x.iter().step_by(n)).for_each(|(t, x)| *t = take(*x)),
                    }
                }
            }
        }
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

fn products(call: &Call<'_>, layout: &Layout, w: &[f32], bias_at: usize, scratch: &mut Scratch) -> Result<()> {
    let &Layout { n, c, m, groups, own, outs, area, windows, taps, .. } = layout;
    let x: &[f32] = call.read(0, &[n, c, area])?;
    let (bias, out) = bias::<f32>(call, m, bias_at)?;
    call.count(&[n, m, windows])?;
    let rows = call.count(&[own, taps])?;
    let (cell_rows, cell_cols) = layout.cell(call.parts, rows);
    let plain = layout.is_plain();
    for item in 0..n * groups {
        let (image, group) = (item / groups, item % groups);
        let channels = &x[(image * c + group * own) * area..][..own * area];
        let weights = Matrix::dense(&w[group * outs * rows..][..outs * rows], outs, rows);
        let offset = (image * m + group * outs) * windows;
        let grid = Grid { offset, rows: outs, cols: windows, stride: windows, cell_rows, cell_cols };
        // Which columns lie in the scratch memory.
        let mut made = None;
        for mut tile in call.tiles_from::<f32>(out, grid, item)? {
            let (first, width) = (tile.col(), tile.cols());
            let seen = if plain {
                Matrix::dense(channels, own, area).cols(first, width)
            } else {
                let to = room(&mut scratch.floats, call.count(&[rows, width])?)?;
                if made != Some(first) {
                    columns(layout, channels, (first, width), to, 0.0, |x| x);
                    made = Some(first);
                }
                Matrix::dense(to, rows, width)
            };
            if let Some(bias) = bias {
                let bias = &bias[group * outs + tile.row()..];
                (0..tile.rows()).for_each(|i| tile.row_mut(i).fill(bias[i]));
            }
            gemm(weights.rows(tile.row(), tile.rows()), seen, &mut tile, bias.is_some());
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
