//! Statistics of activations as a file: safetensors, with the sums of each chunk of samples, so that files merge exactly.
//!
//! ```text
//! NNNNN.count    f64 [chunks, 2]             rows seen of linear input NNNNN: all tokens but the first; first tokens
//! NNNNN.sum      f64 [chunks, 2, channels]   sum of each channel over them
//! NNNNN.square   f64 [chunks, 2, channels]   sum of squares
//! samples        i64 [chunks]                samples of each chunk
//! NNNNN.absmax   f32 [chunks, 2, channels]   largest magnitude
//! about          u8  [bytes]                 JSON: model, texts, which layers read which input, a digest of everything
//! ```
//!
//! A run over several texts starts a chunk with each of them, and a merge puts the chunks of one file behind those of the
//! other: both give the same bytes.

use crate::frontend::safetensors::read_file;
use crate::frontend::stored::TensorSet;
use crate::output;
use actc_passes::calibrate::{InputStatistics, Moments, Statistics};
use actc_types::{DType, Diagnostic, Place, Result};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// What the file says it is.
const FORMAT: &str = "actc statistics 1";

/// A text that statistics were collected on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Text {
    /// Digest of its documents.
    pub digest: String,
    /// Windows of it that ran.
    pub windows: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct About {
    format: String,
    model: String,
    window_len: u64,
    texts: Vec<Text>,
    /// The input that each layer reads.
    layers: BTreeMap<String, usize>,
    /// Of this with an empty digest, and of all other tensors.
    digest: String,
}

/// Statistics of one model on some texts.
#[derive(Clone, Debug, PartialEq)]
pub struct StatisticsFile {
    /// Digest of the model's source.
    pub model: String,
    /// Tokens of a window.
    pub window_len: u64,
    /// The texts in order.
    pub texts: Vec<Text>,
    /// Statistics of each chunk in order, all of the same layers.
    pub chunks: Vec<Statistics>,
}

fn damaged(headline: impl Into<String>) -> Diagnostic {
    Diagnostic::new("statistics-damaged", headline).help("collect the statistics again with `actc calibrate`")
}

impl StatisticsFile {
    /// The statistics of all samples.
    pub fn statistics(&self) -> Result<Statistics> {
        Statistics::fold(&self.chunks)
    }

    /// Appends the texts and chunks of `other`; refuses statistics of another model or of windows of another length.
    pub fn append(&mut self, other: StatisticsFile) -> Result<()> {
        if self.model != other.model {
            let (a, b) = (&self.model, &other.model);
            return Err(Diagnostic::request("statistics-model", format!("statistics of the models {a} and {b}"))
                .help("only statistics of one model can be merged"));
        }
        if self.window_len != other.window_len {
            let (a, b) = (self.window_len, other.window_len);
            return Err(Diagnostic::request("statistics-windows", format!("windows of {a} and of {b} tokens"))
                .help("collect both with the same --calib-len"));
        }
        // Layers and channels are compared by adding up.
        if let (Some(mine), Some(theirs)) = (self.chunks.first(), other.chunks.first()) {
            mine.clone().merge(theirs)?;
        }
        self.texts.extend(other.texts);
        self.chunks.extend(other.chunks);
        Ok(())
    }

    /// The distinct inputs of a chunk in the order of the first layers that read them, and the input of each layer.
    fn inputs(chunk: &Statistics) -> (Vec<&Arc<InputStatistics>>, BTreeMap<String, usize>) {
        let mut inputs: Vec<&Arc<InputStatistics>> = Vec::new();
        let mut layers = BTreeMap::new();
        for (name, input) in &chunk.layers {
            let at = inputs.iter().position(|known| Arc::ptr_eq(known, input)).unwrap_or_else(|| {
                inputs.push(input);
                inputs.len() - 1
            });
            layers.insert(name.clone(), at);
        }
        (inputs, layers)
    }

