//! `libactc_rt`: the thin runtime behind a C interface. The header is `runtime/include/actc.h`.
//!
//! A crate of its own beside `actc-runtime`, because a library that C links to is linked on every build: who builds the
//! compiler does not pay for it. Like the runtime it knows no graph and no compiler; `tests/architecture.rs` checks that.
//!
//! What the border promises:
//!
//! * Every call gives an [`actc_status`](status::actc_status) and, where asked, an error object with a stable code, a
//!   headline and a help line. Null pointers, texts that are no UTF-8, wrong sizes and a session that is used by two
//!   threads at once are errors.
//! * A panic ends at the border and becomes an error.
//! * Every struct begins with `struct_size`, so that a caller and a library of different age understand each other:
//!   what an older caller does not have is zero, and what a newer caller has must be zero ([`sized`]).
//! * No global state, nothing written to standard output, no signal handlers. The embedded machine code of an artifact
//!   is run only where the caller vouched for it, from anonymous memory: no temporary file, no dynamic loader.
//!
//! # Deliberately absent
//!
//! Tokenizers and sampling; compiling; artifacts in memory; access to single states (they are saved and loaded as a
//! whole).
#![expect(unsafe_code, reason = "the C interface: pointers come from the caller, exported names are not mangled")]
#![expect(non_camel_case_types, reason = "types have the names that C sees")]

pub mod describe;
pub mod log;
pub mod model;
pub mod session;
pub mod sized;
pub mod status;
pub mod tensor;
pub mod threads;

mod names;

pub use names::ACTC_ANY;

/// The version of this interface. It changes when a call or a struct changes in a way that `struct_size` does not cover.
pub const ACTC_ABI_VERSION: u32 = 1;

/// The version of the interface that the library has; compare with ACTC_ABI_VERSION of the header.
#[unsafe(no_mangle)]
pub extern "C" fn actc_abi_version() -> u32 {
    ACTC_ABI_VERSION
}
