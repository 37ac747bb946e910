//! Saved references: what a model says about a text, so that others are compared with it without running it again.
//!
//! Of every prediction the most probable tokens are kept with their log-probabilities, and the share of all others
//! together. A divergence is then taken over these tokens and the rest as one: never more than over all tokens one by
//! one, and less by no more than what happens within the rest.
//!
//! ```text
//! 0    16  magic
//! 16   32  blake3 of everything behind it
//! 48   32  digest of the model that was run
//! 80   4   tokens kept of each prediction, K         84  4  vocabulary
//! 88   4   tokens of a window, C                     92  4  windows
//! 96   8   id that begins each window, plus 1; 0 without
//! 104      for each window: 32 bytes blake3 of its ids, then C - 1 predictions:
//!          f64 negative log-likelihood of the token that came, f64 share of the rest,
//!          K times u32 id, K times f32 log-probability, both by falling probability
//! ```

use super::distribution::score;
use super::windows::{Distance, Evaluation, WindowScore, each_chunk, rows};
use crate::language::LanguageSession;
use crate::output;
use actc_types::{Diagnostic, Place, Result};
use std::path::Path;

const MAGIC: &[u8; 16] = b"actc logits 1\r\n\0";
const HEADER: usize = 104;

/// Tokens of the largest vocabulary that is believed.
const MAX_VOCABULARY: usize = 1 << 24;

/// Tokens kept of each prediction, where the vocabulary has as many.
pub const KEPT: usize = 512;

/// What a model said about some windows.
#[derive(Clone, Debug, PartialEq)]
pub struct Reference {
    /// Digest of the artifact or source that was run.
    pub model: [u8; 32],
    /// Tokens kept of each prediction.
    pub kept: usize,
    /// Number of logits of the model.
    pub vocabulary: usize,
    /// Tokens of a window.
    pub ctx: usize,
    /// The id that begins every window.
    pub bos: Option<u32>,
    windows: Vec<Window>,
}

#[derive(Clone, Debug, PartialEq)]
struct Window {
    ids: [u8; 32],
    predictions: Vec<Prediction>,
}

#[derive(Clone, Debug, PartialEq)]
struct Prediction {
    nll: f64,
    rest: f64,
    ids: Vec<u32>,
    log: Vec<f32>,
}

fn digest(window: &[u32]) -> [u8; 32] {
    let bytes: Vec<u8> = window.iter().flat_map(|id| id.to_le_bytes()).collect();
    *blake3::hash(&bytes).as_bytes()
}

impl Prediction {
    /// The `kept` most probable tokens of a row of logits; of equals, the lower ids.
    fn of(logits: &[f32], token: u32, kept: usize) -> Prediction {
        let nll = score(logits, token).nll;
        let log_sum = nll + f64::from(logits[token as usize]);
        let better = |a: &u32, b: &u32| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b));
        let mut ids: Vec<u32> = (0..logits.len() as u32).collect();
        if kept < ids.len() {
            ids.select_nth_unstable_by(kept, better);
            ids.truncate(kept);
        }
        ids.sort_unstable_by(better);
        let log: Vec<f32> = ids.iter().map(|id| (f64::from(logits[*id as usize]) - log_sum) as f32).collect();
        let rest = if kept < logits.len() { remainder(log.iter().map(|l| f64::from(*l))) } else { 0.0 };
        Prediction { nll, rest, ids, log }
    }

    /// The model's negative log-likelihood of `token`, KL(reference || model) over the kept tokens and the rest, and
    /// whether both have the same best token.
    fn compare(&self, logits: &[f32], token: u32) -> (f64, f64, bool) {
        let scored = score(logits, token);
        let log_sum = scored.nll + f64::from(logits[token as usize]);
        let theirs = |id: &u32| f64::from(logits[*id as usize]) - log_sum;
        let mut kl = 0.0;
        for (id, log) in self.ids.iter().zip(&self.log) {
            let log = f64::from(*log);
            let share = log.exp();
            kl += if share > 0.0 { share * (log - theirs(id)) } else { 0.0 };
        }
        if self.rest > 0.0 {
            let rest = remainder(self.ids.iter().map(theirs));
            kl += self.rest * (self.rest.ln() - rest.max(1e-15).ln());
        }
        // Rounding may leave a hair below zero, where the divergence of equal rows is.
        (scored.nll, kl.max(0.0), self.ids.first() == Some(&scored.best))
    }
}

