//! Functions of windows and of regions: what they are called and their numbers in plans.

macro_rules! named {
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
            pub fn parse(name: &str) -> Option<$enum> { $enum::ALL.iter().copied().find(|f| f.name() == name) }

            /// The number in plans. They are only ever added at the end.
            pub fn code(self) -> i64 { self as i64 }

            /// The one of number `code`.
            pub fn from_code(code: i64) -> Option<$enum> {
                usize::try_from(code).ok().and_then(|i| $enum::ALL.get(i)).copied()
            }
        }
    };
}

named! {
    /// What is computed of the elements of a window. Padding has no elements unless it is counted.
    PoolFunction
    Most "most" "the largest, not-a-number where one is; of none the smallest there is",
    Place "place" "the index in the whole tensor of the first of the largest; 0 of none",
    PlaceColumns "place_columns" "the same, with the axes of an image column-major: its first varies fastest",
    Average "average" "the mean of the elements",
    AveragePadded "average_padded" "the sum by the number of places of the window in the tensor or its padding",
    Norm "norm" "the p-th root of the sum of p-th powers of sizes",
}

named! {
    /// What is computed of each part of a region.
    RegionFunction
    Average "average" "the mean of points between elements",
    Most "most" "the largest of what elements, by their closeness, give to points between them",
    Whole "whole" "the largest of whole elements; 0 of none",
}

/// Most points of a part of a region along an axis.
pub const MOST_POINTS: u32 = 1 << 10;

/// Most parts of a region along an axis.
pub const MOST_PARTS: u64 = 1 << 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_theirs() {
        for f in PoolFunction::ALL {
            assert_eq!((PoolFunction::from_code(f.code()), PoolFunction::parse(f.name())), (Some(*f), Some(*f)));
        }
        for f in RegionFunction::ALL {
            assert_eq!((RegionFunction::from_code(f.code()), RegionFunction::parse(f.name())), (Some(*f), Some(*f)));
        }
        assert_eq!(PoolFunction::from_code(-1), None);
    }
}
