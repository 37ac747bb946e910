//! NumPy's `.npz` files: ZIP archives of `.npy` files, stored as they are or deflated.
//!
//! Members are found through the directory at the end of the file; what stands between them is not looked at. Files above
//! 4 GiB, which need the format's second directory, are refused, as is what unpacks to more.

use crate::npy;
use actc_types::{DType, Diagnostic, Place, Result, Tensor};
use std::io::Read;
use std::path::Path;

/// Most bytes of a file, and of all that it unpacks to.
const MOST: u64 = u32::MAX as u64;

/// Bytes of the record at the end, and most bytes of the comment behind it.
const END: usize = 22;
const COMMENT: usize = 1 << 16;

/// Bytes of a record of the directory, and of the header in front of a member, without names.
const RECORD: usize = 46;
const HEADER: usize = 30;

fn malformed(headline: impl Into<String>) -> Diagnostic {
    Diagnostic::new("npz", headline)
}

/// The bytes of an `.npz` file.
pub struct Archive(Vec<u8>);

/// One array of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member<'a> {
    /// Its name, without `.npy`.
    pub name: String,
    deflated: bool,
    /// As it is stored.
    bytes: &'a [u8],
    /// Bytes once unpacked, and their checksum.
    size: u32,
    sum: u32,
}

fn u16_at(bytes: &[u8], at: usize) -> Option<usize> {
    Some(usize::from(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?)))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

impl Archive {
    /// Reads the file at `path`.
    pub fn read(path: &Path) -> Result<Archive> {
        let failed = |e: std::io::Error| {
            Diagnostic::request("npz-file", format!("cannot read the file: {e}"))
                .at(Place::File(path.display().to_string()))
        };
        let mut bytes = Vec::new();
        std::fs::File::open(path).map_err(failed)?.take(MOST + 1).read_to_end(&mut bytes).map_err(failed)?;
        Archive::of(bytes).map_err(|d| d.at(Place::File(path.display().to_string())))
    }

    /// The archive in `bytes`.
    pub fn of(bytes: Vec<u8>) -> Result<Archive> {
        if bytes.len() as u64 > MOST {
            return Err(malformed("the file has more than 4 GiB").help("divide it into several files"));
        }
        Ok(Archive(bytes))
    }

    /// Its arrays in the order of the directory.
    pub fn members(&self) -> Result<Vec<Member<'_>>> {
        let bytes = &self.0[..];
        let short = || malformed("the file is no .npz file, or it is cut off");
        let from = bytes.len().saturating_sub(END + COMMENT);
        let end = bytes[from..].windows(4).rposition(|w| w == b"PK\x05\x06").ok_or_else(short)? + from;
        let record = bytes.get(end..end + END).ok_or_else(short)?;
        let (count, at) = (u16_at(record, 10).ok_or_else(short)?, u32_at(record, 16).ok_or_else(short)?);
        if count == usize::from(u16::MAX) || at == u32::MAX {
            return Err(malformed("the directory is that of a file above 4 GiB").help("divide it into several files"));
        }
        let (mut at, mut total) = (at as usize, 0u64);
        let mut members: Vec<Member<'_>> = Vec::new();
        for _ in 0..count {
            let record = bytes.get(at..end).filter(|r| r.starts_with(b"PK\x01\x02")).ok_or_else(short)?;
            let member = self.member(record).ok_or_else(short)??;
            total += u64::from(member.size);
            if total > MOST {
                return Err(malformed("the arrays have more than 4 GiB").help("divide them into several files"));
            }
            if members.iter().any(|m| m.name == member.name) {
                return Err(malformed(format!("the array `{}` is there twice", member.name)));
            }
            members.push(member);
            let lengths = [28, 30, 32].map(|i| u16_at(record, i));
            at += RECORD + lengths.into_iter().flatten().sum::<usize>();
        }
        Ok(members)
    }

    /// The member that a record of the directory is about; nothing where the file ends too early.
    fn member(&self, record: &[u8]) -> Option<Result<Member<'_>>> {
        let (flags, method) = (u16_at(record, 8)?, u16_at(record, 10)?);
        let (sum, packed, size) = (u32_at(record, 16)?, u32_at(record, 20)?, u32_at(record, 24)?);
        let name = String::from_utf8_lossy(record.get(RECORD..RECORD + u16_at(record, 28)?)?).into_owned();
        if flags & 1 != 0 || method != 0 && method != 8 {
            return Some(Err(malformed(format!(
                "`{name}` is encrypted, or packed in a way that NumPy does not write"
            ))));
        }
        let Some(name) = name.strip_suffix(".npy").map(str::to_owned) else {
            return Some(Err(malformed(format!("`{name}` is no array"))));
        };
        let header = self.0.get(u32_at(record, 42)? as usize..)?.strip_prefix(b"PK\x03\x04")?;
        // Names and further fields of the header may differ in length from those of the directory.
        let data = HEADER - 4 + u16_at(header, 22)? + u16_at(header, 24)?;
        let bytes = header.get(data..data.checked_add(packed as usize)?)?;
        Some(Ok(Member { name, deflated: method == 8, bytes, size, sum }))
    }
}