/// What is left of 1 without the probabilities with these logarithms.
fn remainder(logs: impl Iterator<Item = f64>) -> f64 {
    (1.0 - logs.map(f64::exp).sum::<f64>()).max(0.0)
}

fn wrong(headline: impl Into<String>) -> Diagnostic {
    Diagnostic::new("reference-damaged", headline).help("save the reference again with `actc eval --save-ref`")
}

impl Reference {
    /// Runs `model`, whose digest is `source`, over `windows`; `done` hears the number of finished ones.
    pub fn record(
        evaluation: &Evaluation,
        windows: &[Vec<u32>],
        source: [u8; 32],
        vocabulary: usize,
        model: &mut LanguageSession,
        done: &mut dyn FnMut(usize),
    ) -> Result<(Reference, Vec<WindowScore>)> {
        let kept = KEPT.min(vocabulary);
        let mut reference = Reference {
            model: source,
            kept,
            vocabulary,
            ctx: evaluation.ctx,
            bos: evaluation.bos,
            windows: Vec::new(),
        };
        let mut scores = Vec::with_capacity(windows.len());
        for (i, window) in windows.iter().enumerate() {
            let mut predictions = Vec::with_capacity(window.len() - 1);
            each_chunk(window, model, &mut |logits, _, next| {
                let width = logits.len() / next.len();
                let of = |i: usize, token: u32| Prediction::of(&logits[i * width..][..width], token, kept);
                predictions.extend(rows(evaluation.threads, next, of));
                Ok(())
            })?;
            let nll = predictions.iter().map(|p| p.nll).sum::<f64>() / predictions.len() as f64;
            scores.push(WindowScore { nll, reference: None }.finite(i)?);
            reference.windows.push(Window { ids: digest(window), predictions });
            done(i + 1);
        }
        Ok((reference, scores))
    }

    /// Scores `model`, which has `vocabulary` logits, on `windows`, which must be the first ones that were saved.
    pub fn judge(
        &self,
        evaluation: &Evaluation,
        windows: &[Vec<u32>],
        vocabulary: usize,
        model: &mut LanguageSession,
        done: &mut dyn FnMut(usize),
    ) -> Result<Vec<WindowScore>> {
        if vocabulary != self.vocabulary {
            let headline = format!("the model has {vocabulary} logits, the reference {}", self.vocabulary);
            return Err(
                Diagnostic::request("eval-vocabulary", headline).help("model and reference need the same vocabulary")
            );
        }
        if windows.len() > self.windows.len() {
            let headline = format!("{} windows are asked for, the reference has {}", windows.len(), self.windows.len());
            return Err(Diagnostic::request("reference-text", headline).help("ask for fewer --windows"));
        }
        if let Some(i) = windows.iter().zip(&self.windows).position(|(w, saved)| digest(w) != saved.ids) {
            let headline = format!("the reference was saved on other tokens: window {i} differs");
            return Err(Diagnostic::request("reference-text", headline)
                .help("give the text, --ctx and --bos that it was saved with"));
        }
        let mut scores = Vec::with_capacity(windows.len());
        for (i, (window, saved)) in windows.iter().zip(&self.windows).enumerate() {
            let (mut nll, mut kl, mut same) = (0.0, 0.0, 0usize);
            each_chunk(window, model, &mut |logits, at, next| {
                let width = logits.len() / next.len();
                let of = |i: usize, token: u32| saved.predictions[at + i].compare(&logits[i * width..][..width], token);
                for (a, b, c) in rows(evaluation.threads, next, of) {
                    nll += a;
                    kl += b;
                    same += usize::from(c);
                }
                Ok(())
            })?;
            let n = saved.predictions.len() as f64;
            let theirs = saved.predictions.iter().map(|p| p.nll).sum::<f64>() / n;
            let distance = Distance { nll: theirs, kl: kl / n, top1: same as f64 / n };
            scores.push(WindowScore { nll: nll / n, reference: Some(distance) }.finite(i)?);
            done(i + 1);
        }
        Ok(scores)
    }

    /// Number of windows.
    pub fn windows(&self) -> usize {
        self.windows.len()
    }

