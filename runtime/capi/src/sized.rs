//! Structs that begin with their own size, and the other things that come in through pointers.
//!
//! The size is how a caller says which version of a struct it has. A struct that is read may be longer than the one known
//! here if the rest is zero: the caller asks for nothing that is not known. One that is written is filled as far as it
//! goes, and zero behind what is known.

use actc_types::{Diagnostic, Result};
use std::ffi::{CStr, c_char};
use std::mem::MaybeUninit;

/// A struct of the interface that begins with `struct_size`.
///
/// # Safety
///
/// `repr(C)`, its first field is `struct_size: usize`, and all bytes zero are a value of it.
pub unsafe trait SizedStruct: Copy {
    /// Its name in C.
    const NAME: &'static str;
    /// Its size in the first version that had it: no caller has less.
    const LEAST: usize = size_of::<Self>();
}

/// Longest size of a struct that is believed.
const MOST: usize = 4096;

fn null(what: &str) -> Diagnostic {
    Diagnostic::request("null-argument", format!("{what} is NULL"))
}

/// The size that the struct at `at` gives itself.
///
/// # Safety
///
/// `at` is NULL or aligned and holds as many readable bytes as its first field says.
unsafe fn size_of_struct<T: SizedStruct>(at: *const T) -> Result<usize> {
    if at.is_null() {
        return Err(null(T::NAME));
    }
    // SAFETY: every such struct begins with its size.
    let size = unsafe { at.cast::<usize>().read() };
    if size < T::LEAST || size > MOST {
        let headline = format!("struct_size of {} is {size}, expected {} or more", T::NAME, T::LEAST);
        let help = format!("set struct_size to sizeof({}) before the call", T::NAME);
        return Err(Diagnostic::request("struct-size", headline).help(help));
    }
    Ok(size)
}

/// The struct at `at`, with zeros for what it does not have.
///
/// # Safety
///
/// `at` is NULL or aligned and holds as many readable bytes as its first field says.
pub(crate) unsafe fn read<T: SizedStruct>(at: *const T) -> Result<T> {
    // SAFETY: as the caller promises.
    let size = unsafe { size_of_struct(at)? };
    let known = size.min(size_of::<T>());
    // SAFETY: `size` bytes can be read.
    let rest = unsafe { std::slice::from_raw_parts(at.cast::<u8>().add(known), size - known) };
    if rest.iter().any(|b| *b != 0) {
        let headline =
            format!("{} has {size} bytes, this library knows {}, and the rest asks for something", T::NAME, known);
        return Err(
            Diagnostic::request("struct-size", headline).help("update the library, or set those fields to zero")
        );
    }
    let mut value = MaybeUninit::<T>::zeroed();
    // SAFETY: `known` bytes can be read there and written here; all bytes zero, and any that C wrote, are a `T`.
    Ok(unsafe {
        std::ptr::copy_nonoverlapping(at.cast::<u8>(), value.as_mut_ptr().cast::<u8>(), known);
        value.assume_init()
    })
}

/// The same, with all zeros where `at` is NULL: everything by default.
///
/// # Safety
///
/// As for [`read`].
pub(crate) unsafe fn read_or_default<T: SizedStruct>(at: *const T) -> Result<T> {
    if at.is_null() {
        // SAFETY: all bytes zero are a `T`.
        return Ok(unsafe { MaybeUninit::zeroed().assume_init() });
    }
    // SAFETY: as the caller promises.
    unsafe { read(at) }
}

/// Fills the struct at `at` with `value`, as far as it goes; its size stays.
///
/// # Safety
///
/// As for [`read`], and the bytes can be written.
pub(crate) unsafe fn write<T: SizedStruct>(at: *mut T, value: T) -> Result<()> {
    // SAFETY: as the caller promises.
    let size = unsafe { size_of_struct(at)? };
    let known = size.min(size_of::<T>());
    let first = size_of::<usize>();
    // SAFETY: `size` bytes can be written there, `known` of them are in `value`.
    unsafe {
        let (from, to) = (std::ptr::from_ref(&value).cast::<u8>(), at.cast::<u8>());
        std::ptr::copy_nonoverlapping(from.add(first), to.add(first), known - first);
        to.add(known).write_bytes(0, size - known);
    }
    Ok(())
}

/// The `count` structs from `at`, each as long as the first one says.
///
/// # Safety
///
/// `at` is NULL and `count` zero, or `count` structs follow each other there.
pub(crate) unsafe fn read_all<T: SizedStruct>(at: *const T, count: usize) -> Result<Vec<T>> {
    if count == 0 {
        return Ok(Vec::new());
    }
    // SAFETY: as the caller promises.
    let stride = unsafe { size_of_struct(at)? };
    if count > MOST || !stride.is_multiple_of(align_of::<T>()) {
        return Err(Diagnostic::request("struct-size", format!("{count} structs {} of {stride} bytes", T::NAME)));
    }
    // SAFETY: the structs lie side by side.
    let each = (0..count).map(|i| unsafe { read(at.byte_add(i * stride)) });
    each.collect()
}

