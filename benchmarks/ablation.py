"""What variation among meta-training's learners buys: CartPole-v1 without one source at a time.

Meta-trains with default settings but for what a variant takes away (or adds), then judges each
result by stock agents with their defaults and with random hyperparameters (those of
`other_agents.py`). One run and its judges in one process with one thread. Usage:

    python benchmarks/ablation.py [--seeds 2] [--agents 6]
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from other_agents import one

import gtn_rl
from gtn_rl.files import write_text
from gtn_rl.pool import make_pool
from gtn_rl.settings import settings_for
from gtn_rl.stats import summarize

RESULTS = Path(__file__).parent / "results" / "ablation.json"
TASK = "CartPole-v1"
ALGORITHMS = ("ppo", "a2c", "dqn")
VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "one learning rate": {"learning_rate": (3e-3, 3e-3)},
    "one entropy weight": {"entropy": (3e-3, 3e-3)},
    "policies alone": {"learners": ("16xpg@tanh:64-64",)},
    "Q-networks alone": {"learners": ("8xdqn@relu:64-64", "8xdqn-greedy@relu:64-64")},
    "more shapes": {
        "learners": (
            "2xpg@tanh:64-64", "2xpg@relu:64-64", "2xpg@tanh:32-32", "2xpg@relu:128-128",
            "2xdqn@relu:64-64", "2xdqn@tanh:32-32", "2xdqn-greedy@relu:64-64",
            "2xdqn-greedy@relu:128-128",
        ),
    },
}  # fmt: skip


@dataclass
class Arguments:
    """Meta-training without one source of variation at a time."""

    seeds: int = 2
    """Outer seeds."""
    agents: int = 6
    """Stock agents of each kind for each run."""
    out: Path = Path("runs/ablation")
    """Folder for the runs."""
    jobs: int = 2
    """Processes; each uses one thread."""


def run(variant: str, seed: int, agents: int, out: Path) -> dict[str, Any]:
    """Meta-train and judge: returns `[agents, episodes]` of each kind of agent, and the cost."""
    torch.set_num_threads(1)
    folder = out / f"{variant.replace(' ', '-')}-{seed}"
    config = replace(settings_for(TASK), seed=seed, **VARIANTS[variant])
    result = gtn_rl.train(TASK, folder, config, resume=folder.exists(), progress_bar=False)
    row: dict[str, Any] = {"seconds": result.seconds, "real_steps": result.real_steps}
    for algorithm in ALGORITHMS:
        for random in (False, True):
            returns = [one(str(folder), TASK, algorithm, random, own)[0] for own in range(agents)]
            row[f"{algorithm}{' random' if random else ''}"] = returns
    return row


def main(arguments: Arguments) -> None:
    jobs = [(variant, seed) for variant in VARIANTS for seed in range(arguments.seeds)]
    rows: dict[str, list[dict[str, Any]]] = {variant: [] for variant in VARIANTS}
    with make_pool(arguments.jobs) as pool:
        rest = [arguments.agents] * len(jobs), [arguments.out] * len(jobs)
        for (variant, seed), row in zip(
            jobs, pool.map(run, *zip(*jobs, strict=True), *rest), strict=True
        ):
            rows[variant].append(row)
            print(variant, seed, f"{row['seconds']:.0f} s", flush=True)
            write_text(RESULTS, json.dumps(rows, indent=1) + "\n")
    print_table(rows)


def print_table(rows: dict[str, list[dict[str, Any]]]) -> None:
    kinds = [f"{algorithm}{random}" for random in ("", " random") for algorithm in ALGORITHMS]
    print("| learners | " + " | ".join(kind.upper().replace("RANDOM", "random") for kind in kinds))
    print("| --- |" + " ---: |" * len(kinds))
    for variant, runs in rows.items():
        cells = []
        for kind in kinds:
            score = summarize(np.concatenate([np.array(row[kind]) for row in runs]))
            cells.append(f"{score.iqm:.1f} ({score.min:.1f})")
        print(f"| {variant} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main(tyro.cli(Arguments))
