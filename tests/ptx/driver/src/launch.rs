//! Launches of kernels.

use crate::state::{Handle, State};
use crate::status::{Status, answer};
use crate::work::Work;
use actc_ptx::Shape;
use std::ffi::{c_int, c_uint, c_void};

/// `CUlaunchConfig`.
#[repr(C)]
struct Config {
    grid: [c_uint; 3],
    block: [c_uint; 3],
    shared: c_uint,
    stream: Handle,
    attributes: *const Attribute,
    count: c_uint,
}

/// `CUlaunchAttribute`.
#[repr(C)]
struct Attribute {
    kind: c_uint,
    padding: c_uint,
    value: [c_uint; 16],
}

/// `CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION`.
const CLUSTER: c_uint = 4;
/// `CU_LAUNCH_PARAM_BUFFER_POINTER` and `_SIZE`, which stand in `extra` before a pointer each.
const BUFFER: usize = 1;
const BUFFER_SIZE: usize = 2;

/// Takes the parameters from the caller and enqueues the launch.
///
/// # Safety
/// `params` has a pointer to each parameter, or is null and `extra` names a buffer with all of them.
unsafe fn launch(
    state: &mut State,
    function: Handle,
    shape: Shape,
    stream: Handle,
    params: *mut *mut c_void,
    extra: *mut *mut c_void,
) -> Result<(), Status> {
    let found = state.function(function)?;
    let (module, kernel) = (std::sync::Arc::clone(&found.module), found.kernel.clone());
    let shape = Shape { dynamic_allowed: found.dynamic_allowed, ..shape };
    let layout = module.kernel(&kernel).ok_or(Status::InvalidHandle)?;
    let mut packed = vec![0u8; layout.param_bytes()];
    if !extra.is_null() {
        // SAFETY: the caller's promise.
        unsafe { from_buffer(extra, &mut packed) }?;
    } else if !layout.params().is_empty() {
        if params.is_null() {
            return Err(Status::InvalidValue);
        }
        for (index, (offset, size)) in layout.params().iter().enumerate() {
            // SAFETY: there is a pointer for each parameter.
            let from: *const u8 = unsafe { params.add(index).read_unaligned() }.cast();
            if from.is_null() {
                return Err(Status::InvalidValue);
            }
            // SAFETY: it points at as many bytes as the parameter has.
            packed[*offset..offset + size].copy_from_slice(unsafe { std::slice::from_raw_parts(from, *size) });
        }
    }
    state.enqueue(stream, Work::Launch { module, kernel, shape, params: packed })
}

/// # Safety
/// `extra` is a list of keys and values that ends with a null key.
unsafe fn from_buffer(extra: *mut *mut c_void, packed: &mut [u8]) -> Result<(), Status> {
    let (mut buffer, mut size) = (std::ptr::null::<u8>(), 0usize);
    for pair in 0..2 {
        // SAFETY: the list holds pairs up to its end, and the end is looked for before a value is read.
        let (key, value) = unsafe {
            let key = extra.add(2 * pair).read_unaligned() as usize;
            if key == 0 {
                break;
            }
            (key, extra.add(2 * pair + 1).read_unaligned())
        };
        match key {
            BUFFER => buffer = value.cast(),
            // SAFETY: the value points at the size.
            BUFFER_SIZE => size = unsafe { value.cast::<usize>().read_unaligned() },
            _ => return Err(Status::InvalidValue),
        }
    }
    if buffer.is_null() || size < packed.len() {
        return Err(Status::InvalidValue);
    }
    // SAFETY: the buffer has `size` bytes, which are no fewer.
    packed.copy_from_slice(unsafe { std::slice::from_raw_parts(buffer, packed.len()) });
    Ok(())
}

fn shape(grid: [c_uint; 3], block: [c_uint; 3], dynamic_shared: c_uint) -> Shape {
    Shape { grid, block, dynamic_shared, ..Shape::of(1, 1) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuLaunchKernel(
    function: Handle,
    grid_x: c_uint,
    grid_y: c_uint,
    grid_z: c_uint,
    block_x: c_uint,
    block_y: c_uint,
    block_z: c_uint,
    shared: c_uint,
    stream: Handle,
    params: *mut *mut c_void,
    extra: *mut *mut c_void,
) -> c_int {
    let shape = shape([grid_x, grid_y, grid_z], [block_x, block_y, block_z], shared);
    // SAFETY: the caller's promise about parameters.
    answer(|state| unsafe { launch(state, function, shape, stream, params, extra) })
}

/// Blocks that wait for each other run side by side in any case.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuLaunchCooperativeKernel(
    function: Handle,
    grid_x: c_uint,
    grid_y: c_uint,
    grid_z: c_uint,
    block_x: c_uint,
    block_y: c_uint,
    block_z: c_uint,
    shared: c_uint,
    stream: Handle,
    params: *mut *mut c_void,
) -> c_int {
    let shape = shape([grid_x, grid_y, grid_z], [block_x, block_y, block_z], shared);
    // SAFETY: the caller's promise about parameters.
    answer(|state| unsafe { launch(state, function, shape, stream, params, std::ptr::null_mut()) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuLaunchKernelEx(
    config: *const Config,
    function: Handle,
    params: *mut *mut c_void,
    extra: *mut *mut c_void,
) -> c_int {
    answer(|state| {
        // SAFETY: a pointer that is not null is one of a whole configuration.
        let config = unsafe { config.as_ref() }.ok_or(Status::InvalidValue)?;
        for index in 0..config.count as usize {
            // SAFETY: there are as many attributes as the configuration says.
            let attribute = unsafe { &*config.attributes.add(index) };
            if attribute.kind == CLUSTER && attribute.value[..3].iter().any(|d| *d > 1) {
                return Err(Status::NotSupported);
            }
        }
        let shape = shape(config.grid, config.block, config.shared);
        // SAFETY: the caller's promise about parameters.
        unsafe { launch(state, function, shape, config.stream, params, extra) }
    })
}