impl Member<'_> {
    /// Its tensor; `raw` as in [`npy::decode`].
    pub fn tensor(&self, raw: DType) -> Result<Tensor> {
        let about = |d: Diagnostic| Diagnostic { headline: format!("`{}`: {}", self.name, d.headline), ..d };
        let unpacked;
        let bytes = match self.deflated {
            false => self.bytes,
            true => {
                // Grows with what is really there, and ends at what the directory says.
                unpacked = miniz_oxide::inflate::decompress_to_vec_with_limit(self.bytes, self.size as usize)
                    .map_err(|e| about(malformed(format!("cannot be unpacked: {e}"))))?;
                &unpacked
            }
        };
        if bytes.len() != self.size as usize || crc32fast::hash(bytes) != self.sum {
            return Err(about(malformed("its bytes are not those that were written")));
        }
        npy::decode(bytes, raw).map_err(about)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An archive of `.npy` files, each stored or deflated.
    fn archive(files: &[(&str, &Tensor, bool)]) -> Vec<u8> {
        let (mut out, mut directory) = (Vec::new(), Vec::new());
        for (name, tensor, deflated) in files {
            let data = npy::encode(tensor);
            let stored = if *deflated { miniz_oxide::deflate::compress_to_vec(&data, 6) } else { data.clone() };
            let method: u16 = if *deflated { 8 } else { 0 };
            let at = out.len() as u32;
            let mut fields = vec![0u8; 4];
            fields.extend(method.to_le_bytes());
            fields.extend([0; 4]);
            fields.extend(crc32fast::hash(&data).to_le_bytes());
            fields.extend((stored.len() as u32).to_le_bytes());
            fields.extend((data.len() as u32).to_le_bytes());
            fields.extend((name.len() as u16).to_le_bytes());
            out.extend(b"PK\x03\x04");
            out.extend(&fields);
            // NumPy has a field of twenty bytes here that the directory has not.
            out.extend(20u16.to_le_bytes());
            out.extend(name.as_bytes());
            out.extend([7; 20]);
            out.extend(stored);
            directory.extend(b"PK\x01\x02\x00\x00");
            directory.extend(&fields);
            directory.extend([0; 12]);
            directory.extend(at.to_le_bytes());
            directory.extend(name.as_bytes());
        }
        let at = out.len() as u32;
        out.extend(&directory);
        out.extend(b"PK\x05\x06\0\0\0\0");
        for _ in 0..2 {
            out.extend((files.len() as u16).to_le_bytes());
        }
        out.extend((directory.len() as u32).to_le_bytes());
        out.extend(at.to_le_bytes());
        out.extend([0; 2]);
        out
    }

    fn read(bytes: Vec<u8>) -> Result<Vec<(String, Tensor)>> {
        let archive = Archive::of(bytes)?;
        archive.members()?.iter().map(|m| Ok((m.name.clone(), m.tensor(DType::F32)?))).collect()
    }

    #[test]
    fn arrays_are_read_stored_and_deflated() {
        let a = Tensor::f32(&[2, 3], vec![0.0, 1.5, 2.0, -1.0, 7.0, 3.0]).unwrap();
        let b = Tensor::i64(&[300], vec![5; 300]).unwrap();
        let bytes = archive(&[("x.npy", &a, false), ("input ids.npy", &b, true)]);
        assert_eq!(read(bytes).unwrap(), [("x".to_owned(), a), ("input ids".to_owned(), b)]);
        assert_eq!(read(archive(&[])).unwrap(), []);
    }

    #[test]
    fn what_is_cut_or_changed_is_refused() {
        let a = Tensor::i64(&[40], vec![5; 40]).unwrap();
        let good = archive(&[("x.npy", &a, true)]);
        for cut in 0..good.len() {
            assert_eq!(read(good[..cut].to_vec()).unwrap_err().code, "npz", "cut at {cut}");
        }
        for at in 0..good.len() {
            for value in [0, 1, 255] {
                let mut bytes = good.clone();
                bytes[at] = value;
                // Names, dates and what nobody reads may change; numbers may not.
                if let Ok(arrays) = read(bytes) {
                    assert!(arrays.iter().all(|(_, t)| *t == a), "{at} to {value}");
                }
            }
        }
        let twice = archive(&[("x.npy", &a, true), ("x.npy", &a, false)]);
        assert!(read(twice).unwrap_err().headline.contains("twice"));
        assert!(read(archive(&[("x.txt", &a, false)])).unwrap_err().headline.contains("no array"));
        // What unpacks to far more than the directory says ends there.
        let zeros = Tensor::i64(&[1 << 16], vec![0; 1 << 16]).unwrap();
        let mut bomb = archive(&[("x.npy", &zeros, true)]);
        let at = bomb.windows(4).rposition(|w| w == b"PK\x01\x02").unwrap() + 24;
        bomb[at..at + 4].copy_from_slice(&100u32.to_le_bytes());
        assert!(read(bomb).unwrap_err().headline.contains("unpacked"));
    }
}
