#!/usr/bin/env python3
"""Prefill and decode against llama.cpp's Q4_0 of the same source: one run, same threads, interleaved, medians.

    tests/scripts/fetch-models.sh smollm2
    CMAKE_ARGS=-DGGML_NATIVE=ON pip install --no-binary llama-cpp-python llama-cpp-python==0.3.36
    cargo build --release
    benches/compare_llama.py [--artifact smol.actc] [--threads 1 2] [--rounds 7]

For gemma: --source models/gemma-3-270m-q4_k_m.gguf --peer Q4_K_M.

Without --artifact the source is compiled with --passes first. Each round runs ours, then theirs; a machine that gets slower
or faster meanwhile treats both alike. A single decode step of either reads one token and leaves its logits in memory.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import tempfile
import time

from peer import Peer, quantised

ROOT = pathlib.Path(__file__).resolve().parent.parent
ACTC = ROOT / "target/release/actc"


def ours(artifact, threads, prompt, generate):
    out = subprocess.run(
        [ACTC, "bench", artifact, "--trust-code", "--format", "json", "--repeat", "1", "--prompt", str(prompt),
         "--generate", str(generate), "-t", str(threads)],
        check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return json.loads(out.stdout)


def theirs(peer, prompt, generate):
    ids = [i * 7919 % peer.vocabulary for i in range(prompt)]
    peer.clear()
    peer.read(ids[:1])
    peer.clear()
    start = time.perf_counter()
    peer.read(ids)
    middle = time.perf_counter()
    for i in range(generate):
        peer.read([ids[i % prompt]])
    end = time.perf_counter()
    return prompt / (middle - start), generate / (end - middle)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", default=ROOT / "models/SmolLM2-135M-Instruct.Q4_1.gguf")
    parser.add_argument("--artifact")
    parser.add_argument("--passes", default="owq{bits=4,target=4.1,group=128},head{bits=8}")
    parser.add_argument("--peer", default="Q4_0", help="llama.cpp's format")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--generate", type=int, default=64)
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        artifact = args.artifact
        if artifact is None:
            artifact = f"{folder}/ours.actc"
            subprocess.run([ACTC, "compile", args.source, "--passes", args.passes, "-o", artifact], check=True)
        peer_file = quantised(args.source, args.peer, max(args.threads))
        digest = None
        rows = []
        for threads in args.threads:
            peer = Peer(peer_file, args.prompt + args.generate + 8, threads)
            mine, other = [], []
            for _ in range(args.rounds):
                got = ours(artifact, threads, args.prompt, args.generate)
                digest = got["digest"]
                mine.append((got["prefill_tok_s"], got["decode_tok_s"]))
                other.append(theirs(peer, args.prompt, args.generate))
            peer.close()
            for what, i in [("prefill", 0), ("decode", 1)]:
                a = statistics.median(m[i] for m in mine)
                b = statistics.median(o[i] for o in other)
                rows.append((threads, what, a, b, a / b))
        print(f"artifact {digest}, {pathlib.Path(artifact).stat().st_size} B; llama.cpp {args.peer}, {peer_file.stat().st_size} B")
        print("| threads | what | actc tokens/s | llama.cpp tokens/s | ratio |\n|---|---|---|---|---|")
        for threads, what, a, b, ratio in rows:
            print(f"| {threads} | {what} | {a:.1f} | {b:.1f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
