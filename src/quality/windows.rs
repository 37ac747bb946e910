//! Runs one or two language models over the windows of a text.

use super::distribution::{Compared, Scored, compare, score};
use crate::language::LanguageSession;
use actc_types::{Diagnostic, Result};

/// How a text is cut and scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evaluation {
    /// Tokens of a window, `bos` included; `ctx - 1` of them are predicted.
    pub ctx: usize,
    /// Most windows; all that the text holds without.
    pub windows: Option<usize>,
    /// The id that begins every window.
    pub bos: Option<u32>,
    /// Threads that compare logits; results do not depend on their number.
    pub threads: usize,
}

/// Means over one window's predictions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WindowScore {
    /// Negative log-likelihood in nats.
    pub nll: f64,
    /// The same for the reference, and how the model differs from it.
    pub reference: Option<Distance>,
}

/// Distance from the reference, means over one window's predictions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Distance {
    /// The reference's negative log-likelihood in nats.
    pub nll: f64,
    /// KL(reference || model) in nats.
    pub kl: f64,
    /// Share of predictions with the same best token.
    pub top1: f64,
}

impl WindowScore {
    /// Itself, the score of window `i`, where it is a number.
    pub(super) fn finite(self, i: usize) -> Result<WindowScore> {
        if !self.nll.is_finite() {
            let headline = format!("window {i} has a negative log-likelihood of {}", self.nll);
            return Err(Diagnostic::new("eval-not-finite", headline)
                .help("the model gives logits that are no numbers, or a probability of zero to a token of the text"));
        }
        Ok(self)
    }
}

impl Evaluation {
    /// The windows of `ids`: they do not overlap, and the tail that fills none is dropped.
    pub fn cut(&self, ids: &[u32]) -> Result<Vec<Vec<u32>>> {
        if self.ctx < 2 {
            return Err(Diagnostic::request("eval-ctx", format!("a window of {} tokens predicts nothing", self.ctx)));
        }
        let body = self.ctx - usize::from(self.bos.is_some());
        let windows: Vec<Vec<u32>> = ids
            .chunks_exact(body)
            .take(self.windows.unwrap_or(usize::MAX))
            .map(|tokens| self.bos.into_iter().chain(tokens.iter().copied()).collect())
            .collect();
        if windows.is_empty() {
            let headline = format!("{} tokens of text fill no window of {}", ids.len(), self.ctx);
            return Err(Diagnostic::request("eval-short", headline).help("give more text, or a smaller --ctx"));
        }
        Ok(windows)
    }
}

/// Scores each of `windows` on `model`, and on `reference` where there is one; `done` hears the number of finished windows.
pub fn evaluate(
    evaluation: &Evaluation,
    windows: &[Vec<u32>],
    model: &mut LanguageSession,
    mut reference: Option<&mut LanguageSession>,
    done: &mut dyn FnMut(usize),
) -> Result<Vec<WindowScore>> {
    let mut scores = Vec::with_capacity(windows.len());
    for (i, window) in windows.iter().enumerate() {
        scores.push(one(evaluation, window, model, reference.as_deref_mut())?.finite(i)?);
        done(i + 1);
    }
    Ok(scores)
}

