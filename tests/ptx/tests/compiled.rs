//! What NVRTC 13.0.88 and LLVM 19 make of the sources in `data/`, run and compared with plain Rust.

mod room;

use actc_ptx::{Shape, Target};
use half::{bf16, f16};
use room::{Gpu, Random, data};

const TARGETS: [(&str, Target); 3] = [("sm_80", Target::Sm80), ("sm_89", Target::Sm89), ("sm_90", Target::Sm90)];

/// Every target's text of a source.
fn each_target(source: &str, mut check: impl FnMut(&mut Gpu, &str)) {
    for (name, target) in TARGETS {
        check(&mut Gpu::new(target), &data(&format!("{source}.{name}")));
    }
}

fn halves(random: &mut Random, count: usize) -> Vec<f16> {
    (0..count).map(|_| f16::from_f32(random.float())).collect()
}

#[test]
fn gemm_of_any_shape() {
    let shapes = [(64, 64, 32), (1, 8, 8), (77, 40, 72), (130, 136, 200), (16, 64, 40)];
    each_target("gemm", |gpu, ptx| {
        for (m, n, k) in shapes {
            let mut random = Random((m * n * k) as u64);
            let (a, b, bias) = (halves(&mut random, m * k), halves(&mut random, k * n), halves(&mut random, n));
            let (pa, pb, pc, y) = (gpu.put(&a), gpu.put(&b), gpu.put(&bias), gpu.room(m * n * 4));
            let shape = Shape { grid: [n.div_ceil(64) as u32, m.div_ceil(64) as u32, 1], ..Shape::of(1, 128) };
            let [pa, pb, pc, py] = [pa, pb, pc, y].map(u64::to_le_bytes);
            let [pm, pn, pk] = [m, n, k].map(|x| (x as i32).to_le_bytes());
            let cost =
                gpu.launch(ptx, "gemm", &shape, &[&pa, &pb, &pc, &py, &pm, &pn, &pk]).unwrap_or_else(|e| panic!("{e}"));
            assert!(cost.products > 0);
            let got: Vec<f32> = gpu.get(y, m * n);
            for i in 0..m {
                for j in 0..n {
                    let sum: f64 =
                        (0..k).map(|x| a[i * k + x].to_f64() * b[x * n + j].to_f64()).sum::<f64>() + bias[j].to_f64();
                    // k / 16 sums in f32, each rounded once, of terms below k: k * 2^-24 an addition.
                    let bound = (k as f64) * (k as f64 / 16.0 + 2.0) * 2f64.powi(-24);
                    assert!(
                        (f64::from(got[i * n + j]) - sum).abs() <= bound,
                        "{m} {n} {k} at {i} {j}: {} {sum}",
                        got[i * n + j]
                    );
                }
            }
        }
    });
}

#[test]
fn integer_products() {
    each_target("gemm_s8", |gpu, ptx| {
        for (m, n, k) in [(16, 8, 32), (21, 13, 96)] {
            let mut random = Random(7);
            let mut bytes = |count: usize| (0..count).map(|_| random.next() as i8).collect::<Vec<i8>>();
            let (a, b) = (bytes(m * k), bytes(n * k));
            let (pa, pb) = (gpu.put(&a), gpu.put(&b));
            let sizes = [m, n, k].map(|x| (x as i32).to_le_bytes());
            let want: Vec<i32> = (0..m * n)
                .map(|i| (0..k).map(|x| i32::from(a[i / n * k + x]) * i32::from(b[i % n * k + x])).sum())
                .collect();
            let tiles = Shape { grid: [n.div_ceil(8) as u32, m.div_ceil(16) as u32, 1], ..Shape::of(1, 32) };
            for (name, shape) in [("gemm_s8", tiles), ("dots_s8", Shape::of((m * n).div_ceil(64) as u32, 64))] {
                let y = gpu.room(m * n * 4);
                let pointers = [pa, pb, y].map(u64::to_le_bytes);
                let params: Vec<&[u8]> = pointers.iter().map(|p| &p[..]).chain(sizes.iter().map(|s| &s[..])).collect();
                gpu.launch(ptx, name, &shape, &params).unwrap_or_else(|e| panic!("{e}"));
                assert_eq!(gpu.get::<i32>(y, m * n), want, "{name}");
            }
        }
    });
}

