"""Makes models/: small random checkpoints (Hugging Face folders and GGUF files) and the logits that transformers computes.

    python make_models.py [case ...]

Every MLA golden is compared with mla_formula.py before it is written; every folder is loaded again from disk and must give
the same logits.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, DeepseekV3Config, DeepseekV3ForCausalLM, PreTrainedModel

import gguf_models
from cases import Case, all_cases
from common import ROOT, check, generator, relative_error, representable, save_json, save_tensors
from fp8 import quantize_folder
from mla_formula import MlaFormula

MODELS = ROOT / "models"
SHORT, LONG = 22, 80
LLAMA3_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CLEAR_CHOICE = 1e-4  # a routing decision closer than this could fall differently for a different order of summation

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()


def is_mla(case: Case) -> bool:
    return case.config.model_type.startswith("deepseek")


def build(case: Case, attempt: int) -> PreTrainedModel:
    """A model with random float32 weights that the case's dtype (and float16) holds exactly."""
    case.config._attn_implementation = "eager"
    case.config._experts_implementation = "eager"
    model = AutoModelForCausalLM.from_config(case.config, dtype=torch.float32).eval()
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            random = torch.randn(parameter.shape, generator=generator(case.name, name, attempt))
            parameter.copy_(representable(random * spread(case, name, parameter) + centre(name), case.dtype))
        for name, buffer in model.named_buffers():
            if name.endswith("e_score_correction_bias"):  # stays float32 in every checkpoint
                buffer.copy_(0.25 * torch.randn(buffer.shape, generator=generator(case.name, name, attempt)))
            else:
                check("inv_freq" in name or name.endswith(".bias"), f"{case.name}: unknown buffer {name}")
    return model


def is_norm(name: str) -> bool:
    return name.endswith(".weight") and any(part in name for part in ("norm", "ln_"))


def centre(name: str) -> float:
    return 1.0 if is_norm(name) else 0.0


def spread(case: Case, name: str, parameter: torch.Tensor) -> float:
    """Standard deviation: chosen so that logits spread over a few units and attention is far from uniform."""
    if is_norm(name):
        return 0.25
    if name.endswith(".bias"):
        return 0.3
    if "embed" in name or "wte" in name or "wpe" in name:
        return case.embedding_std
    conv1d = case.config.model_type == "gpt2" and parameter.dim() == 2 and "lm_head" not in name
    fan_in = parameter.shape[0] if conv1d else parameter.shape[-1]
    gain = 1.0
    if any(part in name for part in ("q_proj", "k_proj", "q_b_proj", "kv_b_proj", "c_attn", "query_key_value", "gate.weight")):
        gain = 1.6
    if "kv_a_proj" in name:
        gain = 1.6 * case.latent_gain
    if "lm_head" in name:
        gain = 2.0
    return gain * fan_in**-0.5


def token_ids(case: Case, n_tokens: int) -> torch.Tensor:
    """Random ids with neighbours and distant ones repeated, including 0 and the last id."""
    ids = torch.randint(0, case.config.vocab_size, (n_tokens,), generator=generator(case.name, "ids", n_tokens))
    ids[3], ids[11], ids[12] = ids[2], ids[1], ids[0]
    ids[5], ids[7] = case.config.vocab_size - 1, 0
    return ids


@torch.no_grad()
def run(model: PreTrainedModel, ids: torch.Tensor) -> torch.Tensor:
    return model(ids[None], use_cache=False).logits[0].float()


def published_config(config: dict) -> dict:
    """save_pretrained's config.json turned into the style in which checkpoints were published before transformers 5."""
    config = dict(config)
    parameters = dict(config.pop("rope_parameters"))
    config["rope_theta"] = parameters.pop("rope_theta")
    kind = parameters.pop("rope_type")
    parameters.pop("type", None)
    mla = config["model_type"].startswith("deepseek")
    config["rope_scaling"] = None if kind == "default" else {"type" if mla else "rope_type": kind, **parameters}
    config["torch_dtype"] = config.pop("dtype")
    for name in ("head_dim", "qk_head_dim", "rope_interleave", "output_router_logits", "mlp_bias") if mla else ():
        config.pop(name, None)
    if config["model_type"] == "deepseek_v2":
        config.update(scoring_func="softmax", moe_layer_freq=1, aux_loss_alpha=0.001, seq_aux=True, ep_size=1)
    if config["model_type"] == "deepseek_v3":
        config.update(scoring_func="sigmoid", topk_method="noaux_tc", moe_layer_freq=1, ep_size=1)
    return dict(sorted(config.items()))


