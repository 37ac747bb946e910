#!/usr/bin/env python3
"""Tiny random checkpoints of each family and what `transformers` computes with them.

    pip install torch transformers gguf
    tests/scripts/goldens.py [NAME]...

writes `tests/models/tiny/NAME/`: `config.json`, `model.safetensors` in the stated element type, and `golden.safetensors`
with the prompt `tokens` and, for each case of `cases.json`, the output of every position in float32, attention computed
eagerly. A case changes fields of the configuration and may ask for a longer context. Seeds are fixed.

Where llama.cpp has the architecture, `model.gguf` holds one of the cases (`GGUF`), written by the Python package `gguf` of
llama.cpp under the names of its own tables; that of gpt2 is split in three.

Where `models/all-MiniLM-L6-v2` is there (`tests/scripts/fetch-models.sh minilm`), `tests/data/minilm.safetensors` gets the
ids and last hidden states of a few sentences.
"""

import json
import math
import sys
from pathlib import Path

import gguf
import numpy
import torch
import transformers
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, BertModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

HERE = Path(__file__).resolve().parent.parent / "models" / "tiny"
TOKENS = 24
LLAMA = {
    "hidden_size": 48, "intermediate_size": 76, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 97, "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
    "hidden_act": "silu", "rope_theta": 1000.0,
}
STRETCHED = {
    "linear": {"type": "linear", "factor": 2.5},
    "dynamic": {"type": "dynamic", "factor": 4.0},
    "llama3": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
               "original_max_position_embeddings": 24},
    "yarn": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16},
    "yarn_stated": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32, "beta_fast": 8.0,
                    "beta_slow": 0.5, "attention_factor": 1.25, "truncate": False},
    "yarn_mscale": {"rope_type": "yarn", "factor": 3.0, "original_max_position_embeddings": 16, "mscale": 0.8,
                    "mscale_all_dim": 0.4},
}
SHORT = [1.0, 1.1, 1.3, 1.6, 2.0, 2.5]
LONG = [1.0, 1.5, 2.5, 4.0, 6.5, 9.0]

# Name: configuration, element type, cases.
MODELS = {
    "qwen2": (
        {"model_type": "qwen2", **LLAMA, "tie_word_embeddings": False},
        torch.bfloat16,
        {
            "plain": {},
            "window": {"config": {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1}},
            **{name: {"config": {"rope_scaling": scaling}} for name, scaling in STRETCHED.items()},
        },
    ),
    "qwen3": (
        {"model_type": "qwen3", **LLAMA, "head_dim": 20, "num_key_value_heads": 1, "tie_word_embeddings": True},
        torch.bfloat16,
        {"plain": {}, "window": {"config": {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 0}}},
    ),
    "phi3": (
        {"model_type": "phi3", **LLAMA, "hidden_size": 64, "tie_word_embeddings": False, "pad_token_id": 0,
         "bos_token_id": 1, "eos_token_id": 2},
        torch.float16,
        {
            "plain": {},
            "window": {"config": {"sliding_window": 7}},
            "partial": {"config": {"partial_rotary_factor": 0.75}},
            "short": {"config": {"original_max_position_embeddings": 32, "partial_rotary_factor": 0.75,
                                 "rope_scaling": {"type": "longrope", "short_factor": SHORT, "long_factor": LONG}}},
            "long": {"config": {"original_max_position_embeddings": 16, "partial_rotary_factor": 0.75,
                                "rope_scaling": {"type": "longrope", "short_factor": SHORT, "long_factor": LONG}},
                     "context": 64},
        },
    ),
    "olmo2": (
        {"model_type": "olmo2", **LLAMA, "tie_word_embeddings": False, "pad_token_id": 1, "eos_token_id": 2},
        torch.bfloat16,
        {"plain": {}},
    ),
    "gpt2": (
        {"model_type": "gpt2", "n_embd": 44, "n_layer": 2, "n_head": 4, "n_positions": 40, "n_inner": 90,
         "vocab_size": 97, "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5, "bos_token_id": 0,
         "eos_token_id": 0},
        torch.float16,
        {"plain": {}, "by_layer": {"config": {"scale_attn_by_inverse_layer_idx": True}}},
    ),
    "opt": (
        {"model_type": "opt", "hidden_size": 48, "ffn_dim": 100, "num_hidden_layers": 2, "num_attention_heads": 4,
         "max_position_embeddings": 40, "vocab_size": 97, "word_embed_proj_dim": 48, "activation_function": "relu",
         "do_layer_norm_before": True},
        torch.float16,
        {"plain": {}},
    ),
    "opt-narrow": (
        {"model_type": "opt", "hidden_size": 48, "ffn_dim": 100, "num_hidden_layers": 2, "num_attention_heads": 3,
         "max_position_embeddings": 40, "vocab_size": 97, "word_embed_proj_dim": 28, "activation_function": "relu",
         "do_layer_norm_before": False},
        torch.float16,
        {"plain": {}},
    ),
    "bert": (
        {"model_type": "bert", "hidden_size": 48, "intermediate_size": 100, "num_hidden_layers": 2,
         "num_attention_heads": 4, "max_position_embeddings": 40, "vocab_size": 97, "type_vocab_size": 2,
         "hidden_act": "gelu", "layer_norm_eps": 1e-12, "pad_token_id": 0},
        torch.bfloat16,
        {"plain": {}},
    ),
}

