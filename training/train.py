#!/usr/bin/env python3
"""Train the default model: transformers' DeepseekV3ForCausalLM from random weights.

The run lives in --run-dir: checkpoint.pt (all that is needed to go on) and log.csv. Started again with the same folder
it goes on where it was; SIGTERM makes it save and stop. The learning rate falls to zero at --tokens, or at --end-time
where that is given: quality at the end comes from the fall, so plan the end before the start. With --tokens a run is a
function of its seed (and of the machine's rounding); with --end-time it also depends on how fast the machine was.

Under `torchrun --nproc-per-node N` the rows of a step are shared out to N processes. On a CPU this beats N threads of
one process by far, the more so beside other work: processes wait for each other once a step, threads in every operation.
"""

import argparse
import csv
import datetime
import json
import math
import os
import signal
import time
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from transformers import DeepseekV3Config, DeepseekV3ForCausalLM

import fast_paths
import weights
from muon import Muon

HERE = Path(__file__).resolve().parent
BOS = 0
SOURCES = ("primer", "simple", "plain")


class Rows:
    """Training rows [context + 1] from the token files; row k of a source is a function of (seed, source, k)."""

    def __init__(self, data: Path, context: int, seed: int):
        self.context, self.seed = context, seed
        self.streams = {name: (np.fromfile(data / f"{name}.bin", dtype=np.uint16), np.load(data / f"{name}.starts.npy"))
                        for name in (*SOURCES, "valid")}

    def book_row(self, source: str, k: int) -> np.ndarray:
        """BOS and the text after a paragraph start; every start comes once per epoch, in random order."""
        stream, starts = self.streams[source]
        epoch, i = divmod(k, len(starts))
        order = np.random.default_rng((self.seed, SOURCES.index(source), epoch)).permutation(len(starts))
        start = min(starts[order[i]], len(stream) - self.context)
        return np.concatenate([[BOS], stream[start:start + self.context]])

    def primer_row(self, k: int) -> np.ndarray:
        """Random documents of the primer, one after the other; the last one is cut."""
        stream, starts = self.streams["primer"]
        ends = np.append(starts[1:], len(stream))
        row: list[int] = []
        rng = np.random.default_rng((self.seed, SOURCES.index("primer"), k))
        while len(row) <= self.context:
            d = rng.integers(len(starts))
            row.extend(stream[starts[d]:ends[d]])
        return np.array(row[:self.context + 1])

    def batch(self, step: int, n: int, mix: list[float], position: dict[str, int]) -> torch.Tensor:
        """Rows of one step [n, context + 1]; moves `position`, the next row of every source, on."""
        rows = []
        for source in np.random.default_rng((self.seed, 7, step)).choice(SOURCES, size=n, p=np.array(mix) / sum(mix)):
            k = position[source]
            rows.append(self.primer_row(k) if source == "primer" else self.book_row(source, k))
            position[source] = k + 1
        return torch.from_numpy(np.stack(rows).astype(np.int64))

    def validation(self, n: int) -> torch.Tensor:
        """n rows [n, context + 1] spread evenly over the held-out books."""
        stream, starts = self.streams["valid"]
        chosen = [starts[i] for i in np.linspace(0, len(starts) - 3, n).astype(int)]
        return torch.from_numpy(np.stack([np.concatenate([[BOS], stream[s:s + self.context]]) for s in chosen])
                                .astype(np.int64))