def save_folder(case: Case, model: PreTrainedModel, folder: Path) -> dict[str, torch.Tensor]:
    """Writes config.json and model.safetensors; returns the weights under their published names, in float32."""
    with tempfile.TemporaryDirectory() as scratch:
        model.save_pretrained(scratch)
        weights = load_file(f"{scratch}/model.safetensors")
        config = json.loads(Path(f"{scratch}/config.json").read_text())
    config["dtype"] = str(case.dtype).removeprefix("torch.")
    if case.published:
        config = published_config(config)
    if case.model_type:
        config["model_type"] = case.model_type
    save_json(folder / "config.json", config)
    stored = {n: t if n.endswith("e_score_correction_bias") else t.to(case.dtype) for n, t in weights.items()}
    save_tensors(folder / "model.safetensors", stored, {"format": "pt"})
    return weights


def save_tokenizer(case: Case, folder: Path) -> None:
    """The tokenizer of the case's GGUF file as tokenizer.json: Llama 3's pattern over bytes."""
    tokens, merges = gguf_models.vocabulary(case.config)
    vocab = {token: i for i, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab, [tuple(merge.split(" ")) for merge in merges]))
    split = pre_tokenizers.Split(Regex(LLAMA3_PATTERN), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, normalized=False) for t in ("<|bos|>", "<|eos|>")])
    save_json(folder / "tokenizer.json", json.loads(tokenizer.to_str()), indent=None)
    names = {"bos_token": "<|bos|>", "eos_token": "<|eos|>"}
    save_json(folder / "tokenizer_config.json", {"add_bos_token": True, "add_eos_token": False, **names})


