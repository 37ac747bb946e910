//! A file of statistics: what is read is written again as the same content.
#![no_main]

use actc::statistics::StatisticsFile;
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(file) = StatisticsFile::decode(&Bytes::copy_from_slice(data), "input.stats") else { return };
    let _ = file.statistics();
    let Ok(written) = file.encode() else { return };
    let again = StatisticsFile::decode(&Bytes::from(written.clone()), "again.stats").expect("what was written reads");
    assert!(again.encode().expect("and is written again") == written);
});