def make_optimizers(model: torch.nn.Module, lr_muon: float, lr_adam: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the layers, AdamW for embedding, head, router and norms."""
    matrices, tables, others = [], [], []
    for name, p in model.named_parameters():
        if "embed_tokens" in name or "lm_head" in name:
            tables.append(p)
        elif p.ndim >= 2 and "mlp.gate.weight" not in name:
            matrices.append(p)
        else:
            others.append(p)
    optimizers = [Muon(matrices, lr=lr_muon, weight_decay=0.01),
                  torch.optim.AdamW([{"params": tables, "lr": lr_adam, "weight_decay": 0.01},
                                     {"params": others, "lr": lr_adam, "weight_decay": 0.0}], betas=(0.9, 0.95))]
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak_lr"] = group["lr"]
    return optimizers


def lr_factor(step: int, progress: float, warmup_steps: int, flat: float) -> float:
    """Linear warm-up, flat until `flat` of the way, then linear to zero."""
    return min(1.0, (step + 1) / warmup_steps, max(0.0, (1.0 - progress) / (1.0 - flat)))


def balance_routers(routers: list, rate: float) -> float:
    """Auxiliary-loss-free balancing (V3): lift the bias of under-used experts, lower that of over-used ones.

    Returns the largest share of tokens an expert got, relative to an even share, over all layers.
    """
    worst = 0.0
    for gate, experts in routers:
        load = experts.load.float()
        gate.e_score_correction_bias += rate * torch.sign(load.mean() - load)
        worst = max(worst, (load.max() / load.mean()).item())
        experts.load.zero_()
    return worst


@torch.no_grad()
def validate(model, rows: torch.Tensor, bytes_per_token: float, amp: bool) -> tuple[float, float]:
    """Mean loss in nats per token and bits per byte on the held-out rows."""
    losses = []
    for part in rows.split(8):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=amp):
            logits = model(part[:, :-1], use_cache=False).logits
        losses.append(F.cross_entropy(logits.float().flatten(0, 1), part[:, 1:].flatten()).item())
    loss = sum(losses) / len(losses)
    return loss, loss / math.log(2) / bytes_per_token


def rank_and_world() -> tuple[int, int]:
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def average_over_processes(tensors: list[torch.Tensor]) -> None:
    """Replace each tensor by its mean over all processes, in one exchange."""
    if not dist.is_initialized():
        return
    flat = torch.cat([t.reshape(-1).float() for t in tensors])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for t, mean in zip(tensors, flat.split([t.numel() for t in tensors])):
        t.copy_(mean.view_as(t))


def save(path: Path, state: dict) -> None:
    """Write to a neighbour and rename: a reader never sees half a checkpoint."""
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    os.replace(temporary, path)


def parse_arguments() -> argparse.Namespace:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", type=Path, default=HERE / "data", help="folder written by prepare.py")
    p.add_argument("--run-dir", dest="run", type=Path, default=HERE / "runs/default", help="checkpoint and log go here")
    p.add_argument("--config", type=Path, default=HERE / "config.json")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--context", type=int, default=512)
    p.add_argument("--batch", type=int, default=8, help="rows per step")
    p.add_argument("--mix", type=float, nargs=3, default=[0.13, 0.45, 0.42], metavar=SOURCES)
    p.add_argument("--lr-muon", type=float, default=0.02)
    p.add_argument("--lr-adam", type=float, default=0.003)
    p.add_argument("--warmup", type=int, default=60, help="steps")
    p.add_argument("--flat", type=float, default=0.35, help="part of the run before the learning rate falls")
    p.add_argument("--balance-rate", type=float, default=0.001)
    p.add_argument("--tokens", type=int, default=20_000_000, help="end of the run, where --end-time is absent")
    p.add_argument("--end-time", type=datetime.datetime.fromisoformat, help="e.g. 2026-01-31T18:00+00:00")
    p.add_argument("--init-from", type=Path, metavar="GGUF", help="begin with an exported model's weights (no optimiser state)")
    p.add_argument("--restart-schedule", action="store_true", help="warm up and fall again: train a finished run on")
    p.add_argument("--save-minutes", type=float, default=5)
    p.add_argument("--threads", type=int, default=2, help="per process")
    p.add_argument("--amp", action=argparse.BooleanOptionalAction, default=True, help="bfloat16 where it is safe")
    p.add_argument("--max-steps", type=int, default=0, help="stop early, to time a setting")
    return p.parse_args()


class Run:
    """Model, optimisers and position of one training run."""

    def __init__(self, args: argparse.Namespace):
        self.args = args
        torch.manual_seed(args.seed)
        torch.set_num_threads(args.threads)
        args.run.mkdir(parents=True, exist_ok=True)
        self.rows = Rows(args.data, args.context, args.seed)
        self.model = DeepseekV3ForCausalLM(DeepseekV3Config(**json.loads(args.config.read_text())))
        # The router starts from zeros in transformers; ties would send all first tokens to the same experts.
        for name, p in self.model.named_parameters():
            if name.endswith("mlp.gate.weight"):
                torch.nn.init.normal_(p, std=0.02)
        if args.init_from:
            self.model.load_state_dict(weights.model_from_gguf(args.init_from).state_dict())
        self.routers = fast_paths.install(self.model)
        self.optimizers = make_optimizers(self.model, args.lr_muon, args.lr_adam)
        self.step = self.tokens = 0
        self.seconds = 0.0
        self.schedule = {"step": 0, "tokens": 0, "time": time.time()}
        self.position = dict.fromkeys(SOURCES, 0)
        if (args.run / "checkpoint.pt").exists():
            self.load()

    def load(self) -> None:
        state = torch.load(self.args.run / "checkpoint.pt", weights_only=True)
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"]):
            peaks = [group["peak_lr"] for group in optimizer.param_groups]
            optimizer.load_state_dict(saved)
            for group, peak in zip(optimizer.param_groups, peaks):
                group["peak_lr"] = peak
        self.step, self.tokens, self.seconds = state["step"], state["tokens"], state["seconds"]
        self.position = state["position"]
        self.schedule = state["schedule"]
        if self.args.restart_schedule:
            self.schedule = {"step": self.step, "tokens": self.tokens, "time": time.time()}
        torch.set_rng_state(state["rng"])
        print(f"resumed at step {self.step}, {self.tokens:,} tokens", flush=True)

    def save(self) -> None:
        save(self.args.run / "checkpoint.pt", {
            "model": self.model.state_dict(), "optimizers": [o.state_dict() for o in self.optimizers],
            "step": self.step, "tokens": self.tokens, "seconds": self.seconds, "position": self.position,
            "schedule": self.schedule, "rng": torch.get_rng_state(), "config": self.model.config.to_dict()})

    def progress(self) -> float:
        """0 at the start of the schedule, 1 at its end."""
        if self.args.end_time:
            start = self.schedule["time"]
            return (time.time() - start) / (self.args.end_time.timestamp() - start)
        start = self.schedule["tokens"]
        return (self.tokens - start) / (self.args.tokens - start)

    def train_step(self) -> tuple[float, float, float]:
        """One optimiser step; returns (loss, learning rate factor, worst expert load)."""
        args = self.args
        rank, world = rank_and_world()
        rows = self.rows.batch(self.step, args.batch, args.mix, self.position)
        n_tokens = rows[:, 1:].numel()
        rows = rows[rank::world]
        factor = torch.tensor(lr_factor(self.step - self.schedule["step"], self.progress(), args.warmup, args.flat))
        if world > 1:
            dist.broadcast(factor, 0)  # clocks differ
        factor = factor.item()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.amp):
            logits = self.model(rows[:, :-1], use_cache=False).logits
        loss = F.cross_entropy(logits.float().flatten(0, 1), rows[:, 1:].flatten())
        loss.backward()
        average_over_processes([p.grad for p in self.model.parameters()] + [e.load for _, e in self.routers])
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["peak_lr"] * factor
            optimizer.step()
            optimizer.zero_grad()
        worst = balance_routers(self.routers, args.balance_rate * min(1.0, 4 * factor))
        self.step += 1
        self.tokens += n_tokens
        return loss.item(), factor, worst


def main() -> None:
    args = parse_arguments()
    if "RANK" in os.environ:
        dist.init_process_group("gloo", timeout=datetime.timedelta(hours=1))
    train(Run(args))
    if dist.is_initialized():
        dist.destroy_process_group()


def train(run: Run) -> None:
    args = run.args
    rank, world = rank_and_world()
    tokens_bytes = json.loads((args.data / "bytes_per_token.json").read_text())["valid"]
    held_out = run.rows.validation(32)
    log = Log(args.run / "log.csv") if rank == 0 else None
    print(f"process {rank} of {world}, {sum(p.numel() for p in run.model.parameters()):,} parameters", flush=True)
    stop_signals: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda n, _: stop_signals.append(n))
    last_save, first_step, finished = time.time(), run.step, False
    while not finished:
        began = time.time()
        loss, factor, worst = run.train_step()
        run.seconds += time.time() - began
        limit = args.max_steps and run.step - first_step >= args.max_steps
        flags = torch.tensor([run.progress() >= 1 or bool(stop_signals) or limit,
                              time.time() - last_save > 60 * args.save_minutes], dtype=torch.int32)
        if world > 1:
            dist.all_reduce(flags, op=dist.ReduceOp.MAX)
        finished, due = flags.tolist()
        if due or finished:
            last_save = time.time()
        if rank == 0:
            log.add(loss, run, factor, worst)
            if due or finished:
                valid = validate(run.model, held_out, tokens_bytes, args.amp)
                run.save()
                log.write(run, factor, valid)
                print(f"  held out: {valid[0]:.3f} nats/token, {valid[1]:.3f} bits/byte; saved", flush=True)
            elif run.step % 20 == 0:
                log.write(run, factor)
        for _, experts in run.routers:
            experts.load.zero_()


class Log:
    """log.csv and the progress lines."""

    def __init__(self, path: Path):
        new = not path.exists()
        self.file = open(path, "a", newline="")
        self.writer = csv.writer(self.file)
        if new:
            self.writer.writerow(["step", "tokens", "seconds", "lr_factor", "train_loss", "valid_loss",
                                  "valid_bits_per_byte"])
        self.losses: list[float] = []
        self.worst, self.mark = 0.0, None

    def add(self, loss: float, run: Run, factor: float, worst: float) -> None:
        self.losses.append(loss)
        self.worst = worst
        self.mark = self.mark or (run.seconds, run.tokens)

    def write(self, run: Run, factor: float, valid: tuple[float, float] = ("", "")) -> None:
        """One row and one line; the train loss is the mean since the last one (of this process's rows)."""
        mean = sum(self.losses) / len(self.losses)
        seconds, tokens = self.mark
        speed = (run.tokens - tokens) / max(run.seconds - seconds, 1e-9)
        progress = max(run.progress(), 1e-9)
        left = (time.time() - run.schedule["time"]) * (1 - progress) / progress
        print(f"{datetime.datetime.now():%H:%M:%S} step {run.step} tokens {run.tokens:,} {speed:,.0f} tok/s "
              f"loss {mean:.3f} lr x{factor:.2f} load {self.worst:.1f} done {progress:.1%} "
              f"left {left / 60:.0f} min", flush=True)
        self.writer.writerow([run.step, run.tokens, round(run.seconds), round(factor, 4), round(mean, 4), *valid])
        self.file.flush()
        self.losses, self.mark = [], (run.seconds, run.tokens)


if __name__ == "__main__":
    main()
