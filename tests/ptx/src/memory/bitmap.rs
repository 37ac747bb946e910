//! One bit a byte: whether it was written, whether a copy is under way.

#[derive(Clone, Debug, Default)]
pub(crate) struct Bitmap {
    words: Vec<u64>,
}

impl Bitmap {
    pub(crate) fn new(bytes: usize) -> Self {
        Self { words: vec![0; bytes.div_ceil(64)] }
    }

    /// Words with the mask of the bits of `at..at + bytes`.
    fn spans(at: usize, bytes: usize) -> impl Iterator<Item = (usize, u64)> {
        let end = at + bytes;
        (at / 64..end.div_ceil(64)).map(move |word| {
            let from = at.saturating_sub(word * 64);
            let to = (end - word * 64).min(64);
            (word, (u64::MAX >> (64 - (to - from))) << from)
        })
    }

    #[inline]
    pub(crate) fn set(&mut self, at: usize, bytes: usize) {
        for (word, mask) in Self::spans(at, bytes) {
            self.words[word] |= mask;
        }
    }

    #[inline]
    pub(crate) fn clear(&mut self, at: usize, bytes: usize) {
        for (word, mask) in Self::spans(at, bytes) {
            self.words[word] &= !mask;
        }
    }

    #[inline]
    pub(crate) fn all(&self, at: usize, bytes: usize) -> bool {
        Self::spans(at, bytes).all(|(word, mask)| self.words[word] & mask == mask)
    }

    #[inline]
    pub(crate) fn any(&self, at: usize, bytes: usize) -> bool {
        Self::spans(at, bytes).any(|(word, mask)| self.words[word] & mask != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::Bitmap;

    #[test]
    fn ranges_over_words() {
        let mut map = Bitmap::new(200);
        map.set(60, 70);
        assert!(map.all(60, 70) && !map.all(59, 2) && !map.any(130, 70) && map.any(129, 2));
        map.clear(64, 64);
        assert!(map.all(60, 4) && !map.any(64, 64) && map.all(128, 2));
    }
}
