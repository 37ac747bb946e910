#!/bin/sh
# measure.sh [kernels|models]
#
# In a folder that `pack.sh` made, on a machine with a GPU: checks every kernel there and times those that matter; then compares what
# a small model says on the GPU with what it says on the processor, and times decoders of Llama 2 7B's shape. With a word only that
# half. Ends with 1 where something is wrong.
set -eu
case "${1:-all}" in
    all | kernels | models) ;;
    *)
        sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" >&2
        exit 2
        ;;
esac
cd "$(dirname "$0")"
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>/dev/null || true
wrong=0
if [ "${1:-all}" != models ]; then
    ./gpu-check || wrong=1
fi
[ "${1:-all}" != kernels ] || exit $wrong

says() {
    ./actc generate whale.actc --raw -p "The captain" -n 40 --trust-code --device "$1"
}
cpu=$(says cpu) || cpu="nothing: it failed"
gpu=$(says cuda) || gpu="nothing: it failed there"
if [ "$gpu" = "$cpu" ]; then
    echo "whale: the GPU says what the processor says"
else
    echo "whale: the GPU says something else than the processor"
    wrong=1
fi
unpack=./zstd
$unpack --version >/dev/null 2>&1 || unpack=zstd
for packed in llama2-7b-*.actc.zst; do
    [ -e "$packed" ] || continue
    model=${packed%.zst}
    $unpack -q -f -d --long=27 "$packed"
    ./actc bench "$model" --device cuda --trust-code --no-verify --prompt 512 --generate 128 --steps || wrong=1
    rm "$model"
done
exit $wrong