    /// The bytes of the file.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let first = self.chunks.first().ok_or_else(|| damaged("there are statistics of no sample"))?;
        let (_, layers) = StatisticsFile::inputs(first);
        let mut sums: Vec<Vec<&InputStatistics>> = vec![Vec::new(); layers.values().max().map_or(0, |n| n + 1)];
        let mut readers: BTreeMap<usize, &str> = BTreeMap::new();
        for (name, at) in &layers {
            readers.entry(*at).or_insert(name);
        }
        for chunk in &self.chunks {
            for (at, name) in &readers {
                let input = chunk.layers.get(*name).ok_or_else(|| damaged(format!("a chunk lacks `{name}`")))?;
                sums[*at].push(input);
            }
        }
        let mut tensors: Vec<Part> = Vec::new();
        let count = self.chunks.len();
        for (i, chunks) in sums.iter().enumerate() {
            let channels = chunks[0].rest.channels();
            let both = || chunks.iter().flat_map(|c| [&c.rest, &c.first]);
            let doubles = |f: fn(&Moments) -> &[f64]| both().flat_map(f).flat_map(|v| v.to_le_bytes()).collect();
            let counts = both().flat_map(|m| m.count.to_le_bytes()).collect();
            let dims = vec![count, 2, channels];
            tensors.push(Part { name: format!("{i:05}.count"), kind: "F64", dims: vec![count, 2], bytes: counts });
            let sum = doubles(|m| &m.sum);
            tensors.push(Part { name: format!("{i:05}.sum"), kind: "F64", dims: dims.clone(), bytes: sum });
            let square = doubles(|m| &m.square);
            tensors.push(Part { name: format!("{i:05}.square"), kind: "F64", dims, bytes: square });
        }
        let samples = self.chunks.iter().flat_map(|c| (c.samples as i64).to_le_bytes()).collect();
        tensors.push(Part { name: "samples".into(), kind: "I64", dims: vec![count], bytes: samples });
        for (i, chunks) in sums.iter().enumerate() {
            let dims = vec![count, 2, chunks[0].rest.channels()];
            let both = chunks.iter().flat_map(|c| [&c.rest, &c.first]);
            let bytes = both.flat_map(|m| &m.absmax).flat_map(|v| v.to_le_bytes()).collect();
            tensors.push(Part { name: format!("{i:05}.absmax"), kind: "F32", dims, bytes });
        }
        let mut about = About {
            format: FORMAT.into(),
            model: self.model.clone(),
            window_len: self.window_len,
            texts: self.texts.clone(),
            layers,
            digest: String::new(),
        };
        about.digest = digest(&about, tensors.iter().map(|p| (p.name.as_str(), &p.bytes[..])));
        let text = json(&about);
        tensors.push(Part { name: "about".into(), kind: "U8", dims: vec![text.len()], bytes: text });
        Ok(safetensors(&tensors))
    }

    /// Reads the bytes of a file that messages call `shown`.
    pub fn decode(bytes: &Bytes, shown: &str) -> Result<StatisticsFile> {
        let place = |d: Diagnostic| d.at(Place::File(shown.into()));
        let mut set = TensorSet::default();
        read_file(bytes, shown, &mut set)?;
        decode(&set).map_err(place)
    }

    /// Reads the file at `path`.
    pub fn read(path: &Path) -> Result<StatisticsFile> {
        let shown = path.display().to_string();
        let bytes = std::fs::read(path).map_err(|e| {
            Diagnostic::request("statistics-file", format!("cannot read the statistics: {e}"))
                .at(Place::File(shown.clone()))
        })?;
        StatisticsFile::decode(&Bytes::from(bytes), &shown)
    }

    /// Writes the file at `path` in one step; gives its length.
    pub fn write(&self, path: &Path, overwrite: bool) -> Result<u64> {
        let place = || Place::File(path.display().to_string());
        let failed = |e: std::io::Error| {
            let taken = e.kind() == std::io::ErrorKind::AlreadyExists;
            let headline =
                if taken { "the output exists already".into() } else { format!("cannot write the statistics: {e}") };
            let code = if taken { "output-exists" } else { "statistics-file" };
            Diagnostic::request(code, headline).at(place()).help("choose another name, or overwrite it with -f")
        };
        let bytes = self.encode()?;
        output::write(path, &bytes, overwrite).map_err(failed)?;
        Ok(bytes.len() as u64)
    }
}

fn json(about: &About) -> Vec<u8> {
    serde_json::to_vec(about).expect("strings and numbers are JSON")
}

/// Digest of `about` and of the tensors in their order.
fn digest<'t>(about: &About, tensors: impl Iterator<Item = (&'t str, &'t [u8])>) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&json(&About { digest: String::new(), ..about.clone() }));
    for (name, bytes) in tensors {
        hasher.update(name.as_bytes());
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    }
    hasher.finalize().to_string()
}

struct Part {
    name: String,
    kind: &'static str,
    dims: Vec<usize>,
    bytes: Vec<u8>,
}

