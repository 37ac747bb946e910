//! A problem of any kernel: what its launches are given, and what has to come out.

use crate::rows::numbers;
use actc_codegen::emit::SizesIn;
use actc_codegen::plan::cuda::Kernel;
use actc_codegen::spec::KernelSpec;
use actc_codegen::spec::gpu::GpuKernel;
use actc_types::RowForm;
use half::f16;
use std::fmt;

/// A problem by name, whose numbers are made when they are asked for.
pub struct Case {
    /// What it is.
    pub name: String,
    /// What is launched.
    pub kernels: Vec<Kernel>,
    make: Box<dyn Fn() -> Problem>,
}

/// Memory, launches over it, and what it holds then.
#[derive(Default)]
pub struct Problem {
    /// The memory of all launches.
    pub memory: Vec<Memory>,
    /// The launches in their order.
    pub launches: Vec<Launch>,
}

/// Memory of a device.
pub struct Memory {
    /// What it holds from its start on; nobody has written the rest.
    pub start: Vec<u8>,
    /// Its bytes.
    pub len: usize,
    /// What it holds when all launches are done; `None` where that is not looked at.
    pub want: Option<Want>,
}

/// One launch.
pub struct Launch {
    /// Which of the case's kernels.
    pub kernel: usize,
    /// Which memory each of its buffers is.
    pub buffers: Vec<usize>,
    /// Its sizes.
    pub sizes: Vec<u64>,
}

/// What has to be in memory.
pub enum Want {
    /// These bytes.
    Bytes(Vec<u8>),
    /// These floats of 16 bits, bit by bit, but for numbers that are none, which have many forms.
    Halves(Vec<f16>),
    /// These floats, likewise.
    Floats(Vec<f32>),
    /// Floats about these.
    Near(Vec<Near>),
    /// Rows of `n` numbers in a form, about these.
    Rows {
        /// Numbers of a row.
        n: usize,
        /// How they lie.
        form: RowForm,
        /// What they are.
        near: Vec<Near>,
    },
    /// One behind the other.
    Parts(Vec<Want>),
}

/// A number and how far off it may be. What is equal to it in single precision is right, and so is what is no number where it
/// is none.
#[derive(Clone, Copy, Debug)]
pub struct Near {
    /// The number.
    pub want: f64,
    /// By how much it may be missed.
    pub tolerance: f64,
}

/// The element that is furthest from what it should be.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// How far, in tolerances: above 1 is wrong. What must be exact and is not is infinitely far.
    pub error: f64,
    text: String,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {:.3} tolerances off", self.text, self.error)
    }
}

