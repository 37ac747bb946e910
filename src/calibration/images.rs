//! Samples from a folder of PNG and JPEG files, for a model with one input of images.
//!
//! Files are taken in the order of their names. Of an image the largest middle part whose sides are as the model's is cut out
//! and scaled by triangle filtering in 8 bits (bilinear; wider where it shrinks). Element `c` of a pixel becomes `(p / 255 - mean[c]) / std[c]`. Whether channels come first is read off the input's shape.

use super::arrays::Input;
use actc_passes::Sample;
use actc_types::{DType, Diagnostic, Dim, Place, Result, Tensor};
use image::imageops::FilterType;
use image::{DynamicImage, ImageReader, Limits};
use std::path::{Path, PathBuf};

/// Most pixels along a side of a file's image, and most bytes that decoding it takes.
const SIDE: u32 = 1 << 14;
const BYTES: u64 = 1 << 30;

/// Most images of a folder, and most elements of all of them.
const FILES: usize = 1 << 16;
const ELEMENTS: u64 = 1 << 30;

/// What is made of pixels.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pixels {
    /// Height and width, where the model's input leaves them open.
    pub size: Option<(u32, u32)>,
    /// What is taken off a pixel's elements, which lie in 0 to 1: one number, or one for each channel. Nothing by default.
    pub mean: Vec<f32>,
    /// What they are divided by then. 1 by default.
    pub std: Vec<f32>,
}

impl Pixels {
    /// From words: a height and a width such as `224x224`, and numbers between commas.
    pub fn parse(size: Option<&str>, mean: Option<&str>, std: Option<&str>) -> Result<Pixels> {
        let side = |n: &str| n.trim().parse().ok().filter(|n| (1..=SIDE).contains(n));
        let sides = |text: &str| text.split_once(['x', 'X']).and_then(|(h, w)| Some((side(h)?, side(w)?)));
        let size = size.map(|text| {
            let headline = format!("--size is `{text}`, expected a height and a width such as 224x224, of 1 to {SIDE}");
            sides(text).ok_or_else(|| wrong(headline))
        });
        let numbers = |name: &str, text: Option<&str>, fits: fn(&f32) -> bool| {
            let all = text.map(|text| text.split(',').map(|n| n.trim().parse().ok().filter(fits)).collect());
            all.map_or(Some(Vec::new()), |all: Option<Vec<f32>>| all).ok_or_else(|| {
                wrong(format!("--{name} is `{}`, expected numbers such as 0.5,0.5,0.5", text.unwrap_or_default()))
            })
        };
        let mean = numbers("mean", mean, |m| m.is_finite())?;
        // What is divided by is no zero.
        Ok(Pixels { size: size.transpose()?, mean, std: numbers("std", std, |s| s.is_normal())? })
    }
}

/// How an input holds an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Layout {
    channels: usize,
    /// Whether planes of one channel come behind each other, or pixels.
    planes: bool,
    height: u32,
    width: u32,
}

fn wrong(headline: String) -> Diagnostic {
    Diagnostic::request("calib-image", headline)
}

impl Layout {
    /// How `input` holds images of `size`, where it leaves that open.
    fn of((name, ty): &Input, size: Option<(u32, u32)>) -> Result<Layout> {
        let refuse = |why: &str| wrong(format!("`{name}`: {ty} takes no images: {why}"));
        let [n, dims @ ..] = ty.shape.dims() else { return Err(refuse("it has no axes")) };
        if ty.dtype != DType::F32 || dims.len() != 3 || n.fixed().is_some_and(|n| n != 1) {
            return Err(refuse("images are f32 with a batch of 1, channels, height and width"));
        }
        let colours = |d: &Dim| d.fixed().filter(|c| matches!(c, 1 | 3)).map(|c| c as usize);
        let (channels, planes, sides) = match (colours(&dims[0]), colours(&dims[2])) {
            (Some(c), None) => (c, true, &dims[1..]),
            (None, Some(c)) => (c, false, &dims[..2]),
            (Some(_), Some(_)) => return Err(refuse("channels may be first or last")),
            (None, None) => return Err(refuse("neither its first nor its last axis has 1 or 3 channels")),
        };
        let side = |dim: &Dim, asked: Option<u32>| match (dim.fixed(), asked) {
            (Some(n), Some(asked)) if n != u64::from(asked) => {
                Err(wrong(format!("--size asks for {asked} where `{name}` is {ty}")))
            }
            (Some(n), _) => u32::try_from(n).ok().filter(|n| (1..=SIDE).contains(n)).ok_or_else(|| refuse("its size")),
            (None, Some(asked)) => Ok(asked),
            (None, None) => {
                Err(wrong(format!("`{name}`: {ty} leaves the size of images open")).help("give it with --size HxW"))
            }
        };
        let (height, width) = (side(&sides[0], size.map(|s| s.0))?, side(&sides[1], size.map(|s| s.1))?);
        Ok(Layout { channels, planes, height, width })
    }