/// A safetensors file: the header's length, the header padded to 8 bytes, the tensors without a gap.
fn safetensors(tensors: &[Part]) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    let mut end = 0;
    for part in tensors {
        let start = end;
        end += part.bytes.len();
        let entry = serde_json::json!({ "dtype": part.kind, "shape": part.dims, "data_offsets": [start, end] });
        header.insert(part.name.clone(), entry);
    }
    let mut header = serde_json::Value::Object(header).to_string();
    header.extend(std::iter::repeat_n(' ', header.len().next_multiple_of(8) - header.len()));
    let mut out = (header.len() as u64).to_le_bytes().to_vec();
    out.extend(header.into_bytes());
    tensors.iter().for_each(|part| out.extend(&part.bytes));
    out
}

fn decode(set: &TensorSet) -> Result<StatisticsFile> {
    let raw = |name: &str, dtype: DType| -> Result<(&[u8], &[u64])> {
        let tensor = set.get(name).ok_or_else(|| damaged(format!("there is no tensor `{name}`")))?;
        if tensor.dtype != dtype {
            return Err(damaged(format!("tensor `{name}` is {}, expected {dtype}", tensor.dtype)));
        }
        Ok((&tensor.bytes, &tensor.dims))
    };
    let (text, _) = raw("about", DType::U8)?;
    let about: About = serde_json::from_slice(text).map_err(|e| damaged(format!("`about` does not read: {e}")))?;
    if about.format != FORMAT {
        return Err(Diagnostic::new(
            "statistics-format",
            format!("the file is `{}`, read is `{FORMAT}`", about.format),
        ));
    }
    let (samples, dims) = raw("samples", DType::I64)?;
    let [count] = dims else { return Err(damaged(format!("`samples` has the shape {dims:?}"))) };
    let samples = samples.chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().expect("eight bytes")));
    let samples: Vec<u64> = samples
        .map(|n| u64::try_from(n).ok().filter(|n| *n > 0).ok_or_else(|| damaged(format!("a chunk of {n} samples"))))
        .collect::<Result<_>>()?;
    let inputs = about.layers.values().max().map_or(0, |n| n.saturating_add(1));
    if inputs == 0 || inputs > about.layers.len() || set.len() != 4 * inputs + 2 {
        return Err(damaged(format!("{} tensors do not hold {inputs} inputs", set.len())));
    }
    let mut chunks: Vec<Vec<Arc<InputStatistics>>> = vec![Vec::new(); samples.len()];
    for i in 0..inputs {
        for (chunk, moments) in chunks.iter_mut().zip(input(i, *count, &raw)?) {
            chunk.push(Arc::new(moments));
        }
    }
    let others = set.iter().filter(|t| t.name != "about").map(|t| (t.name.as_str(), &t.bytes[..]));
    if digest(&about, others) != about.digest {
        return Err(damaged("the file is not what its digest says"));
    }
    let chunk = |(samples, inputs): (u64, Vec<Arc<InputStatistics>>)| Statistics {
        samples,
        layers: about.layers.iter().map(|(name, at)| (name.clone(), inputs[*at].clone())).collect(),
    };
    let chunks = samples.into_iter().zip(chunks).map(chunk).collect();
    Ok(StatisticsFile { model: about.model, window_len: about.window_len, texts: about.texts, chunks })
}

