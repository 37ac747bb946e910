#!/bin/sh
# pack.sh FOLDER [TARGET]
#
# Puts into FOLDER all that a machine with a GPU needs to check this compiler and to time what it makes: `FOLDER/measure.sh` does that
# there, with a driver and nothing else of NVIDIA's. Models are made for TARGET, `sm_90a` where none is named.
#
# Needs what `./setup.sh` and `./setup.sh --cuda` install, and zstd. Takes a quarter of an hour of two processors and 14 GB of disk while it
# works; leaves about 220 MB.
set -eu
[ $# -ge 1 ] || { sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" >&2; exit 2; }
mkdir -p "$1"
folder=$(cd "$1" && pwd)
target=${2:-sm_90a}
cd "$(dirname "$0")/../.."

# What runs there has no LLVM in it.
cargo build --release -p actc -p actc-gpu
strip -o "$folder/actc" target/release/actc
strip -o "$folder/gpu-check.bare" target/release/actc-gpu
cargo build --release --features llvm --bin actc --example decoder_shape
cargo build --release -p actc-gpu --features llvm
target/release/actc-gpu pack --onto "$folder/gpu-check.bare" -o "$folder/gpu-check"
rm "$folder/gpu-check.bare"

target/release/actc compile tests/models/whale-2m --passes owq,reorder --target "$target" --target x86-64-v3 -f -o "$folder/whale.actc"
for shape in "4 128 4.1" "3 64 3.25" "16 0 16"; do
    # shellcheck disable=SC2086 # three arguments
    set -- $shape
    model="$folder/llama2-7b-$3.actc"
    target/release/examples/decoder_shape "$model" "$1" "$2" "$3" "$target"
    # Weights repeat themselves: a window that is wide enough sees them once.
    zstd -q -f -T0 --long=27 --rm "$model"
done
cp "$(command -v zstd)" tests/gpu/measure.sh "$folder/"
du -sh "$folder"
