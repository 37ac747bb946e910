//! `flash`: many tokens, a batch, masks.

use super::room::Rng;
use super::room::cuda::Gpu;
use actc_codegen::spec::Attention;
use actc_codegen::spec::gpu::{Flash, GpuKernel, Products, Sizes};
use actc_problems::attention::{Problem, attention, single};
use actc_types::RowForm;

/// The error against what products of `bound` allow.
fn error(
    gpu: &mut Gpu,
    flash: &Flash,
    [batch, tokens, total]: [usize; 3],
    mask: Option<[usize; 4]>,
    bound: Products,
    rng: &mut Rng,
) -> f64 {
    let mut problem = Problem::random(flash.attention.clone(), [batch, tokens, total], rng);
    problem.mask = mask.map(|extents| {
        let hide = |x: f32| if x > 7.0 { f32::NEG_INFINITY } else { x };
        (rng.floats(extents.iter().product()).into_iter().map(hide).collect(), extents)
    });
    let q = gpu.put_floats(&problem.q);
    let [keys, values] = [&problem.keys, &problem.values].map(|x| gpu.put(x));
    let out = gpu.room(4 * problem.q.len());
    let mut buffers = vec![q, keys, values];
    let mut sizes = [batch, tokens, total].map(|n| n as u64).to_vec();
    if let Some((mask, extents)) = &problem.mask {
        buffers.push(gpu.put_floats(mask));
        sizes.extend(extents.iter().map(|n| *n as u64));
    }
    buffers.push(out);
    gpu.run(&GpuKernel::Flash(flash.clone()), &buffers, &sizes);
    let got = gpu.floats(out, problem.q.len());
    // Products of two numbers of 11 bits leave out the product of the rests.
    let part = match bound {
        Products::Half => 2f64.powi(-10),
        Products::Single => 2f64.powi(-21),
    };
    let (scores, weights) = single(flash.attention.head_dim as usize, total);
    problem.error(&got, scores + part, weights + 2.0 * part)
}

fn check(gpu: &mut Gpu, flash: &Flash, sizes: [usize; 3], mask: Option<[usize; 4]>, rng: &mut Rng) {
    let error = error(gpu, flash, sizes, mask, flash.products, rng);
    assert!(error <= 1.0, "{flash:?} of {sizes:?} is off by {error} of what it may");
}

#[test]
fn every_form_and_width() {
    let Some(mut gpu) = Gpu::open() else { return };
    let mut rng = Rng(3);
    for form in RowForm::ALL {
        for (heads, kv, dim, sizes, products) in [
            (2, 1, 64, [1, 70, 70], Products::Single),
            (2, 2, 128, [1, 17, 90], Products::Single),
            (1, 1, 34, [2, 9, 41], Products::Half),
            (2, 2, 256, [1, 20, 33], Products::Single),
        ] {
            let flash = Flash { attention: attention(heads, kv, dim, form), products, mask: false, sizes: Sizes::Int };
            check(&mut gpu, &flash, sizes, None, &mut rng);
        }
    }
}

#[test]
fn windows_masks_and_all_that_is_there() {
    let Some(mut gpu) = Gpu::open() else { return };
    let mut rng = Rng(4);
    let base = attention(2, 1, 16, RowForm::F32);
    let whole = Attention { causal: false, ..base.clone() };
    let windowed = Attention { window: Some(9), ..base.clone() };
    let flash = |attention: &Attention, mask| Flash {
        attention: attention.clone(),
        products: Products::Single,
        mask,
        sizes: Sizes::Memory,
    };
    for sizes in [[1, 1, 1], [2, 66, 130], [1, 130, 131]] {
        check(&mut gpu, &flash(&windowed, false), sizes, None, &mut rng);
    }
    check(&mut gpu, &flash(&whole, false), [3, 40, 25], None, &mut rng);
    check(&mut gpu, &flash(&whole, true), [2, 5, 77], Some([2, 2, 5, 77]), &mut rng);
    check(&mut gpu, &flash(&whole, true), [2, 5, 77], Some([2, 1, 1, 77]), &mut rng);
    check(&mut gpu, &flash(&base, true), [1, 5, 7], Some([1, 1, 5, 1]), &mut rng);
}

#[test]
fn nothing_gives_nothing() {
    let Some(mut gpu) = Gpu::open() else { return };
    let attention = Attention { causal: false, ..attention(2, 2, 8, RowForm::F16) };
    let kernel = GpuKernel::Flash(Flash { attention, products: Products::Single, mask: false, sizes: Sizes::Int });
    let (q, none, out) = (gpu.put_floats(&[1.0; 3 * 16]), gpu.room(0), gpu.room(4 * 3 * 16));
    gpu.run(&kernel, &[q, none, none, out], &[1, 3, 0]);
    assert_eq!(gpu.floats(out, 48), [0.0; 48]);
    gpu.run(&kernel, &[none, none, none, none], &[0, 0, 0]);
    gpu.run(&kernel, &[none, none, none, none], &[1, 0, 5]);
}

/// What is checked tells products of one number from products of two.
#[test]
fn half_is_not_single() {
    let Some(mut gpu) = Gpu::open() else { return };
    let attention = attention(1, 1, 64, RowForm::F32);
    let flash = Flash { attention, products: Products::Half, mask: false, sizes: Sizes::Int };
    assert!(error(&mut gpu, &flash, [1, 20, 40], None, Products::Single, &mut Rng(16)) > 8.0);
}
