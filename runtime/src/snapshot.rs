//! The states of a session as bytes, and back.
//!
//! All numbers are little-endian.
//!
//! ```text
//! 0     8   magic "actcsess"
//! 8     4   version of this format, 1
//! 12    4   number of states
//! 16   32   digest of the artifact
//! 48        per state, in the order of the manifest:
//!             4   bytes of the name, then the name
//!             4   rank, then 8 bytes an extent: the rows that were saved, then the state's own extents
//!                 the elements, row-major
//! end  32   BLAKE3 digest of everything before it
//! ```
//!
//! Only a session of the same artifact takes them. The bytes are hostile input: every length is compared with what is
//! there and with what the session has laid out, and nothing is changed before all is checked.

use crate::session::Session;
use actc_artifact::Digest;
use actc_types::dim::Bindings;
use actc_types::{Diagnostic, Place, Result, Shape};

const MAGIC: &[u8; 8] = b"actcsess";
const VERSION: u32 = 1;
const DIGEST_BYTES: usize = 32;

/// Reads from the front of the bytes that are left.
struct Reader<'a> {
    bytes: &'a [u8],
    /// Bytes taken so far.
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize, what: &str) -> Result<&'a [u8]> {
        let Some((taken, rest)) = self.bytes.split_at_checked(n) else {
            let headline = format!("{what} takes {n} bytes at byte {}, {} are left", self.at, self.bytes.len());
            return Err(Diagnostic::new("snapshot-truncated", headline));
        };
        self.bytes = rest;
        self.at += n;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N]> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N, what)?);
        Ok(out)
    }

    fn u32(&mut self, what: &str) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }
}

impl Session {
    /// Extents and bytes of the rows of each state that `used` asks for; all rows where it is empty.
    fn used(&self, used: &Bindings) -> Result<Vec<(Vec<u64>, usize)>> {
        let states = &self.model().artifact().manifest().states;
        let each = states.iter().enumerate().map(|(i, entry)| {
            let view = self.state_at(i);
            if used.is_empty() {
                return Ok((view.dims.to_vec(), view.bytes.len()));
            }
            let place = || Place::Tensor(entry.name.clone());
            let dims = Shape(entry.dims.clone()).eval(used).map_err(|e| e.at(place()))?;
            let bytes = dims.iter().try_fold(entry.dtype.size() as u64, |n, d| n.checked_mul(*d));
            match bytes.and_then(|n| usize::try_from(n).ok()).filter(|n| *n <= view.bytes.len()) {
                Some(bytes) => Ok((dims, bytes)),
                None => {
                    let headline = format!("rows of shape {dims:?} are asked for, {:?} are laid out", view.dims);
                    Err(Diagnostic::request("state-capacity", headline).at(place()))
                }
            }
        });
        each.collect()
    }

    /// Bytes that [`Session::save`] gives for the same `used`.
    pub fn saved_bytes(&self, used: &Bindings) -> Result<usize> {
        let states = &self.model().artifact().manifest().states;
        let sizes = self.used(used)?;
        let each = states.iter().zip(sizes).map(|(s, (dims, bytes))| 4 + s.name.len() + 4 + 8 * dims.len() + bytes);
        Ok(48 + each.sum::<usize>() + DIGEST_BYTES)
    }

