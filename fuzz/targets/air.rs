//! The text form of a graph: what parses prints to a text that parses to the same text, and the verifier takes it.
#![no_main]

use actc_ir::text::{parse, print, unbound};
use actc_ir::verify;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(graph) = parse(text, &unbound) else { return };
    let printed = print(&graph);
    let findings = verify(&graph);
    // Large constants print by digest and need a weight source.
    let again = match parse(&printed, &unbound) {
        Ok(again) => again,
        Err(error) if error.code == "air-unbound" => return,
        Err(error) => panic!("what was printed does not parse: {error}\n{printed}"),
    };
    assert_eq!(print(&again), printed);
    assert_eq!(verify(&again).len(), findings.len());
});