    /// The elements of `image`, scaled, cut and with `mean` and `std` of each channel.
    fn elements(self, image: &DynamicImage, mean: &[f32], std: &[f32]) -> Vec<f32> {
        let (h, w) = (u64::from(self.height), u64::from(self.width));
        let (from_h, from_w) = (u64::from(image.height()), u64::from(image.width()));
        let (cut_h, cut_w) = match from_w * h >= from_h * w {
            true => (from_h, (from_h * w / h).max(1)),
            false => ((from_w * h / w).max(1), from_w),
        };
        let middle = |from: u64, cut: u64| ((from - cut) / 2) as u32;
        let cut = image.crop_imm(middle(from_w, cut_w), middle(from_h, cut_h), cut_w as u32, cut_h as u32);
        let cut = match self.channels {
            1 => DynamicImage::ImageLuma8(cut.to_luma8()),
            _ => DynamicImage::ImageRgb8(cut.to_rgb8()),
        };
        let cut = cut.resize_exact(self.width, self.height, FilterType::Triangle);
        let bytes = cut.into_bytes();
        let value = |c: usize, byte: u8| (f32::from(byte) / 255.0 - mean[c]) / std[c];
        let c = self.channels;
        match self.planes {
            false => bytes.iter().enumerate().map(|(i, byte)| value(i % c, *byte)).collect(),
            true => (0..c).flat_map(|p| bytes.iter().skip(p).step_by(c).map(move |byte| value(p, *byte))).collect(),
        }
    }
}

/// One number for each of `channels` of `numbers`, `default` where there is none.
fn each(name: &str, numbers: &[f32], channels: usize, default: f32) -> Result<Vec<f32>> {
    match numbers {
        [] => Ok(vec![default; channels]),
        [one] => Ok(vec![*one; channels]),
        all if all.len() == channels => Ok(all.to_vec()),
        all => Err(wrong(format!("--{name} has {} numbers, the model's images {channels} channels", all.len()))),
    }
}

/// The image files of `folder` by name.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let failed = |e: std::io::Error| {
        Diagnostic::request("calib-file", format!("cannot read the folder: {e}"))
            .at(Place::File(folder.display().to_string()))
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("").to_ascii_lowercase();
        if matches!(extension.as_str(), "png" | "jpg" | "jpeg") && path.is_file() {
            files.push(path);
        }
        if files.len() > FILES {
            return Err(wrong(format!("more than {FILES} images")).at(Place::File(folder.display().to_string())));
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(
            wrong("the folder has no .png, .jpg or .jpeg file".into()).at(Place::File(folder.display().to_string()))
        );
    }
    Ok(files)
}