# The case that the GGUF file holds.
GGUF = {"qwen2": "plain", "qwen3": "plain", "phi3": "long", "olmo2": "plain", "gpt2": "plain", "bert": "plain"}


def build(config):
    config = CONFIG_MAPPING[config["model_type"]].from_dict(json.loads(json.dumps(config)))
    config._attn_implementation = "eager"
    if config.model_type == "bert":
        return BertModel(config).eval().float()
    return AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval().float()


def fill(model, dtype, seed):
    """Weights that make every part matter, exact in `dtype`."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=generator)
            if p.dim() == 1:
                value = noise * 0.2 + (1.0 if name.endswith("weight") else 0.0)
            elif "emb" in name or "wte" in name or "wpe" in name:
                value = noise
            else:
                value = noise * (1.3 / math.sqrt(p.shape[-1]))
            p.copy_(value.to(dtype).float())


def output(model, tokens):
    with torch.no_grad():
        out = model(input_ids=tokens[None])
    return (out.last_hidden_state if hasattr(out, "last_hidden_state") else out.logits)[0]


def write_gguf(path, config, state, dtype):
    """The file as llama.cpp's converter makes it, without a vocabulary. Vectors and what is added as rows are float32."""
    kind = config["model_type"]
    get = lambda *names: next((config[n] for n in names if n in config), None)
    writer = gguf.GGUFWriter(path, kind, split_max_tensors=11 if kind == "gpt2" else 0)
    layers, heads = get("num_hidden_layers", "n_layer"), get("num_attention_heads", "n_head")
    width, context = get("hidden_size", "n_embd"), get("max_position_embeddings", "n_positions")
    writer.add_block_count(layers)
    writer.add_context_length(context)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(get("intermediate_size", "n_inner"))
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.get("num_key_value_heads", heads))
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("no_vocab")
    if "head_dim" in config:
        writer.add_key_length(config["head_dim"])
        writer.add_value_length(config["head_dim"])
    if "rms_norm_eps" in config:
        writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
        writer.add_rope_freq_base(config["rope_theta"])
    else:
        writer.add_layer_norm_eps(get("layer_norm_epsilon", "layer_norm_eps"))
    if kind == "bert":
        writer.add_causal_attention(False)
        writer.add_pooling_type(gguf.PoolingType.NONE)
        writer.add_token_type_count(config["type_vocab_size"])
    if kind == "phi3":
        rotated = int(width // heads * config.get("partial_rotary_factor", 1.0))
        writer.add_rope_dimension_count(rotated)
    if "rope_scaling" in config:
        before = config["original_max_position_embeddings"]
        writer.add_rope_scaling_orig_ctx_len(before)
        writer.add_rope_scaling_attn_factors(math.sqrt(1 + math.log(context / before) / math.log(before)))
        for length in ("long", "short"):
            factors = numpy.array(config["rope_scaling"][f"{length}_factor"], dtype=numpy.float32)
            writer.add_tensor(f"rope_factors_{length}.weight", factors)
    names = gguf.get_tensor_name_map(next(a for a, n in gguf.MODEL_ARCH_NAMES.items() if n == kind), layers)
    for name, value in state.items():
        if name.startswith("pooler."):
            continue
        if kind == "gpt2" and name.endswith((".c_attn.weight", ".c_proj.weight", ".c_fc.weight")):
            value = value.T
        name = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if value.dim() == 1 or name in ("position_embd.weight", "token_types.weight"):
            writer.add_tensor(name, value.float().contiguous().numpy())
        elif dtype == torch.bfloat16:
            raw = value.contiguous().to(dtype).view(torch.int16).numpy().view(numpy.uint8)
            writer.add_tensor(name, raw, raw_dtype=gguf.GGMLQuantizationType.BF16)
        else:
            writer.add_tensor(name, value.contiguous().to(dtype).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


SENTENCES = [
    "The State of the Union is strong.",
    "Call me Ishmael: some years ago, never mind how long precisely, I thought I would sail about a little.",
    "Na\u00efve caf\u00e9s don't serve 1,234 ESPRESSOS!",
]


def minilm(folder, out):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = BertModel.from_pretrained(folder, attn_implementation="eager").eval().float()
    golden = {}
    for i, sentence in enumerate(SENTENCES):
        ids = torch.tensor(tokenizer(sentence)["input_ids"])
        golden[f"{i}.tokens"] = ids
        golden[f"{i}.last_hidden_state"] = output(model, ids).contiguous()
        print(f"minilm {i}: {len(ids)} tokens")
    save_file(golden, out, metadata={str(i): s for i, s in enumerate(SENTENCES)})


def main():
    print(f"transformers {transformers.__version__}, torch {torch.__version__}")
    for seed, (name, (config, dtype, cases)) in enumerate(MODELS.items()):
        if sys.argv[1:] and name not in sys.argv[1:]:
            continue
        folder = HERE / name
        folder.mkdir(parents=True, exist_ok=True)
        model = build(config)
        fill(model, dtype, seed)
        state = model.state_dict()
        tied = config.get("tie_word_embeddings", config["model_type"] in ("gpt2", "opt"))
        stored = {k: v.to(dtype).contiguous() for k, v in state.items() if not (tied and k == "lm_head.weight")}
        save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
        if name in GGUF:
            case = cases[GGUF[name]].get("config", {})
            write_gguf(folder / "model.gguf", {**config, **case}, stored, dtype)
        (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
        if name in GGUF:
            cases[GGUF[name]]["gguf"] = True
        (folder / "cases.json").write_text(json.dumps(cases, indent=1) + "\n")
        generator = torch.Generator().manual_seed(1000 + seed)
        vocabulary = config["vocab_size"]
        golden = {"tokens": torch.randint(3, vocabulary, (TOKENS,), generator=generator)}
        for case, said in cases.items():
            variant = build({**config, **said.get("config", {})})
            variant.load_state_dict(state)
            golden[case] = output(variant, golden["tokens"]).contiguous()
            plain = golden["plain"]
            scale = plain.abs().max().item()
            print(f"{name:12} {case:12} largest {scale:8.3f}  apart {(golden[case] - plain).abs().max().item():.3g}")
        save_file(golden, folder / "golden.safetensors")
    real = HERE.parents[2] / "models" / "all-MiniLM-L6-v2"
    if real.exists() and (not sys.argv[1:] or "minilm" in sys.argv[1:]):
        minilm(real, HERE.parents[1] / "data" / "minilm.safetensors")


main()
