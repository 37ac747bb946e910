//! Saved states, as they stand and with a digest that agrees: a load changes nothing or everything.
#![no_main]

use actc_artifact::{Digest, Manifest, StateEntry, Writer};
use actc_runtime::{Model, ReadOptions, Session, SessionOptions};
use actc_types::dim::Bindings;
use actc_types::{DType, Dim, Symbol};
use libfuzzer_sys::fuzz_target;
use std::sync::{Arc, LazyLock};

/// Two states, one of them of fixed size.
static MODEL: LazyLock<Arc<Model>> = LazyLock::new(|| {
    let state = |name: &str, dtype, dims: Vec<Dim>| StateEntry { name: name.into(), dtype, dims };
    let growing = state("cache", DType::F32, vec![Dim::parse("P + S").expect("a size"), Dim::from(4)]);
    let states = vec![growing, state("sum", DType::U8, vec![Dim::from(3), Dim::from(5)])];
    let manifest = Manifest { states, ..Manifest::default() };
    let bytes = Writer::to_memory().finish(&manifest).expect("it is written").bytes.expect("in memory");
    Model::from_bytes(bytes, &ReadOptions::default()).expect("it opens")
});

fn bindings(past: u64) -> Bindings {
    [("P", past), ("S", 0)].map(|(s, n)| (Symbol::new(s).expect("a name"), n)).into()
}

fuzz_target!(|data: &[u8]| {
    let options = SessionOptions { threads: 1, state_capacity: bindings(8), ..SessionOptions::default() };
    let mut session = Session::new(MODEL.clone(), options).expect("a session");
    let before = session.save(&Bindings::new()).expect("saved");
    // The digest of the model stands at 16; most inputs would end there.
    let mut content = data.to_vec();
    if let Some(place) = content.get_mut(16..48) {
        place.copy_from_slice(&MODEL.artifact().digest().0);
    }
    let sealed = [&content[..], &Digest::of(&content).0].concat();
    for bytes in [data, &sealed] {
        match session.load(bytes) {
            Ok(()) => {
                let again = session.save(&Bindings::new()).expect("saved");
                session.load(&again).expect("what was saved loads");
            }
            Err(_) => assert_eq!(session.save(&Bindings::new()).expect("saved"), before),
        }
    }
});
