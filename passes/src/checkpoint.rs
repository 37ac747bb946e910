//! Finished blocks of a sequential pass on disk, so that a compile that was killed goes on where it was.
//!
//! Blocks lie in a folder named by the request's key. A file is the magic, the key, a digest of the rest, and the rest:
//!
//! ```text
//! u32   layers, then for each:
//!       name, encoding as text, note (each u32 length and UTF-8; no note is empty)
//!       f64   output error, weight error (NaN for none)
//!       the parts of the encoding in their order (each u64 length and bytes)
//! u32   vectors that the block changed, such as a norm's, then for each:
//!       name (u32 length and UTF-8), f32 elements (u64 length and bytes)
//! ```
//!
//! A file of another request, a damaged one and one of other layers count as not there: the block is made again.

use crate::quantize::encode::describe;
use crate::quantize::layers::Layer;
use crate::report::{LayerReport, Measured, Status};
use crate::spill;
use actc_ir::{Const, ConstId, Graph, TensorType};
use actc_types::braced::Fields;
use actc_types::{Braced, DType, Diagnostic, Encoding, Place, Result, Role};
use bytes::Bytes;
use std::io::Write;
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 16] = b"actc block 2\r\n\x1a\0";

/// Where finished blocks of one request are kept.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    folder: PathBuf,
    key: blake3::Hash,
}

fn failed(folder: &Path, error: &std::io::Error) -> Diagnostic {
    Diagnostic::new("checkpoint", format!("cannot keep a finished block: {error}"))
        .at(Place::File(folder.display().to_string()))
        .help("free space in this folder, or name another one with --work")
}

impl Checkpoint {
    /// The blocks of the request with the digest `key`, in a folder of its own in `work`. Equal keys must mean equal
    /// blocks.
    pub fn new(work: &Path, key: blake3::Hash) -> Result<Checkpoint> {
        let folder = work.join(format!("actc-{}", &key.to_hex()[..16]));
        std::fs::create_dir_all(&folder).map_err(|e| failed(&folder, &e))?;
        Ok(Checkpoint { folder, key })
    }

    /// Number of blocks that seem to be finished.
    pub fn finished(&self) -> usize {
        let names = std::fs::read_dir(&self.folder).into_iter().flatten().flatten().map(|e| e.file_name());
        names.filter(|n| n.to_string_lossy().ends_with(".block")).count()
    }

    /// Removes all blocks: the work is done.
    pub fn remove(self) -> Result<()> {
        std::fs::remove_dir_all(&self.folder).map_err(|e| failed(&self.folder, &e))
    }

    fn path(&self, pass: &str, block: usize) -> PathBuf {
        self.folder.join(format!("{pass}-{block:04}.block"))
    }

    /// Keeps `layers` of `graph`, which are rounded, and `vectors` of it, dense in f32, as block `block` of `pass`.
    pub(crate) fn keep(
        &self,
        pass: &str,
        block: usize,
        graph: &Graph,
        layers: &[&Layer],
        reports: &[&LayerReport],
        vectors: &[ConstId],
    ) -> Result<()> {
        let mut body = (layers.len() as u32).to_le_bytes().to_vec();
        for (layer, report) in layers.iter().zip(reports) {
            let constant = graph.const_data(layer.weight);
            let encoding = constant.encoding.to_string();
            for text in [constant.name.as_str(), &encoding, report.reason.as_deref().unwrap_or_default()] {
                body.extend((text.len() as u32).to_le_bytes());
                body.extend(text.as_bytes());
            }
            for error in [report.error, report.measured.weight] {
                body.extend(error.unwrap_or(f64::NAN).to_le_bytes());
            }
            for (_, bytes) in &constant.parts {
                body.extend((bytes.len() as u64).to_le_bytes());
                body.extend(&bytes[..]);
            }
        }
        body.extend((vectors.len() as u32).to_le_bytes());
        for id in vectors {
            let constant = graph.const_data(*id);
            body.extend((constant.name.len() as u32).to_le_bytes());
            body.extend(constant.name.as_bytes());
            for (_, bytes) in &constant.parts {
                body.extend((bytes.len() as u64).to_le_bytes());
                body.extend(&bytes[..]);
            }
        }
        let write = || {
            let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
            file.write_all(MAGIC)?;
            file.write_all(self.key.as_bytes())?;
            file.write_all(blake3::hash(&body).as_bytes())?;
            file.write_all(&body)?;
            file.persist(self.path(pass, block))?;
            Ok(())
        };
        write().map_err(|e: std::io::Error| failed(&self.folder, &e))
    }

