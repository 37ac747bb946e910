//! Functions of windows and of regions: what they are called and their numbers in plans.

use crate::words::words;

words! {
    /// What is computed of the elements of a window. Padding has no elements unless it is counted.
    PoolFunction
    Most "most" "the largest, not-a-number where one is; of none the smallest there is",
    Place "place" "the index in the whole tensor of the first of the largest; 0 of none",
    PlaceColumns "place_columns" "the same, with the axes of an image column-major: its first varies fastest",
    Average "average" "the mean of the elements",
    AveragePadded "average_padded" "the sum by the number of places of the window in the tensor or its padding",
    Norm "norm" "the p-th root of the sum of p-th powers of sizes",
}

words! {
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