def save_sharded(case: Case, folder: Path) -> Path:
    """The folder again as published checkpoints come: two shards with an index, and a multi-token-prediction layer after the
    last one, which a plain decoder leaves alone."""
    sharded = MODELS / case.shards
    shutil.rmtree(sharded, ignore_errors=True)
    weights = load_file(folder / "model.safetensors")
    last, extra = case.config.num_hidden_layers - 1, case.config.num_hidden_layers
    layer = {n.replace(f".{last}.", f".{extra}.", 1): -t for n, t in weights.items() if f"layers.{last}." in n}
    d_model = case.config.hidden_size
    shapes = {"enorm": (d_model,), "hnorm": (d_model,), "eh_proj": (d_model, 2 * d_model), "shared_head.norm": (d_model,)}
    for name, shape in shapes.items():
        layer[f"model.layers.{extra}.{name}.weight"] = torch.ones(shape, dtype=case.dtype)
    weights |= layer

    names = sorted(weights)
    middle = len(names) // 2
    files = {f"model-0000{i + 1}-of-00002.safetensors": part for i, part in enumerate((names[:middle], names[middle:]))}
    for file, part in files.items():
        save_tensors(sharded / file, {name: weights[name] for name in part}, {"format": "pt"})
    total = sum(t.numel() * t.element_size() for t in weights.values())
    weight_map = {name: file for file, part in files.items() for name in part}
    save_json(sharded / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": weight_map})
    config = json.loads((folder / "config.json").read_text())
    save_json(sharded / "config.json", published_config(config) | {"num_nextn_predict_layers": 1})
    shutil.copy(folder / "golden.safetensors", sharded)
    return sharded


def formula_config(case: Case) -> dict:
    config = case.config.to_dict()
    return published_config({**config, "dtype": "float32"})


def check_with_formula(case: Case, weights, ids, logits) -> bool:
    """True if the golden agrees with the papers' formulas; False if a routing decision is too close to call."""
    config = formula_config(case)
    formula = MlaFormula(config, weights)
    expected = formula.logits(ids)
    if formula.margins and min(formula.margins) < CLEAR_CHOICE:
        return False
    error = relative_error(logits, expected)
    absorbed = relative_error(MlaFormula(config, weights, absorbed=True).logits(ids), expected)
    check(error < 3e-6, f"{case.name}: transformers and the papers' formulas differ by {error:.1e}")
    check(absorbed < 1e-12, f"{case.name}: expanded and absorbed differ by {absorbed:.1e}")
    if any(name.endswith("e_score_correction_bias") for name in weights):
        unbiased = MlaFormula(config, weights, use_bias=False)
        unbiased.logits(ids)
        changed = sum(a != b for a, b in zip(formula.choices, unbiased.choices)) / len(formula.choices)
        check(changed > 0.2, f"{case.name}: the correction bias changes only {changed:.0%} of the choices")
    return True


def check_folder(case: Case, folder: Path, ids: torch.Tensor, logits: torch.Tensor) -> None:
    loader, config = AutoModelForCausalLM, None
    if case.model_type:  # transformers 5 merges published experts by config.model_type: a foreign name leaves them random
        loader, config = DeepseekV3ForCausalLM, DeepseekV3Config.from_pretrained(folder)
        config.model_type = "deepseek_v3"
    options = {"dtype": torch.float32, "attn_implementation": "eager", "experts_implementation": "eager"}
    model = loader.from_pretrained(folder, config=config, **options)
    error = relative_error(run(model.eval(), ids), logits)
    check(error < 1e-6, f"{case.name}: the folder as loaded from disk differs by {error:.1e}")


def save_golden(path: Path, ids: torch.Tensor, logits: torch.Tensor) -> None:
    metadata = {"made_by": f"transformers {transformers.__version__}", "attention": "eager float32, causal, positions 0..n-1"}
    save_tensors(path, {"ids": ids.to(torch.int32), "logits": logits}, metadata)


def make(case: Case) -> None:
    folder = MODELS / case.name
    shutil.rmtree(folder, ignore_errors=True)
    lengths = {"golden.safetensors": SHORT} | ({"golden-long.safetensors": LONG} if case.long else {})
    for attempt in range(100):
        model = build(case, attempt)
        weights = save_folder(case, model, folder)
        if is_quantized(case):
            weights = quantize(case, folder, weights)
            model.load_state_dict(fused_experts(weights, model))
        goldens = {name: (ids := token_ids(case, n), run(model, ids)) for name, n in lengths.items()}
        if not is_mla(case) or all(check_with_formula(case, weights, *golden) for golden in goldens.values()):
            break
    else:
        raise SystemExit(f"{case.name}: no seed gives clear routing decisions")
    for name, (ids, logits) in goldens.items():
        save_golden(folder / name, ids, logits)
        if not is_quantized(case):
            check_folder(case, folder, ids, logits)
    if case.tokenizer:
        save_tokenizer(case, folder)
    if case.shards:
        check_folder(case, save_sharded(case, folder), *goldens["golden.safetensors"])
    for name, flavour in case.gguf.items():
        if flavour != "quantized":
            gguf_models.write(folder / name, flavour, case.config, weights)
        golden = goldens["golden.safetensors"]
        gguf_models.verify(folder / name, flavour, case.config, formula_config(case) if is_mla(case) else {}, golden)
    report(case, folder, goldens["golden.safetensors"][1], attempt)


def is_quantized(case: Case) -> bool:
    return case.name.endswith(("_fp8", "_quantized"))


def quantize(case: Case, folder: Path, weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Leaves the folder with quantised weights; returns what a reader must see in them, for the golden."""
    if case.name.endswith("_fp8"):
        return quantize_folder(folder)
    shutil.rmtree(folder)
    folder.mkdir()
    [(name, flavour)] = case.gguf.items()
    gguf_models.write(folder / name, flavour, case.config, weights)
    return gguf_models.published_names(gguf_models.read_tensors(folder / name), case.config)


def fused_experts(weights: dict[str, torch.Tensor], model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """Published per-expert tensors -> the stacked ones of transformers 5's modules."""
    state = {n: t for n, t in weights.items() if ".experts." not in n}
    for layer in range(model.config.num_hidden_layers):
        prefix = f"model.layers.{layer}.mlp.experts."
        experts = range(model.config.n_routed_experts)
        part = {p: torch.stack([weights[f"{prefix}{e}.{p}_proj.weight"] for e in experts]) for p in ("gate", "up", "down")}
        state[prefix + "gate_up_proj"] = torch.cat([part["gate"], part["up"]], dim=1)
        state[prefix + "down_proj"] = part["down"]
    return state


def report(case: Case, folder: Path, logits: torch.Tensor, attempt: int) -> None:
    size = sum(path.stat().st_size for path in folder.iterdir())
    best = torch.softmax(logits, -1).max(-1).values.mean()
    print(
        f"{case.name:18s} {size / 1000:6.1f} kB  logits std {logits.std():5.2f}  mean top-1 p {best:.2f}  seed {attempt}",
        flush=True,
    )


def main(names: list[str]) -> None:
    for case in all_cases():
        if not names or case.name in names:
            make(case)


if __name__ == "__main__":
    main(sys.argv[1:])