    /// Block `block` of `pass`, where it is kept: its weights and what was said about them, in the order of `layers`, and
    /// the vectors that it changed. What the weights take lies in files of `work`.
    pub(crate) fn restore(
        &self,
        pass: &str,
        block: usize,
        graph: &Graph,
        layers: &[&Layer],
        work: &Path,
    ) -> Result<Option<Restored>> {
        let Ok(bytes) = std::fs::read(self.path(pass, block)) else { return Ok(None) };
        let Some(body) = self.body(&bytes) else { return Ok(None) };
        let mut reader = Reader { rest: body };
        if reader.u32().map(|n| n as usize) != Some(layers.len()) {
            return Ok(None);
        }
        let mut out = Vec::with_capacity(layers.len());
        for layer in layers {
            let constant = graph.const_data(layer.weight);
            let Some((encoding, note, [error, weight], parts)) = reader.layer(constant) else { return Ok(None) };
            let mut stored = Vec::with_capacity(parts.len());
            for (role, bytes) in parts {
                stored.push((role, spill::store(work, bytes.to_vec())?));
            }
            let Ok(made) = Const::new(constant.name.clone(), constant.ty.clone(), encoding, stored) else {
                return Ok(None);
            };
            let mut report = describe(&made, Status::Quantised, error, note);
            report.measured = Measured { weight, output: error, ..Measured::default() };
            out.push((made, report));
        }
        let Some(vectors) = reader.vectors(graph) else { return Ok(None) };
        Ok(Some((out, vectors)).filter(|_| reader.rest.is_empty()))
    }

    /// What stands behind the digests, where they are right.
    fn body<'b>(&self, bytes: &'b [u8]) -> Option<&'b [u8]> {
        let rest = bytes.strip_prefix(MAGIC)?;
        let rest = rest.strip_prefix(self.key.as_bytes())?;
        let (digest, body) = rest.split_first_chunk::<32>()?;
        (blake3::hash(body).as_bytes() == digest).then_some(body)
    }
}

struct Reader<'b> {
    rest: &'b [u8],
}

/// Weights with what was said about them, and vectors.
type Restored = (Vec<(Const, LayerReport)>, Vec<(ConstId, Const)>);

type Stored<'b> = (Encoding, Option<String>, [Option<f64>; 2], Vec<(actc_types::Role, &'b [u8])>);

impl<'b> Reader<'b> {
    fn take(&mut self, length: usize) -> Option<&'b [u8]> {
        let (head, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn text(&mut self) -> Option<&'b str> {
        let length = self.u32()?;
        std::str::from_utf8(self.take(length as usize)?).ok()
    }

