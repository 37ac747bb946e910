//! Runs kernels for another machine: a program of its own, started under an emulator by `emulated.rs`, without a compiler
//! and without any crate.
//!
//! It reads numbers of 64 bits, little-endian, and answers each call with what the buffers hold then:
//!
//! ```text
//! image   length, bytes
//! call    offset of the kernel, parts
//!         buffers, and of each: bytes, content (the last 64 of them lie behind its end)
//!         pointers, and of each: its buffer
//!         dims, and of each: its value
//! answer  the content of all buffers
//! ```
#![expect(unsafe_code, reason = "runs machine code")]

use std::io::{self, Read, Write};

type Entry = unsafe extern "C" fn(*const *mut u8, *const i64, u32, u32);

unsafe extern "C" {
    fn mmap(address: *mut u8, length: usize, protection: i32, flags: i32, file: i32, offset: i64) -> *mut u8;
    fn mprotect(address: *mut u8, length: usize, protection: i32) -> i32;
}

const READ_WRITE: i32 = 3;
const READ_EXECUTE: i32 = 5;
const PRIVATE_ANONYMOUS: i32 = 0x22;

fn number(from: &mut impl Read) -> io::Result<u64> {
    let mut bytes = [0; 8];
    from.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

fn numbers(from: &mut impl Read) -> io::Result<Vec<u64>> {
    (0..number(from)?).map(|_| number(from)).collect()
}

/// The code in executable memory, for as long as the process lives.
fn placed(code: &[u8]) -> *const u8 {
    let length = code.len().max(1);
    // SAFETY: fresh memory of this length is written before it becomes executable.
    unsafe {
        let memory = mmap(std::ptr::null_mut(), length, READ_WRITE, PRIVATE_ANONYMOUS, -1, 0);
        assert!(memory as isize != -1, "no memory");
        std::ptr::copy_nonoverlapping(code.as_ptr(), memory, code.len());
        assert_eq!(mprotect(memory, length, READ_EXECUTE), 0, "no executable memory");
        memory
    }
}

fn main() -> io::Result<()> {
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    let mut code = vec![0; number(&mut input)? as usize];
    input.read_exact(&mut code)?;
    let code = placed(&code);
    while let Ok(offset) = number(&mut input) {
        let parts = number(&mut input)? as u32;
        let mut buffers: Vec<(Vec<u8>, usize, usize)> = Vec::new();
        for _ in 0..number(&mut input)? {
            let length = number(&mut input)? as usize;
            let mut bytes = vec![0; length + 64];
            let start = bytes.as_ptr().align_offset(64);
            input.read_exact(&mut bytes[start..start + length])?;
            buffers.push((bytes, start, length));
        }
        let pointers: Vec<*mut u8> = numbers(&mut input)?
            .into_iter()
            .map(|i| {
                let (bytes, start, _) = &mut buffers[i as usize];
                bytes[*start..].as_mut_ptr()
            })
            .collect();
        let dims: Vec<i64> = numbers(&mut input)?.into_iter().map(|n| n as i64).collect();
        for part in (0..parts).rev() {
            // SAFETY: the sender compiled the code for the machine that is emulated, and gives buffers as it needs them.
            unsafe {
                let entry: Entry = std::mem::transmute(code.add(offset as usize));
                entry(pointers.as_ptr(), dims.as_ptr(), part, parts);
            }
        }
        for (bytes, start, length) in &buffers {
            output.write_all(&bytes[*start..start + length])?;
        }
        output.flush()?;
    }
    Ok(())
}
