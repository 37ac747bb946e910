//! A GPU with the packed kernels: memory, launches, and times of launches in a graph.

use crate::Result;
use crate::pack::Pack;
use actc_artifact::Sizes;
use actc_codegen::plan::cuda::Kernel;
use actc_codegen::spec::gpu::{GpuKernel, Launch};
use actc_problems::Case;
use cudarc::driver::{CudaContext, CudaFunction, CudaSlice, CudaStream, DevicePtr, sys};
use cudarc::nvrtc::Ptx;
use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::c_void;
use std::fmt;
use std::sync::Arc;

/// Rounds of a measurement, of which the median counts.
const ROUNDS: usize = 11;

/// A GPU.
pub(crate) struct Device {
    context: Arc<CudaContext>,
    stream: Arc<CudaStream>,
    pack: Pack,
    /// Whether launches may overlap with those before them.
    overlaps: bool,
    functions: RefCell<HashMap<String, CudaFunction>>,
}

/// Memory of the GPU.
pub(crate) struct Memory {
    slice: CudaSlice<u8>,
    /// Where it is.
    pub(crate) address: u64,
}

/// A launch that is ready to go.
#[derive(Clone)]
pub(crate) struct Ready {
    function: CudaFunction,
    launch: Launch,
    /// The addresses of buffers, then sizes; of smaller ones the kernel reads the lower half.
    params: Vec<u64>,
    /// Whether it waits by itself for what was launched before it.
    waits: bool,
    /// Sizes that the kernel reads from memory, which is theirs.
    _sizes: Option<Arc<Memory>>,
}

impl Device {
    /// GPU number `ordinal`.
    pub(crate) fn open(ordinal: usize, pack: Pack) -> Result<Device> {
        // SAFETY: looks for a library and loads it; it is the driver's.
        if !unsafe { sys::is_culib_present() } {
            return Err("this machine has no NVIDIA driver".into());
        }
        let context = CudaContext::new(ordinal)?;
        // SAFETY: one stream is used, so that events between streams are not needed.
        unsafe { context.disable_event_tracking() };
        let stream = context.new_stream()?;
        let overlaps = context.compute_capability()? >= (9, 0);
        Ok(Device { context, stream, pack, overlaps, functions: RefCell::default() })
    }

    /// The stream that everything is on.
    pub(crate) fn stream(&self) -> &Arc<CudaStream> {
        &self.stream
    }

    /// Whether it is of compute capability 9.0.
    pub(crate) fn is_hopper(&self) -> Result<bool> {
        Ok(self.context.compute_capability()? == (9, 0))
    }

    /// Processors of the GPU.
    pub(crate) fn processors(&self) -> Result<usize> {
        let attribute = sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT;
        Ok(usize::try_from(self.context.attribute(attribute)?)?)
    }

    /// A copy of `bytes`.
    pub(crate) fn put(&self, bytes: &[u8]) -> Result<Memory> {
        Ok(self.memory(if bytes.is_empty() { self.stream.alloc_zeros(1)? } else { self.stream.clone_htod(bytes)? }))
    }

    /// Memory in which every byte is `0xff`: not-a-number where nothing is written.
    pub(crate) fn room(&self, bytes: usize) -> Result<Memory> {
        self.put(&vec![0xff; bytes])
    }

    /// Zeros.
    pub(crate) fn zeros(&self, bytes: usize) -> Result<Memory> {
        Ok(self.memory(self.stream.alloc_zeros(bytes.max(1))?))
    }

    fn memory(&self, slice: CudaSlice<u8>) -> Memory {
        let address = slice.device_ptr(&self.stream).0;
        Memory { slice, address }
    }

    /// A copy of what lies in `memory`.
    pub(crate) fn copy(&self, memory: &Memory) -> Result<Memory> {
        Ok(self.memory(self.stream.clone_dtod(&memory.slice)?))
    }

