//! The device's memory: allocations in a 64-bit space that no two share a page of, each byte with whether it was written.
//! Addresses are not used twice, so that what is freed stays out of bounds.

pub(crate) mod bitmap;
pub(crate) mod shadow;
pub(crate) mod shared;

use crate::report::{Access, Fault, Space};
use bitmap::Bitmap;
use shadow::Shadow;
use std::collections::HashMap;

/// First address; below it lie the windows of shared, local and parameter memory.
const BASE: u64 = 0x7_0000_0000_0000;
/// Unused bytes at least between two allocations.
const GAP: u64 = 1 << 20;
/// Alignment that `cuMemAlloc` promises.
const ALIGN: u64 = 256;

pub(crate) struct Allocation {
    pub(crate) base: u64,
    pub(crate) data: Vec<u8>,
    pub(crate) written: Bitmap,
    pub(crate) shadow: Shadow,
    pub(crate) read_only: bool,
}

/// Device memory.
pub struct Memory {
    /// By base.
    allocations: Vec<Allocation>,
    next: u64,
    used: u64,
    total: u64,
    /// What strong accesses released, by address: the blocks and their times.
    pub(crate) released: HashMap<u64, HashMap<u32, u32>>,
}

impl Memory {
    /// A memory of `total` bytes.
    #[must_use]
    pub fn new(total: u64) -> Self {
        Self { allocations: Vec::new(), next: BASE, used: 0, total, released: HashMap::new() }
    }

    /// Bytes free, bytes in all.
    #[must_use]
    pub fn info(&self) -> (u64, u64) {
        (self.total - self.used, self.total)
    }

    /// The address of `bytes` new bytes, none of which counts as written; `None` if so many are not free.
    pub fn allocate(&mut self, bytes: u64) -> Option<u64> {
        self.place(bytes, ALIGN, 1, false)
    }

    /// As `allocate`, at a multiple of `align` and `skew` times it behind a multiple of twice as much.
    fn place(&mut self, bytes: u64, align: u64, skew: u64, read_only: bool) -> Option<u64> {
        if bytes > self.total - self.used {
            return None;
        }
        let base = self.next.next_multiple_of(2 * align) + skew * align;
        self.next = base + bytes + GAP;
        self.used += bytes;
        let length = usize::try_from(bytes).ok()?;
        let allocation = Allocation {
            base,
            data: vec![0; length],
            written: Bitmap::new(length),
            shadow: Shadow::default(),
            read_only,
        };
        self.allocations.push(allocation);
        Some(base)
    }

    /// A variable of a module; it counts as written.
    pub(crate) fn variable(&mut self, data: Vec<u8>, align: u64, read_only: bool) -> Option<u64> {
        let base = self.place(data.len() as u64, align.max(16), 0, read_only)?;
        let allocation = self.allocations.last_mut()?;
        allocation.written.set(0, data.len());
        allocation.data = data;
        Some(base)
    }

    /// Gives an allocation back; false if none begins there.
    pub fn free(&mut self, base: u64) -> bool {
        let found = self.allocations.binary_search_by_key(&base, |a| a.base);
        found.is_ok_and(|index| {
            self.used -= self.allocations.remove(index).data.len() as u64;
            true
        })
    }

    /// The allocation that holds all of `address..address + bytes`, and where in it.
    #[inline]
    pub(crate) fn find(&mut self, address: u64, bytes: usize) -> Option<(&mut Allocation, usize)> {
        let index = self.allocations.partition_point(|a| a.base <= address).checked_sub(1)?;
        let allocation = &mut self.allocations[index];
        let at = address - allocation.base;
        let end = at.checked_add(bytes as u64)?;
        (end <= allocation.data.len() as u64).then_some((allocation, at as usize))
    }

    /// What a message says about an address that no allocation holds.
    fn near(&self, address: u64) -> String {
        if address < BASE {
            return "no address of device memory".to_owned();
        }
        let index = self.allocations.partition_point(|a| a.base <= address);
        let before = index.checked_sub(1).map(|i| &self.allocations[i]).map(|a| {
            let length = a.data.len() as u64;
            (
                address.saturating_sub(a.base + length),
                format!("{} bytes into an allocation of {length}", address - a.base),
            )
        });
        let after = self.allocations.get(index).map(|a| {
            (a.base - address, format!("{} bytes before an allocation of {}", a.base - address, a.data.len()))
        });
        before
            .into_iter()
            .chain(after)
            .min_by_key(|(distance, _)| *distance)
            .map_or("nothing is allocated".to_owned(), |n| n.1)
    }

    pub(crate) fn outside(&self, access: Access, address: u64, bytes: usize) -> Fault {
        Fault::OutOfBounds { space: Space::Global, access, address, bytes, near: self.near(address) }
    }

    /// Bytes as the host copies them.
    ///
    /// # Errors
    /// The range is not within one allocation.
    pub fn read(&mut self, address: u64, bytes: usize) -> Result<&[u8], Fault> {
        if self.find(address, bytes).is_none() {
            return Err(self.outside(Access::Read, address, bytes));
        }
        let (allocation, at) = self.find(address, bytes).expect("it was found");
        Ok(&allocation.data[at..at + bytes])
    }

    /// Writes bytes as the host copies them.
    ///
    /// # Errors
    /// The range is not within one allocation.
    pub fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), Fault> {
        let Some((allocation, at)) = self.find(address, bytes.len()) else {
            return Err(self.outside(Access::Write, address, bytes.len()));
        };
        allocation.data[at..at + bytes.len()].copy_from_slice(bytes);
        allocation.written.set(at, bytes.len());
        Ok(())
    }

    /// Copies within the memory; bytes that were not written stay so.
    ///
    /// # Errors
    /// A range is not within one allocation.
    pub fn copy(&mut self, to: u64, from: u64, bytes: usize) -> Result<(), Fault> {
        let data = self.read(from, bytes)?.to_vec();
        let (source, at) = self.find(from, bytes).expect("it was found");
        let written: Vec<bool> = (at..at + bytes).map(|i| source.written.any(i, 1)).collect();
        self.write(to, &data)?;
        let (target, at) = self.find(to, bytes).expect("it was found");
        for (i, _) in written.iter().enumerate().filter(|(_, written)| !**written) {
            target.written.clear(at + i, 1);
        }
        Ok(())
    }

    /// A launch begins: nobody has touched anything.
    pub(crate) fn begin(&mut self) {
        self.allocations.iter_mut().for_each(|a| a.shadow.forget());
        self.released.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::Memory;

    #[test]
    fn what_is_freed_or_beyond_is_not_found() {
        let mut memory = Memory::new(1000);
        let (a, b) = (memory.allocate(100).expect("free"), memory.allocate(900).expect("free"));
        assert!(memory.allocate(1).is_none() && a % 256 == 0 && b % 256 == 0);
        memory.write(a, &[7; 100]).expect("inside");
        assert!(memory.write(a + 1, &[7; 100]).is_err() && memory.read(a - 1, 2).is_err());
        assert!(memory.free(a) && !memory.free(a) && memory.read(a, 1).is_err());
        assert_eq!(memory.info(), (100, 1000));
    }
}
