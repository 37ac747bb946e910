//! The `.actc` container: one file that holds a model's weights, its plan and the code that runs it.
//!
//! # Bytes
//!
//! All numbers are little-endian.
//!
//! ```text
//! 0      8   magic "actc" 1a 0d 0a 00
//! 8      4   version of the data format, 2
//! 12     4   version of the kernel ABI of the code sections, 1
//! 16     4   number of sections, at most 50
//! 20     4   zero
//! 24     8   bytes of the whole file
//! 32         section table, 80 bytes a row:
//!              0   32  name, padded with zeros
//!              32   8  first byte in the file, a multiple of 64
//!              40   8  bytes
//!              48  32  BLAKE3 digest of these bytes
//!            zeros to byte 4096
//! 4096       sections in the order of the table, each on the next multiple of 64, zeros between them;
//!            the last one ends the file
//! ```
//!
//! | section | content |
//! |---|---|
//! | `weights` | parts of tensors, each on a multiple of 64 from the start of the section, zeros between them, 64 zeros at the end: 64 bytes behind any part may be read |
//! | `code.<target>` | symbols and a flat image of machine code: [`image`]; of NVIDIA GPUs PTX: [`cuda`] |
//! | `ir` | the portable graph after all passes, UTF-8 |
//! | `tokenizer` | a JSON text, length and zstd frame: [`bundle`] |
//! | `report` | the report of the compile, a JSON text stored as the tokenizer's is |
//! | `manifest` | a protobuf message; what it says is [`Manifest`], [`plan`] and [`cuda`] |
//!
//! The digest of an artifact is the BLAKE3 digest of its first 4096 bytes, which hold the digests of all sections. The
//! same content always gives the same bytes: no times, no paths, no order that depends on a run.
//!
//! # Trust
//!
//! Data sections are hostile input: [`Artifact`] checks header, digests, sizes, indices and nesting before it hands out
//! anything, takes memory only in proportion to the file, and fails with a [`Diagnostic`](actc_types::Diagnostic). Code
//! sections are native code and are only handed out as bytes; running them is the runtime's decision. A digest says that
//! a file is whole, not who made it.
//!
//! # Deliberately absent
//!
//! Running anything; signatures; compression of weights; sections that are encrypted; changing an artifact that has its name;
//! reading artifacts of another format version.

pub mod builtin;
pub mod bundle;
pub mod cuda;
pub mod image;
pub mod manifest;
pub mod plan;

mod aligned;
mod append;
mod artifact;
mod check;
mod decode;
mod digest;
mod encode;
mod header;
mod limits;
mod mapping;
mod scan;
mod section;
mod sink;
mod wire;
mod writer;

pub use append::append;
pub use artifact::Artifact;
pub use builtin::Builtin;
pub use cuda::{Blocks, CudaKernel, CudaPlan, CudaTarget, Sizes};
pub use digest::Digest;
pub use header::{ALIGN, FORMAT_VERSION, HEADER_BYTES, Header, KERNEL_ABI_VERSION, MAGIC, MAX_SECTIONS, SectionRow};
pub use image::CodeImage;
pub use limits::{Limits, ReadOptions};
pub use manifest::{Calibration, LayerRow, Manifest, ModelInfo, PartEntry, StateEntry, TensorEntry, TextInfo};
pub use plan::{Buffer, BufferKind, BuiltinCall, Entry, Launch, Port, Step};
pub use section::Section;
pub use writer::{PartWriter, Writer, Written};