    /// The states as bytes. `used` are values of symbols that say how many rows of each are in use, such as the past
    /// tokens of a language model with no new ones; where it is empty, all rows are saved.
    pub fn save(&self, used: &Bindings) -> Result<Vec<u8>> {
        let artifact = self.model().artifact();
        let states = &artifact.manifest().states;
        let mut out = Vec::with_capacity(self.saved_bytes(used)?);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&(states.len() as u32).to_le_bytes());
        out.extend_from_slice(&artifact.digest().0);
        for (i, (entry, (dims, bytes))) in states.iter().zip(self.used(used)?).enumerate() {
            out.extend_from_slice(&(entry.name.len() as u32).to_le_bytes());
            out.extend_from_slice(entry.name.as_bytes());
            out.extend_from_slice(&(dims.len() as u32).to_le_bytes());
            for extent in dims {
                out.extend_from_slice(&extent.to_le_bytes());
            }
            out.extend_from_slice(&self.state_at(i).bytes[..bytes]);
        }
        let digest = Digest::of(&out);
        out.extend_from_slice(&digest.0);
        Ok(out)
    }

    /// Sets all states to what [`Session::save`] gave, in a session of the same artifact; rows behind those saved become
    /// zero. After an error nothing has changed.
    ///
    /// Errors: `snapshot-magic`, `snapshot-version`, `snapshot-truncated`, `snapshot-digest` for altered bytes,
    /// `snapshot-model` for another artifact's, `snapshot-state` for states that are not this artifact's,
    /// `state-capacity` for more rows than are laid out.
    pub fn load(&mut self, bytes: &[u8]) -> Result<()> {
        let Some((content, digest)) = bytes.split_last_chunk::<DIGEST_BYTES>() else {
            let headline = format!("{} bytes are no saved session", bytes.len());
            return Err(Diagnostic::new("snapshot-truncated", headline));
        };
        let mut reader = Reader { bytes: content, at: 0 };
        if reader.take(MAGIC.len(), "the magic number")? != MAGIC {
            return Err(Diagnostic::new("snapshot-magic", "the bytes are no saved session"));
        }
        let version = reader.u32("the version")?;
        if version != VERSION {
            let headline =
                format!("the session was saved in version {version} of the format, this build reads {VERSION}");
            return Err(Diagnostic::new("snapshot-version", headline));
        }
        if Digest::of(content).0 != *digest {
            return Err(Diagnostic::new("snapshot-digest", "the saved session is damaged: its digest does not agree"));
        }
        let count = reader.u32("the number of states")?;
        let saved_by = reader.array::<DIGEST_BYTES>("the digest of the artifact")?;
        let model = self.model().clone();
        let artifact = model.artifact();
        if saved_by != artifact.digest().0 {
            let headline = format!("the session was saved by {}, this is {}", Digest(saved_by), artifact.digest());
            return Err(Diagnostic::new("snapshot-model", headline).help("load it into a session of the same artifact"));
        }
        let states = &artifact.manifest().states;
        if count as usize != states.len() {
            let headline = format!("{count} states were saved, the artifact has {}", states.len());
            return Err(Diagnostic::new("snapshot-state", headline));
        }
        let mut found = Vec::with_capacity(states.len());
        for (i, entry) in states.iter().enumerate() {
            found.push(self.saved_state(i, &entry.name, &mut reader)?);
        }
        if !reader.bytes.is_empty() {
            let headline = format!("{} bytes stand behind the last state", reader.bytes.len());
            return Err(Diagnostic::new("snapshot-state", headline));
        }
        for (i, elements) in found.into_iter().enumerate() {
            self.set_state_at(i, elements);
        }
        Ok(())
    }

    /// The elements of the next state, which must be state `i`, called `name`.
    fn saved_state<'a>(&self, i: usize, name: &str, reader: &mut Reader<'a>) -> Result<&'a [u8]> {
        let view = self.state_at(i);
        let place = || Place::Tensor(name.to_owned());
        let wrong = |headline: String| Diagnostic::new("snapshot-state", headline).at(place());
        let length = reader.u32("the length of a name")?;
        if length as usize != name.len() || reader.take(name.len(), "a name")? != name.as_bytes() {
            return Err(wrong("another state was saved in its place".into()));
        }
        let rank = reader.u32("a rank")?;
        if rank as usize != view.dims.len() {
            return Err(wrong(format!("saved with rank {rank}, the state has rank {}", view.dims.len())));
        }
        let mut dims = Vec::with_capacity(view.dims.len());
        for _ in view.dims {
            dims.push(u64::from_le_bytes(reader.array("an extent")?));
        }
        if dims.get(1..) != view.dims.get(1..) {
            return Err(wrong(format!("saved with shape {dims:?}, the state has {:?}", view.dims)));
        }
        if dims.first() > view.dims.first() {
            let headline = format!("rows of shape {dims:?} were saved, {:?} are laid out", view.dims);
            let help = "make the session with a larger capacity";
            return Err(Diagnostic::request("state-capacity", headline).at(place()).help(help));
        }
        // No more rows than are laid out: the product fits.
        let bytes = dims.iter().product::<u64>() as usize * view.dtype.size();
        reader.take(bytes, "the elements of a state")
    }
}
