//! Results of calls, by the driver's numbers, and the frame around each call.

use crate::state::{STATE, State};
use std::ffi::{c_char, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind};

macro_rules! statuses {
    ($($variant:ident $number:literal $name:literal $text:literal,)*) => {
        /// Why a call failed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Status { $($variant = $number,)* }

        fn texts(number: c_int) -> Option<(&'static [u8], &'static [u8])> {
            match number {
                0 => Some((b"CUDA_SUCCESS\0", b"no error\0")),
                $($number => Some((concat!($name, "\0").as_bytes(), concat!($text, "\0").as_bytes())),)*
                _ => None,
            }
        }
    };
}

statuses! {
    InvalidValue 1 "CUDA_ERROR_INVALID_VALUE" "invalid argument",
    OutOfMemory 2 "CUDA_ERROR_OUT_OF_MEMORY" "out of memory",
    NotInitialized 3 "CUDA_ERROR_NOT_INITIALIZED" "initialization error",
    InvalidDevice 101 "CUDA_ERROR_INVALID_DEVICE" "invalid device ordinal",
    InvalidImage 200 "CUDA_ERROR_INVALID_IMAGE" "the stand-in takes PTX text, not machine code",
    InvalidContext 201 "CUDA_ERROR_INVALID_CONTEXT" "invalid device context",
    InvalidPtx 218 "CUDA_ERROR_INVALID_PTX" "a PTX text was refused; the report says where",
    InvalidHandle 400 "CUDA_ERROR_INVALID_HANDLE" "invalid resource handle",
    NotFound 500 "CUDA_ERROR_NOT_FOUND" "named symbol not found",
    IllegalAddress 700 "CUDA_ERROR_ILLEGAL_ADDRESS" "an illegal memory access was encountered",
    LaunchOutOfResources 701 "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES" "too many resources requested for launch",
    Misaligned 716 "CUDA_ERROR_MISALIGNED_ADDRESS" "misaligned address",
    LaunchFailed 719 "CUDA_ERROR_LAUNCH_FAILED" "unspecified launch failure; the report says which",
    NotSupported 801 "CUDA_ERROR_NOT_SUPPORTED" "operation not supported",
    CaptureUnsupported 900 "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED" "operation not permitted when stream is capturing",
    CaptureUnmatched 903 "CUDA_ERROR_STREAM_CAPTURE_UNMATCHED" "capture was not initiated in this stream",
    UpdateFailure 910 "CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE" "the graph has another form",
    Unknown 999 "CUDA_ERROR_UNKNOWN" "unknown error",
}

/// Runs a call on the state, once `cuInit` was called; a finding of before is the answer to every call after it.
pub(crate) fn answer(call: impl FnOnce(&mut State) -> Result<(), Status>) -> c_int {
    guarded(|| {
        let mut state = STATE.lock().map_err(|_| Status::Unknown)?;
        if !state.initialised {
            return Err(Status::NotInitialized);
        }
        match state.broken {
            Some(status) => Err(status),
            None => call(&mut state),
        }
    })
}

/// As `answer`, also after a finding: freeing and asking go on.
pub(crate) fn answer_always(call: impl FnOnce(&mut State) -> Result<(), Status>) -> c_int {
    guarded(|| call(&mut *STATE.lock().map_err(|_| Status::Unknown)?))
}

/// No panic crosses the border.
fn guarded(call: impl FnOnce() -> Result<(), Status>) -> c_int {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(())) => 0,
        Ok(Err(status)) => status as c_int,
        Err(_) => Status::Unknown as c_int,
    }
}

/// Writes through a pointer of the caller; null is refused.
///
/// # Safety
/// A pointer that is not null may be written.
pub(crate) unsafe fn put<T>(to: *mut T, value: T) -> Result<(), Status> {
    if to.is_null() {
        return Err(Status::InvalidValue);
    }
    // SAFETY: the caller's promise; no alignment is assumed.
    unsafe { to.write_unaligned(value) };
    Ok(())
}

/// A text of the caller.
///
/// # Safety
/// A pointer that is not null is one of a text that ends with a zero.
pub(crate) unsafe fn text<'a>(from: *const c_char) -> Result<&'a str, Status> {
    if from.is_null() {
        return Err(Status::InvalidValue);
    }
    // SAFETY: the caller's promise.
    unsafe { std::ffi::CStr::from_ptr(from) }.to_str().map_err(|_| Status::InvalidValue)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGetErrorName(error: c_int, to: *mut *const c_char) -> c_int {
    let found = texts(error).ok_or(Status::InvalidValue);
    // SAFETY: the caller gives a pointer that may be written; the text is static.
    guarded(|| unsafe { put(to, found?.0.as_ptr().cast()) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGetErrorString(error: c_int, to: *mut *const c_char) -> c_int {
    let found = texts(error).ok_or(Status::InvalidValue);
    // SAFETY: as in `cuGetErrorName`.
    guarded(|| unsafe { put(to, found?.1.as_ptr().cast()) })
}