/// The object at `at`.
///
/// # Safety
///
/// `at` is NULL or an object of this library that lives longer than the call.
pub(crate) unsafe fn object<'a, T>(at: *const T, what: &str) -> Result<&'a T> {
    // SAFETY: as the caller promises.
    unsafe { at.as_ref() }.ok_or_else(|| null(what))
}

/// The text at `at`.
///
/// # Safety
///
/// `at` is NULL or a text that ends with a zero byte and lives longer than the call.
pub(crate) unsafe fn text<'a>(at: *const c_char, what: &str) -> Result<&'a str> {
    if at.is_null() {
        return Err(null(what));
    }
    // SAFETY: as the caller promises.
    let bytes = unsafe { CStr::from_ptr(at) };
    bytes.to_str().map_err(|_| Diagnostic::request("text-utf8", format!("{what} is no UTF-8")))
}

/// The `count` elements from `at`.
///
/// # Safety
///
/// `at` is NULL, or aligned with `count` elements behind it that nobody writes during the call.
pub(crate) unsafe fn slice<'a, T>(at: *const T, count: usize, what: &str) -> Result<&'a [T]> {
    if count == 0 {
        return Ok(&[]);
    }
    if at.is_null() {
        return Err(null(what));
    }
    if !at.is_aligned() || count.checked_mul(size_of::<T>()).is_none_or(|n| isize::try_from(n).is_err()) {
        return Err(Diagnostic::request("pointer", format!("{what} is misaligned or has too many elements: {count}")));
    }
    // SAFETY: as the caller promises; not null, aligned, no longer than memory.
    Ok(unsafe { std::slice::from_raw_parts(at, count) })
}

/// Puts `value` where a result goes.
///
/// # Safety
///
/// `at` is NULL or a place for a `T`, initialised or not.
pub(crate) unsafe fn give<T>(at: *mut T, value: T, what: &str) -> Result<()> {
    if at.is_null() {
        return Err(null(what));
    }
    // SAFETY: as the caller promises.
    unsafe { at.write(value) };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(C)]
    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Known {
        struct_size: usize,
        a: u64,
    }
    // SAFETY: `repr(C)`, begins with its size, zero is a value.
    unsafe impl SizedStruct for Known {
        const NAME: &'static str = "known";
    }

    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Newer {
        known: Known,
        b: u64,
    }

    #[test]
    fn older_and_newer_callers() {
        let mut newer = Newer { known: Known { struct_size: size_of::<Newer>(), a: 5 }, b: 0 };
        let at = std::ptr::from_mut(&mut newer);
        // SAFETY: the struct is as long as it says.
        unsafe {
            assert_eq!(read::<Known>(at.cast()).unwrap().a, 5);
            (*at).b = 1;
            assert_eq!(read::<Known>(at.cast()).unwrap_err().code, "struct-size");
            write(at.cast(), Known { struct_size: 0, a: 9 }).unwrap();
            assert_eq!(((*at).known.struct_size, (*at).known.a, (*at).b), (size_of::<Newer>(), 9, 0));
            for size in [0, 8, 15, MOST + 1] {
                (*at).known.struct_size = size;
                assert_eq!(read::<Known>(at.cast()).unwrap_err().code, "struct-size");
                assert_eq!(write::<Known>(at.cast(), Known { struct_size: 0, a: 0 }).unwrap_err().code, "struct-size");
            }
            assert_eq!(read::<Known>(std::ptr::null()).unwrap_err().code, "null-argument");
            let all = [newer; 3].map(|n| Newer { known: Known { struct_size: size_of::<Newer>(), ..n.known }, b: 0 });
            assert_eq!(read_all::<Known>(all.as_ptr().cast(), 3).unwrap().len(), 3);
        }
    }

    #[test]
    fn pointers_are_looked_at() {
        // SAFETY: null, or a slice of two elements.
        unsafe {
            assert_eq!(slice::<u64>(std::ptr::null(), 0, "x").unwrap(), &[] as &[u64]);
            assert_eq!(slice::<u64>(std::ptr::null(), 1, "x").unwrap_err().code, "null-argument");
            let two = [1u64, 2];
            assert_eq!(slice(two.as_ptr(), 2, "x").unwrap(), two);
            assert_eq!(slice(two.as_ptr().byte_add(1), 1, "x").unwrap_err().code, "pointer");
            assert_eq!(slice(two.as_ptr(), usize::MAX / 2, "x").unwrap_err().code, "pointer");
            assert_eq!(text(c"\xff".as_ptr(), "x").unwrap_err().code, "text-utf8");
            assert_eq!(text(std::ptr::null(), "x").unwrap_err().code, "null-argument");
        }
    }
}
