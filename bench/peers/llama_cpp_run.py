#!/usr/bin/env python3
"""One measurement of llama.cpp through llama-cpp-python: prefill of -p random tokens, then decoding of -n random tokens.

Prints one JSON object. Memory-mapped, as llama.cpp does by default; tokens are random for the same reason as in `sluice bench`."""
import argparse
import json
import random
import time

import llama_cpp.llama_cpp as api
from llama_cpp import Llama, __version__


def without_repacking():
    """Repacked weights are a second copy of the file in anonymous memory; under a limit below the file's size that ends in a kill."""
    default = api.llama_model_default_params

    def parameters():
        p = default()
        p.use_extra_bufts = False
        return p

    api.llama_model_default_params = parameters


def main():
    a = argparse.ArgumentParser()
    a.add_argument("-m", required=True)
    a.add_argument("-p", type=int, default=512)
    a.add_argument("-n", type=int, default=64)
    a.add_argument("-t", type=int, default=None)
    a.add_argument("--seed", type=int, default=1)
    a.add_argument("--warm", action="store_true", help="the model fits twice: weights may be laid out anew; a prompt before the one that counts")
    o = a.parse_args()
    if not o.warm:
        without_repacking()
    begin = time.monotonic()
    # the arguments that decide: no GPU, pages from the file, a context just large enough
    llm = Llama(o.m, n_ctx=o.p + o.n + 8, n_batch=512, n_threads=o.t, n_threads_batch=o.t, n_gpu_layers=0, use_mmap=True, verbose=False)
    load = time.monotonic() - begin
    draw = random.Random(o.seed)
    ids = [draw.randrange(llm.n_vocab()) for _ in range(o.p + o.n)]
    if o.warm:
        llm.eval([draw.randrange(llm.n_vocab()) for _ in range(o.p)])
        llm.reset()
    begin = time.monotonic()
    llm.eval(ids[: o.p])
    prefill = time.monotonic() - begin
    begin = time.monotonic()
    for token in ids[o.p :]:
        llm.eval([token])
    decode = time.monotonic() - begin
    print(json.dumps({"engine": "llama-cpp-python " + __version__, "load_s": load, "prefill_tok_s": o.p / prefill if o.p else None,
                      "decode_tok_s": o.n / decode if o.n else None}))


main()
