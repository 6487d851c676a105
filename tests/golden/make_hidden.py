"""models/<case>/hidden.safetensors: the final hidden states (transformers' last_hidden_state) of golden.safetensors' ids."""

import torch
import transformers
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from common import ROOT, check, save_tensors

# An RMS norm and a layer norm at the end, MLA, GQA and MHA.
CASES = ["deepseek_v2_lite", "llama_gqa", "gpt2", "falcon_7b"]


def main() -> None:
    for case in CASES:
        folder = ROOT / "models" / case
        golden = load_file(folder / "golden.safetensors")
        options = {"dtype": torch.float32, "attn_implementation": "eager", "experts_implementation": "eager"}
        model = AutoModelForCausalLM.from_pretrained(folder, **options).eval()
        with torch.no_grad():
            hidden = model.base_model(golden["ids"].long()[None]).last_hidden_state[0]
            logits = model.lm_head(hidden)
        error = ((logits - golden["logits"]).abs().max() / golden["logits"].abs().max()).item()
        check(error < 1e-5, f"{case}: the head on these states gives logits that differ by {error:.1e}")
        metadata = {"made_by": f"transformers {transformers.__version__}"}
        save_tensors(folder / "hidden.safetensors", {"ids": golden["ids"], "hidden": hidden}, metadata)
        print(case, tuple(hidden.shape))


if __name__ == "__main__":
    main()
