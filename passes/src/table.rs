//! The passes of this crate and the presets made of them.

use crate::pass::PassInfo;
use crate::quantize::pass::{act, awq, gptq, head, owq, rtn};
use crate::{calibrate, clean, kv, reorder};

/// All passes of this crate, by phase.
pub const PASSES: &[PassInfo] = &[
    clean::INFO,
    calibrate::INFO,
    reorder::INFO,
    rtn::INFO,
    awq::INFO,
    gptq::INFO,
    owq::INFO,
    head::INFO,
    act::INFO,
    kv::INFO,
];

/// Named pipelines: name, pipeline, one line.
pub const PRESETS: &[(&str, &str, &str)] = &[
    ("w8", "clean,rtn{bits=8,group=128},head{bits=8}", "8 bits, no data needed"),
    (
        "w4",
        "clean,calibrate,owq{bits=4,target=4.1,group=128},head{bits=8}",
        "4 bits and the most sensitive columns in 16",
    ),
    (
        "w3",
        "clean,calibrate,owq{bits=3,target=3.25,group=64},head{bits=8}",
        "3 bits and the most sensitive columns in 16",
    ),
];
