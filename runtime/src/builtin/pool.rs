//! One number for each window: the largest, the mean, a norm, or where the largest stands.

use super::call::Call;
use super::element::{CELL, Element, dtype, with_element, with_float};
use super::sheet::Sheet;
use super::window::{self, Axis, area, axes, place, rank, taps};
use crate::device::cpu::memory::Grid;
use actc_types::window::PoolFunction;
use actc_types::{DType, Result};

/// Sizes of a call.
struct Layout {
    planes: usize,
    axes: Vec<Axis>,
    area: usize,
    windows: usize,
}

pub(super) fn run(call: &Call<'_>) -> Result<()> {
    let function = PoolFunction::from_code(call.int(0))
        .ok_or_else(|| call.refuse_int(0, "the number of a function of windows"))?;
    let dtype = dtype(call, 1)?;
    let r = rank(call, 1)?;
    let axes = axes(call, r, 1, 1 + r, 3)?;
    let (area, windows) = (area(call, &axes)?, window::windows(call, &axes)?);
    let layout = Layout { planes: call.dim(0)?, axes, area, windows };
    call.count(&[layout.planes, area])?;
    call.count(&[layout.planes, windows])?;
    match function {
        PoolFunction::Most => with_element!(dtype, T => most::<T>(call, &layout)),
        PoolFunction::Place => with_element!(dtype, T => places::<T>(call, &layout, |at, _| at)),
        PoolFunction::PlaceColumns => with_element!(dtype, T => places::<T>(call, &layout, column)),
        PoolFunction::Average | PoolFunction::AveragePadded | PoolFunction::Norm => {
            with_float!(call, 1, T => floats::<T>(call, &layout, function))
        }
    }
}

/// What `join` makes of the elements of each window, which `take` makes of those of `x`, from `start` on; `give` makes a row
/// of results of that, from the number of the window of the outer axes, and the row of windows.
fn folded<T: Element + PartialOrd>(
    call: &Call<'_>,
    layout: &Layout,
    start: T,
    take: impl Fn(T) -> T + Copy,
    join: impl Fn(T, T) -> T + Copy,
    give: impl Fn(usize, usize, &mut [T]),
) -> Result<()> {
    let (outer, row, col) = match layout.axes[..] {
        [ref outer @ .., row, col] => (outer, row, col),
        [col] => (&[][..], Axis::SINGLE, col),
        [] => return Ok(()),
    };
    let x: &[T] = call.read(0, &[layout.planes, layout.area])?;
    let (slabs, slab_taps) = (window::windows(call, outer)?, taps(call, outer)?);
    let planes = call.count(&[layout.planes, slabs])?;
    let sheet = Sheet::new(call, row, col, planes)?;
    let (plane, size) = (row.image * col.image, row.windows * col.windows);
    let cells = row.windows.div_ceil(sheet.cell_rows);
    let (mut laid, mut all) = (vec![start; sheet.size()], vec![start; sheet.cell_rows * sheet.width]);
    for slab in 0..planes {
        let (channel, window) = (slab / slabs, slab % slabs);
        let grid = Grid {
            offset: slab * size,
            rows: row.windows,
            cols: col.windows,
            stride: col.windows,
            cell_rows: sheet.cell_rows,
            cell_cols: col.windows.max(1),
        };
        for mut tile in call.tiles_from::<T>(1, grid, slab * cells)? {
            let rows = tile.row()..tile.row() + tile.rows();
            let all = &mut all[..sheet.run(tile.rows())];
            all.fill(start);
            for depth in (0..slab_taps).filter_map(|tap| place(outer, window, tap)) {
                let seen = &x[channel * layout.area + depth * plane..][..plane];
                sheet.lay(seen, &rows, &mut laid, start, take);
                for at in &sheet.offsets {
                    let run = &laid[*at..][..all.len()];
                    all.iter_mut().zip(run).for_each(|(y, x)| *y = join(*y, *x));
                }
            }
            for (i, from) in all.chunks(sheet.width.max(1)).enumerate() {
                let to = tile.row_mut(i);
                to.copy_from_slice(&from[..to.len()]);
                give(window, rows.start + i, to);
            }
        }
    }
    Ok(())
}

fn most<T: Element + PartialOrd>(call: &Call<'_>, layout: &Layout) -> Result<()> {
    // Of floats minus infinity, which becomes the smallest of integers.
    let lowest = T::from_float(f64::NEG_INFINITY);
    let join = |a: T, b: T| {
        let odd = |x: T| x.partial_cmp(&x).is_none();
        if b > a || odd(b) { b } else { a }
    };
    folded(call, layout, lowest, |x| x, join, |_, _, _| ())
}