/// The images of `folder` as samples for `inputs`, which are one. Other files are left alone.
pub fn samples(folder: &Path, inputs: &[Input], pixels: &Pixels) -> Result<Vec<Sample>> {
    let [input] = inputs else {
        return Err(wrong(format!("a folder of images is for one input, the model has {}", inputs.len()))
            .help("give .npz files with an array for each input"));
    };
    let layout = Layout::of(input, pixels.size)?;
    let (mean, std) =
        (each("mean", &pixels.mean, layout.channels, 0.0)?, each("std", &pixels.std, layout.channels, 1.0)?);
    let (c, h, w) = (layout.channels as u64, u64::from(layout.height), u64::from(layout.width));
    let dims = if layout.planes { [1, c, h, w] } else { [1, h, w, c] };
    let files = files(folder)?;
    if c * h * w * files.len() as u64 > ELEMENTS {
        return Err(wrong(format!("{} images of {h} x {w} are too many", files.len())).help("give fewer"));
    }
    let sample = |path: PathBuf| {
        let about = |e: &dyn std::fmt::Display| {
            wrong(format!("cannot read the image: {e}")).at(Place::File(path.display().to_string()))
        };
        let mut reader = ImageReader::open(&path).and_then(ImageReader::with_guessed_format).map_err(|e| about(&e))?;
        let mut limits = Limits::default();
        (limits.max_image_width, limits.max_image_height) = (Some(SIDE), Some(SIDE));
        limits.max_alloc = Some(BYTES);
        reader.limits(limits);
        let image = reader.decode().map_err(|e| about(&e))?;
        if image.width() == 0 || image.height() == 0 {
            return Err(about(&"it is empty"));
        }
        let values = layout.elements(&image, &mean, &std);
        Ok(Sample { inputs: vec![(input.0.clone(), Tensor::f32(&dims, values)?)] })
    };
    files.into_iter().map(sample).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use actc_ir::TensorType;
    use actc_types::Shape;
    use image::{GrayImage, Rgb, RgbImage};

    fn input(dims: &[&str]) -> Input {
        let dims = dims.iter().map(|d| Dim::parse(d).unwrap()).collect();
        ("x".into(), TensorType::new(DType::F32, Shape(dims)))
    }

    #[test]
    fn layouts_are_read_off_the_shape() {
        let of = |dims: &[&str], size| Layout::of(&input(dims), size);
        let layout = |channels, planes, height, width| Layout { channels, planes, height, width };
        assert_eq!(of(&["1", "3", "8", "6"], None).unwrap(), layout(3, true, 8, 6));
        assert_eq!(of(&["N", "8", "6", "1"], None).unwrap(), layout(1, false, 8, 6));
        assert_eq!(of(&["N", "3", "H", "W"], Some((4, 5))).unwrap(), layout(3, true, 4, 5));
        for (dims, size) in [
            (&["1", "3", "H", "W"][..], None),
            (&["1", "3", "8", "6"], Some((8, 7))),
            (&["1", "3", "8", "3"], None),
            (&["1", "2", "8", "8"], None),
            (&["2", "3", "8", "8"], None),
            (&["3", "8", "8"], None),
        ] {
            assert_eq!(of(dims, size).unwrap_err().code, "calib-image", "{dims:?}");
        }
    }

    #[test]
    fn images_come_by_name_scaled_and_cut() {
        let folder = tempfile::tempdir().unwrap();
        let save = |name: &str, image: DynamicImage| image.save(folder.path().join(name)).unwrap();
        // Twice as wide as high: half of it is cut off, a quarter on either side.
        let wide = RgbImage::from_fn(16, 8, |x, _| if (4..12).contains(&x) { Rgb([255, 51, 0]) } else { Rgb([0; 3]) });
        save("b.png", wide.into());
        save("a.PNG", GrayImage::from_pixel(8, 8, image::Luma([102])).into());
        std::fs::write(folder.path().join("notes.txt"), "no image").unwrap();
        let pixels = Pixels { size: None, mean: vec![0.0, 0.1, 0.0], std: vec![0.5] };
        let all = samples(folder.path(), &[input(&["1", "3", "8", "8"])], &pixels).unwrap();
        assert_eq!(all.len(), 2);
        let (grey, colours) = (all[0].inputs[0].1.as_f32().unwrap(), all[1].inputs[0].1.as_f32().unwrap());
        assert!(grey[..64].iter().all(|v| (v - 0.8).abs() < 1e-6) && (grey[64] - 0.6).abs() < 1e-6);
        let planes = colours.chunks(64).map(|p| p.iter().copied().fold(p[0], |a, b| if a == b { a } else { f32::NAN }));
        assert!(planes.zip([2.0, 0.2, 0.0]).all(|(p, wanted): (f32, f32)| (p - wanted).abs() < 1e-6));
        let last = samples(folder.path(), &[input(&["N", "4", "4", "3"])], &Pixels::default()).unwrap();
        assert_eq!(last[1].inputs[0].1.dims(), [1, 4, 4, 3]);
        assert!((last[1].inputs[0].1.as_f32().unwrap()[25] - 0.2).abs() < 1e-6);
    }

    #[test]
    fn words_are_read() {
        let read = Pixels::parse(Some("4x6"), Some("-0.5, 1"), Some("2")).unwrap();
        assert_eq!(read, Pixels { size: Some((4, 6)), mean: vec![-0.5, 1.0], std: vec![2.0] });
        assert_eq!(Pixels::parse(None, None, None).unwrap(), Pixels::default());
        for (size, mean, std) in [
            ("4", "0", "1"),
            ("0x4", "0", "1"),
            ("4x99999", "0", "1"),
            ("4x4", "inf", "1"),
            ("4x4", "0", "1,0"),
            ("4x4", "", "1"),
        ] {
            assert_eq!(Pixels::parse(Some(size), Some(mean), Some(std)).unwrap_err().code, "calib-image");
        }
    }

    #[test]
    fn what_is_no_image_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let read = || samples(folder.path(), &[input(&["1", "3", "8", "8"])], &Pixels::default()).unwrap_err();
        assert_eq!(read().code, "calib-image");
        std::fs::write(folder.path().join("a.png"), b"\x89PNG\r\n\x1a\n and no more").unwrap();
        assert!(read().headline.contains("cannot read the image"));
        let missing = folder.path().join("none");
        assert_eq!(
            samples(&missing, &[input(&["1", "3", "8", "8"])], &Pixels::default()).unwrap_err().code,
            "calib-file"
        );
    }
}
