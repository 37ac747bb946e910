#!/bin/sh
# Installs, from the system's package source, what one of these needs:
#
#   ./setup.sh              the cargo feature `llvm`: LLVM 19 with its headers, about 640 MB
#   ./setup.sh --static     the cargo feature `llvm-static`: the same with the libraries that LLVM itself links
#   ./setup.sh --emulator   tests of kernels for other processors: QEMU for programs
#   ./setup.sh --testdata   tests on the ONNX standard's own cases of version 1.12: 40 MB of data
#
# Debian and Ubuntu. Needs root or sudo; does nothing where everything is there already.
set -eu

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
