"""Behaviour distillation: what fresh policies reach that are cloned from k learned pairs.

Distils every variant for several outer seeds, then scores fresh policies of networks seen and
unseen: greedy, real episodes. Results are written after every run; those that are there are not
repeated. Usage:

    python benchmarks/distill.py [--variants cartpole-4x50 ...] [--seeds 5] [--out runs/distill]
"""

from __future__ import annotations

import json
import platform
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

from gtn_rl import clone_returns, load_pairs
from gtn_rl.evaluation.stats import summarize
from gtn_rl.io.artifact import read_config
from gtn_rl.io.files import write_text

RESULTS = Path(__file__).parent / "results" / "distill.json"
SEEN = ("tanh:64-64", "tanh:32-32")
UNSEEN = ("tanh:16-16", "tanh:128-128", "tanh:400-300", "tanh:64", "tanh:64-64-64", "relu:64-64")
# What Hopper needs besides: return alone stalls early, and with less noise it may learn to stand
# still, which pays 1,050. Adam for the pairs wants bold steps: 1e-2 for 150 left clones at 1,000.
HOPPER = (
    "--optimizer adam --networks 8xtanh:64-64 --max-real-steps 5000000 --max-minutes 25 "
    "--pretrain.real-steps 3000000 --pretrain.learning-rate 1e-3 --noise 0.3 --imitation 600 "
    "--imitation-learning-rate 2e-2 --outer.copies 8 --outer.learning-rate 3e-3 --episodes 2 "
    "--target-return 3000"
)
# Task, pairs, gradient steps.
VARIANTS: dict[str, tuple[str, int, int]] = {
    "cartpole-4x50": ("CartPole-v1", 4, 50),
    "cartpole-4x1": ("CartPole-v1", 4, 1),
    "cartpole-2x50": ("CartPole-v1", 2, 50),
    "cartpole-2x1": ("CartPole-v1", 2, 1),
    "hopper-64x50": ("Hopper-v5", 64, 50),
}


@dataclass
class Arguments:
    """Behaviour distillation."""

    variants: tuple[str, ...] = ("cartpole-4x50", "cartpole-4x1", "cartpole-2x50")
    """Which to run: cartpole-4x50 is 4 pairs and 50 gradient steps."""
    seeds: int = 5
    """Outer seeds."""
    policies: int = 20
    """Fresh policies of each network for each run."""
    episodes: int = 20
    """Real episodes of each policy."""
    out: Path = Path("runs/distill")
    """Folder for the runs."""


def one(variant: str, seed: int, arguments: Arguments) -> dict[str, Any]:
    task, pairs, steps = VARIANTS[variant]
    folder = arguments.out / variant / f"seed{seed}"
    command = [
        "gtn-rl", "distill", task, "--pairs", str(pairs), "--steps", str(steps),
        "--seed", str(seed), "--out", str(folder), "--no-progress",
        *(HOPPER.split() if task == "Hopper-v5" else ()),
    ]  # fmt: skip
    if not folder.exists():
        binary = str(Path(sys.executable).parent / command[0])
        subprocess.run([binary, *command[1:]], check=True)
    training, learned = read_config(folder)["training"], load_pairs(folder)
    row: dict[str, Any] = {
        "variant": variant, "seed": seed, "command": shlex.join(command),
        "real_steps": training["real_steps"], "seconds": training["seconds"],
        "stopped": training["stopped"],
        "machine": f"{platform.machine()}, {torch.get_num_threads()} thread, shared",
        "policies": arguments.policies, "episodes": arguments.episodes, "scores": {},
    }  # fmt: skip
    for network in SEEN + UNSEEN:
        returns = clone_returns(
            learned, networks=f"{arguments.policies}x{network}", episodes=arguments.episodes, seed=9
        )
        means = returns.mean(1).tolist()
        row["scores"][network] = {
            **summarize(returns.numpy())._asdict(), "policies": [round(x, 2) for x in means]
        }  # fmt: skip
    return row


def main(arguments: Arguments) -> None:
    torch.set_num_threads(1)
    rows = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    for variant in arguments.variants:
        for seed in range(arguments.seeds):
            if any((row["variant"], row["seed"]) == (variant, seed) for row in rows):
                continue
            row = one(variant, seed, arguments)
            rows.append(row)
            write_text(RESULTS, json.dumps(rows, indent=1) + "\n")
            shown = {name: round(score["mean"], 1) for name, score in row["scores"].items()}
            print(variant, seed, row["real_steps"], row["seconds"], shown, flush=True)
        own = [row for row in rows if row["variant"] == variant]
        if own:
            for network in SEEN + UNSEEN:
                every = [score for row in own for score in row["scores"][network]["policies"]]
                full = float(np.mean([score >= 500 for score in every]))
                print(
                    f"{variant} {network}: mean {np.mean(every):.1f}, worst {min(every):.1f}, "
                    f"{full:.0%} of {len(every)} policies at 500"
                )


if __name__ == "__main__":
    main(tyro.cli(Arguments))
