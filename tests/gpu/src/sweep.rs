//! Times of `gemv` with other ways to share its work than the default one, from which the defaults are chosen.

use crate::Result;
use crate::device::Device;
use crate::products::records;
use crate::speed::{PRODUCTS, SHAPES, gemv_row, linear, stored};
use crate::stream;
use actc_codegen::spec::Tokens;
use actc_codegen::spec::gpu::{Gemv, GpuKernel, Prepare, Tuning};
use actc_types::Encoding;

/// What is tried of each.
const WARPS: [u8; 3] = [4, 8, 16];
const GANGS: [u8; 2] = [1, 2];
const STAGES: [u8; 2] = [2, 3];

/// Kernels by name, with the matrix that they multiply.
fn variants() -> Result<Vec<(String, (u32, u32), Encoding, GpuKernel)>> {
    let mut all = Vec::new();
    for shape in [SHAPES[0], SHAPES[1], SHAPES[3]] {
        for (name, encoding) in stored(shape.1) {
            if !matches!(name, "2 bits/64" | "3 bits/64" | "4 bits/128") {
                continue;
            }
            for (warps, gang) in WARPS.into_iter().flat_map(|w| GANGS.map(|g| (w, g))) {
                for (stages, products) in STAGES.into_iter().flat_map(|s| PRODUCTS.map(|p| (s, p))) {
                    let tuning = Tuning { warps, gang, stages };
                    let linear = linear(shape, &encoding, Tokens::Few(1));
                    let kernel = GpuKernel::Gemv(Gemv { linear, products, tuning });
                    if kernel.check().is_ok() {
                        let name = format!("{}x{} {name} {products} {warps}w {gang}g {stages}s", shape.0, shape.1);
                        all.push((name, shape, encoding.clone(), kernel));
                    }
                }
            }
        }
    }
    Ok(all)
}

/// All kernels that are tried.
pub(crate) fn kernels() -> Result<Vec<GpuKernel>> {
    let mut all = Vec::new();
    for (_, _, _, kernel) in variants()? {
        all.extend(records(&kernel)?.into_iter().map(|record| GpuKernel::Prepare(Prepare { record })));
        all.push(kernel);
    }
    Ok(all)
}

/// Times everything that has `only` in its name, and prints it.
pub(crate) fn measure(device: &Device, only: &str) -> Result<()> {
    let copy = stream::copy(device)?;
    for (name, shape, encoding, kernel) in variants()?.iter().filter(|(name, ..)| name.contains(only)) {
        gemv_row(device, name, *shape, encoding, kernel, 1, copy)?;
    }
    Ok(())
}
