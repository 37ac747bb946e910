#!/usr/bin/env python3
"""Quality over size: perplexity and KL of our artifacts and of llama.cpp's files of the same source, on the same windows.

    tests/scripts/fetch-models.sh smollm2 texts
    CMAKE_ARGS=-DGGML_NATIVE=ON pip install --no-binary llama-cpp-python llama-cpp-python==0.3.36
    cargo build --release
    benches/frontier.py [--texts models/texts/sotu-2016.txt ...] [--ctx 1024] [--windows 6]

Every row's figures come from one file: ours through the artifact's own kernels (actc eval), theirs through llama.cpp.
KL is against the source as shipped, each in its own program. Windows do not overlap and have no leading token unless the
model expects one; ctx - 1 predictions each. Artifacts are kept in models/frontier/ and made again when missing.
"""

import argparse
import json
import pathlib
import subprocess

import numpy as np

from peer import TYPES, Peer, quantised

ROOT = pathlib.Path(__file__).resolve().parent.parent
ACTC = ROOT / "target/release/actc"
# Equal stored bits: rtn and gptq get the smaller groups that owq's weak columns cost.
OURS = [
    "rtn{bits=3,group=32}",
    "gptq{bits=3,group=32}",
    "owq{bits=3,target=3.25,group=64}",
    "rtn{bits=4,group=64}",
    "gptq{bits=4,group=64}",
    "owq{bits=4,target=4.1,group=128}",
]


def actc(*args):
    out = subprocess.run([ACTC, *map(str, args), "--format", "json"], check=True, stdout=subprocess.PIPE,
                         stderr=subprocess.DEVNULL)
    return json.loads(out.stdout)


def artifact(source, pipeline):
    folder = source.parent / "frontier"
    folder.mkdir(exist_ok=True)
    name = "".join(c if c.isalnum() or c in ".-" else "_" for c in f"{source.stem}.{pipeline}")
    path = folder / f"{name}.actc"
    if not path.exists():
        subprocess.run([ACTC, "compile", source, "--passes", pipeline, "-o", path], check=True)
    return path


def log_softmax(logits):
    logits = logits.astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def spread(values):
    values = np.asarray(values)
    return values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else float("nan")


def theirs(file, reference, windows, threads):
    """Mean nll and KL of each window."""
    ctx = len(windows[0])
    a, b = Peer(file, ctx, threads), Peer(reference, ctx, threads)
    nll, kl = [], []
    for window in windows:
        total = divergence = 0.0
        mine, other = a.score(window[:-1]), b.score(window[:-1])
        for start in range(0, ctx - 1, 64):
            q = log_softmax(mine[start:start + 64])
            p = log_softmax(other[start:start + 64])
            ids = np.array(window[1 + start:1 + start + len(q)])
            total -= q[np.arange(len(q)), ids].sum()
            divergence += (np.exp(p) * (p - q)).sum()
        nll.append(total / (ctx - 1))
        kl.append(divergence / (ctx - 1))
    a.close()
    b.close()
    return nll, kl


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=pathlib.Path, default=ROOT / "models/SmolLM2-135M-Instruct.Q4_1.gguf")
    parser.add_argument("--texts", type=pathlib.Path, nargs="+", default=[
        ROOT / "models/texts/sotu-2016.txt", ROOT / "models/texts/sotu-1981.txt", ROOT / "models/texts/moby-dick-tail.txt"])
    parser.add_argument("--ours", nargs="*", default=OURS, help="pipelines")
    parser.add_argument("--peers", nargs="*", default=list(TYPES), help="llama.cpp's formats")
    parser.add_argument("--json", type=pathlib.Path, help="also write every window's figures to this file")
    parser.add_argument("--ctx", type=int, default=1024)
    parser.add_argument("--windows", type=int, default=6)
    parser.add_argument("--bos", type=int, default=None, help="id of the leading token of every window, if the model expects one")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()

    files = [(f"actc {p}", artifact(args.source, p), True) for p in args.ours]
    files += [(f"llama.cpp {k}", quantised(args.source, k, args.threads), False) for k in args.peers]
    bits = {name: actc("inspect", file)["bits_per_weight"] for name, file, _ in files}
    record = {}
    for text in args.texts:
        peer = Peer(args.source, args.ctx, args.threads)
        ids = peer.tokens(text.read_text(encoding="utf-8"))
        shipped = peer
        body = args.ctx - (args.bos is not None)
        lead = [] if args.bos is None else [args.bos]
        windows = [lead + ids[i:i + body] for i in range(0, len(ids) - body + 1, body)][:args.windows]
        shipped.close()
        nll, _ = theirs(args.source, args.source, windows, args.threads)
        print(f"\n{text.name}: {len(windows)} windows of {args.ctx} tokens; "
              f"the source in llama.cpp: perplexity {np.exp(np.mean(nll)):.2f}, {args.source.stat().st_size / 1e6:.1f} MB\n")
        print("| what | file MB | bits a block weight | perplexity | se | KL | se |\n|---|---|---|---|---|---|---|")
        rows, windows_of = [], {}
        for name, file, mine in files:
            if mine:
                got = actc("eval", file, "--trust-code", "--text", text, "--reference", args.source, "--ctx", args.ctx,
                           "--windows", args.windows, "--bos", "off" if args.bos is None else "on", "-t", args.threads)
                nll = [w["nll"] for w in got["per_window"]]
                kl = [w["kl"] for w in got["per_window"]]
            else:
                nll, kl = theirs(file, args.source, windows, args.threads)
            windows_of[name] = {"nll": list(map(float, nll)), "kl": list(map(float, kl))}
            ppl = np.exp(np.mean(nll))
            rows.append((file.stat().st_size, name, bits[name], ppl, ppl * spread(nll), np.mean(kl), spread(kl)))
        for size, name, stored, ppl, ppl_se, kl, kl_se in sorted(rows):
            print(f"| {name} | {size / 1e6:.1f} | {stored:.3f} | {ppl:.2f} | {ppl_se:.2f} | {kl:.4f} | {kl_se:.4f} |", flush=True)
        # Rows of one text share their windows, so differences are paired.
        mine = [name for name, _, is_ours in files if is_ours]
        for a, b in zip(mine, mine[1:]):
            for key in ("nll", "kl"):
                d = np.subtract(windows_of[a][key], windows_of[b][key])
                print(f"{key} of {a} less that of {b}: {d.mean():.4f}, {abs(d.mean()) / spread(d):.1f} standard errors")
        record[text.name] = windows_of
        if args.json:
            args.json.write_text(json.dumps(record, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
