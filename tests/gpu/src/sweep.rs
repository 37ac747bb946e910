//! Times of `gemv` with other ways to share its work than the default one, from which the defaults are chosen.

use crate::Result;
use crate::device::Device;
use crate::products::preparing;
use crate::speed::{SHAPES, gemv_row, linear, stored};
use crate::stream;
use actc_codegen::spec::Tokens;
use actc_codegen::spec::gpu::{Gemv, GpuKernel, Products, Tuning};
use actc_types::Encoding;

/// What is tried of each.
const WARPS: [u8; 2] = [4, 8];
const GANGS: [u8; 3] = [1, 2, 4];
const STAGES: [u8; 4] = [2, 3, 4, 6];

/// What is tried on: a matrix, by its shape's place and its encoding's name, tokens, products.
const TRIED: [(usize, &str, u8, Products); 8] = [
    (0, "4 bits/128", 1, Products::Single),
    (1, "4 bits/128", 1, Products::Single),
    (1, "3 bits/64", 1, Products::Single),
    (1, "2 bits/64", 1, Products::Half),
    (2, "4 bits/128", 1, Products::Single),
    (2, "3 bits/64", 1, Products::Single),
    (3, "4 bits/128", 4, Products::Single),
    (3, "4 bits/128", 16, Products::Half),
];

/// A kernel by name, with the matrix that it multiplies.
struct Variant {
    name: String,
    shape: (u32, u32),
    encoding: Encoding,
    tokens: u8,
    kernel: GpuKernel,
}

fn variants() -> Vec<Variant> {
    let mut all = Vec::new();
    for (shape, stored_as, tokens, products) in TRIED {
        let shape = SHAPES[shape];
        let Some((_, encoding)) = stored(shape.1).into_iter().find(|(name, _)| *name == stored_as) else { continue };
        for (warps, gang) in WARPS.into_iter().flat_map(|w| GANGS.map(|g| (w, g))) {
            for stages in STAGES {
                let linear = linear(shape, &encoding, Tokens::Few(tokens));
                let kernel = GpuKernel::Gemv(Gemv { linear, products, tuning: Tuning { warps, gang, stages } });
                let name =
                    format!("{}x{} {stored_as} {tokens} {products} {warps}w {gang}g {stages}s", shape.0, shape.1);
                if kernel.check().is_ok() {
                    all.push(Variant { name, shape, encoding: encoding.clone(), tokens, kernel });
                }
            }
        }
    }
    all
}

/// All kernels that are tried.
pub(crate) fn kernels() -> Result<Vec<GpuKernel>> {
    let mut all = Vec::new();
    for Variant { kernel, .. } in variants() {
        all.extend(preparing(&kernel)?);
        all.push(kernel);
    }
    Ok(all)
}

/// Times everything that has `only` in its name, and prints it.
pub(crate) fn measure(device: &Device, only: &str) -> Result<()> {
    let copy = stream::copy(device)?;
    for v in variants().iter().filter(|v| v.name.contains(only)) {
        gemv_row(device, &v.name, v.shape, &v.encoding, &v.kernel, v.tokens.into(), copy)?;
    }
    Ok(())
}
