//! Memory of a session and the views that steps have on it: an unsafe room.
//!
//! Steps of a plan run one after the other with a barrier between them, and the members of a team share every buffer.
//! Rust's references cannot see that, so this room hands them out under these rules:
//!
//! - A [`Region`] is only made by a session that keeps the memory alive and untouched while a run goes on.
//! - Within one step, a region that is written overlaps no other region of the step ([`Region::overlaps`], checked by
//!   the builtins' [`Call`](crate::builtin::call::Call) before it hands out anything).
//! - A region that is written is cut into cells of a fixed grid, and each cell goes to exactly one member ([`Tiles`]).
//! - Between phases of one step that read what others wrote stands a barrier.
#![expect(unsafe_code, reason = "views on memory that the members of a team share")]

use actc_types::{Diagnostic, Result};
use bytemuck::Pod;
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::marker::PhantomData;
use std::ptr::NonNull;

/// Alignment of buffers, and the bytes behind them that may be read.
pub(crate) const LINE: usize = 64;

/// Zeroed memory on a 64-byte line with 64 bytes more behind it.
pub(crate) struct Memory {
    start: NonNull<u8>,
    capacity: usize,
}

// SAFETY: it owns its bytes like a `Vec<u8>`.
unsafe impl Send for Memory {}
// SAFETY: as above; shared references only read.
unsafe impl Sync for Memory {}

impl Default for Memory {
    fn default() -> Memory {
        Memory { start: NonNull::dangling(), capacity: 0 }
    }
}

impl Memory {
    fn layout(capacity: usize) -> Option<Layout> {
        Layout::from_size_align(capacity.checked_add(LINE)?, LINE).ok()
    }

    /// Bytes that room for `bytes` takes, or `None` where no memory is that large.
    pub(crate) fn allocation(bytes: usize) -> Option<usize> {
        bytes.max(LINE).checked_next_multiple_of(LINE)?.checked_add(LINE)
    }

    /// Bytes that it takes.
    pub(crate) fn allocated(&self) -> usize {
        if self.capacity == 0 { 0 } else { self.capacity + LINE }
    }

    /// Makes room for `bytes`. Larger memory is fresh and zero; memory that is large enough stays as it is.
    pub(crate) fn reserve(&mut self, bytes: usize) -> Result<()> {
        if self.holds(bytes) {
            return Ok(());
        }
        let full = || Diagnostic::new("out-of-memory", format!("cannot get {bytes} bytes of memory"));
        let capacity = bytes.max(LINE).checked_next_multiple_of(LINE).ok_or_else(full)?;
        let layout = Self::layout(capacity).ok_or_else(full)?;
        // The old memory goes first, so that both are never held.
        drop(std::mem::take(self));
        // SAFETY: the layout is not empty.
        self.start = NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or_else(full)?;
        self.capacity = capacity;
        Ok(())
    }

    /// Whether it has room for `bytes` as it is.
    pub(crate) fn holds(&self, bytes: usize) -> bool {
        bytes <= self.capacity && self.capacity > 0
    }

    /// Bytes that it has room for.
    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// The first `bytes` of it.
    pub(crate) fn bytes(&self, bytes: usize) -> &[u8] {
        assert!(bytes <= self.capacity, "{bytes} bytes of {}", self.capacity);
        // SAFETY: they are inside the allocation and initialised.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), bytes) }
    }

    /// The first `bytes` of it, to be changed.
    pub(crate) fn bytes_mut(&mut self, bytes: usize) -> &mut [u8] {
        assert!(bytes <= self.capacity, "{bytes} bytes of {}", self.capacity);
        // SAFETY: they are inside the allocation and initialised, and `self` is borrowed alone.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), bytes) }
    }

    /// The first `bytes` of it as a region.
    pub(crate) fn region(&mut self, bytes: usize) -> Region {
        assert!(bytes <= self.capacity, "{bytes} bytes of {}", self.capacity);
        Region { start: self.start.as_ptr(), bytes, writable: true }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if self.capacity > 0 {
            let layout = Self::layout(self.capacity).expect("it was made with this layout");
            // SAFETY: it was allocated with this layout.
            unsafe { dealloc(self.start.as_ptr(), layout) };
        }
    }
}

/// A buffer of a step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Region {
    start: *mut u8,
    bytes: usize,
    writable: bool,
}

