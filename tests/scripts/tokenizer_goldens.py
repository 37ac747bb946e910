#!/usr/bin/env python3
"""Small tokenizers in the older file formats, and the ids that their own libraries give.

    pip install sentencepiece tokenizers
    tests/scripts/tokenizer_goldens.py

writes `tests/data/tokenizers/`: two SentencePiece models (unigram with a table of replacements, merging with bytes) and a
WordPiece vocabulary, trained on the built-in calibration text, and `golden.json`: texts and their ids by `sentencepiece`
and by `tokenizers`.
"""

import json
import tempfile
from pathlib import Path

import sentencepiece
from tokenizers import BertWordPieceTokenizer

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "data" / "tokenizers"
TEXT = ROOT.parent / "src" / "calibration" / "text.txt"
# Full-width letters, ligatures, a fraction, and white space other than the space.
RULES = [("\uff21", "A"), ("\uff22", "B"), ("\ufb01", "fi"), ("\ufb02", "fl"), ("\u00bd", "1/2"), ("\t", " "), ("\n", " "),
         ("\u00a0", " "), ("e\u0301", "\u00e9")]
TRAPS = [
    "", " ", "  two  spaces  ", "a\tb\nc", "\uff21\uff22 o\ufb01ce \ufb02ow \u00bd", "caf\u00e9 cafe\u0301", "na\u00efve Stra\u00dfe",
    "\u4e2d\u6587 and \u65e5\u672c\u8a9e", "\U0001f600 smile", "x" * 120, "don't stop, U.S.A. 1,234.56!", "\u2581 already", "UPPER lower MiXeD",
    "a" * 7 + " " + "b" * 9, "end ", "tail\u0000nul", "[CLS] in text [MASK]", "<s> in text </s>",
]


def train(name, **options):
    sentencepiece.SentencePieceTrainer.train(
        input=str(TEXT), model_prefix=str(OUT / name), max_sentence_length=100_000, num_threads=1,
        minloglevel=2, **options)
    (OUT / f"{name}.vocab").unlink()
    return sentencepiece.SentencePieceProcessor(model_file=str(OUT / f"{name}.model"))


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", suffix=".tsv", encoding="utf-8") as rules:
        for a, b in RULES:
            code = lambda s: " ".join(f"{ord(c):X}" for c in s)
            rules.write(f"{code(a)}\t{code(b)}\n")
        rules.flush()
        unigram = train("unigram", model_type="unigram", vocab_size=400, normalization_rule_tsv=rules.name)
    merging = train("merging", model_type="bpe", vocab_size=700, byte_fallback=True, remove_extra_whitespaces=False,
                    normalization_rule_name="identity", character_coverage=0.999)
    words = BertWordPieceTokenizer(lowercase=True)
    words.train([str(TEXT)], vocab_size=500, show_progress=False)
    words.save_model(str(OUT))
    words = BertWordPieceTokenizer(str(OUT / "vocab.txt"), lowercase=True)
    lines = [line for line in TEXT.read_text(encoding="utf-8").splitlines() if line][::40][:24]
    texts = TRAPS + [line[:300] for line in lines]
    golden = [
        {"text": t, "unigram": unigram.encode(t), "merging": merging.encode(t),
         "words": words.encode(t, add_special_tokens=False).ids}
        for t in texts
    ]
    (OUT / "golden.json").write_text("[\n" + ",\n".join(json.dumps(g) for g in golden) + "\n]\n")


main()
