"""llama.cpp through llama-cpp-python, as the benchmarks use it: quantising a source, running tokens, logits.

    CMAKE_ARGS=-DGGML_NATIVE=ON pip install --no-binary llama-cpp-python llama-cpp-python==0.3.36
"""

import ctypes
import pathlib

import llama_cpp
import numpy as np

TYPES = {
    "Q2_K": llama_cpp.LLAMA_FTYPE_MOSTLY_Q2_K,
    "Q3_K_M": llama_cpp.LLAMA_FTYPE_MOSTLY_Q3_K_M,
    "Q4_0": llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_0,
    "Q4_K_M": llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_K_M,
}


@llama_cpp.llama_log_callback
def silent(level, text, user_data):
    pass


llama_cpp.llama_log_set(silent, ctypes.c_void_p(0))


def quantised(source, kind, threads):
    """The file of `source` requantised to `kind`, made once in models/peer/."""
    source = pathlib.Path(source)
    target = source.parent / "peer" / f"{source.stem}.{kind}.gguf"
    if not target.exists():
        target.parent.mkdir(exist_ok=True)
        params = llama_cpp.llama_model_quantize_default_params()
        params.ftype = TYPES[kind]
        params.allow_requantize = True
        params.nthread = threads
        part = target.with_suffix(".part")
        status = llama_cpp.llama_model_quantize(str(source).encode(), str(part).encode(), ctypes.byref(params))
        if status != 0:
            raise SystemExit(f"llama.cpp could not quantise {source} to {kind}: status {status}")
        part.rename(target)
    return target


class Peer:
    """A model with one context."""

    def __init__(self, path, context, threads, logits=False):
        llama_cpp.llama_backend_init()
        params = llama_cpp.llama_model_default_params()
        params.n_gpu_layers = 0
        self.model = llama_cpp.llama_model_load_from_file(str(path).encode(), params)
        if not self.model:
            raise SystemExit(f"llama.cpp cannot read {path}")
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = context
        params.n_batch = context
        params.n_threads = threads
        params.n_threads_batch = threads
        self.context = llama_cpp.llama_init_from_model(self.model, params)
        self.vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self.model))
        self.logits = logits

    def tokens(self, text):
        """Ids of `text`, without a leading token."""
        data = text.encode()
        vocab = llama_cpp.llama_model_get_vocab(self.model)
        ids = (llama_cpp.llama_token * (len(data) + 8))()
        count = llama_cpp.llama_tokenize(vocab, data, len(data), ids, len(ids), False, True)
        if count < 0:
            raise SystemExit("llama.cpp cannot tokenize the text")
        return list(ids[:count])

    def clear(self):
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self.context), True)

    def read(self, ids):
        """Reads ids behind those read before; logits of the last only."""
        array = (llama_cpp.llama_token * len(ids))(*ids)
        status = llama_cpp.llama_decode(self.context, llama_cpp.llama_batch_get_one(array, len(ids)))
        if status != 0:
            raise SystemExit(f"llama.cpp failed to decode: status {status}")

    def score(self, ids):
        """Logits behind every one of ids, from an empty context: float32 [len(ids), vocabulary]."""
        self.clear()
        n = len(ids)
        batch = llama_cpp.llama_batch_init(n, 0, 1)
        batch.n_tokens = n
        for i, token in enumerate(ids):
            batch.token[i] = token
            batch.pos[i] = i
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = 0
            batch.logits[i] = True
        status = llama_cpp.llama_decode(self.context, batch)
        llama_cpp.llama_batch_free(batch)
        if status != 0:
            raise SystemExit(f"llama.cpp failed to decode: status {status}")
        pointer = llama_cpp.llama_get_logits(self.context)
        return np.ctypeslib.as_array(pointer, shape=(n, self.vocabulary)).copy()

    def close(self):
        llama_cpp.llama_free(self.context)
        llama_cpp.llama_model_free(self.model)
