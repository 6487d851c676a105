"""Makes sampling/processors.json: what each step of the sampler chain leaves of a distribution.

The filters and the repetition penalty are transformers' own processors run in float64; the remaining steps are formulas
(README.md states them). A case lists its steps in the order in which they are applied, history being the ids before.
"""

import json

import torch
from transformers.generation import logits_process as hf

from common import ROOT, check, generator

SAMPLING = ROOT / "sampling"
N_VOCAB = 32


def logits_vectors() -> dict[str, list[float]]:
    """Values with few binary digits, so that their decimal form is exact."""

    def rounded(values):
        return [round(float(value) * 64) / 64 for value in values]

    random = torch.randn(N_VOCAB, generator=generator("sampling"), dtype=torch.float64)
    far = 200 * random
    banned = rounded(2 * random.flip(0))
    for token in (0, 5, 31):
        banned[token] = float("-inf")
    return {
        "broad": rounded(random),
        "peaked": rounded([9.0 if i == 17 else 2.5 * x for i, x in enumerate(random.tolist())]),
        "steps": rounded(-0.375 * i if i % 2 else -0.375 * (N_VOCAB - i) for i in range(N_VOCAB)),
        "far": rounded(far),
        "banned": banned,
    }


HISTORY = [3, 17, 3, 8, 3, 17, 30, 0]

STEPS = [
    [{"temperature": 0.5}], [{"temperature": 1.0}], [{"temperature": 1.75}],
    [{"top_k": 1}], [{"top_k": 5}], [{"top_k": 31}], [{"top_k": 100}],
    [{"top_p": 0.05}], [{"top_p": 0.5}], [{"top_p": 0.9}], [{"top_p": 0.999}], [{"top_p": 1.0}],
    [{"min_p": 0.02}], [{"min_p": 0.1}], [{"min_p": 0.7}],
    [{"typical_p": 0.1}], [{"typical_p": 0.5}], [{"typical_p": 0.95}],
    [{"repetition_penalty": 1.3}], [{"repetition_penalty": 0.8}],
    [{"presence_penalty": 0.625}], [{"frequency_penalty": 0.375}], [{"presence_penalty": -0.5}, {"frequency_penalty": 1.25}],
    [{"logit_bias": {"4": 2.5, "17": -100.0, "30": 0.5}}],
    [{"repetition_penalty": 1.2}, {"temperature": 0.8}, {"top_k": 12}, {"top_p": 0.85}, {"min_p": 0.05}],
    [{"temperature": 1.5}, {"top_k": 20}, {"typical_p": 0.8}],
    [{"logit_bias": {"9": 1.5}}, {"presence_penalty": 0.5}, {"frequency_penalty": 0.25}, {"temperature": 0.7}, {"top_p": 0.9}],
]  # fmt: skip


def penalize(scores: torch.Tensor, presence: float, frequency: float) -> torch.Tensor:
    counts = torch.bincount(torch.tensor(HISTORY), minlength=N_VOCAB).to(scores)
    return scores - presence * (counts > 0) - frequency * counts


def add_bias(scores: torch.Tensor, bias: dict[str, float]) -> torch.Tensor:
    scores = scores.clone()
    for token, value in bias.items():
        scores[0, int(token)] += value
    return scores


def apply(step: dict, scores: torch.Tensor) -> torch.Tensor:
    [(name, value)] = step.items()
    history = torch.tensor([HISTORY])
    if name == "presence_penalty":
        return penalize(scores, value, 0.0)
    if name == "frequency_penalty":
        return penalize(scores, 0.0, value)
    if name == "logit_bias":
        return add_bias(scores, value)
    processor = {
        "temperature": hf.TemperatureLogitsWarper,
        "top_k": hf.TopKLogitsWarper,
        "top_p": hf.TopPLogitsWarper,
        "min_p": hf.MinPLogitsWarper,
        "typical_p": hf.TypicalLogitsWarper,
        "repetition_penalty": hf.RepetitionPenaltyLogitsProcessor,
    }[name]
    if name == "top_p" and value == 1.0 or name == "top_k" and value >= N_VOCAB:
        return scores  # generate() adds no such processor
    return processor(value)(history, scores)


def stable(step: dict, scores: torch.Tensor) -> bool:
    """Whether a filter keeps the same ids when the logits move by a float32 rounding: no golden sits on a border."""
    nudge = torch.randn(scores.shape, generator=generator("nudge"), dtype=scores.dtype) * 1e-5
    return bool(((apply(step, scores) == -torch.inf) == (apply(step, scores + nudge) == -torch.inf)).all())


def make_case(name: str, logits: list[float], steps: list[dict]) -> dict | None:
    scores = torch.tensor([logits], dtype=torch.float64)
    for step in steps:
        if not stable(step, scores):
            print(f"left out, on a border: {name} {steps}")
            return None
        scores = apply(step, scores)
    probabilities = torch.softmax(scores[0], -1)
    kept = [i for i in range(N_VOCAB) if scores[0, i] != -torch.inf]
    check(len(kept) > 0, f"{name} {steps}: nothing left")
    shown = [float(f"{probabilities[i]:.7g}") for i in kept]
    return {"logits": name, "steps": steps, "kept": kept, "probabilities": shown}


def log_probabilities(logits: list[float], top_n: int) -> dict:
    values, ids = torch.log_softmax(torch.tensor(logits, dtype=torch.float64), -1).topk(top_n)
    return {"top_ids": ids.tolist(), "top_log_probabilities": [float(f"{value:.7g}") for value in values]}


def main() -> None:
    vectors = logits_vectors()
    cases = [make_case(name, logits, steps) for steps in STEPS for name, logits in vectors.items()]
    shown = {name: [None if value == -torch.inf else value for value in logits] for name, logits in vectors.items()}
    top = {name: log_probabilities(vectors[name], 6) for name in vectors}
    lines = [f'"logits": {json.dumps(shown)}', f'"history": {json.dumps(HISTORY)}', f'"log_probabilities": {json.dumps(top)}']
    lines.append('"cases": [\n' + ",\n".join(json.dumps(case) for case in cases if case) + "\n]")
    SAMPLING.mkdir(exist_ok=True)
    (SAMPLING / "processors.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
