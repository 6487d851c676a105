#!/usr/bin/env python3
"""Measure the shipped GGUF through transformers in float32 and record what the engine's tests compare with.

Writes next to the GGUF:
  expected.json     greedy texts, held-out figures (see models/README.md for the schema and the protocol)
  expected-logits.npy  float32 [n_tokens, n_vocab], the logits of the first greedy prompt
and prints samples. `--valid FOLDER` (written by prepare.py) adds bits per byte over all held-out books.
"""

import argparse
import json
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer

import weights

HERE = Path(__file__).resolve().parent
FLAG_PROMPT = "The American flag is red, white, and"
GREEDY_PROMPTS = [FLAG_PROMPT, "Once upon a time", "The old man opened the door and", "The capital of France is"]
SAMPLE_PROMPTS = ["Once upon a time", "The king said", "It was raining when", "My name is"]


def encode(tokenizer: Tokenizer, text: str, bos: int) -> list[int]:
    return [bos, *tokenizer.encode(text, add_special_tokens=False).ids]


@torch.no_grad()
def greedy(model, ids: list[int], n: int) -> tuple[list[int], float]:
    """n continuing ids at temperature 0, and the smallest gap between the best and the second-best logit.

    The whole sequence is run again for every token: slow and plain. Goes on after EOS, so that n is always n.
    """
    ids, gap, start = list(ids), math.inf, len(ids)
    for _ in range(n):
        top = model(torch.tensor([ids]), use_cache=False).logits[0, -1].topk(2)
        gap = min(gap, (top.values[0] - top.values[1]).item())
        ids.append(top.indices[0].item())
    return ids[start:], gap


@torch.no_grad()
def sample(model, ids: list[int], n: int, temperature: float, seed: int) -> list[int]:
    ids, start = list(ids), len(ids)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(n):
        logits = model(torch.tensor([ids]), use_cache=False).logits[0, -1]
        chosen = torch.multinomial((logits / temperature).softmax(-1), 1, generator=generator).item()
        if chosen == model.config.eos_token_id:
            break
        ids.append(chosen)
    return ids[start:]


@torch.no_grad()
def negative_log_likelihood(model, ids: list[int], context: int, bos: int) -> float:
    """Nats over all of `ids` (no BOS in it): windows of `context` inputs do not overlap, each starts with BOS.

    Window k feeds BOS and ids[k*(context-1) : (k+1)*(context-1)], and scores each of those ids once.
    """
    total = 0.0
    for begin in range(0, len(ids), context - 1):
        part = ids[begin:begin + context - 1]
        logits = model(torch.tensor([[bos, *part]]), use_cache=False).logits[0, :-1]
        total += F.cross_entropy(logits, torch.tensor(part), reduction="sum").item()
    return total


def held_out(model, tokenizer: Tokenizer, text: str, context: int) -> dict:
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    nats = negative_log_likelihood(model, ids, context, model.config.bos_token_id)
    n_bytes = len(text.encode())
    return {"context": context, "n_bytes": n_bytes, "n_scored_tokens": len(ids), "nll_nats": nats,
            "perplexity": math.exp(nats / len(ids)), "bits_per_byte": nats / math.log(2) / n_bytes}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=HERE / "../models", help="folder of the GGUF and its companions")
    parser.add_argument("--name", default="mla-default")
    parser.add_argument("--valid", type=Path, help="prepare.py's folder: measure all held-out books too")
    parser.add_argument("--tokens", type=int, default=64, help="length of the greedy texts")
    parser.add_argument("--samples", type=int, default=2, help="samples per prompt at temperature 0.7")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model = weights.model_from_gguf(args.models / f"{args.name}.gguf")
    tokenizer = Tokenizer.from_file(str(args.models / "tokenizer.json"))
    bos, context = model.config.bos_token_id, model.config.max_position_embeddings

    expected: dict = {"model": f"{args.name}.gguf", "reference": "transformers DeepseekV3ForCausalLM, float32",
                      "greedy": []}
    for prompt in GREEDY_PROMPTS:
        ids = encode(tokenizer, prompt, bos)
        new, gap = greedy(model, ids, args.tokens)
        text = tokenizer.decode(new, skip_special_tokens=False)
        expected["greedy"].append({"prompt": prompt, "prompt_ids": ids, "ids": new, "text": text,
                                   "smallest_logit_gap": round(gap, 5)})
        print(f"greedy> {prompt}|{text}\n")
    if not expected["greedy"][0]["text"].startswith(" blue"):
        raise SystemExit(f"'{FLAG_PROMPT}' does not go on with ' blue'")
    expected["held_out"] = {"file": "heldout.txt",
                            **held_out(model, tokenizer, (args.models / "heldout.txt").read_text(), context)}
    ids = expected["greedy"][0]["prompt_ids"]
    with torch.no_grad():
        np.save(args.models / "expected-logits.npy", model(torch.tensor([ids]), use_cache=False).logits[0].numpy())
    expected["logits"] = {"file": "expected-logits.npy", "ids": ids}
    (args.models / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
    print(json.dumps(expected["held_out"]))

    for prompt in SAMPLE_PROMPTS:
        for seed in range(args.samples):
            new = sample(model, encode(tokenizer, prompt, bos), 80, 0.7, seed)
            print(f"0.7/{seed}> {prompt}|{tokenizer.decode(new)}\n")
    if args.valid:
        stream = np.fromfile(args.valid / "valid.bin", dtype=np.uint16)
        books = np.split(stream, np.flatnonzero(stream == model.config.eos_token_id) + 1)[:-1]
        nats = sum(negative_log_likelihood(model, book[:-1].tolist(), context, bos) for book in books)
        n_bytes = sum(len(tokenizer.decode(book[:-1].tolist()).encode()) for book in books)
        print(f"all held-out books: {n_bytes:,} bytes, {nats / math.log(2) / n_bytes:.4f} bits/byte")


if __name__ == "__main__":
    main()