// SAFETY: a region is an address; using it is governed by the rules of this room.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    /// A region that may only be read.
    pub(crate) fn read_only(bytes: &[u8]) -> Region {
        Region { start: bytes.as_ptr().cast_mut(), bytes: bytes.len(), writable: false }
    }

    /// The same region, to be read only.
    pub(crate) fn frozen(self) -> Region {
        Region { writable: false, ..self }
    }

    /// Bytes of the region.
    pub(crate) fn len(&self) -> usize {
        self.bytes
    }

    /// Whether the two share a byte.
    pub(crate) fn overlaps(&self, other: &Region) -> bool {
        let (a, b) = (self.start as usize, other.start as usize);
        self.bytes > 0 && other.bytes > 0 && a < b + other.bytes && b < a + self.bytes
    }

    /// The first `count` elements, or `None` where they do not fit.
    pub(crate) fn read<'a, T: Pod>(&self, count: usize) -> Option<&'a [T]> {
        let bytes = count.checked_mul(size_of::<T>())?;
        if bytes > self.bytes || self.start.align_offset(align_of::<T>()) != 0 {
            return None;
        }
        // SAFETY: inside the region, aligned, and any bytes are a `T`. By the rules above nobody writes them while the
        // step, or the phase of it, goes on.
        Some(unsafe { std::slice::from_raw_parts(self.start.cast::<T>(), count) })
    }

    /// Sets the first element. For one member at a time, between barriers.
    pub(crate) fn store<T: Pod>(&self, value: T) -> Option<()> {
        if !self.writable || size_of::<T>() > self.bytes || self.start.align_offset(align_of::<T>()) != 0 {
            return None;
        }
        // SAFETY: inside the region, writable and aligned; the caller is the only member that touches it now.
        unsafe { self.start.cast::<T>().write(value) };
        Some(())
    }

    /// The member's cells of the region seen as `grid`, or `None` where the region cannot be written or is too small.
    pub(crate) fn tiles<'a, T: Pod>(&self, grid: Grid, part: usize, parts: usize) -> Option<Tiles<'a, T>> {
        let needed = grid.needed()?.checked_mul(size_of::<T>())?;
        let fits = self.writable && needed <= self.bytes && self.start.align_offset(align_of::<T>()) == 0;
        fits.then_some(Tiles { start: self.start.cast(), grid, next: part, step: parts, marker: PhantomData })
    }

    /// Copies the upper triangle of the matrix `[n, n]` over the lower one, rows `rows` only. All rows of the upper
    /// triangle are complete, and members have different rows.
    pub(crate) fn mirror(&self, n: usize, rows: impl Iterator<Item = usize>) -> Option<()> {
        if !self.writable || n.checked_mul(n)?.checked_mul(size_of::<f32>())? > self.bytes {
            return None;
        }
        let start = self.start.cast::<f32>();
        for row in rows.filter(|r| *r < n) {
            for col in 0..row {
                // SAFETY: both lie inside the region. What is read lies above the diagonal, where nobody writes now;
                // what is written lies in this member's row.
                unsafe { start.add(row * n + col).write(start.add(col * n + row).read()) };
            }
        }
        Some(())
    }
}

/// The addresses of regions one behind the other, as machine code takes them.
#[derive(Default)]
pub(crate) struct Addresses(Vec<*mut u8>);

// SAFETY: addresses; using them is governed by the rules of this room.
unsafe impl Send for Addresses {}
// SAFETY: as above.
unsafe impl Sync for Addresses {}

impl Addresses {
    /// Takes the addresses of `regions`.
    pub(crate) fn set(&mut self, regions: &[Region]) {
        self.0.clear();
        self.0.extend(regions.iter().map(|r| r.start));
    }

    /// Those in `range`.
    pub(crate) fn get(&self, range: std::ops::Range<usize>) -> &[*mut u8] {
        &self.0[range]
    }
}

/// A matrix cut into cells: `rows x cols` elements, row-major from `offset`, `stride` elements from row to row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grid {
    pub offset: usize,
    pub rows: usize,
    pub cols: usize,
    pub stride: usize,
    /// Rows of a cell; the last ones may have fewer.
    pub cell_rows: usize,
    /// Columns of a cell; the last ones may have fewer.
    pub cell_cols: usize,
}

impl Grid {
    /// A dense matrix in cells of `cell_rows` whole rows.
    pub(crate) fn of_rows(rows: usize, cols: usize, cell_rows: usize) -> Grid {
        Grid { offset: 0, rows, cols, stride: cols, cell_rows, cell_cols: cols.max(1) }
    }

    /// Elements that the matrix reaches over; `None` on overflow or where rows overlap.
    fn needed(&self) -> Option<usize> {
        if self.rows == 0 || self.cols == 0 {
            return Some(0);
        }
        if self.rows > 1 && self.stride < self.cols {
            return None;
        }
        self.stride.checked_mul(self.rows - 1)?.checked_add(self.cols)?.checked_add(self.offset)
    }

    fn cells_across(&self) -> usize {
        self.cols.div_ceil(self.cell_cols.max(1))
    }

    fn cells(&self) -> usize {
        self.rows.div_ceil(self.cell_rows.max(1)) * self.cells_across()
    }
}

/// The cells of a grid that belong to one member: every `parts`th, so that cells that cost more than others spread.
pub(crate) struct Tiles<'a, T> {
    start: *mut T,
    grid: Grid,
    next: usize,
    step: usize,
    marker: PhantomData<&'a mut T>,
}

impl<'a, T: Pod> Iterator for Tiles<'a, T> {
    type Item = Tile<'a, T>;

