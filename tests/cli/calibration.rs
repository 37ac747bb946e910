//! Calibration data of models that read tensors: arrays, images, and what is said where there is none.

use crate::{Place, path};
use actc::npy;
use actc::types::Tensor;
use std::path::{Path, PathBuf};
use std::process::Command;

pub(super) fn vision() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/onnx/vision.onnx")
}

/// An archive with one array, stored as NumPy's `savez` stores it.
pub(super) fn npz(name: &str, tensor: &Tensor) -> Vec<u8> {
    let (data, name) = (npy::encode(tensor), format!("{name}.npy"));
    let size = (data.len() as u32).to_le_bytes();
    let mut fields = vec![0; 10];
    fields.extend(crc32(&data).to_le_bytes());
    fields.extend([size, size].concat());
    fields.extend((name.len() as u16).to_le_bytes());
    let mut out = [b"PK\x03\x04", &fields[..], &[0; 2], name.as_bytes(), &data].concat();
    let directory = [b"PK\x01\x02\0\0", &fields[..], &[0; 16], name.as_bytes()].concat();
    let at = (out.len() as u32).to_le_bytes();
    out.extend(&directory);
    out.extend(b"PK\x05\x06\0\0\0\0\x01\0\x01\0");
    out.extend([(directory.len() as u32).to_le_bytes(), at].concat());
    out.extend([0; 2]);
    out
}

fn crc32(data: &[u8]) -> u32 {
    !data.iter().fold(!0u32, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |s, _| if s & 1 == 1 { s >> 1 ^ 0xedb8_8320 } else { s >> 1 })
    })
}

/// `count` images for the model.
pub(super) fn samples(count: u64) -> Tensor {
    let mut state = 7u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    Tensor::f32(&[count, 3, 16, 16], (0..count * 768).map(|_| next()).collect()).unwrap()
}

#[test]
fn arrays_calibrate_convolutions_and_the_result_is_judged_on_held_out_ones() {
    let place = Place::new();
    std::fs::write(place.path("calib.npz"), npz("image", &samples(24))).unwrap();
    let (model, passes) = (vision(), "owq{bits=4,group=64}");
    let asked = ["compile", path(&model), "--passes", passes, "--calib", "calib.npz", "-o"];
    let said = place.run(&[&asked[..], &["m.actc"]].concat()).ok();
    assert!(said.contains("calibration  21 of 24 samples of arrays"), "{said}");
    assert!(said.contains("quality      cosine ") && said.contains("on 3 held-out samples; worst layer"), "{said}");
    assert!(said.contains("KL ") && said.contains("top-1 "), "the output is a distribution: {said}");
    // The same request gives the same bytes, on one thread too.
    place.run(&[&asked[..], &["again.actc", "-t", "1"]].concat()).ok();
    assert_eq!(std::fs::read(place.path("m.actc")).unwrap(), std::fs::read(place.path("again.actc")).unwrap());
    let shown = place.run(&["inspect", "m.actc", "--format", "json"]).json();
    let layers = shown["layers"].as_array().unwrap();
    let of = |name: &str| layers.iter().find(|l| l["name"] == name).unwrap();
    assert!(of("w3")["encoding"].as_str().unwrap().contains("bits=4"), "{shown}");
    assert!(of("w2")["reason"].as_str().unwrap().contains("one channel each"), "{shown}");
    let failed = place.run(&[&asked[..], &["n.actc", "--require", "cosine>1"]].concat());
    failed.fails(1, "require-unmet");
    assert!(!place.path("n.actc").exists());
    place.run(&[&asked[..], &["n.actc", "--require", "ppl_ratio<2"]].concat()).fails(2, "require-measure");
}

