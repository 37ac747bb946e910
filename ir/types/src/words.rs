//! Closed sets whose members have a name in the text form and a number in plans.

/// An enum with the members that are listed, each with its name and its documentation.
macro_rules! words {
    ($(#[$doc:meta])* $enum:ident $($variant:ident $name:literal $vdoc:literal),* $(,)?) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $enum { $(#[doc = $vdoc] $variant),* }

        impl $enum {
            /// All of them.
            pub const ALL: &[$enum] = &[$($enum::$variant),*];

            /// The name in the text form.
            pub fn name(self) -> &'static str { match self { $($enum::$variant => $name),* } }

            /// The one called `name`.
            pub fn parse(name: &str) -> Option<$enum> { $enum::ALL.iter().copied().find(|w| w.name() == name) }

            /// The number in plans. Members are only ever added at the end.
            pub fn code(self) -> i64 { self as i64 }

            /// The one of number `code`.
            pub fn from_code(code: i64) -> Option<$enum> {
                usize::try_from(code).ok().and_then(|i| $enum::ALL.get(i)).copied()
            }
        }
    };
}
pub(crate) use words;

#[cfg(test)]
mod tests {
    use crate::function::{BinaryFunction, RowFunction, Running, UnaryFunction};
    use crate::recurrent::{Cell, SquashKind, StateRule};
    use crate::sampling::{Border, Ends, Interpolation};
    use crate::window::{PoolFunction, RegionFunction};

    macro_rules! theirs {
        ($($enum:ident),*) => {$(
            for word in $enum::ALL {
                assert_eq!(($enum::from_code(word.code()), $enum::parse(word.name())), (Some(*word), Some(*word)));
            }
            assert_eq!(($enum::from_code(-1), $enum::from_code($enum::ALL.len() as i64)), (None, None));
            assert_eq!($enum::parse(""), None);
        )*};
    }

    #[test]
    fn numbers_and_names_are_theirs() {
        theirs!(UnaryFunction, BinaryFunction, RowFunction, Running, Cell, SquashKind, StateRule);
        theirs!(Border, Ends, Interpolation, PoolFunction, RegionFunction);
    }
}
