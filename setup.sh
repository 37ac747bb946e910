#!/bin/sh
# Installs, from the system's package source, what one of these needs:
#
#   ./setup.sh              the cargo feature `llvm`: LLVM 19 with its headers, about 640 MB
#   ./setup.sh --static     the cargo feature `llvm-static`: the same with the libraries that LLVM itself links
#   ./setup.sh --emulator   tests of kernels for other processors: QEMU for programs
#   ./setup.sh --testdata   tests on the ONNX standard's own cases of version 1.12: 40 MB of data
#   ./setup.sh --cuda       code for NVIDIA GPUs: NVIDIA's compilers NVRTC and ptxas 13.0.88, about 330 MB, from PyPI with
#                           pip into ${XDG_DATA_HOME:-~/.local/share}/actc/cuda. They are NVIDIA's, under the licence of the
#                           CUDA toolkit, which the packages hold; no GPU and no driver is needed to compile
#
# Debian and Ubuntu. Needs root or sudo, except for --cuda; does nothing where everything is there already.
set -eu

if [ "${1-}" = "--cuda" ]; then
    folder="${XDG_DATA_HOME:-$HOME/.local/share}/actc/cuda"
    if [ ! -x "$folder/nvidia/cu13/bin/ptxas" ] || [ ! -e "$folder/nvidia/cu13/lib/libnvrtc.so.13" ]; then
        if ! python3 -m pip --version >/dev/null 2>&1; then
            echo "setup.sh --cuda needs Python's pip, or a CUDA toolkit 13.0 that CUDA_HOME names" >&2
            exit 1
        fi
        packages="nvidia-cuda-nvrtc==13.0.88 nvidia-cuda-nvcc==13.0.88"
        echo "+ pip install --target $folder $packages"
        python3 -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target "$folder" $packages
    fi
    echo "there: NVRTC and ptxas in $folder"
    exit 0
fi

case "${1-}" in
    "") packages="llvm-19-dev" ;;
    --static) packages="llvm-19-dev libpolly-19-dev libzstd-dev zlib1g-dev libffi-dev" ;;
    --emulator) packages="qemu-user" ;;
    --testdata) packages="libonnx-testdata" ;;
    *)
        sed -n 's/^# \{0,1\}//p' "$0" | sed 1d >&2
        exit 2
        ;;
esac

missing=""
case "$packages" in
    qemu-user)
        command -v qemu-aarch64 >/dev/null 2>&1 && command -v qemu-x86_64 >/dev/null 2>&1 || missing=$packages
        ;;
    llvm-19-dev)
        command -v llvm-config-19 >/dev/null 2>&1 || missing=$packages
        ;;
    *)
        for package in $packages; do
            dpkg -s "$package" >/dev/null 2>&1 || missing="$missing $package"
        done
        ;;
esac
if [ -n "$missing" ]; then
    if ! command -v apt-get >/dev/null 2>&1; then
        echo "setup.sh knows apt-get only: install $missing (LLVM_SYS_191_PREFIX says where an LLVM 19 lies)" >&2
        exit 1
    fi
    as_root=""
    if [ "$(id -u)" -ne 0 ]; then
        as_root="sudo"
    fi
    echo "+ apt-get install $missing"
    $as_root apt-get update
    $as_root apt-get install -y --no-install-recommends $missing
fi
echo "there: $packages"
