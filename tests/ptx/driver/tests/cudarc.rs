//! The stand-in through unmodified cudarc: memory, modules, launches, events, graphs.
#![allow(unsafe_code, reason = "launches are unsafe in cudarc: kernels may do anything to memory")]

mod room;

use cudarc::driver::{CudaContext, CudaSlice, DriverError, LaunchConfig, PushKernelArg, sys};
use room::{data, open};

fn shape(blocks: u32, threads: u32, shared: u32) -> LaunchConfig {
    LaunchConfig { grid_dim: (blocks, 1, 1), block_dim: (threads, 1, 1), shared_mem_bytes: shared }
}

#[test]
fn a_kernel_from_copy_to_copy() -> Result<(), DriverError> {
    open();
    let context = CudaContext::new(0)?;
    assert_eq!(context.compute_capability()?, (9, 0));
    assert!(context.name()?.contains("emulator"));
    let stream = context.default_stream();
    let (rows, width) = (3usize, 200usize);
    let x: Vec<f32> = (0..rows * width).map(|i| ((i * 37) % 101) as f32 / 50.0).collect();
    let dx = stream.clone_htod(&x)?;
    let mut dy: CudaSlice<f32> = stream.alloc_zeros(x.len())?;
    let softmax = context.load_module(data("softmax.sm_90"))?.load_function("softmax")?;
    let start = stream.record_event(Some(sys::CUevent_flags::CU_EVENT_DEFAULT))?;
    let (w, config) = (width as i32, shape(rows as u32, 128, 4 * width as u32));
    // SAFETY: the arguments are those of the kernel, and the buffers hold as many rows as blocks are launched.
    unsafe { stream.launch_builder(&softmax).arg(&dx).arg(&mut dy).arg(&w).launch(config) }?;
    let end = stream.record_event(Some(sys::CUevent_flags::CU_EVENT_DEFAULT))?;
    let time = start.elapsed_ms(&end)?;
    assert!(time > 0.0, "{time}");
    for (x, y) in x.chunks(width).zip(stream.clone_dtoh(&dy)?.chunks(width)) {
        let sum: f64 = x.iter().map(|v| f64::from(*v).exp()).sum();
        for (x, y) in x.iter().zip(y) {
            assert!((f64::from(*y) - f64::from(*x).exp() / sum).abs() < 1e-6);
        }
    }
    // The same work takes the same time.
    let again = stream.record_event(Some(sys::CUevent_flags::CU_EVENT_DEFAULT))?;
    // SAFETY: as above.
    unsafe { stream.launch_builder(&softmax).arg(&dx).arg(&mut dy).arg(&w).launch(config) }?;
    let last = stream.record_event(Some(sys::CUevent_flags::CU_EVENT_DEFAULT))?;
    assert!((again.elapsed_ms(&last)? - time).abs() < 1e-9);
    context.synchronize()
}

#[test]
fn memory_functions_and_occupancy() -> Result<(), DriverError> {
    open();
    let context = CudaContext::new(0)?;
    let stream = context.new_stream()?;
    // SAFETY: what is allocated is written before it is read.
    let mut pinned = unsafe { context.alloc_pinned::<u32>(64) }?;
    pinned.as_mut_slice()?.iter_mut().enumerate().for_each(|(i, v)| *v = i as u32);
    let mut device = stream.alloc_zeros::<u32>(128)?;
    stream.memcpy_htod(&pinned, &mut device.slice_mut(32..96))?;
    let copy = stream.clone_dtod(&device)?;
    stream.memset_zeros(&mut device)?;
    stream.synchronize()?;
    let got = stream.clone_dtoh(&copy)?;
    assert!(
        got[..32].iter().chain(&got[96..]).all(|v| *v == 0) && got[40] == 8 && stream.clone_dtoh(&device)?[40] == 0
    );
    let (free, total) = context.mem_get_info()?;
    assert!(free < total);
    let module = context.load_module(data("gemm.sm_90"))?;
    let gemm = module.load_function("gemm")?;
    assert!(module.load_function("nothing").is_err());
    let shared = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES;
    // Two stages of 64 x 40 and 32 x 72 halves.
    assert_eq!(gemm.get_attribute(shared)?, 2 * 2 * (64 * 40 + 32 * 72));
    assert!(gemm.occupancy_max_active_blocks_per_multiprocessor(128, 0, None)? >= 2);
    let dynamic = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
    gemm.set_attribute(dynamic, 100 << 10)?;
    assert!(gemm.set_attribute(dynamic, 300 << 10).is_err());
    Ok(())
}

#[test]
fn a_graph_is_launched_again_on_other_memory() -> Result<(), DriverError> {
    open();
    let context = CudaContext::new(0)?;
    let stream = context.new_stream()?;
    let module = context.load_module(data("elementwise.llvm"))?;
    let scale = module.load_function("elementwise")?;
    let mut x = stream.clone_htod(&[1f32, -2.0, 3.0, 4.0])?;
    let mut y: CudaSlice<f32> = stream.alloc_zeros(4)?;
    let mut z: CudaSlice<f32> = stream.alloc_zeros(4)?;
    // All work is in one stream.
    // SAFETY: nothing is freed before the stream has been waited for.
    unsafe { context.disable_event_tracking() };
    stream.begin_capture(sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)?;
    assert_eq!(stream.capture_status()?, sys::CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_ACTIVE);
    let (twice, count) = (2f32, 4i32);
    // SAFETY: the arguments are those of the kernel.
    unsafe { stream.launch_builder(&scale).arg(&x).arg(&mut y).arg(&twice).arg(&count).launch(shape(1, 32, 0)) }?;
    stream.memcpy_dtod(&y, &mut z)?;
    assert!(stream.synchronize().is_err(), "a captured stream is not waited for");
    let graph = stream.end_capture(sys::CUgraphInstantiate_flags(0))?.expect("work was captured");
    assert_eq!(stream.clone_dtoh(&z)?, [0.0; 4], "capturing does nothing");
    graph.launch()?;
    assert_eq!(stream.clone_dtoh(&z)?, [2.0, 0.0, 6.0, 8.0]);
    stream.memcpy_htod(&[10f32, 20.0, -30.0, 40.0], &mut x)?;
    graph.launch()?;
    assert_eq!(stream.clone_dtoh(&z)?, [20.0, 40.0, 0.0, 80.0]);
    stream.synchronize()
}

#[test]
fn machine_code_and_bad_text_are_refused() -> Result<(), DriverError> {
    open();
    let context = CudaContext::new(0)?;
    let code = |result: Result<_, DriverError>| result.map(|_: std::sync::Arc<_>| ()).expect_err("it is refused").0;
    let elf = cudarc::nvrtc::Ptx::from_binary(b"\x7fELF\x02\x01".to_vec());
    assert_eq!(code(context.load_module(elf)), sys::CUresult::CUDA_ERROR_INVALID_IMAGE);
    let text =
        cudarc::nvrtc::Ptx::from_src(".version 8.0\n.target sm_80\n.entry k() { tex.1d.v4.f32.f32 {%a}, [%b, %c]; }");
    assert_eq!(code(context.load_module(text)), sys::CUresult::CUDA_ERROR_INVALID_PTX);
    Ok(())
}
