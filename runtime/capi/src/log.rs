//! The caller's log: what happened, in words, while a call was at work.

use std::ffi::{CString, c_char, c_void};

/// How much a message matters.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum actc_log_level {
    /// Something worth knowing.
    ACTC_LOG_INFO = 1,
    /// Something that will get in the way.
    ACTC_LOG_WARNING = 2,
}

/// Takes a message, during the call that it is about and on the thread of that call. `level` is an actc_log_level. The
/// text ends with its zero byte, is UTF-8 without control characters, and is gone after the return. It must not unwind and
/// must not call into the object that the call is about.
pub type actc_log_fn = Option<unsafe extern "C" fn(user: *mut c_void, level: i32, message: *const c_char)>;

/// Where messages go.
#[derive(Clone, Copy)]
pub(crate) struct Log {
    sink: actc_log_fn,
    user: *mut c_void,
}

// SAFETY: the pointer is the caller's, who promised that the log of a model may be called by any thread.
unsafe impl Send for Log {}
// SAFETY: as above.
unsafe impl Sync for Log {}

impl Log {
    pub(crate) fn new(sink: actc_log_fn, user: *mut c_void) -> Log {
        Log { sink, user }
    }

    /// Says `message`, which is only made where somebody listens.
    pub(crate) fn say(&self, level: actc_log_level, message: impl FnOnce() -> String) {
        let Some(sink) = self.sink else { return };
        let text = actc_types::diagnostic::printable(&message()).replace('\0', "\\u{0}");
        if let Ok(text) = CString::new(text) {
            // SAFETY: the caller's own function with the caller's own pointer, and a text that lives on.
            unsafe { sink(self.user, level as i32, text.as_ptr()) };
        }
    }
}
