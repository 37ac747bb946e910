"""Writes tests/ptx/data/*.ptx from the CUDA and LLVM sources beside them.

    pip install --target DIR --no-deps nvidia-cuda-nvrtc==13.0.88 nvidia-cuda-nvcc==13.0.88 \
        nvidia-cuda-crt==13.0.88 'nvidia-cuda-runtime==13.0.*'
    python3 tests/scripts/ptx_data.py DIR

DIR stays outside of the tree. The PTX of every source is made for sm_80, sm_89 and sm_90 and goes through ptxas; the LLVM
sources through llc-19, once. NVRTC is called through its C interface, since the package has no compiler program.
"""

import ctypes
import pathlib
import subprocess
import sys

DATA = pathlib.Path(__file__).parents[1] / "ptx" / "data"
TARGETS = ["sm_80", "sm_89", "sm_90"]


def compile_cuda(nvrtc, source, target, include):
    program = ctypes.c_void_p()
    text = source.read_bytes()
    assert nvrtc.nvrtcCreateProgram(ctypes.byref(program), text, source.name.encode(), 0, None, None) == 0
    options = [f"--gpu-architecture={target}", f"--include-path={include}", "--std=c++17"]
    given = (ctypes.c_char_p * len(options))(*[o.encode() for o in options])
    status = nvrtc.nvrtcCompileProgram(program, len(options), given)
    size = ctypes.c_size_t()
    if status != 0:
        nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
        log = ctypes.create_string_buffer(size.value)
        nvrtc.nvrtcGetProgramLog(program, log)
        sys.exit(f"{source.name} for {target}: {log.value.decode()}")
    assert nvrtc.nvrtcGetPTXSize(program, ctypes.byref(size)) == 0
    ptx = ctypes.create_string_buffer(size.value)
    assert nvrtc.nvrtcGetPTX(program, ptx) == 0
    return ptx.value.decode()


def main():
    tools = pathlib.Path(sys.argv[1]) / "nvidia" / "cu13"
    # NVRTC looks for its builtins by name; one that is open already is found.
    ctypes.CDLL(str(tools / "lib" / "libnvrtc-builtins.so.13.0"), mode=ctypes.RTLD_GLOBAL)
    nvrtc = ctypes.CDLL(str(tools / "lib" / "libnvrtc.so.13"))
    for source in sorted(DATA.glob("*.cu")):
        for target in TARGETS:
            ptx = compile_cuda(nvrtc, source, target, tools / "include")
            path = DATA / f"{source.stem}.{target}.ptx"
            path.write_text(ptx)
            assemble(tools, path, target)
    for source in sorted(DATA.glob("*.ll")):
        path = DATA / f"{source.stem}.llvm.ptx"
        subprocess.run(["llc-19", "-O3", "-mcpu=sm_80", str(source), "-o", str(path)], check=True)
        assemble(tools, path, "sm_80")


def assemble(tools, path, target):
    subprocess.run([str(tools / "bin" / "ptxas"), f"-arch={target}", str(path), "-o", "/dev/null"], check=True)
    print(path.name)


if __name__ == "__main__":
    main()