/// What `calibrate` observes is what `compile` calibrates on, given the same files: the held-out samples stay apart.
#[test]
fn statistics_of_arrays_leave_out_what_judges_the_result() {
    let place = Place::new();
    let all = samples(24);
    let part = |name: &str, from: usize, to: usize| {
        let numbers = all.as_f32().unwrap()[from * 768..to * 768].to_vec();
        let tensor = Tensor::f32(&[(to - from) as u64, 3, 16, 16], numbers).unwrap();
        std::fs::write(place.path(name), npz("image", &tensor)).unwrap();
    };
    part("a.npz", 0, 10);
    part("b.npz", 10, 24);
    let model = vision();
    let data = ["--calib", "a.npz", "--calib", "b.npz"];
    let said = place.run(&[&["calibrate", path(&model), "-o", "s"], &data[..]].concat()).ok();
    assert!(said.contains("statistics  21 samples, "), "{said}");
    // Every sample of the statistics is asked for, so that both ways see the same ones in the same chunks.
    let asked =
        [&["compile", path(&model), "--passes", "calibrate{windows=all},owq{bits=4,group=64}"], &data[..]].concat();
    place.run(&[&asked[..], &["-o", "own.actc"]].concat()).ok();
    let told = place.run(&[&asked[..], &["-o", "read.actc", "--stats", "s"]].concat());
    assert!(told.ok().contains("on 3 held-out samples"), "{}", told.stderr());
    let shown = |name: &str| place.run(&["inspect", name, "--format", "json"]).json();
    let (own, read) = (shown("own.actc"), shown("read.actc"));
    assert_eq!((&own["layers"], &own["tensors"]), (&read["layers"], &read["tensors"]));
}

#[test]
fn a_folder_of_images_calibrates() {
    let place = Place::new();
    std::fs::create_dir(place.path("photos")).unwrap();
    for i in 0..9u32 {
        let pixel = |x: u32, y: u32| image::Rgb([(x * 7 + i * 20) as u8, (y * 9) as u8, (x * y + i) as u8]);
        image::RgbImage::from_fn(24, 20, pixel).save(place.path(&format!("photos/{i}.png"))).unwrap();
    }
    let model = vision();
    let asked = ["compile", path(&model), "--passes", "gptq{bits=4,group=64}", "--calib", "photos", "-o", "m.actc"];
    let said = place.run(&[&asked[..], &["--mean", "0.5", "--std", "0.2,0.2,0.25"]].concat()).ok();
    assert!(said.contains("calibration  8 of 9 images"), "{said}");
    place.run(&[&asked[..], &["-f", "--size", "8x8"]].concat()).fails(2, "calib-image");
    place.run(&[&asked[..], &["-f", "--std", "0"]].concat()).fails(2, "calib-image");
}

#[test]
fn without_data_the_inputs_are_listed_with_what_to_type() {
    let place = Place::new();
    let model = vision();
    let error =
        place.run(&["compile", path(&model), "--passes", "owq", "-o", "m.actc"]).fails(2, "calibration-missing");
    for part in ["`image`: f32[N, 3, 16, 16]", "numpy.savez('calib.npz'", "'image'", "--calib FOLDER"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    std::fs::write(place.path("c.npz"), npz("picture", &samples(3))).unwrap();
    let asked = ["compile", path(&model), "--passes", "owq", "-o", "m.actc", "--calib", "c.npz"];
    place.run(&asked).fails(2, "calib-input");
    std::fs::write(place.path("c.npz"), b"PK").unwrap();
    place.run(&asked).fails(1, "npz");
    std::fs::write(place.path("t.txt"), "words").unwrap();
    place.run(&[&asked[..], &["--calib", "t.txt"]].concat()).fails(2, "calib-format");
}

/// NumPy's own files, where there is a NumPy.
#[test]
fn files_of_numpy_are_read() {
    let place = Place::new();
    let code = "import numpy; x = numpy.arange(12, dtype=numpy.float32).reshape(4, 3); \
                numpy.savez('a.npz', x=x); numpy.savez_compressed('b.npz', x=x)";
    let made = Command::new("python3").args(["-c", code]).current_dir(place.path(".")).output();
    if !made.is_ok_and(|o| o.status.success()) {
        eprintln!("no python3 with NumPy: nothing was compared");
        return;
    }
    for name in ["a.npz", "b.npz"] {
        let archive = actc::npz::Archive::read(&place.path(name)).unwrap();
        let tensor = archive.members().unwrap()[0].tensor(actc::types::DType::F32).unwrap();
        assert_eq!((tensor.dims(), tensor.as_f32().unwrap()[7]), (&[4u64, 3][..], 7.0), "{name}");
    }
}