/// Bytes of floats.
pub(crate) fn floats(x: &[f32]) -> Vec<u8> {
    x.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// Bytes of integers.
pub(crate) fn integers(x: &[i64]) -> Vec<u8> {
    x.iter().flat_map(|v| v.to_le_bytes()).collect()
}

impl Case {
    /// A problem of `kernels` that `make` makes, the same each time.
    pub fn new(name: String, kernels: Vec<Kernel>, make: impl Fn() -> Problem + 'static) -> Case {
        Case { name, kernels, make: Box::new(make) }
    }

    /// A problem of one kernel that LLVM prints, its sizes in `sizes`.
    pub(crate) fn generated(
        name: String,
        spec: KernelSpec,
        sizes: SizesIn,
        make: impl Fn() -> Problem + 'static,
    ) -> Case {
        let name = match sizes {
            SizesIn::Parameters => name,
            SizesIn::Memory => format!("{name}, sizes in memory"),
        };
        Case::new(name, vec![Kernel::Generated(spec, sizes)], make)
    }

    /// A problem of one kernel of a template.
    pub(crate) fn of(name: String, kernel: GpuKernel, make: impl Fn() -> Problem + 'static) -> Case {
        Case::new(name, vec![Kernel::Template(kernel)], make)
    }

    /// The same problem of other kernels, which take the same buffers and sizes.
    pub(crate) fn by(self, name: String, of: impl Fn(Kernel) -> Kernel) -> Case {
        Case { name, kernels: self.kernels.into_iter().map(of).collect(), make: self.make }
    }

    /// Its numbers, and the answers.
    pub fn problem(&self) -> Problem {
        (self.make)()
    }

    /// Whether LLVM prints its kernels.
    pub fn is_generated(&self) -> bool {
        self.kernels.iter().any(|kernel| matches!(kernel, Kernel::Generated(..)))
    }
}

impl Problem {
    fn push(&mut self, memory: Memory) -> usize {
        self.memory.push(memory);
        self.memory.len() - 1
    }

    /// Memory that holds `start`.
    pub(crate) fn put(&mut self, start: Vec<u8>) -> usize {
        let len = start.len();
        self.push(Memory { start, len, want: None })
    }

    /// Memory of `len` bytes that nobody has written.
    pub(crate) fn room(&mut self, len: usize) -> usize {
        self.push(Memory { start: Vec::new(), len, want: None })
    }

    /// Memory that nobody has written, in which `want` has to be.
    pub(crate) fn want(&mut self, want: Want) -> usize {
        self.grown(Vec::new(), want)
    }

    /// Memory that holds `start`, behind which nobody has written, and in which `want` has to be.
    pub(crate) fn grown(&mut self, start: Vec<u8>, want: Want) -> usize {
        let len = want.bytes();
        self.push(Memory { start, len, want: Some(want) })
    }

    /// A launch of kernel `kernel`.
    pub(crate) fn launch(&mut self, kernel: usize, buffers: &[usize], sizes: &[usize]) {
        let sizes = sizes.iter().map(|n| *n as u64).collect();
        self.launches.push(Launch { kernel, buffers: buffers.to_vec(), sizes });
    }

    /// A launch of the only kernel over all memory in its order.
    pub(crate) fn launched(mut self, sizes: &[usize]) -> Problem {
        let all: Vec<usize> = (0..self.memory.len()).collect();
        self.launch(0, &all, sizes);
        self
    }

    /// Which memory is looked at.
    pub fn results(&self) -> Vec<usize> {
        (0..self.memory.len()).filter(|i| self.memory[*i].want.is_some()).collect()
    }

    /// What is furthest from what it should be in the bytes of [`Self::results`].
    pub fn worst(&self, got: &[Vec<u8>]) -> Found {
        let wants = self.memory.iter().filter_map(|memory| memory.want.as_ref());
        let mut worst = Found::default();
        let mut count = 0;
        for (i, (want, got)) in wants.zip(got).enumerate() {
            let found = want.worst(got);
            if found.error > worst.error {
                worst = Found { text: format!("result {i} {}", found.text), ..found };
            }
            count += 1;
        }
        assert_eq!((count, got.len()), (self.results().len(), count), "all results are given");
        worst
    }

    /// Panics where one of the bytes of [`Self::results`] is not as it should be.
    pub fn check(&self, got: &[Vec<u8>], what: &str) {
        let worst = self.worst(got);
        assert!(worst.error <= 1.0, "{what}: {worst}");
    }
}

impl Want {
    /// The number of bytes.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Want::Bytes(want) => want.len(),
            Want::Halves(want) => 2 * want.len(),
            Want::Floats(want) => 4 * want.len(),
            Want::Near(want) => 4 * want.len(),
            Want::Rows { n, form, near } => near.len() / n * form.row_bytes(*n),
            Want::Parts(parts) => parts.iter().map(Want::bytes).sum(),
        }
    }

    fn worst(&self, got: &[u8]) -> Found {
        assert_eq!(got.len(), self.bytes(), "as many bytes as are wanted");
        let mut worst = Found::default();
        let mut see = |error: f64, text: &dyn Fn() -> String| {
            if error > worst.error {
                worst = Found { error, text: text() };
            }
        };
        let exact = |right: bool| if right { 0.0 } else { f64::INFINITY };
        match self {
            Want::Bytes(want) => {
                for (i, (want, got)) in want.iter().zip(got).enumerate() {
                    see(exact(want == got), &|| format!("byte {i}: {got} but {want}"));
                }
            }
            Want::Halves(want) => {
                for (i, (want, got)) in want.iter().zip(got.as_chunks::<2>().0).enumerate() {
                    let got = f16::from_le_bytes(*got);
                    let right = got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan();
                    see(exact(right), &|| format!("number {i}: {got} but {want}"));
                }
            }
            Want::Floats(want) => {
                for (i, (want, got)) in want.iter().zip(got.as_chunks::<4>().0).enumerate() {
                    let got = f32::from_le_bytes(*got);
                    let right = got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan();
                    see(exact(right), &|| format!("number {i}: {got} but {want}"));
                }
            }
            Want::Near(want) => {
                for (i, (near, got)) in want.iter().zip(got.as_chunks::<4>().0).enumerate() {
                    let (got, Near { want, tolerance }) = (f32::from_le_bytes(*got), *near);
                    see(near.error(got), &|| format!("number {i}: {got} but {want} +- {tolerance:.2e}"));
                }
            }
            Want::Rows { n, form, near } => {
                for (i, (near, got)) in near.iter().zip(numbers(got, *n, *form)).enumerate() {
                    let (got, Near { want, tolerance }) = (got as f32, *near);
                    see(near.error(got), &|| format!("number {i}: {got} but {want} +- {tolerance:.2e}"));
                }
            }
            Want::Parts(parts) => {
                let mut from = 0;
                for (i, part) in parts.iter().enumerate() {
                    let found = part.worst(&got[from..from + part.bytes()]);
                    see(found.error, &|| format!("part {i} {}", found.text));
                    from += part.bytes();
                }
            }
        }
        worst
    }
}

impl Near {
    fn error(&self, got: f32) -> f64 {
        let Near { want, tolerance } = *self;
        if got == want as f32 || got.is_nan() && want.is_nan() {
            return 0.0;
        }
        let error = (f64::from(got) - want).abs() / tolerance.abs();
        if error.is_nan() { f64::INFINITY } else { error }
    }
}