    /// The next layer, where it is a rounding of `constant`.
    fn layer(&mut self, constant: &Const) -> Option<Stored<'b>> {
        if self.text()? != constant.name {
            return None;
        }
        let text = self.text()?;
        let (item, _) = Braced::parse_at(text, 0).ok()?;
        let mut fields = Fields::new(text, item.name.clone(), item.fields);
        let encoding = Encoding::read(&item.name, &mut fields).ok()?;
        let note = Some(self.text()?.to_owned()).filter(|n| !n.is_empty());
        let errors = [f64::from_le_bytes(self.array()?), f64::from_le_bytes(self.array()?)];
        let errors = errors.map(|e| Some(e).filter(|e| e.is_finite()));
        let (rows, cols) = constant.matrix().ok()?;
        let mut parts = Vec::new();
        for (role, bytes) in encoding.parts(constant.ty.dtype, rows, cols).ok()? {
            let length = u64::from_le_bytes(self.array()?);
            if length != bytes {
                return None;
            }
            parts.push((role, self.take(usize::try_from(length).ok()?)?));
        }
        Some((encoding, note, errors, parts))
    }

    /// The vectors in f32, where they are dense constants of floats in `graph`.
    fn vectors(&mut self, graph: &Graph) -> Option<Vec<(ConstId, Const)>> {
        let mut out = Vec::new();
        for _ in 0..self.u32()? {
            let name = self.text()?;
            let (id, old) = graph.constants().find(|(_, c)| c.name == name)?;
            if old.encoding != Encoding::Dense || !old.ty.dtype.is_float() || old.ty.shape.rank() != 1 {
                return None;
            }
            let length = usize::try_from(u64::from_le_bytes(self.array()?)).ok()?;
            let parts = vec![(Role::Data, Bytes::copy_from_slice(self.take(length)?))];
            let ty = TensorType::new(DType::F32, old.ty.shape.clone());
            out.push((id, Const::new(name, ty, Encoding::Dense, parts).ok()?));
        }
        Some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::{PassCx, Sample};
    use crate::manager::{self, Config};
    use crate::{PASSES, Pipeline, Progress};
    use actc_ir::{Interpreter, text};
    use actc_types::Tensor;
    use std::cell::RefCell;

    const SOURCE: &str = "air 1
graph @g(%x: f32[S, 32]) {
  %a = const @a = rng{seed=5, scale=1} : f32[32, 32]
  %b = const @b = rng{seed=6, scale=1} : f32[32, 32]
  %c = const @c = rng{seed=7, scale=1} : f32[32, 32]
  %n = const @n = rng{seed=8, scale=1} : f32[32]
  %h = rms_norm{eps=0.00001} %x, %n : f32[S, 32]
  %0 = linear %h, %a : f32[S, 32]
  %1 = silu %0 : f32[S, 32]
  %2 = linear %1, %b : f32[S, 32]
  %3 = silu %2 : f32[S, 32]
  %4 = linear %3, %c : f32[S, 32]
  return y=%4
}
";

    /// Rounds the graph; gives its text, the layers that were computed, and what was said.
    fn run(work: &Path, key: &str) -> (String, Vec<String>, Vec<LayerReport>) {
        run_pass("owq{bits=3,target=4,group=16,budget=equal}", work, key)
    }

    fn run_pass(pass: &str, work: &Path, key: &str) -> (String, Vec<String>, Vec<LayerReport>) {
        let mut graph = text::parse(SOURCE, &text::unbound).unwrap();
        let values = |i: u32| (0..256).map(|v| ((v * (i + 3)) % 19) as f32 - 9.0).collect();
        let sample = |i| Sample { inputs: vec![("x".into(), Tensor::f32(&[8, 32], values(i)).unwrap())] };
        let samples = [sample(1), sample(2), sample(4), sample(5), sample(8)];
        let pipeline = Pipeline::parse(&format!("clean,calibrate,{pass}"), PASSES).unwrap();
        let seen = RefCell::new(Vec::new());
        let mut told = |p: Progress<'_>| {
            if pass.starts_with(p.stage) {
                seen.borrow_mut().push(p.item.to_owned());
            }
        };
        let mut cx = PassCx { samples: &samples, ..PassCx::new(&Interpreter, &mut told) };
        cx.checkpoint = Some(Checkpoint::new(work, blake3::hash(key.as_bytes())).unwrap());
        let timed = manager::run(&pipeline, &mut graph, &mut cx, &Config::default(), &mut |_| ()).unwrap();
        let reports = timed.into_iter().flat_map(|t| t.report.layers).collect();
        (text::print(&graph), seen.take(), reports)
    }

    #[test]
    fn finished_blocks_are_taken_and_others_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let whole = run(folder.path(), "k");
        assert_eq!(whole.1, ["a", "b", "c"]);
        let again = run(folder.path(), "k");
        assert_eq!((&again.0, &again.2), (&whole.0, &whole.2));
        assert_eq!(again.1, [""; 0], "nothing is computed twice");

        let kept = Checkpoint::new(folder.path(), blake3::hash(b"k")).unwrap();
        assert_eq!(kept.finished(), 3);
        std::fs::remove_file(kept.path("owq", 2)).unwrap();
        assert_eq!(run(folder.path(), "k").1, ["c"], "a killed run goes on with its block");
        // Damage, at any place, and files of another request or block.
        let good = std::fs::read(kept.path("owq", 1)).unwrap();
        for at in (0..good.len()).step_by(97).chain([good.len() - 1]) {
            let mut bytes = good.clone();
            bytes[at] ^= 4;
            std::fs::write(kept.path("owq", 1), bytes).unwrap();
            let made = run(folder.path(), "k");
            assert_eq!((made.0 == whole.0, made.1), (true, vec!["b".to_owned()]), "byte {at}");
        }
        std::fs::write(kept.path("owq", 1), &good[..good.len() / 2]).unwrap();
        assert_eq!(run(folder.path(), "k").1, ["b"]);
        std::fs::copy(kept.path("owq", 0), kept.path("owq", 1)).unwrap();
        assert_eq!(run(folder.path(), "k").1, ["b"]);
        assert_eq!(run(folder.path(), "other").1, ["a", "b", "c"]);
        let other = Checkpoint::new(folder.path(), blake3::hash(b"other")).unwrap();
        std::fs::copy(other.path("owq", 1), kept.path("owq", 1)).unwrap();
        assert_eq!(run(folder.path(), "k").1, ["b"], "a block of another request is not used");
        kept.remove().unwrap();
        assert_eq!(run(folder.path(), "k").0, whole.0);
    }

    #[test]
    fn scaled_vectors_come_back_with_their_block() {
        let folder = tempfile::tempdir().unwrap();
        let whole = run_pass("awq{bits=3,group=16}", folder.path(), "k");
        let plain = run_pass("rtn{bits=3,group=16}", folder.path(), "k");
        let norm = |text: &str| text.lines().find(|l| l.contains("@n =")).unwrap().to_owned();
        assert_ne!(norm(&whole.0), norm(&plain.0), "the norm is scaled");
        let again = run_pass("awq{bits=3,group=16}", folder.path(), "k");
        assert_eq!((again.0, again.1, again.2), (whole.0, vec![], whole.2));
    }

    #[test]
    fn bodies_that_lie_are_no_blocks() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Checkpoint::new(folder.path(), blake3::hash(b"k")).unwrap();
        let graph = text::parse(SOURCE, &text::unbound).unwrap();
        let layers = crate::quantize::layers::survey(&graph);
        let write = |body: &[u8]| {
            let file = [&MAGIC[..], kept.key.as_bytes(), blake3::hash(body).as_bytes(), body].concat();
            std::fs::write(kept.path("owq", 0), file).unwrap();
            kept.restore("owq", 0, &graph, &[&layers[0]], folder.path()).unwrap()
        };
        let text = |s: &str| [&(s.len() as u32).to_le_bytes()[..], s.as_bytes()].concat();
        let head =
            |encoding: &str| [&1u32.to_le_bytes()[..], &text("a"), &text(encoding), &text(""), &[0; 16]].concat();
        let dense = || [head("dense"), 4096u64.to_le_bytes().to_vec(), vec![0; 4096]].concat();
        let whole = |vectors: &[u8]| [dense(), vectors.to_vec()].concat();
        for body in [
            vec![],
            1u32.to_le_bytes().to_vec(),
            u32::MAX.to_le_bytes().to_vec(),
            [&1u32.to_le_bytes()[..], &u32::MAX.to_le_bytes()].concat(),
            head("packed{"),
            head("nothing{}"),
            head("packed{bits=3, group=16}"),
            whole(&[0, 0, 0]),
            whole(&1u32.to_le_bytes()),
            whole(&u32::MAX.to_le_bytes()),
            whole(&[&1u32.to_le_bytes()[..], &text("nobody"), &4u64.to_le_bytes(), &[0; 4]].concat()),
            whole(&[&1u32.to_le_bytes()[..], &text("b"), &4096u64.to_le_bytes(), &[0; 4096]].concat()),
            whole(&[&1u32.to_le_bytes()[..], &text("n"), &u64::MAX.to_le_bytes(), &[0; 128]].concat()),
            whole(&[&1u32.to_le_bytes()[..], &text("n"), &124u64.to_le_bytes(), &[0; 124]].concat()),
            whole(&[&0u32.to_le_bytes()[..], &[0]].concat()),
            [head("dense"), u64::MAX.to_le_bytes().to_vec()].concat(),
            [head("dense"), 4096u64.to_le_bytes().to_vec(), vec![0; 4095]].concat(),
            [head("dense"), 4096u64.to_le_bytes().to_vec(), vec![0; 4097]].concat(),
            [head("mixed{bits=3, group=16, cols=99, place=scattered}"), vec![0; 64]].concat(),
        ] {
            assert!(write(&body).is_none(), "{body:?}");
        }
        assert!(write(&whole(&0u32.to_le_bytes())).is_some());
        let vector = [&1u32.to_le_bytes()[..], &text("n"), &128u64.to_le_bytes(), &[0; 128]].concat();
        let (_, vectors) = write(&whole(&vector)).unwrap();
        assert_eq!((vectors.len(), vectors[0].1.name.as_str()), (1, "n"));
    }
}