    /// The floats in `memory`.
    pub(crate) fn floats(&self, memory: &Memory) -> Result<Vec<f32>> {
        let bytes = self.stream.clone_dtoh(&memory.slice)?;
        Ok(bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
    }

    /// The bytes in `memory`, of which the first `count` were asked for.
    pub(crate) fn bytes(&self, memory: &Memory, count: usize) -> Result<Vec<u8>> {
        let mut bytes = self.stream.clone_dtoh(&memory.slice)?;
        bytes.truncate(count);
        Ok(bytes)
    }

    /// Whether there is code for all kernels of `case`.
    pub(crate) fn has(&self, case: &Case) -> bool {
        let capability = self.context.compute_capability().unwrap_or_default();
        case.kernels.iter().all(|kernel| self.pack.code(capability, &kernel.symbol()).is_ok())
    }

    /// `kernel` on these buffers and sizes.
    pub(crate) fn ready(&self, kernel: &GpuKernel, buffers: &[u64], sizes: &[u64]) -> Result<Ready> {
        self.ready_any(&Kernel::Template(kernel.clone()), buffers, sizes)
    }

    /// The same of a kernel that may be LLVM's.
    pub(crate) fn ready_any(&self, kernel: &Kernel, buffers: &[u64], sizes: &[u64]) -> Result<Ready> {
        let launch = kernel.launch(sizes)?;
        let memory = match kernel.sizes() {
            Sizes::Int | Sizes::Long => None,
            Sizes::Memory => {
                let sizes = self.put(&sizes.iter().flat_map(|d| d.to_le_bytes()).collect::<Vec<u8>>())?;
                Some(Arc::new(sizes))
            }
        };
        let behind = memory.as_ref().map_or_else(|| sizes.to_vec(), |memory| vec![memory.address]);
        let waits = match kernel {
            Kernel::Template(_) => true,
            Kernel::Generated(..) => false,
        };
        let ready = self.launch(&kernel.symbol(), launch, [buffers, &behind].concat())?;
        Ok(Ready { waits, _sizes: memory, ..ready })
    }

    /// The kernel called `symbol` with these parameters, which waits for nothing by itself.
    pub(crate) fn launch(&self, symbol: &str, launch: Launch, params: Vec<u64>) -> Result<Ready> {
        Ok(Ready { function: self.function(symbol, launch.shared)?, launch, params, waits: false, _sizes: None })
    }

    fn function(&self, symbol: &str, shared: u32) -> Result<CudaFunction> {
        if let Some(function) = self.functions.borrow().get(symbol) {
            return Ok(function.clone());
        }
        let code = self.pack.code(self.context.compute_capability()?, symbol)?;
        let function = self.context.load_module(Ptx::from_binary(code.to_vec()))?.load_function(symbol)?;
        let attribute = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        function.set_attribute(attribute, i32::try_from(shared)?)?;
        self.functions.borrow_mut().insert(symbol.to_owned(), function.clone());
        Ok(function)
    }

    /// Starts one launch, which may overlap with the one before where the GPU can and the kernel waits by itself.
    pub(crate) fn start(&self, ready: &Ready) -> Result<()> {
        let Launch { grid: [x, y, z], block, shared } = ready.launch;
        let params = ready.params.iter().map(|word| std::ptr::from_ref(word).cast_mut().cast::<c_void>());
        let mut params: Vec<*mut c_void> = params.collect();
        let mut overlap = sys::CUlaunchAttribute {
            id: sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
            pad: [0; 4],
            value: sys::CUlaunchAttributeValue { programmaticStreamSerializationAllowed: 1 },
        };
        let config = sys::CUlaunchConfig {
            gridDimX: x,
            gridDimY: y,
            gridDimZ: z,
            blockDimX: block,
            blockDimY: 1,
            blockDimZ: 1,
            sharedMemBytes: shared,
            hStream: self.stream.cu_stream(),
            attrs: &raw mut overlap,
            numAttrs: u32::from(self.overlaps && ready.waits),
        };
        // SAFETY: the caller gives what the kernel's `buffers` and `dims` ask for, of the lengths that its family states; `params`
        // points at as many values, none of which is larger than a word, the lowest byte first.
        unsafe {
            let function = ready.function.cu_function();
            sys::cuLaunchKernelEx(&raw const config, function, params.as_mut_ptr(), std::ptr::null_mut()).result()
        }?;
        Ok(())
    }

    /// Seconds that `work`, which starts launches, takes as a graph: the median of some rounds.
    pub(crate) fn seconds(&self, work: &dyn Fn() -> Result<()>) -> Result<f64> {
        work()?;
        self.stream.synchronize()?;
        self.stream.begin_capture(sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)?;
        let started = work();
        let flags = sys::CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH;
        let graph = self.stream.end_capture(flags)?.ok_or("nothing was captured")?;
        started?;
        graph.launch()?;
        let mut times = Vec::new();
        for _ in 0..ROUNDS {
            let flags = Some(sys::CUevent_flags::CU_EVENT_DEFAULT);
            let start = self.stream.record_event(flags)?;
            graph.launch()?;
            let end = self.stream.record_event(flags)?;
            times.push(f64::from(start.elapsed_ms(&end)?) / 1e3);
        }
        times.sort_by(f64::total_cmp);
        Ok(times[ROUNDS / 2])
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.context.name().unwrap_or_default();
        let (major, minor) = self.context.compute_capability().unwrap_or_default();
        write!(f, "{name}, compute capability {major}.{minor}, {} processors", self.processors().unwrap_or(0))
    }
}
