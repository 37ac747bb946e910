//! Attention: of a few tokens against a cache, of many tokens; checked over all forms of rows, timed on those of real models.

use crate::Result;
use crate::device::{Device, Memory, Ready};
use crate::tally::Tally;
use actc_codegen::spec::Attention;
use actc_codegen::spec::gpu::{Attend, Flash, GpuKernel, Products, Sizes};
use actc_problems::Rng;
use actc_problems::attention::{Problem, attention, single};
use actc_types::RowForm;

/// Bytes over which keys and values rotate when they are timed: more than caches hold.
const ROTATE: usize = 256 << 20;

/// How attention is computed.
#[derive(Clone)]
enum Way {
    Few(Attend),
    Many(Flash),
}

#[derive(Clone)]
struct Case {
    name: String,
    way: Way,
    /// Batch, new tokens, all tokens.
    sizes: [usize; 3],
    /// The extents of a mask.
    mask: Option<[usize; 4]>,
}

impl Way {
    fn attention(&self) -> &Attention {
        match self {
            Way::Few(attend) => &attend.attention,
            Way::Many(flash) => &flash.attention,
        }
    }

    fn kernels(&self) -> Vec<GpuKernel> {
        match self {
            Way::Few(attend) => {
                let combine = attend.combine().map(GpuKernel::Combine);
                [GpuKernel::Attend(attend.clone())].into_iter().chain(combine).collect()
            }
            Way::Many(flash) => vec![GpuKernel::Flash(flash.clone())],
        }
    }
}

fn few(name: &str, attention: Attention, tokens: usize, past: usize) -> Case {
    let way = Way::Few(Attend::of(attention.clone(), tokens as u8));
    let name = format!("attend {name} {}, {tokens} new and {past} old tokens", attention.cache);
    Case { name, way, sizes: [1, tokens, past + tokens], mask: None }
}

fn many(name: &str, attention: Attention, products: Products, sizes: [usize; 3], mask: Option<[usize; 4]>) -> Case {
    let name = format!("flash {name} {}, {products} products, {sizes:?}", attention.cache);
    let flash = Flash { attention, products, mask: mask.is_some(), sizes: Sizes::Int };
    Case { name, way: Way::Many(flash), sizes, mask }
}

/// What is checked.
fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for form in RowForm::ALL {
        let windowed = Attention { window: Some(512), ..attention(4, 1, 256, form) };
        let whole = Attention { causal: false, ..attention(4, 4, 64, form) };
        all.extend([
            few("32/8 x 128", attention(32, 8, 128, form), 1, 1000),
            few("32/32 x 128", attention(32, 32, 128, form), 1, 3),
            few("9/3 x 64", attention(9, 3, 64, form), 4, 333),
            few("4/1 x 256 window", windowed.clone(), 1, 2000),
            few("16/2 x 80", attention(16, 2, 80, form), 8, 250),
            many("8/2 x 128", attention(8, 2, 128, form), Products::Single, [1, 300, 300], None),
            many("8/2 x 128", attention(8, 2, 128, form), Products::Half, [1, 70, 333], None),
            many("4/1 x 256 window", windowed, Products::Single, [1, 700, 700], None),
            many("4/4 x 64 mask", whole, Products::Single, [2, 90, 150], Some([2, 1, 1, 150])),
        ]);
    }
    all
}

/// What is timed.
fn timed() -> Vec<Case> {
    let mut all = Vec::new();
    for form in RowForm::ALL {
        all.push(few("llama2", attention(32, 32, 128, form), 1, 4095));
        all.push(few("32/8 x 128", attention(32, 8, 128, form), 1, 16383));
    }
    for (form, products) in
        [(RowForm::F16, Products::Half), (RowForm::F16, Products::Single), (RowForm::F32, Products::Single)]
    {
        all.push(many("llama2", attention(32, 32, 128, form), products, [1, 2048, 2048], None));
    }
    all
}

/// All kernels that are run for what has `only` in its name.
pub(crate) fn kernels(only: &str) -> Vec<GpuKernel> {
    let all = [cases(), timed()].concat();
    all.iter().filter(|case| case.name.contains(only)).flat_map(|case| case.way.kernels()).collect()
}

