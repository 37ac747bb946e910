//! A border for libraries that panic on input: what they panic about becomes an error.
//!
//! The tokenizer library takes a file's word for many things (a decoder that is no object, a pattern that backtracks
//! without end), and ends in a panic where that is wrong. Nothing of ours is changed inside a guarded call, so nothing of
//! ours is left half done. A panic hook can ask [`guarded`] and stay silent: the error says all there is to say.

use actc_types::{Diagnostic, Result};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// Whether this thread is inside a guarded call, whose panics are errors.
pub fn guarded() -> bool {
    DEPTH.get() > 0
}

/// What `call` gives; an error with `code` and `headline` where it fails or panics.
pub(super) fn guard<T, E: std::fmt::Display>(
    code: &'static str,
    headline: &str,
    call: impl FnOnce() -> std::result::Result<T, E>,
) -> Result<T> {
    DEPTH.set(DEPTH.get() + 1);
    let result = catch_unwind(AssertUnwindSafe(call));
    DEPTH.set(DEPTH.get() - 1);
    let reason = match result {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(error)) => error.to_string(),
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().map(ToString::to_string);
            text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no reason".into())
        }
    };
    Err(Diagnostic::new(code, format!("{headline}: {reason}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_and_panics_are_errors() {
        let fails: fn() -> std::result::Result<u8, String> = || Err("no".into());
        let panics: fn() -> std::result::Result<u8, String> = || panic!("never");
        for (call, reason) in [(fails, "it broke: no"), (panics, "it broke: never")] {
            let error = guard("broke", "it broke", call).unwrap_err();
            assert_eq!((error.code, error.headline.as_str()), ("broke", reason));
            assert!(!guarded());
        }
        assert!(guard("broke", "it broke", || Ok::<bool, String>(guarded())).unwrap());
    }
}
