#!/bin/sh
# Builds and runs one fuzz target without cargo-fuzz: fuzz/run.sh TARGET SECONDS [libFuzzer options]
set -eu
cd "$(dirname "$0")"
target=$1 seconds=$2
shift 2
features=
case $target in tokenizer | statistics) features=--features=root ;; esac
coverage="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
coverage="$coverage -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing"
export RUSTFLAGS="$coverage -Zsanitizer=address -Ccodegen-units=4 -Cforce-frame-pointers"
host=$(rustc -vV | sed -n 's/^host: //p')
cargo ${TOOLCHAIN-+nightly} build --release --target "$host" --bin "$target" $features
mkdir -p "corpus/$target" "artifacts/$target"
exec "target/$host/release/$target" "corpus/$target" "seeds/$target" -artifact_prefix="artifacts/$target/" \
    -max_total_time="$seconds" -max_len=65536 -timeout=20 -rss_limit_mb=2048 "$@"