fn bytes(x: &[f32]) -> Vec<u8> {
    x.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// The launches of a case, over memory that is handed back with them; the last memory is the output.
fn ready(
    device: &Device,
    way: &Way,
    [q, keys, values]: [&Memory; 3],
    mask: Option<(&Memory, [usize; 4])>,
    sizes: [usize; 3],
    count: usize,
) -> Result<(Vec<Ready>, Vec<Memory>)> {
    let out = device.room(4 * count)?;
    let mut sizes = sizes.map(|n| n as u64).to_vec();
    match way {
        Way::Few(attend) => {
            let past = [sizes[2] - sizes[1]];
            let scratch = device.room(attend.scratch_bytes())?;
            let parts = if attend.splits > 1 { &scratch } else { &out };
            let kernels = way.kernels();
            let mut all =
                vec![device.ready(&kernels[0], &[q.address, keys.address, values.address, parts.address], &past)?];
            if let Some(combine) = kernels.get(1) {
                all.push(device.ready(combine, &[scratch.address, out.address], &[])?);
            }
            Ok((all, vec![scratch, out]))
        }
        Way::Many(_) => {
            let mut buffers = vec![q.address, keys.address, values.address];
            if let Some((mask, extents)) = mask {
                buffers.push(mask.address);
                sizes.extend(extents.map(|n| n as u64));
            }
            buffers.push(out.address);
            Ok((vec![device.ready(&way.kernels()[0], &buffers, &sizes)?], vec![out]))
        }
    }
}

/// Checks all cases that have `only` in their names; whether all are right.
pub(crate) fn check(device: &Device, only: &str) -> Result<bool> {
    let mut tally = Tally::default();
    let mut rng = Rng(21);
    for case in cases().iter().filter(|case| case.name.contains(only)) {
        let mut problem = Problem::random(case.way.attention().clone(), case.sizes, &mut rng);
        problem.mask = case.mask.map(|extents| (rng.floats(extents.iter().product()), extents));
        let (q, keys, values) =
            (device.put(&bytes(&problem.q))?, device.put(&problem.keys)?, device.put(&problem.values)?);
        let mask = problem
            .mask
            .as_ref()
            .map(|(mask, extents)| Ok::<_, Box<dyn std::error::Error>>((device.put(&bytes(mask))?, *extents)));
        let mask = mask.transpose()?;
        let mask = mask.as_ref().map(|(mask, extents)| (mask, *extents));
        let (launches, memory) = ready(device, &case.way, [&q, &keys, &values], mask, case.sizes, problem.q.len())?;
        launches.iter().try_for_each(|launch| device.start(launch))?;
        let got = device.floats(memory.last().ok_or("no output")?)?;
        let part = match &case.way {
            Way::Few(_) => 0.0,
            Way::Many(Flash { products: Products::Single, .. }) => 2f64.powi(-21),
            Way::Many(Flash { products: Products::Half, .. }) => 2f64.powi(-10),
        };
        let (scores, weights) = single(case.way.attention().head_dim as usize, case.sizes[2]);
        let error = problem.error(&got, scores + part, weights + 2.0 * part);
        tally.see(&case.name, error, &format_args!("off by {error:.3} of what is allowed"));
    }
    Ok(tally.done("attention"))
}

/// Times what has `only` in its name: bytes of keys and values, or operations, in a second.
pub(crate) fn measure(device: &Device, only: &str) -> Result<()> {
    for case in timed().iter().filter(|case| case.name.contains(only)) {
        let a = case.way.attention();
        let [batch, tokens, total] = case.sizes;
        let rows = a.cache.row_bytes(a.head_dim as usize) * a.kv_heads as usize * total * batch;
        let count = batch * tokens * (a.heads * a.head_dim) as usize;
        let q = device.zeros(4 * count)?;
        let (mut launches, mut memory) = (Vec::new(), Vec::new());
        let copies = ROTATE.div_ceil(2 * rows).min(16);
        for _ in 0..copies {
            let (keys, values) = (device.zeros(rows)?, device.zeros(rows)?);
            let (all, used) = ready(device, &case.way, [&q, &keys, &values], None, case.sizes, count)?;
            launches.extend(all);
            memory.extend(used.into_iter().chain([keys, values]));
        }
        let seconds = device.seconds(&|| launches.iter().try_for_each(|launch| device.start(launch)))? / copies as f64;
        match &case.way {
            Way::Few(_) => {
                println!("{}: {:.1} us, {:.0} GB/s", case.name, 1e6 * seconds, 2.0 * rows as f64 / seconds / 1e9);
            }
            // Two products of all pairs, of which a causal one sees half.
            Way::Many(_) => {
                let pairs = (tokens * total) as f64 * if a.causal { 0.5 } else { 1.0 };
                let work = 4.0 * pairs * f64::from(a.heads * a.head_dim) * batch as f64;
                println!("{}: {:.1} us, {:.1} TFLOP/s", case.name, 1e6 * seconds, work / seconds / 1e12);
            }
        }
        drop(memory);
    }
    Ok(())
}
