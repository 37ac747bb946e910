//! Threads that the caller brings.

use actc_runtime::Serve;
use std::ffi::c_void;
use std::io::Error;

/// Gives `serve(argument)` a thread of its own, at once, and returns 0; anything else means that there is none, and then
/// `serve` must not be called. It is called by actc_session_new for each thread but the calling one. The members of a
/// session wait for each other in every step, so a pool fits only if it has that many threads free for as long as the
/// session lives. `serve` returns when the session is freed, and must be called exactly once.
pub type actc_start_thread_fn = Option<
    unsafe extern "C" fn(
        user: *mut c_void,
        serve: Option<unsafe extern "C" fn(argument: *mut c_void)>,
        argument: *mut c_void,
    ) -> i32,
>;

/// Serves as one member of a session.
unsafe extern "C" fn serve(argument: *mut c_void) {
    if !argument.is_null() {
        // SAFETY: made by `Box::into_raw` below and given to this function once.
        unsafe { Box::from_raw(argument.cast::<Serve>()) }.run();
    }
}

/// `start` as the runtime calls it.
pub(crate) fn starter(
    start: unsafe extern "C" fn(*mut c_void, Option<unsafe extern "C" fn(*mut c_void)>, *mut c_void) -> i32,
    user: *mut c_void,
) -> impl FnMut(usize, Serve) -> Result<(), Error> {
    move |_, member| {
        let argument = Box::into_raw(Box::new(member)).cast::<c_void>();
        // SAFETY: the caller's own function with the caller's own pointer.
        match unsafe { start(user, Some(serve), argument) } {
            0 => Ok(()),
            code => {
                // SAFETY: made above; a start that fails does not call `serve`.
                drop(unsafe { Box::from_raw(argument.cast::<Serve>()) });
                Err(Error::other(format!("start_thread gave {code}")))
            }
        }
    }
}