#[test]
fn softmax_of_any_width() {
    each_target("softmax", |gpu, ptx| {
        for width in [1usize, 31, 128, 1000] {
            let mut random = Random(width as u64);
            let x: Vec<f32> = (0..3 * width).map(|_| 8.0 * random.float()).collect();
            let (px, y) = (gpu.put(&x), gpu.room(x.len() * 4));
            let shape = Shape { dynamic_shared: 4 * width as u32, ..Shape::of(3, 128) };
            gpu.launch(ptx, "softmax", &shape, &[&px.to_le_bytes(), &y.to_le_bytes(), &(width as i32).to_le_bytes()])
                .unwrap_or_else(|e| panic!("{e}"));
            let got: Vec<f32> = gpu.get(y, x.len());
            for (row, got) in x.chunks(width).zip(got.chunks(width)) {
                let largest = row.iter().copied().fold(f32::MIN, f32::max);
                let sum: f64 = row.iter().map(|v| f64::from(v - largest).exp()).sum();
                for (v, got) in row.iter().zip(got) {
                    let want = f64::from(v - largest).exp() / sum;
                    // exp is ex2 of a product rounded in f32, whose size is below 24: 24 * 2^-24 relative, and a few roundings.
                    assert!((f64::from(*got) - want).abs() <= want * 40.0 * 2f64.powi(-24), "{got} {want}");
                }
            }
        }
    });
}

#[test]
fn products_with_packed_codes() {
    const ORDER: [usize; 8] = [0, 2, 4, 6, 1, 3, 5, 7];
    each_target("gemv_w4", |gpu, ptx| {
        for (n, k, group) in [(5usize, 64usize, 64usize), (9, 384, 128), (4, 40, 8)] {
            let mut random = Random(k as u64);
            let codes: Vec<u8> = (0..n * k).map(|_| (random.next() & 15) as u8).collect();
            let scales: Vec<f16> = (0..n * (k / group)).map(|_| f16::from_f32(random.float() / 8.0)).collect();
            let x = halves(&mut random, k);
            let words: Vec<u32> = codes
                .chunks_exact(8)
                .map(|c| {
                    ORDER
                        .iter()
                        .enumerate()
                        .fold(0, |word, (nibble, column)| word | u32::from(c[*column]) << (4 * nibble))
                })
                .collect();
            let pointers = [gpu.put(&words), gpu.put(&scales), gpu.put(&x), gpu.room(n * 2)];
            let bytes = pointers.map(u64::to_le_bytes);
            let sizes = [n, k, group].map(|v| (v as i32).to_le_bytes());
            let params: Vec<&[u8]> = bytes.iter().map(|p| &p[..]).chain(sizes.iter().map(|s| &s[..])).collect();
            gpu.launch(ptx, "gemv_w4", &Shape::of(n.div_ceil(4) as u32, 128), &params)
                .unwrap_or_else(|e| panic!("{e}"));
            let got: Vec<f16> = gpu.get(pointers[3], n);
            for row in 0..n {
                let term = |i: usize| {
                    let scale = scales[row * (k / group) + i / group].to_f64();
                    (f64::from(codes[row * k + i]) - 8.0) * scale * x[i].to_f64()
                };
                let want: f64 = (0..k).map(term).sum();
                let size: f64 = (0..k).map(|i| term(i).abs()).sum();
                // Four products a word are summed in f16: three roundings of 2^-11, the result's own one.
                assert!((got[row].to_f64() - want).abs() <= size * 5.0 * 2f64.powi(-11), "{} {want}", got[row]);
            }
        }
        let words: Vec<u32> = (0..100).map(|i: u32| i.wrapping_mul(0x9e37_79b9)).collect();
        let (x, y) = (gpu.put(&words), gpu.room(1600));
        let params = [&x.to_le_bytes()[..], &y.to_le_bytes(), &100i32.to_le_bytes()];
        gpu.launch(ptx, "bytes_to_floats", &Shape::of(2, 64), &params).unwrap_or_else(|e| panic!("{e}"));
        let want: Vec<f32> = words.iter().flat_map(|w| w.to_le_bytes()).map(f32::from).collect();
        assert_eq!(gpu.get::<f32>(y, 400), want);
    });
}

