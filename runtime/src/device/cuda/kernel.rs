//! Kernels of a plan on a device: their code, and how many blocks and which parameters a launch has.

use super::driver::{Context, Function, Grid, Module};
use crate::expr::Expr;
use actc_artifact::{Blocks, CodeImage, CudaKernel, Sizes};
use actc_types::{Diagnostic, Result, Symbol};
use std::collections::BTreeMap;
use std::ffi::CStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Most blocks along x, y and z.
const MOST_BLOCKS: [u64; 3] = [(1 << 31) - 1, 65535, 65535];

/// A kernel that is ready on a device.
#[derive(Debug)]
pub(crate) struct Kernel {
    pub function: Function,
    pub sizes: Sizes,
    grid: [Axis; 3],
}

#[derive(Debug)]
struct Axis {
    work: Expr,
    share: u64,
}

/// The kernels of `wanted` from `image`, in their order. A module that several of them are in is loaded once.
///
/// `overlap` says that the device and its driver can start a launch while the one before it runs.
pub(crate) fn load(
    context: &Arc<Context>,
    image: &CodeImage<'_>,
    wanted: &[CudaKernel],
    overlap: bool,
) -> Result<Vec<Kernel>> {
    let mut modules: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (index, kernel) in wanted.iter().enumerate() {
        let symbol = &kernel.symbol;
        let missing = || Diagnostic::new("code-symbol", format!("the code has no kernel `{symbol}`"));
        modules.entry(image.symbol(symbol).ok_or_else(missing)?).or_default().push(index);
    }
    let modules: Vec<(usize, Vec<usize>)> = modules.into_iter().collect();
    let compiled = in_parallel(modules.len(), |i| {
        let (offset, kernels) = &modules[i];
        context.enter()?;
        let text = text(image, *offset, &wanted[kernels[0]].symbol)?;
        let module = Arc::new(Module::new(context, text, overlap && waits(text))?);
        let function = |i: &usize| {
            let kernel = &wanted[*i];
            Ok((*i, module.function(&kernel.symbol, kernel.threads, kernel.shared)?))
        };
        kernels.iter().map(function).collect::<Result<Vec<_>>>()
    });
    let mut functions = BTreeMap::new();
    for module in compiled {
        functions.extend(module?);
    }
    let kernel = |(function, kernel): (Function, &CudaKernel)| {
        let [x, y, z] = &kernel.grid;
        Ok(Kernel { function, sizes: kernel.sizes, grid: [axis(x)?, axis(y)?, axis(z)?] })
    };
    functions.into_values().zip(wanted).map(kernel).collect()
}

/// What `work` gives for each number below `count`, in order. The driver compiles on the thread that asks, several at once.
fn in_parallel<T: Send>(count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(count);
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut done = Vec::new();
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            if i >= count {
                return done;
            }
            done.push((i, work(i)));
        }
    };
    let mut all = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(worker)).collect();
        let mut all = worker();
        for other in others {
            match other.join() {
                Ok(done) => all.extend(done),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        all
    });
    all.sort_by_key(|(i, _)| *i);
    all.into_iter().map(|(_, done)| done).collect()
}

/// The PTX that starts at `offset`.
fn text<'a>(image: &CodeImage<'a>, offset: usize, symbol: &str) -> Result<&'a CStr> {
    let damaged = |what: &str| {
        Diagnostic::new("cuda-ptx", format!("the PTX of `{symbol}` {what}"))
            .help("the code is damaged; make it again with `actc relink`")
    };
    let text = image.image().get(offset..).and_then(|bytes| CStr::from_bytes_until_nul(bytes).ok());
    let text = text.ok_or_else(|| damaged("is cut off: no zero byte ends it"))?;
    if text.to_str().is_err() { Err(damaged("is no UTF-8")) } else { Ok(text) }
}

/// Whether `ptx` is one kernel that waits for what was launched before it.
fn waits(ptx: &CStr) -> bool {
    let text = ptx.to_str().unwrap_or_default();
    text.contains("griddepcontrol.wait") && text.matches(".entry").count() == 1
}

fn axis(blocks: &Blocks) -> Result<Axis> {
    let sizes = blocks.work.symbols().into_iter().filter_map(|s| Blocks::size_index(s.as_str())).max();
    let symbols: Vec<Symbol> =
        sizes.map_or_else(Vec::new, |most| (0..=most).filter_map(|i| Symbol::new(&format!("d{i}"))).collect());
    Ok(Axis { work: Expr::new(&blocks.work, &symbols)?, share: u64::from(blocks.share) })
}

impl Kernel {
    /// The blocks of a launch with sizes `dims`.
    pub(crate) fn grid(&self, dims: &[u64], label: &str) -> Result<Grid> {
        let mut grid = [1; 3];
        for ((axis, blocks), most) in self.grid.iter().zip(&mut grid).zip(MOST_BLOCKS) {
            let count = axis.work.eval(dims)?.div_ceil(axis.share).max(1);
            if count > most {
                let headline = format!("`{label}` takes {count} blocks along an axis, GPUs have at most {most}");
                return Err(Diagnostic::new("cuda-blocks", headline).help("shrink the input, or read it in parts"));
            }
            *blocks = u32::try_from(count).unwrap_or(u32::MAX);
        }
        Ok(grid)
    }

    /// Writes the parameters of a launch into `out`: addresses of buffers, then sizes, or where those lie.
    pub(crate) fn params(
        &self,
        buffers: impl Iterator<Item = u64>,
        dims: &[i64],
        table: u64,
        label: &str,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        out.clear();
        buffers.for_each(|address| out.extend_from_slice(&address.to_le_bytes()));
        match self.sizes {
            Sizes::Int => {
                for dim in dims {
                    let size = i32::try_from(*dim).map_err(|_| {
                        let headline = format!("a size of `{label}` is {dim}, which exceeds the kernel's 31 bits");
                        Diagnostic::new("dim-overflow", headline).help("shrink the input, or read it in parts")
                    })?;
                    out.extend_from_slice(&size.to_le_bytes());
                }
            }
            Sizes::Long => dims.iter().for_each(|dim| out.extend_from_slice(&dim.to_le_bytes())),
            Sizes::Memory => out.extend_from_slice(&table.to_le_bytes()),
        }
        Ok(())
    }
}