    /// The bytes of the file.
    pub fn encode(&self) -> Vec<u8> {
        let mut body = self.model.to_vec();
        for number in [self.kept, self.vocabulary, self.ctx, self.windows.len()] {
            body.extend((number as u32).to_le_bytes());
        }
        body.extend(self.bos.map_or(0, |id| u64::from(id) + 1).to_le_bytes());
        for window in &self.windows {
            body.extend(window.ids);
            for p in &window.predictions {
                body.extend(p.nll.to_le_bytes());
                body.extend(p.rest.to_le_bytes());
                p.ids.iter().for_each(|id| body.extend(id.to_le_bytes()));
                p.log.iter().for_each(|log| body.extend(log.to_le_bytes()));
            }
        }
        [&MAGIC[..], blake3::hash(&body).as_bytes(), &body].concat()
    }

    /// Reads the bytes of a file.
    pub fn decode(bytes: &[u8]) -> Result<Reference> {
        let short = || wrong(format!("the file ends after {} bytes", bytes.len()));
        let rest = bytes.strip_prefix(MAGIC).ok_or_else(|| wrong("the file is no saved reference"))?;
        let (hash, body) = rest.split_first_chunk::<32>().ok_or_else(short)?;
        if bytes.len() < HEADER {
            return Err(short());
        }
        let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes")) as usize;
        let (kept, vocabulary, ctx, windows) = (number(80), number(84), number(88), number(92));
        let bos = u64::from_le_bytes(bytes[96..HEADER].try_into().expect("eight bytes"));
        if kept == 0
            || kept > vocabulary
            || vocabulary > MAX_VOCABULARY
            || ctx < 2
            || windows == 0
            || bos > u64::from(u32::MAX)
        {
            return Err(wrong(format!("{kept} of {vocabulary} tokens in {windows} windows of {ctx}")));
        }
        let prediction = 16 + 8 * kept;
        let wanted = (ctx - 1).checked_mul(prediction).and_then(|n| n.checked_add(32)?.checked_mul(windows));
        if wanted != Some(bytes.len() - HEADER) {
            let headline = format!("{} bytes do not hold {windows} windows of {ctx} tokens", bytes.len() - HEADER);
            return Err(wrong(headline));
        }
        if blake3::hash(body).as_bytes() != hash {
            return Err(wrong("the file is not what its digest says"));
        }
        let (model, _) = body.split_first_chunk::<32>().ok_or_else(short)?;
        let window = |bytes: &[u8]| -> Result<Window> {
            let (ids, rest) = bytes.split_first_chunk::<32>().ok_or_else(short)?;
            let predictions =
                rest.chunks_exact(prediction).map(|p| read(p, kept, vocabulary)).collect::<Result<_>>()?;
            Ok(Window { ids: *ids, predictions })
        };
        let length = 32 + (ctx - 1) * prediction;
        let windows = bytes[HEADER..].chunks_exact(length).map(window).collect::<Result<_>>()?;
        Ok(Reference { model: *model, kept, vocabulary, ctx, bos: (bos as u32).checked_sub(1), windows })
    }

    /// Reads the file at `path`.
    pub fn read(path: &Path) -> Result<Reference> {
        let place = || Place::File(path.display().to_string());
        let bytes = std::fs::read(path).map_err(|e| {
            Diagnostic::request("reference-file", format!("cannot read the reference: {e}")).at(place())
        })?;
        Reference::decode(&bytes).map_err(|d| d.at(place()))
    }

    /// Writes the file at `path`, which must not be there, in one step; gives its length.
    pub fn write(&self, path: &Path) -> Result<u64> {
        let failed = |e: std::io::Error| {
            Diagnostic::request("reference-file", format!("cannot write the reference: {e}"))
                .at(Place::File(path.display().to_string()))
        };
        let bytes = self.encode();
        output::write(path, &bytes, false).map_err(failed)?;
        Ok(bytes.len() as u64)
    }
}

fn read(bytes: &[u8], kept: usize, vocabulary: usize) -> Result<Prediction> {
    let double = |at: usize| f64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    let (ids, log) = bytes[16..].split_at(4 * kept);
    let ids: Vec<u32> = ids.chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().expect("four bytes"))).collect();
    let log: Vec<f32> = log.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().expect("four bytes"))).collect();
    let prediction = Prediction { nll: double(0), rest: double(8), ids, log };
    if let Some(id) = prediction.ids.iter().find(|id| **id as usize >= vocabulary) {
        return Err(wrong(format!("token {id} of {vocabulary}")));
    }
    if !prediction.nll.is_finite()
        || !(0.0..=1.0).contains(&prediction.rest)
        || prediction.log.iter().any(|l| l.is_nan())
    {
        return Err(wrong("a probability is no number"));
    }
    Ok(prediction)
}

