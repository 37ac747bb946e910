//! The committed header is what cbindgen makes of the crate; `ACTC_BLESS=1` writes it.

use std::path::Path;

#[test]
fn the_header_is_current() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(folder.join("cbindgen.toml")).expect("the configuration is read");
    let bindings = cbindgen::Builder::new().with_config(config).with_src(folder.join("src/lib.rs")).generate();
    let mut made = Vec::new();
    bindings.expect("the crate is read").write(&mut made);
    let made = String::from_utf8(made).expect("the header is UTF-8");
    let path = folder.join("../include/actc.h");
    if std::env::var_os("ACTC_BLESS").is_some() {
        std::fs::write(&path, &made).expect("the header is written");
    }
    let committed = std::fs::read_to_string(&path).expect("runtime/include/actc.h is there");
    assert!(
        made == committed,
        "runtime/include/actc.h is not what the crate says; ACTC_BLESS=1 cargo test -p actc-capi --test header"
    );
}
