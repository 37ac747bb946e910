//! Windows of tokens: which ones calibrate, and which ones are held out to judge the result.

use actc_types::{Diagnostic, Result};

/// Which windows to cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowPlan {
    /// Tokens of a window, the leading `bos` included.
    pub length: usize,
    /// Windows to calibrate on.
    pub calibration: usize,
    /// Windows to hold out.
    pub held_out: usize,
    /// Chooses the windows.
    pub seed: u64,
    /// The id that begins every window, where the model expects one.
    pub bos: Option<u32>,
}

/// Windows of a text; none overlap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Windows {
    /// To calibrate on.
    pub calibration: Vec<Vec<u32>>,
    /// To judge the result on.
    pub held_out: Vec<Vec<u32>>,
}

impl WindowPlan {
    /// Cuts `ids` into windows and chooses among them by the seed. A short text gives fewer windows, one held-out window
    /// for eight others at least; one that has no two windows is an error.
    pub fn cut(&self, ids: &[u32]) -> Result<Windows> {
        let body = self.length.saturating_sub(usize::from(self.bos.is_some()));
        let available = ids.len().checked_div(body).unwrap_or(0);
        if available < 2 || body < 2 {
            let headline = format!("{} tokens make no two windows of {}", ids.len(), self.length);
            return Err(Diagnostic::request("calib-short", headline).help("give more text, or shorter windows"));
        }
        let (rest, held) = choose(available, self.calibration, self.held_out, self.seed);
        let window = |i: &usize| -> Vec<u32> {
            let tokens = ids[i * body..(i + 1) * body].iter().copied();
            self.bos.into_iter().chain(tokens).collect()
        };
        Ok(Windows { calibration: rest.iter().map(window).collect(), held_out: held.iter().map(window).collect() })
    }
}

/// Which of `available` things, at least two, `calibration` of them to calibrate on and `held_out` to hold out, by the seed: few
/// things give fewer of both, and at most one of eight is held out, but one at least.
pub(super) fn choose(available: usize, calibration: usize, held_out: usize, seed: u64) -> (Vec<usize>, Vec<usize>) {
    let mut order: Vec<usize> = (0..available).collect();
    let mut state = seed;
    for last in (1..available).rev() {
        order.swap(last, (split_mix(&mut state) % (last as u64 + 1)) as usize);
    }
    let held = held_out.min((available / 8).max(1)).min(available.saturating_sub(1));
    let (held, rest) = order.split_at(held);
    (rest.iter().copied().take(calibration).collect(), held.to_vec())
}

/// SplitMix64 (Steele, Lea, Flood 2014).
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const PLAN: WindowPlan = WindowPlan { length: 10, calibration: 6, held_out: 3, seed: 1, bos: None };

    #[test]
    fn windows_are_disjoint_and_fixed_by_the_seed() {
        let ids: Vec<u32> = (0..1005).collect();
        let windows = PLAN.cut(&ids).unwrap();
        assert_eq!((windows.calibration.len(), windows.held_out.len()), (6, 3));
        let all: Vec<u32> = windows.calibration.iter().chain(&windows.held_out).flatten().copied().collect();
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "no token is in two windows");
        assert_eq!(windows, PLAN.cut(&ids).unwrap());
        assert_ne!(windows, WindowPlan { seed: 2, ..PLAN }.cut(&ids).unwrap());
        let more = WindowPlan { calibration: 60, ..PLAN }.cut(&ids).unwrap();
        assert_eq!(more.held_out, windows.held_out, "more calibration leaves the held-out windows alone");
        assert_eq!(more.calibration[..6], windows.calibration);
    }

    #[test]
    fn every_window_begins_with_bos() {
        let ids: Vec<u32> = (0..45).collect();
        let windows = WindowPlan { bos: Some(99), ..PLAN }.cut(&ids).unwrap();
        assert!(windows.calibration.iter().all(|w| w.len() == 10 && w[0] == 99));
        assert_eq!((windows.calibration.len(), windows.held_out.len()), (4, 1));
    }

    #[test]
    fn short_texts_are_refused() {
        let error = PLAN.cut(&(0..19).collect::<Vec<_>>()).unwrap_err();
        assert_eq!(error.code, "calib-short");
        assert!(error.headline.contains("19 tokens"));
        assert!(WindowPlan { length: 0, ..PLAN }.cut(&[0; 100]).is_err());
    }
}
