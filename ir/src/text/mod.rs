//! The `.air` text form: `parse(print(g)) == g` for compact graphs.
//!
//! ```text
//! file    = "air 1" graph
//! graph   = "graph @" name "(" [param {"," param}] ")" block
//! param   = value ":" type
//! block   = "{" {node} return "}"
//! node    = [value {"," value} "="] op [value {"," value}] {block} ":" type {"," type} ["@" origin]
//!         | value "= const @" name ["=" data] ":" type [encoding]
//! data    = "[" numbers "]" | "rng{seed=…, scale=…}" | "iota" | "digest{hex=…}"
//! block of a region starts with its parameters: "{ |" [param {"," param}] "|"
//! return  = "return" [item {"," item}],  item = [name "="] value | "donate" value "->" value
//! ```
//!
//! Names that are no plain words are quoted. `#` starts a comment. Dense constants of up to 64 elements print inline, larger
//! ones by digest and are bound to a weight source.

mod lex;
mod parse;
mod print;

pub use parse::{Bind, parse, parse_op, unbound};
pub use print::{by_digest, print};