fn one(
    evaluation: &Evaluation,
    window: &[u32],
    model: &mut LanguageSession,
    mut reference: Option<&mut LanguageSession>,
) -> Result<WindowScore> {
    model.reset();
    if let Some(reference) = &mut reference {
        reference.reset();
    }
    let chunk = reference.as_ref().map_or(model.chunk(), |r| r.chunk().min(model.chunk()));
    let (mut nll, mut other, mut kl, mut same) = (0.0, 0.0, 0.0, 0usize);
    // The last token is predicted, not read.
    let (read, predicted) = (&window[..window.len() - 1], &window[1..]);
    for (ids, next) in read.chunks(chunk).zip(predicted.chunks(chunk)) {
        let logits = model.score(ids)?;
        match &mut reference {
            None => rows(evaluation.threads, next, |i, token| score(row(logits, i, next.len()), token))
                .into_iter()
                .for_each(|s: Scored| nll += s.nll),
            Some(reference) => {
                let theirs = reference.score(ids)?;
                if theirs.len() != logits.len() {
                    let (a, b) = (logits.len() / next.len(), theirs.len() / next.len());
                    let headline = format!("the model has {a} logits, the reference {b}");
                    return Err(Diagnostic::request("eval-vocabulary", headline)
                        .help("model and reference need the same vocabulary"));
                }
                let n = next.len();
                let all =
                    rows(evaluation.threads, next, |i, token| compare(row(logits, i, n), row(theirs, i, n), token));
                for Compared { model, reference, kl: divergence } in all {
                    nll += model.nll;
                    other += reference.nll;
                    kl += divergence;
                    same += usize::from(model.best == reference.best);
                }
            }
        }
    }
    let n = predicted.len() as f64;
    let distance = Distance { nll: other / n, kl: kl / n, top1: same as f64 / n };
    Ok(WindowScore { nll: nll / n, reference: reference.map(|_| distance) })
}

/// Runs `model` over `window`, and `f` over each chunk: its logits, how many predictions came before, and the tokens that
/// came.
pub(super) fn each_chunk(
    window: &[u32],
    model: &mut LanguageSession,
    f: &mut dyn FnMut(&[f32], usize, &[u32]) -> Result<()>,
) -> Result<()> {
    model.reset();
    let chunk = model.chunk();
    let (read, predicted) = (&window[..window.len() - 1], &window[1..]);
    let mut at = 0;
    for (ids, next) in read.chunks(chunk).zip(predicted.chunks(chunk)) {
        f(model.score(ids)?, at, next)?;
        at += next.len();
    }
    Ok(())
}

fn row(logits: &[f32], i: usize, rows: usize) -> &[f32] {
    let width = logits.len() / rows;
    &logits[i * width..][..width]
}

/// `f` of each token and its index, in order, on `threads` threads.
pub(super) fn rows<T: Send>(threads: usize, tokens: &[u32], f: impl Fn(usize, u32) -> T + Sync) -> Vec<T> {
    let share = tokens.len().div_ceil(threads.max(1)).max(1);
    std::thread::scope(|scope| {
        let parts: Vec<_> = tokens
            .chunks(share)
            .enumerate()
            .map(|(part, tokens)| {
                let f = &f;
                scope.spawn(move || tokens.iter().enumerate().map(|(i, t)| f(part * share + i, *t)).collect::<Vec<T>>())
            })
            .collect();
        parts.into_iter().flat_map(|p| p.join().expect("comparing rows does not panic")).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_do_not_overlap_and_the_tail_is_dropped() {
        let ids: Vec<u32> = (0..25).collect();
        let plain = Evaluation { ctx: 10, windows: None, bos: None, threads: 1 };
        assert_eq!(plain.cut(&ids).unwrap(), [ids[..10].to_vec(), ids[10..20].to_vec()]);
        assert_eq!(Evaluation { windows: Some(1), ..plain }.cut(&ids).unwrap().len(), 1);
        let with_bos = Evaluation { bos: Some(99), ..plain }.cut(&ids).unwrap();
        assert_eq!(with_bos[1], [99, 9, 10, 11, 12, 13, 14, 15, 16, 17]);
        assert_eq!(Evaluation { ctx: 26, ..plain }.cut(&ids).unwrap_err().code, "eval-short");
        assert_eq!(Evaluation { ctx: 1, ..plain }.cut(&ids).unwrap_err().code, "eval-ctx");
    }

    #[test]
    fn rows_keep_their_order_on_any_number_of_threads() {
        let tokens: Vec<u32> = (0..17).rev().collect();
        let wanted: Vec<(usize, u32)> = tokens.iter().copied().enumerate().collect();
        for threads in [1, 2, 3, 16, 40] {
            assert_eq!(rows(threads, &tokens, |i, t| (i, t)), wanted);
        }
    }
}
