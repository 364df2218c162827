"""Behaviour distillation: what fresh policies reach that are cloned from k learned pairs.

Distils every variant for several outer seeds, then scores fresh policies of networks seen and
unseen: greedy, real episodes. Runs that were measured are not repeated.

    python benchmarks/distill.py [--variants cartpole-4x50 ...] [--seeds 5] [--out runs/distill]
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from common import RESULTS, keep, measured, table

from gtn_rl import clone_returns, load_pairs
from gtn_rl.evaluation.stats import summarize
from gtn_rl.io.artifact import read_config

FILE = RESULTS / "distill.json"
# The first two are those that pairs are learned with.
NETWORKS = (
    "tanh:64-64", "tanh:32-32", "tanh:16-16", "tanh:128-128", "tanh:400-300", "tanh:64",
    "tanh:64-64-64", "relu:64-64",
)  # fmt: skip
# What Hopper needs besides: return alone stalls early, and with less noise it may learn to stand
# still, which pays 1,050. Adam for the pairs wants bold steps: 1e-2 for 150 left clones at 1,000.
HOPPER = (
    "--optimizer adam --networks 8xtanh:64-64 --max-real-steps 5000000 --max-minutes 25 "
    "--pretrain.real-steps 3000000 --pretrain.learning-rate 1e-3 --noise 0.3 --imitation 600 "
    "--imitation-learning-rate 2e-2 --outer.copies 8 --outer.learning-rate 3e-3 --episodes 2 "
    "--target-return 3000"
)
VARIANTS = {
    "cartpole-4x50": "CartPole-v1 --pairs 4 --steps 50",
    "cartpole-4x1": "CartPole-v1 --pairs 4 --steps 1",
    "cartpole-2x50": "CartPole-v1 --pairs 2 --steps 50",
    "cartpole-2x1": "CartPole-v1 --pairs 2 --steps 1",
    "hopper-64x50": f"Hopper-v5 --pairs 64 --steps 50 {HOPPER}",
}


def one(variant: str, seed: int, out: Path, policies: int, episodes: int) -> dict[str, Any]:
    """Distil with one outer seed, unless its folder is there, and score fresh policies."""
    folder = out / variant / f"seed{seed}"
    options = ["--seed", str(seed), "--out", str(folder), "--no-progress"]
    command = ["gtn-rl", "distill", *VARIANTS[variant].split(), *options]
    if not folder.exists():
        subprocess.run([sys.executable, "-m", "gtn_rl", *command[1:]], check=True)
    training, learned = read_config(folder)["training"], load_pairs(folder)
    scores = {}
    for network in NETWORKS:
        returns = clone_returns(
            learned, networks=f"{policies}x{network}", episodes=episodes, seed=9
        ).numpy()
        scores[network] = summarize(returns)._asdict() | {"policies": returns.mean(1).tolist()}
    return {
        "variant": variant, "seed": seed, "command": shlex.join(command), "scores": scores,
        "policies": policies, "episodes": episodes,
        **{key: training[key] for key in ("real_steps", "seconds", "stopped")},
    }  # fmt: skip


def main(
    *, variants: tuple[str, ...] = ("cartpole-4x50", "cartpole-4x1", "cartpole-2x50"),
    seeds: int = 5, policies: int = 20, episodes: int = 20, out: Path = Path("runs/distill"),
) -> None:  # fmt: skip
    """Outer seeds of a variant, policies of a network for each, episodes of those."""
    torch.set_num_threads(1)
    lines = []
    for variant in variants:
        for seed in range(seeds):
            if f"{variant} seed {seed}" not in measured(FILE):
                keep(FILE, f"{variant} seed {seed}", one(variant, seed, out, policies, episodes))
        own = [row for row in measured(FILE).values() if row["variant"] == variant]
        for network in NETWORKS if own else ():
            every = [score for row in own for score in row["scores"][network]["policies"]]
            full = np.mean([score >= 500 for score in every])
            numbers = f"{np.mean(every):.1f}", f"{min(every):.1f}", f"{full:.0%}"
            lines.append((variant, network, len(every), *numbers))
    print(table("variant|network|policies:|mean:|worst:|at 500:", lines))


if __name__ == "__main__":
    tyro.cli(main)
