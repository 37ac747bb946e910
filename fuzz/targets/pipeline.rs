//! A pipeline string: what parses and can be put in order prints to a text that parses to the same pipeline.
#![no_main]

use actc_passes::{PASSES, Pipeline};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let pipeline = match Pipeline::parse(text, PASSES) {
        Ok(pipeline) => pipeline,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    let printed = pipeline.to_string();
    let again = Pipeline::parse(&printed, PASSES).expect("what was printed parses");
    assert_eq!(again.to_string(), printed);
    let Ok(ordered) = pipeline.normalise(PASSES) else { return };
    let printed = ordered.to_string();
    let again =
        Pipeline::parse(&printed, PASSES).and_then(|p| p.normalise(PASSES)).expect("an ordered pipeline parses");
    assert_eq!(again.to_string(), printed);
});