    fn next(&mut self) -> Option<Tile<'a, T>> {
        let grid = self.grid;
        if self.next >= grid.cells() {
            return None;
        }
        let (i, j) = (self.next / grid.cells_across(), self.next % grid.cells_across());
        self.next += self.step;
        let (row, col) = (i * grid.cell_rows, j * grid.cell_cols);
        let offset = grid.offset + row * grid.stride + col;
        // SAFETY: the cell's first element lies inside the region, which `needed` covers.
        let start = unsafe { self.start.add(offset) };
        let rows = grid.cell_rows.min(grid.rows - row);
        let cols = grid.cell_cols.min(grid.cols - col);
        Some(Tile { start, row, col, rows, cols, stride: grid.stride, marker: PhantomData })
    }
}

/// One cell of a grid, for its member alone.
pub(crate) struct Tile<'a, T> {
    start: *mut T,
    row: usize,
    col: usize,
    rows: usize,
    cols: usize,
    stride: usize,
    marker: PhantomData<&'a mut T>,
}

impl<T: Pod> Tile<'_, T> {
    /// The cell's first row in the matrix.
    pub(crate) fn row(&self) -> usize {
        self.row
    }

    /// The cell's first column in the matrix.
    pub(crate) fn col(&self) -> usize {
        self.col
    }

    /// Rows of the cell.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Columns of the cell.
    pub(crate) fn cols(&self) -> usize {
        self.cols
    }

    /// Elements from row to row, and the address, for the library's matrix product.
    pub(crate) fn raw(&mut self) -> (*mut T, usize) {
        (self.start, self.stride)
    }

    /// Row `i` of the cell.
    pub(crate) fn row_mut(&mut self, i: usize) -> &mut [T] {
        assert!(i < self.rows, "row {i} of {}", self.rows);
        // SAFETY: inside the region, and this member's alone until the next barrier.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(i * self.stride), self.cols) }
    }

    /// The cell without its first `cols` columns.
    pub(crate) fn skip_cols(self, cols: usize) -> Self {
        let cols = cols.min(self.cols);
        // SAFETY: still inside the cell, or one past its last element in a row.
        let start = unsafe { self.start.add(cols) };
        Tile { start, col: self.col + cols, cols: self.cols - cols, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_aligned_zero_and_padded() {
        let mut memory = Memory::default();
        for bytes in [0, 1, 64, 1000] {
            memory.reserve(bytes).unwrap();
            assert_eq!(memory.region(bytes).start.align_offset(LINE), 0);
            assert!(memory.bytes(bytes).iter().all(|b| *b == 0));
        }
        assert_eq!(memory.reserve(usize::MAX - 10).unwrap_err().code, "out-of-memory");
        assert_eq!(memory.reserve(isize::MAX as usize).unwrap_err().code, "out-of-memory");
        memory.reserve(10).unwrap();
    }

    #[test]
    fn every_cell_goes_to_one_member() {
        for (rows, cols, cell_rows, cell_cols) in
            [(7, 13, 3, 4), (1, 1, 1, 1), (5, 8, 8, 8), (0, 3, 1, 1), (64, 1, 5, 2)]
        {
            let (offset, stride) = (3, cols + 2);
            let mut memory = Memory::default();
            memory.reserve((offset + stride * rows) * 4).unwrap();
            let region = memory.region((offset + stride * rows) * 4);
            let grid = Grid { offset, rows, cols, stride, cell_rows, cell_cols };
            for part in 0..3 {
                for mut tile in region.tiles::<i32>(grid, part, 3).unwrap() {
                    for i in 0..tile.rows() {
                        let row = tile.row() + i;
                        let col = tile.col();
                        for (j, x) in tile.row_mut(i).iter_mut().enumerate() {
                            assert_eq!(*x, 0);
                            *x = (row * cols + col + j + 1) as i32;
                        }
                    }
                }
            }
            let all = region.read::<i32>(offset + stride * rows).unwrap();
            for (i, x) in all.iter().enumerate() {
                let inside = i >= offset && (i - offset) % stride < cols && (i - offset) / stride < rows;
                let expected = if inside { (i - offset) / stride * cols + (i - offset) % stride + 1 } else { 0 };
                assert_eq!(*x as usize, expected);
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut memory = Memory::default();
        memory.reserve(100).unwrap();
        let region = memory.region(100);
        assert!(region.read::<f32>(25).is_some() && region.read::<f32>(26).is_none());
        assert!(region.read::<f32>(usize::MAX / 2).is_none());
        assert!(region.tiles::<f32>(Grid::of_rows(5, 5, 1), 0, 1).is_some());
        assert!(region.tiles::<f32>(Grid::of_rows(2, 13, 1), 0, 1).is_none());
        assert!(region.tiles::<f32>(Grid::of_rows(usize::MAX, 13, 1), 0, 1).is_none());
        assert!(region.frozen().tiles::<f32>(Grid::of_rows(5, 5, 1), 0, 1).is_none());
        assert!(
            region.overlaps(&region) && !region.overlaps(&Region { start: region.start.wrapping_add(100), ..region })
        );
    }
}
