#!/bin/sh
# Installs what the cargo feature `llvm` needs: LLVM 19 with its headers, from the system's package source.
#
# Debian and Ubuntu. Needs root or sudo; does nothing where LLVM 19 is there already. About 640 MB.
set -eu

if command -v llvm-config-19 >/dev/null 2>&1; then
    echo "LLVM $(llvm-config-19 --version) is there"
    exit 0
fi
if ! command -v apt-get >/dev/null 2>&1; then
    echo "setup.sh knows apt-get only: install LLVM 19 with its headers, or set LLVM_SYS_191_PREFIX to where it is" >&2
    exit 1
fi
as_root=""
if [ "$(id -u)" -ne 0 ]; then
    as_root="sudo"
fi
echo "+ apt-get install llvm-19-dev"
$as_root apt-get update
$as_root apt-get install -y --no-install-recommends llvm-19-dev
llvm-config-19 --version