/// Input `i` of each of `count` chunks.
fn input<'s>(
    i: usize,
    count: u64,
    raw: &impl Fn(&str, DType) -> Result<(&'s [u8], &'s [u64])>,
) -> Result<Vec<InputStatistics>> {
    let (sum, dims) = raw(&format!("{i:05}.sum"), DType::F64)?;
    let [_, _, channels] = *dims else { return Err(damaged(format!("`{i:05}.sum` has the shape {dims:?}"))) };
    let check = |name: String, dtype, wanted: &[u64]| -> Result<&'s [u8]> {
        let (bytes, dims) = raw(&name, dtype)?;
        if dims != wanted {
            return Err(damaged(format!("tensor `{name}` has the shape {dims:?}, expected {wanted:?}")));
        }
        Ok(bytes)
    };
    let wanted = [count, 2, channels];
    check(format!("{i:05}.sum"), DType::F64, &wanted)?;
    let square = check(format!("{i:05}.square"), DType::F64, &wanted)?;
    let absmax = check(format!("{i:05}.absmax"), DType::F32, &wanted)?;
    let counts = check(format!("{i:05}.count"), DType::F64, &[count, 2])?;
    let doubles = |bytes: &[u8]| -> Vec<f64> {
        bytes.chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().expect("eight bytes"))).collect()
    };
    let absmax = absmax.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().expect("four bytes")));
    let (counts, sum, square, absmax): (_, _, _, Vec<f32>) =
        (doubles(counts), doubles(sum), doubles(square), absmax.collect());
    let finite = [&counts, &sum, &square].iter().all(|v| v.iter().all(|x| x.is_finite()));
    if !finite || !absmax.iter().all(|x| x.is_finite()) {
        return Err(damaged(format!("the statistics of input {i} are no finite numbers")));
    }
    // The shapes are those of tensors that are there, so the extents are small and their products exact.
    let k = channels as usize;
    let moments = |row: usize| Moments {
        count: counts[row],
        absmax: absmax[row * k..][..k].to_vec(),
        sum: sum[row * k..][..k].to_vec(),
        square: square[row * k..][..k].to_vec(),
    };
    Ok((0..count as usize).map(|c| InputStatistics { rest: moments(2 * c), first: moments(2 * c + 1) }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(texts: &[&str], seed: f64) -> StatisticsFile {
        let moments = |k: usize, s: f64| Moments {
            count: 3.0,
            absmax: (0..k).map(|i| i as f32 + s as f32).collect(),
            sum: (0..k).map(|i| i as f64 / 3.0 + s).collect(),
            square: (0..k).map(|i| i as f64 / 7.0 + s).collect(),
        };
        let input = |k, s| Arc::new(InputStatistics { rest: moments(k, s), first: moments(k, s + 1.0) });
        let chunk = |i: usize| {
            let (a, b) = (input(4, seed + i as f64), input(2, seed - i as f64));
            let layers = [("q", a.clone()), ("k", a), ("down", b)];
            Statistics { samples: 2, layers: layers.into_iter().map(|(n, s)| (n.to_owned(), s)).collect() }
        };
        StatisticsFile {
            model: "m".into(),
            window_len: 8,
            texts: texts.iter().map(|t| Text { digest: (*t).into(), windows: 2 }).collect(),
            chunks: (0..texts.len()).map(chunk).collect(),
        }
    }

    fn read(bytes: Vec<u8>) -> Result<StatisticsFile> {
        StatisticsFile::decode(&Bytes::from(bytes), "f")
    }

    #[test]
    fn what_is_written_is_read() {
        let file = file(&["a", "b", "c"], 0.1);
        let back = read(file.encode().unwrap()).unwrap();
        assert_eq!(back, file);
        assert!(Arc::ptr_eq(&back.chunks[1].layers["q"], &back.chunks[1].layers["k"]));
        assert_eq!(back.encode().unwrap(), file.encode().unwrap());
    }

    #[test]
    fn files_merge_to_the_bytes_of_one_run() {
        let (whole, mut part) = (file(&["a", "b", "c"], 0.1), file(&["a"], 0.1));
        let mut rest = whole.clone();
        rest.texts.remove(0);
        rest.chunks.remove(0);
        part.append(read(rest.encode().unwrap()).unwrap()).unwrap();
        assert_eq!(part.encode().unwrap(), whole.encode().unwrap());
        assert_eq!(part.statistics().unwrap(), whole.statistics().unwrap());
        assert_eq!(
            part.append(StatisticsFile { model: "n".into(), ..file(&["a"], 0.0) }).unwrap_err().code,
            "statistics-model"
        );
        let longer = StatisticsFile { window_len: 9, ..file(&["a"], 0.0) };
        assert_eq!(part.append(longer).unwrap_err().code, "statistics-windows");
        let mut other = file(&["a"], 0.0);
        other.chunks[0].layers.remove("q");
        assert_eq!(part.append(other).unwrap_err().code, "statistics-model");
    }

    #[test]
    fn damaged_files_are_refused() {
        let good = file(&["a", "b"], 0.1).encode().unwrap();
        for cut in 0..good.len() {
            assert!(read(good[..cut].to_vec()).is_err(), "cut at {cut}");
        }
        for at in 0..good.len() {
            let mut bytes = good.clone();
            bytes[at] ^= 0x15;
            if let Ok(read) = read(bytes) {
                // Only space between the header's words may change unseen.
                assert_eq!(read, file(&["a", "b"], 0.1), "byte {at}");
            }
        }
    }
}
