//! `reorder`: the same artifact however the pipeline is typed, weak columns at the end, and the order on record.

use super::calibration::{npz, samples, vision};
use super::{Place, path};
use actc::npy;
use std::fs;

const DATA: [&str; 4] = ["--calib-windows", "8", "--calib-len", "64"];

#[test]
fn the_order_of_passes_gives_the_same_bytes() {
    let place = Place::new();
    let owq = "owq{bits=3,target=3.25,group=64}";
    let typed = [format!("{owq},reorder"), format!("reorder,{owq}"), format!("calibrate,reorder,{owq}")];
    for (i, passes) in typed.iter().enumerate() {
        place.compile(&format!("{i}.actc"), &[&["--passes", passes.as_str()], &DATA[..]].concat()).ok();
    }
    let bytes = |i: usize| fs::read(place.path(&format!("{i}.actc"))).unwrap();
    assert!(bytes(0) == bytes(1) && bytes(0) == bytes(2), "the artifacts differ");

    place.compile("n.actc", &[&["--passes", &format!("reorder{{per=network}},{owq}")], &DATA[..]].concat()).ok();
    let shown = place.run(&["inspect", "n.actc", "--format", "json"]).json();
    let layers = shown["layers"].as_array().unwrap();
    let weak = |suffix: &str, part: &str| {
        let of = |l: &&serde_json::Value| l["name"].as_str().unwrap().contains(part) && l["weak_columns"] != 0;
        let there: Vec<_> = layers.iter().filter(of).collect();
        assert!(!there.is_empty(), "no layer {part} has weak columns");
        there.iter().all(|l| l["encoding"].as_str().unwrap().contains(&format!("place={suffix}")))
    };
    assert!(weak("suffix", "v_proj") && weak("suffix", "down_proj") && weak("suffix", "k_proj"));
    assert!(weak("scattered", "o_proj"), "channels of heads stay where they are");
    // The residual stream, and the inside of the feed-forward part of each of six layers.
    let orders = shown["orders"].as_object().unwrap();
    assert_eq!(orders.len(), 7, "{orders:?}");
    assert!(orders.keys().all(|name| !name.contains('@')));
    for tail in orders.values() {
        let mut channels: Vec<u64> = tail.as_array().unwrap().iter().map(|c| c.as_u64().unwrap()).collect();
        channels.sort_unstable();
        channels.dedup();
        assert_eq!(channels.len(), 128);
    }
    let text = |name: &str| place.run(&["generate", name, "-p", "The whale", "-n", "8"]).ok();
    assert!(!text("0.actc").is_empty());
}

#[test]
fn channels_of_heads_are_looked_up() {
    let place = Place::new();
    let passes = "reorder{per=network,heads=gather},owq{bits=3,target=3.25,group=64,budget=equal}";
    place.compile("a.actc", &[&["--passes", passes], &DATA[..]].concat()).ok();
    let shown = place.run(&["inspect", "a.actc", "--format", "json"]).json();
    let scattered = |l: &&serde_json::Value| l["encoding"].as_str().unwrap().contains("place=scattered");
    assert_eq!(shown["layers"].as_array().unwrap().iter().filter(scattered).count(), 0);
    assert_eq!(shown["orders"].as_object().unwrap().len(), 13);
}

#[test]
fn what_cannot_be_ordered_as_asked_is_the_requests_fault() {
    let place = Place::new();
    let asked = |passes: &str| place.compile("a.actc", &[&["--passes", passes], &DATA[..]].concat());
    asked("reorder{cols=0}").fails(2, "bad-option");
    asked("reorder{cols=4},owq{bits=3,target=3.25,group=64,budget=upstream}").fails(2, "option-conflict");
    let options = "heads=gather,cols=4";
    asked(&format!("reorder{{{options}}},owq{{bits=3,target=3.5,group=64}}")).fails(2, "option-conflict");
    assert!(!place.path("a.actc").exists());
}

#[test]
fn heads_are_ordered_with_their_channels() {
    let place = Place::new();
    let passes = "reorder{per=network,heads=inside},owq{bits=3,target=3.25,group=64,budget=equal}";
    place.compile("a.actc", &[&["--passes", passes], &DATA[..]].concat()).ok();
    let shown = place.run(&["inspect", "a.actc", "--format", "json"]).json();
    let scattered = |l: &&serde_json::Value| l["encoding"].as_str().unwrap().contains("place=scattered");
    assert_eq!(shown["layers"].as_array().unwrap().iter().filter(scattered).count(), 0);
    let orders = shown["orders"].as_object().unwrap();
    // The stream, six feed-forward parts, and of six attentions the channels of a head and the heads.
    let heads: Vec<_> = orders.iter().filter(|(name, _)| name.contains("o_proj") && name.contains('@')).collect();
    assert!(heads.len() >= 6 && orders.len() == 7 + 6 + heads.len(), "{orders:?}");
    assert!(!place.run(&["generate", "a.actc", "-p", "The whale", "-n", "8"]).ok().is_empty());
}

#[test]
fn channels_of_convolutions_are_ordered() {
    let place = Place::new();
    fs::write(place.path("calib.npz"), npz("image", &samples(24))).unwrap();
    fs::write(place.path("image.npy"), npy::encode(&samples(1))).unwrap();
    let model = vision();
    let outputs = |name: &str, passes: &[&str]| {
        let made = format!("{name}.actc");
        let asked = ["compile", path(&model), "--calib", "calib.npz", "-o", &made];
        place.run(&[&asked[..], passes].concat()).ok();
        place.run(&["run", &made, "--input", "image=image.npy", "--output", name]).ok();
        let files: Vec<_> = fs::read_dir(place.path(name)).unwrap().map(|f| f.unwrap().path()).collect();
        assert_eq!(files.len(), 1);
        npy::read(&files[0]).unwrap().data().to_f64()
    };
    let plain = outputs("plain", &["--passes", "clean"]);
    let near = |got: &[f64], share: f64| {
        let largest = plain.iter().fold(0f64, |m, v| m.max(v.abs()));
        let apart = plain.iter().zip(got).fold(0f64, |m, (a, b)| m.max((a - b).abs()));
        assert!(plain.len() == got.len() && apart <= share * largest, "{apart} of {largest}");
    };
    near(&outputs("ordered", &["--passes", "reorder"]), 1e-4);
    let shown = place.run(&["inspect", "ordered.actc", "--format", "json"]).json();
    assert!(!shown["orders"].as_object().unwrap().is_empty());
    near(&outputs("rounded", &["--passes", "reorder,owq{bits=4,group=16,target=6,budget=equal}"]), 0.1);
    let layers = place.run(&["inspect", "rounded.actc", "--format", "json"]).json();
    let suffix = |l: &serde_json::Value| l["encoding"].as_str().unwrap().contains("place=suffix");
    assert!(layers["layers"].as_array().unwrap().iter().any(suffix), "{layers}");
}