fn floats<T: Element + PartialOrd>(call: &Call<'_>, layout: &Layout, function: PoolFunction) -> Result<()> {
    let zero = T::from_float(0.0);
    let add = |a: T, b: T| T::from_float(a.float() + b.float());
    let r = layout.axes.len();
    if function == PoolFunction::Norm {
        let p = call.int(2);
        if !(1..=1 << 20).contains(&p) {
            return Err(call.refuse_int(2, "a positive p"));
        }
        let power = move |x: T| {
            let size = x.float().abs();
            T::from_float(match p {
                1 => size,
                2 => size * size,
                _ => size.powi(p as i32),
            })
        };
        let root = |x: T| {
            T::from_float(match p {
                1 => x.float(),
                2 => x.float().sqrt(),
                _ => x.float().powf(1.0 / p as f64),
            })
        };
        return folded(call, layout, zero, power, add, |_, _, row| row.iter_mut().for_each(|x| *x = root(*x)));
    }
    // For each axis how many elements, or places with the padding, each of its windows has.
    let mut counts = Vec::new();
    for (i, axis) in layout.axes.iter().enumerate() {
        let behind = call.optional_int(3 + 4 * r + i).and_then(|n| usize::try_from(n).ok());
        let behind = behind.filter(|n| *n <= 1 << 31).ok_or_else(|| call.refuse("padding behind is wrong".into()))?;
        // Lists as long as the result's axes.
        let count = |o: usize| match function {
            PoolFunction::AveragePadded => axis.counted(o, behind),
            PoolFunction::Average
            | PoolFunction::Most
            | PoolFunction::Place
            | PoolFunction::PlaceColumns
            | PoolFunction::Norm => (0..axis.kernel).filter(|k| axis.at(o, *k).is_some()).count(),
        };
        counts.push((0..if layout.windows > 0 { axis.windows } else { 0 }).map(count).collect::<Vec<usize>>());
    }
    let (cols, counts) = counts.split_last().map_or((&[][..], &[][..]), |(c, outer)| (&c[..], outer));
    let (rows, outer) = counts.split_last().map_or((&[1][..], &[][..]), |(r, outer)| (&r[..], outer));
    let divide = |mut window: usize, row: usize, to: &mut [T]| {
        let mut count = rows[row] as f64;
        for counts in outer.iter().rev() {
            count *= counts[window % counts.len()] as f64;
            window /= counts.len();
        }
        to.iter_mut().zip(cols).for_each(|(x, n)| *x = T::from_float(x.float() / (count * *n as f64)));
    };
    folded(call, layout, zero, |x| x, add, divide)
}

/// The number of element `at` of an image whose first axis varies fastest.
fn column(mut at: usize, axes: &[Axis]) -> usize {
    let mut place = [0; 8];
    for (p, axis) in place.iter_mut().zip(axes.iter().rev()) {
        *p = at % axis.image;
        at /= axis.image;
    }
    // `place` begins with the last axis.
    let places = place.iter().take(axes.len());
    places.zip(axes.iter().rev()).fold(0, |n, (p, axis)| n * axis.image + p)
}

fn places<T: Element + PartialOrd>(
    call: &Call<'_>,
    layout: &Layout,
    number: impl Fn(usize, &[Axis]) -> usize,
) -> Result<()> {
    let Layout { planes, axes, area, windows, .. } = layout;
    let x: &[T] = call.read(0, &[*planes, *area])?;
    let taps = taps(call, axes)?;
    let odd = |x: T| x.partial_cmp(&x).is_none();
    for mut tile in call.tiles::<i64>(1, Grid::of_rows(*planes, *windows, CELL.div_ceil((*windows).max(1))))? {
        for i in 0..tile.rows() {
            let first = (tile.row() + i) * area;
            let plane = &x[first..][..*area];
            for (window, y) in tile.row_mut(i).iter_mut().enumerate() {
                let all = (0..taps).filter_map(|tap| place(axes, window, tap));
                let best = all.reduce(|best, at| {
                    let better = plane[at] > plane[best] || odd(plane[at]) && !odd(plane[best]);
                    if better { at } else { best }
                });
                *y = best.map_or(0, |at| (first + number(at, axes)) as i64);
            }
        }
    }
    Ok(())
}
