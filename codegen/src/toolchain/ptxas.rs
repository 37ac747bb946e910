//! ptxas as a process: PTX to machine code, and what it takes of the machine.

use super::{architecture, find, missing};
use actc_types::{Diagnostic, Result, Target};
use std::path::PathBuf;
use std::process::Command;

/// Where ptxas is.
#[derive(Clone, Debug)]
pub struct Ptxas {
    path: PathBuf,
}

/// What a kernel takes of the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Registers of a thread.
    pub registers: u32,
    /// Bytes of shared memory of a block, beside what a launch gives.
    pub shared: u32,
    /// Bytes of stack of a thread.
    pub stack: u32,
    /// Bytes of registers that a thread writes to memory for want of room.
    pub spill_stores: u32,
    /// Bytes that it reads back.
    pub spill_loads: u32,
}

/// Machine code of one GPU.
#[derive(Clone, Debug)]
pub struct Assembled {
    /// The code, as the driver loads it.
    pub cubin: Vec<u8>,
    /// What it takes.
    pub resources: Resources,
}

impl Ptxas {
    /// Finds the program; an error says how to install it.
    pub fn open() -> Result<Ptxas> {
        let on_path = || {
            let path = std::env::var_os("PATH")?;
            std::env::split_paths(&path).map(|p| p.join("ptxas")).find(|p| p.is_file())
        };
        let path = find(&["bin"], &["ptxas"]).or_else(on_path).ok_or_else(|| missing("ptxas"))?;
        Ok(Ptxas { path })
    }

    /// Machine code of `text`, which holds one kernel. An error names the line of PTX and shows it.
    pub fn assemble(&self, name: &str, text: &str, target: &Target) -> Result<Assembled> {
        let arch = architecture(target)?;
        let cannot = |e: std::io::Error| {
            Diagnostic::new("cuda-toolchain", format!("{} cannot be run: {e}", self.path.display()))
                .help("`./setup.sh --cuda` installs one that is known to work")
        };
        let folder = tempfile::tempdir().map_err(cannot)?;
        let (input, output) = (folder.path().join("kernel.ptx"), folder.path().join("kernel.cubin"));
        std::fs::write(&input, text).map_err(cannot)?;
        let run = Command::new(&self.path)
            .args([&format!("-arch=sm_{arch}"), "-v", "-O3"])
            .arg(&input)
            .arg("-o")
            .arg(&output)
            .output()
            .map_err(cannot)?;
        let log = String::from_utf8_lossy(&run.stderr);
        if !run.status.success() {
            return Err(rejected(name, text, &log));
        }
        let cubin = std::fs::read(&output).map_err(cannot)?;
        let resources = report(&log).ok_or_else(|| {
            Diagnostic::new("cuda-toolchain", format!("ptxas says nothing of what {name} takes: {log}"))
        })?;
        Ok(Assembled { cubin, resources })
    }
}

/// The error of a text that ptxas refuses: its first message, with the line that it is about.
fn rejected(name: &str, text: &str, log: &str) -> Diagnostic {
    let message = log.lines().find(|l| l.contains("error") || l.contains("fatal")).unwrap_or(log);
    let line = message.split_once("line ").and_then(|(_, rest)| rest.split(';').next()?.trim().parse::<usize>().ok());
    let shown = line.and_then(|n| text.lines().nth(n.saturating_sub(1))).map_or("", str::trim);
    Diagnostic::new("cuda-text", format!("ptxas refuses the PTX of {name}: {message}"))
        .help(format!("the line: {shown}"))
}

/// What the report of one kernel says.
fn report(log: &str) -> Option<Resources> {
    let before = |words: &str| {
        let (head, _) = log.split_once(words)?;
        head.rsplit(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    };
    Some(Resources {
        registers: log.split_once("Used ")?.1.split_once(" registers")?.0.parse().ok()?,
        shared: before(" bytes smem").unwrap_or(0),
        stack: before(" bytes stack frame")?,
        spill_stores: before(" bytes spill stores")?,
        spill_loads: before(" bytes spill loads")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_read() {
        let log = "ptxas info    : 0 bytes gmem\nptxas info    : Compiling entry function 'k' for 'sm_80'\n\
                   ptxas info    : Function properties for k\n    8 bytes stack frame, 4 bytes spill stores, 12 bytes spill loads\n\
                   ptxas info    : Used 24 registers, used 1 barriers, 8192 bytes smem, 368 bytes cmem[0]\n";
        let resources = Resources { registers: 24, shared: 8192, stack: 8, spill_stores: 4, spill_loads: 12 };
        assert_eq!(report(log), Some(resources));
        assert_eq!(report("ptxas info"), None);
    }

    #[test]
    fn errors_show_their_line() {
        let error = rejected(
            "k",
            "a;\nwrong.f32 %r1;\n",
            "ptxas kernel.ptx, line 2; error   : Not a name of any known instruction\n",
        );
        assert!(error.headline.contains("any known") && error.help.unwrap().ends_with("wrong.f32 %r1;"));
    }
}