#[cfg(test)]
mod tests {
    use super::super::distribution::compare;
    use super::*;

    fn logits(seed: usize, n: usize) -> Vec<f32> {
        (0..n).map(|i| (((i * 7919 + seed * 104_729) % 1009) as f32 / 40.0).sin() * 6.0).collect()
    }

    #[test]
    fn all_tokens_kept_give_the_whole_divergence() {
        let (p, q) = (logits(1, 300), logits(2, 300));
        let exact = compare(&q, &p, 17);
        let whole = Prediction::of(&p, 17, 300).compare(&q, 17);
        assert!((whole.1 - exact.kl).abs() < 1e-5 * exact.kl, "{} {}", whole.1, exact.kl);
        assert_eq!((whole.0, whole.2), (exact.model.nll, exact.model.best == exact.reference.best));
        // Fewer tokens show less of it, never more.
        let mut last = 0.0;
        for kept in [1, 10, 50, 150, 299] {
            let kl = Prediction::of(&p, 17, kept).compare(&q, 17).1;
            assert!(last <= kl + 1e-6 && kl <= exact.kl + 1e-6, "{kept}: {last} {kl} {}", exact.kl);
            last = kl;
        }
        assert!(Prediction::of(&p, 17, 20).compare(&p, 17).1 < 1e-6, "a model does not differ from itself");
    }

    fn saved() -> Reference {
        let window = |seed: usize| Window {
            ids: digest(&[seed as u32, 2, 3]),
            predictions: (0..2).map(|i| Prediction::of(&logits(seed + i, 40), 3, 8)).collect(),
        };
        Reference { model: [7; 32], kept: 8, vocabulary: 40, ctx: 3, bos: Some(0), windows: vec![window(1), window(5)] }
    }

    #[test]
    fn what_is_written_is_read_and_damage_is_refused() {
        let bytes = saved().encode();
        assert_eq!(Reference::decode(&bytes).unwrap(), saved());
        let without = Reference { bos: None, ..saved() };
        assert_eq!(Reference::decode(&without.encode()).unwrap(), without);
        for cut in 0..bytes.len() {
            assert_eq!(Reference::decode(&bytes[..cut]).unwrap_err().code, "reference-damaged", "cut at {cut}");
        }
        for at in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 0x81;
            assert_eq!(Reference::decode(&bytes).unwrap_err().code, "reference-damaged", "byte {at}");
        }
    }

    #[test]
    fn right_digests_do_not_make_wrong_contents_right() {
        let forge = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = saved().encode();
            change(&mut bytes);
            let hash = *blake3::hash(&bytes[48..]).as_bytes();
            bytes[16..48].copy_from_slice(&hash);
            Reference::decode(&bytes).map_err(|d| d.code)
        };
        let at = |at: usize, new: Vec<u8>| move |bytes: &mut Vec<u8>| bytes[at..at + new.len()].copy_from_slice(&new);
        assert!(forge(&|_| ()).is_ok());
        for number in [80, 84, 88, 92] {
            for value in [0u32, 1, 9, u32::MAX] {
                assert_eq!(
                    forge(&at(number, value.to_le_bytes().to_vec())),
                    Err("reference-damaged"),
                    "{number} {value}"
                );
            }
        }
        assert_eq!(forge(&at(96, u64::MAX.to_le_bytes().to_vec())), Err("reference-damaged"));
        let first = HEADER + 32;
        assert_eq!(forge(&at(first, f64::NAN.to_le_bytes().to_vec())), Err("reference-damaged"));
        assert_eq!(forge(&at(first + 8, 2f64.to_le_bytes().to_vec())), Err("reference-damaged"));
        assert_eq!(forge(&at(first + 16, 40u32.to_le_bytes().to_vec())), Err("reference-damaged"));
        assert_eq!(forge(&at(first + 16 + 32, f32::NAN.to_le_bytes().to_vec())), Err("reference-damaged"));
    }
}
