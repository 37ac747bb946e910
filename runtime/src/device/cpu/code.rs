//! Machine code of an artifact in executable memory: an unsafe room.
//!
//! The image is copied out of the artifact, so a file that changes later changes nothing, and is never writable and
//! executable at the same time. Native code can do anything: whoever links it decided to trust it.
#![expect(unsafe_code, reason = "running machine code")]

use actc_artifact::CodeImage;
use actc_types::{Diagnostic, Result};
use memmap2::{Mmap, MmapMut};

/// What a kernel is.
///
/// `bufs` are the addresses of its buffers, each on a 64-byte line with 64 readable bytes behind it; `dims` its sizes.
/// The kernel does part `part` of `parts` of the work; the parts together write everything, each other things.
type Kernel = unsafe extern "C" fn(bufs: *const *mut u8, dims: *const i64, part: u32, parts: u32);

/// Kernels ready to run, by index into the manifest's names.
#[derive(Debug)]
pub(crate) struct Kernels {
    memory: Mmap,
    offsets: Vec<usize>,
}

impl Kernels {
    /// Places `image` into executable memory and finds `names` in it.
    pub(crate) fn load(image: &CodeImage<'_>, names: &[String]) -> Result<Kernels> {
        let offsets = names
            .iter()
            .map(|name| {
                image
                    .symbol(name)
                    .ok_or_else(|| Diagnostic::new("code-symbol", format!("the code has no kernel `{name}`")))
            })
            .collect::<Result<Vec<usize>>>()?;
        let bytes = image.image();
        let failed = |e: std::io::Error| {
            Diagnostic::new("code-memory", format!("cannot map {} bytes of code: {e}", bytes.len()))
                .help("the system may forbid executable memory to this process")
        };
        let mut memory = MmapMut::map_anon(bytes.len().max(1)).map_err(failed)?;
        memory[..bytes.len()].copy_from_slice(bytes);
        // Fresh anonymous pages that become executable: the kernel keeps instruction caches right where hardware does
        // not.
        let memory = memory.make_exec().map_err(failed)?;
        Ok(Kernels { memory, offsets })
    }

    /// Runs part `part` of `parts` of kernel `index`.
    pub(crate) fn run(&self, index: usize, bufs: &[*mut u8], dims: &[i64], part: usize, parts: usize) {
        let entry = self.memory[self.offsets[index]..].as_ptr();
        // SAFETY: the caller of `link` vouched that the code is what this plan was made with: at every symbol stands a
        // function of this type for this machine, and it stays inside the buffers whose sizes the plan declares.
        unsafe {
            let kernel = std::mem::transmute::<*const u8, Kernel>(entry);
            kernel(bufs.as_ptr(), dims.as_ptr(), part as u32, parts as u32);
        }
    }
}
