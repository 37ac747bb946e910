//! How calls end: a status, an error object, and the border that no panic crosses.

use actc_types::diagnostic::{Blame, printable};
use actc_types::{Diagnostic, Place, Result};
use std::ffi::{CStr, CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// How a call ended.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum actc_status {
    /// As asked.
    ACTC_OK = 0,
    /// It could not be done as asked.
    ACTC_FAILED = 1,
    /// The request itself is wrong.
    ACTC_REQUEST = 2,
    /// A mistake in the library; nothing more may be done with the objects of the call but freeing them.
    ACTC_PANIC = 3,
}

/// Why a call failed. Its texts live until actc_error_free.
pub struct actc_error {
    code: CString,
    headline: CString,
    place: CString,
    help: CString,
}

/// `text` for C and for terminals: what could end a text or drive a terminal is escaped.
fn shown(text: &str) -> CString {
    let text = printable(text).replace('\0', "\\u{0}");
    CString::new(text).unwrap_or_default()
}

impl actc_error {
    fn new(diagnostic: &Diagnostic) -> actc_error {
        let place = match &diagnostic.place {
            Place::Request => String::new(),
            Place::File(path) => path.clone(),
            Place::Offset { file, offset } => format!("{file} at byte {offset}"),
            Place::Node(name) | Place::Tensor(name) => name.clone(),
            Place::Span { text, start, end } => text.get(*start..*end).unwrap_or(text).to_owned(),
        };
        actc_error {
            code: shown(diagnostic.code),
            headline: shown(&diagnostic.headline),
            place: shown(&place),
            help: shown(diagnostic.help.as_deref().unwrap_or_default()),
        }
    }
}

/// Does the work of one call: an error or a panic becomes a status and, where `error` is not null, an object there.
pub(crate) fn call(error: *mut *mut actc_error, work: impl FnOnce() -> Result<()>) -> actc_status {
    // Memory stays sound whatever a panic left half done; the caller is told to let go of the objects.
    let result = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        Err(Diagnostic::new(PANIC, "the library panicked").help("this is a mistake in actc; please report it"))
    });
    let (status, object) = match result {
        Ok(()) => (actc_status::ACTC_OK, std::ptr::null_mut()),
        Err(diagnostic) => {
            let status = match diagnostic.blame {
                Blame::Work if diagnostic.code == PANIC => actc_status::ACTC_PANIC,
                Blame::Work => actc_status::ACTC_FAILED,
                Blame::Request => actc_status::ACTC_REQUEST,
            };
            let object = if error.is_null() {
                std::ptr::null_mut()
            } else {
                catch_unwind(|| Box::into_raw(Box::new(actc_error::new(&diagnostic)))).unwrap_or(std::ptr::null_mut())
            };
            (status, object)
        }
    };
    if !error.is_null() {
        // SAFETY: not null, so by the contract of every call a place for a pointer.
        unsafe { error.write(object) };
    }
    status
}

/// The code of an error that is a panic; the runtime's threads use it too.
const PANIC: &str = "runtime-panic";

fn text(error: *const actc_error, part: impl FnOnce(&actc_error) -> &CStr) -> *const c_char {
    // SAFETY: null, or an object that a call of this library made and nobody freed.
    let error = unsafe { error.as_ref() };
    error.map_or(c"".as_ptr(), |e| part(e).as_ptr())
}

/// The stable name of what went wrong, such as "code-untrusted". Empty for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn actc_error_code(error: *const actc_error) -> *const c_char {
    text(error, |e| &e.code)
}

/// What went wrong, with both values. Names from files are escaped.
#[unsafe(no_mangle)]
pub extern "C" fn actc_error_headline(error: *const actc_error) -> *const c_char {
    text(error, |e| &e.headline)
}

/// The file, step or tensor where it was found; may be empty.
#[unsafe(no_mangle)]
pub extern "C" fn actc_error_place(error: *const actc_error) -> *const c_char {
    text(error, |e| &e.place)
}

/// What to do about it; may be empty.
#[unsafe(no_mangle)]
pub extern "C" fn actc_error_help(error: *const actc_error) -> *const c_char {
    text(error, |e| &e.help)
}

/// Frees an error object. NULL is fine.
///
/// # Safety
///
/// `error` is NULL or came from a call of this library and was not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn actc_error_free(error: *mut actc_error) {
    if !error.is_null() {
        // SAFETY: made by `Box::into_raw` in `call`, and not freed before.
        drop(unsafe { Box::from_raw(error) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(error: *mut actc_error) -> String {
        // SAFETY: a text of an error that lives.
        let code = unsafe { CStr::from_ptr(actc_error_code(error)) }.to_str().unwrap().to_owned();
        // SAFETY: made by `call` a moment ago.
        unsafe { actc_error_free(error) };
        code
    }

    #[test]
    fn a_panic_ends_at_the_border() {
        let mut error = std::ptr::null_mut();
        let status = call(&mut error, || panic!("as planned"));
        assert_eq!((status, code(error).as_str()), (actc_status::ACTC_PANIC, "runtime-panic"));
        assert_eq!(call(std::ptr::null_mut(), || panic!("as planned")), actc_status::ACTC_PANIC);
    }

    #[test]
    fn errors_carry_their_texts() {
        let mut error = std::ptr::null_mut();
        let status = call(&mut error, || {
            Err(Diagnostic::request("a-code", "a \u{1b}[2J \0 headline").at(Place::Tensor("t".into())).help("do this"))
        });
        assert_eq!(status, actc_status::ACTC_REQUEST);
        // SAFETY: texts of an error that lives.
        let texts = [actc_error_headline(error), actc_error_place(error), actc_error_help(error)]
            .map(|t| unsafe { CStr::from_ptr(t) }.to_str().unwrap().to_owned());
        assert_eq!(texts, ["a \\u{1b}[2J \\u{0} headline", "t", "do this"]);
        assert_eq!(code(error), "a-code");
        assert_eq!(call(&mut error, || Ok(())), actc_status::ACTC_OK);
        assert!(error.is_null());
    }
}
