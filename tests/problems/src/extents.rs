//! Places in tensors.

/// The place in a tensor of `own` extents of coordinates `at`; extents of 1 repeat.
pub(crate) fn place(at: &[usize], own: &[usize]) -> usize {
    at.iter().zip(own).fold(0, |place, (i, e)| place * e + if *e == 1 { 0 } else { *i })
}

/// The coordinates of element `i` of a tensor.
pub(crate) fn coordinates(mut i: usize, extents: &[usize]) -> Vec<usize> {
    let mut at = vec![0; extents.len()];
    for (to, e) in at.iter_mut().zip(extents).rev() {
        *to = i % e;
        i /= e;
    }
    at
}

/// Elements of a tensor.
pub(crate) fn count(extents: &[usize]) -> usize {
    extents.iter().product()
}