#[test]
fn norms_with_codes() {
    each_target("norm", |gpu, ptx| {
        let (rows, width) = (2usize, 333usize);
        let mut random = Random(5);
        let x: Vec<f32> = (0..rows * width).map(|_| 3.0 * random.float()).collect();
        let gain: Vec<f32> = (0..width).map(|_| random.float()).collect();
        let pointers =
            [gpu.put(&x), gpu.put(&gain), gpu.room(rows * width), gpu.room(rows * 4), gpu.room(rows * width * 2)];
        let bytes = pointers.map(u64::to_le_bytes);
        let (w, e) = ((width as i32).to_le_bytes(), 1e-6f32.to_le_bytes());
        let params: Vec<&[u8]> = bytes.iter().map(|p| &p[..]).chain([&w[..], &e[..]]).collect();
        gpu.launch(ptx, "rms_norm", &Shape::of(rows as u32, 96), &params).unwrap_or_else(|e| panic!("{e}"));
        let (codes, scales): (Vec<i8>, Vec<f32>) = (gpu.get(pointers[2], rows * width), gpu.get(pointers[3], rows));
        let y: Vec<bf16> = gpu.get(pointers[4], rows * width);
        for row in 0..rows {
            let x: Vec<f64> = x[row * width..][..width].iter().map(|v| f64::from(*v)).collect();
            let mean = x.iter().map(|v| v * v).sum::<f64>() / width as f64;
            let silu = |v: f64| v / (1.0 + (-v).exp());
            let want: Vec<f64> =
                x.iter().zip(&gain).map(|(v, g)| silu(v / (mean + 1e-6).sqrt() * f64::from(*g))).collect();
            let step = want.iter().fold(0.0, |m: f64, v| m.max(v.abs())) / 127.0;
            assert!((f64::from(scales[row]) - step).abs() <= step * 1e-5);
            for i in 0..width {
                // bf16 has eight bits; a code may be the neighbour where f32's error decides.
                assert!((y[row * width + i].to_f64() - want[i]).abs() <= want[i].abs() * 2f64.powi(-8) + 1e-6);
                assert!((f64::from(codes[row * width + i]) * step - want[i]).abs() <= step * 0.501);
            }
        }
    });
}

#[test]
fn atomics_between_threads_and_blocks() {
    each_target("atomics", |gpu, ptx| {
        let mut random = Random(3);
        let bytes: Vec<u8> = (0..5000).map(|_| random.next() as u8 & 63).collect();
        let (x, bins) = (gpu.put(&bytes), gpu.put(&[0u32; 256]));
        let params = [&x.to_le_bytes()[..], &5000i32.to_le_bytes(), &bins.to_le_bytes()];
        gpu.launch(ptx, "histogram", &Shape::of(3, 160), &params).unwrap_or_else(|e| panic!("{e}"));
        let mut want = [0u32; 256];
        bytes.iter().for_each(|b| want[usize::from(*b)] += 1);
        assert_eq!(gpu.get::<u32>(bins, 256), want);

        let floats: Vec<f32> = (0..777).map(|_| random.float()).collect();
        let (x, result) = (gpu.put(&floats), gpu.put(&[0u32]));
        let params = [&x.to_le_bytes()[..], &777i32.to_le_bytes(), &result.to_le_bytes()];
        gpu.launch(ptx, "largest", &Shape::of(7, 128), &params).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(gpu.get::<f32>(result, 1)[0], floats.iter().copied().fold(0.0, f32::max));

        let (parts, done, result) = (gpu.room(20), gpu.put(&[0u32]), gpu.room(4));
        let params = [
            &x.to_le_bytes()[..],
            &777i32.to_le_bytes(),
            &parts.to_le_bytes(),
            &done.to_le_bytes(),
            &result.to_le_bytes(),
        ];
        gpu.launch(ptx, "sum", &Shape::of(5, 64), &params).unwrap_or_else(|e| panic!("{e}"));
        let want: f64 = floats.iter().map(|v| f64::from(*v)).sum();
        // Ten levels of sums of at most 777 numbers below 1.
        assert!((f64::from(gpu.get::<f32>(result, 1)[0]) - want).abs() <= 777.0 * 20.0 * 2f64.powi(-24));
    });
}

#[test]
fn kernels_of_llvm() {
    let mut gpu = Gpu::new(Target::Sm80);
    let mut random = Random(1);
    let x: Vec<f32> = (0..300).map(|_| random.float()).collect();
    let (px, y) = (gpu.put(&x), gpu.room(1200));
    let params = [&px.to_le_bytes()[..], &y.to_le_bytes(), &3f32.to_le_bytes(), &300i32.to_le_bytes()];
    gpu.launch(&data("elementwise.llvm"), "elementwise", &Shape::of(3, 128), &params).unwrap_or_else(|e| panic!("{e}"));
    let want: Vec<f32> = x.iter().map(|v| v.max(0.0) * 3.0).collect();
    assert_eq!(gpu.get::<f32>(y, 300), want);

    for width in [1usize, 127, 500] {
        let x = halves(&mut random, 4 * width);
        let (px, y) = (gpu.put(&x), gpu.room(16));
        let params = [&px.to_le_bytes()[..], &y.to_le_bytes(), &(width as i32).to_le_bytes()];
        gpu.launch(&data("reduction.llvm"), "reduction", &Shape::of(4, 128), &params).unwrap_or_else(|e| panic!("{e}"));
        for (row, got) in x.chunks(width).zip(gpu.get::<f32>(y, 4)) {
            let want: f64 = row.iter().map(|v| v.to_f64()).sum();
            assert!((f64::from(got) - want).abs() <= width as f64 * 12.0 * 2f64.powi(-24));
        }
    }
}
