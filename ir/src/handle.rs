//! Handles: `u32` newtypes into the arenas of one graph, never zero inside, so that `Option<Handle>` costs nothing.

use std::fmt;
use std::num::NonZeroU32;

macro_rules! handles {
    ($($(#[$doc:meta])* $name:ident $prefix:literal),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(NonZeroU32);

        impl $name {
            pub(crate) fn new(index: usize) -> $name {
                let raw = u32::try_from(index + 1).ok().and_then(NonZeroU32::new);
                $name(raw.expect("graphs hold fewer than 2^32 entities"))
            }

            /// Position in its arena.
            pub fn index(self) -> usize {
                self.0.get() as usize - 1
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.index())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    )*};
}

handles! {
    /// A tensor: an input of the graph or of a region, or a result of a node.
    Value "%",
    /// An operation.
    Node "n",
    /// A constant's data.
    ConstId "c",
    /// A straight-line body: the graph's own, or one owned by an `if` or `loop`.
    Region "r",
}
