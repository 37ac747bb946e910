//! A file of empty nodes is refused without the memory that decoding it would take. Alone in its process, to measure that.

use actc_frontend::onnx::Model;

/// Most memory that this process has used so far, in bytes.
fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib << 10)
}

/// A model of `count` empty nodes of two bytes, encoded.
fn nodes(count: usize) -> bytes::Bytes {
    let mut file = vec![7 << 3 | 2];
    let mut length = 2 * count;
    while length > 127 {
        file.push(length as u8 | 128);
        length >>= 7;
    }
    file.push(length as u8);
    file.extend((0..count).flat_map(|_| *b"\x0a\x00"));
    file.into()
}

#[test]
fn memory_keeps_to_the_limit() {
    // As many as just pass: refused for what they are, but only after they are decoded.
    let file = nodes(300 << 10);
    let limit = (128 << 20) + 4 * file.len() as u64;
    // The kernel's count may lag behind by a few pages.
    let before = peak();
    assert_eq!(Model::from_bytes(file, None).expect_err("no model").code, "onnx-version");
    if let (Some(before), Some(after)) = (before, peak()) {
        assert!(after.saturating_sub(before) < limit + (1 << 20), "{before} and then {after} bytes");
    }
    // 32 MiB: some gigabytes when decoded.
    let file = nodes(16 << 20);
    let before = peak();
    assert_eq!(Model::from_bytes(file, None).expect_err("refused").code, "onnx-bloat");
    if let (Some(before), Some(after)) = (before, peak()) {
        assert!(after.saturating_sub(before) < 1 << 20, "{before} and then {after} bytes");
    }
}
