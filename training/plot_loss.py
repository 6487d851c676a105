#!/usr/bin/env python3
"""Draw the loss curve of a run: log.csv -> loss.png."""

import argparse
import csv
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

HERE = Path(__file__).resolve().parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--log", type=Path, default=HERE / "runs/default/log.csv")
    parser.add_argument("--out", type=Path, default=HERE / "loss.png")
    args = parser.parse_args()
    with open(args.log, newline="") as f:
        rows = list(csv.DictReader(f))
    millions = [int(r["tokens"]) / 1e6 for r in rows]
    held_out = [(x, float(r["valid_loss"])) for x, r in zip(millions, rows) if r["valid_loss"]]
    figure, loss = plt.subplots(figsize=(7, 4), dpi=100)
    loss.plot(millions, [float(r["train_loss"]) for r in rows], lw=1, label="training (books and primer, as mixed)")
    loss.plot(*zip(*held_out), "o-", ms=3, lw=1, label="held-out books")
    loss.set(xlabel="million tokens", ylabel="nats per token")
    loss.grid(alpha=0.3)
    rate = loss.twinx()
    rate.plot(millions, [float(r["lr_factor"]) for r in rows], color="gray", lw=0.8, ls=":")
    rate.set(ylabel="learning rate, relative (dotted)", ylim=(0, 1.05))
    loss.legend()
    figure.tight_layout()
    figure.savefig(args.out)


if __name__ == "__main__":
    main()
