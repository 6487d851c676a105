#!/usr/bin/env python3
"""Write the weights of the GGUF file, after its rounding, as a Hugging Face folder.

Both files then hold the same numbers, so the same prompt gives the same greedy text from either.
"""

import argparse
import json
import shutil
from pathlib import Path

from transformers import GenerationConfig

import weights

HERE = Path(__file__).resolve().parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gguf", type=Path, default=HERE / "../models/mla-default.gguf")
    parser.add_argument("--tokenizer", type=Path, default=HERE / "../models/tokenizer.json")
    parser.add_argument("--out", type=Path, default=HERE / "runs/hf")
    args = parser.parse_args()
    model = weights.model_from_gguf(args.gguf)
    c = model.config
    model.generation_config = GenerationConfig(bos_token_id=c.bos_token_id, eos_token_id=c.eos_token_id,
                                               pad_token_id=c.pad_token_id, do_sample=False)
    model.save_pretrained(args.out)
    shutil.copyfile(args.tokenizer, args.out / "tokenizer.json")
    names = {a["id"]: a["content"] for a in json.loads(args.tokenizer.read_text())["added_tokens"]}
    (args.out / "tokenizer_config.json").write_text(json.dumps({
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": names[c.bos_token_id],
        "eos_token": names[c.eos_token_id], "pad_token": names[c.pad_token_id], "add_bos_token": True,
        "add_eos_token": False, "clean_up_tokenization_spaces": False,
        "model_max_length": c.max_position_embeddings}, indent=1) + "\n")
    print(f"{args.out}: {', '.join(sorted(p.name for p in args.out.iterdir()))}")


if __name__ == "__main__":
    main()
