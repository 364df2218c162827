"""What variation among meta-training's learners buys: a task without one source at a time.

Meta-trains by the meta-gradient but for what a variant takes away (or adds), then judges each
result by stock agents with their defaults and with random hyperparameters (those of
`other_agents.py`). One run and its judges in one process with one thread. Usage:

    python benchmarks/ablation.py [--task CartPole-v1] [--seeds 2] [--agents 6]
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import tyro
from other_agents import one
from zoo import measured

import gtn_rl
from gtn_rl.agents.draw import PERFECT
from gtn_rl.files import write_text
from gtn_rl.pool import make_pool
from gtn_rl.settings import settings_for
from gtn_rl.stats import summarize

RESULTS = Path(__file__).parent / "results" / "ablation.json"
ALGORITHMS = ("ppo", "a2c", "dqn")


def variants(task: str) -> dict[str, dict[str, Any]]:
    """What each takes away from a task's settings, or adds to them."""
    learners = settings_for(task, "meta-gradient").learners
    perfect = tuple(text for text in learners if text.endswith(PERFECT))
    shapes = (
        "2xpg@tanh:64-64", "2xpg@relu:64-64", "2xpg@tanh:32-32", "2xpg@relu:128-128",
        "2xdqn@relu:64-64", "2xdqn@tanh:32-32", "2xdqn-greedy@relu:64-64",
        "2xdqn-greedy@relu:128-128",
    )  # fmt: skip
    found: dict[str, dict[str, Any]] = {
        "default": {},
        "one learning rate": {"learning_rate": (3e-3, 3e-3)},
        "one entropy weight": {"entropy": (3e-3, 3e-3)},
        "policies alone": {"learners": ("16xpg@tanh:64-64", *perfect)},
        "Q-networks alone": {"learners": ("8xdqn@relu:64-64", "8xdqn-greedy@relu:64-64", *perfect)},
        "more shapes": {"learners": (*shapes, *perfect)},
        # What the warm-up alone has taught.
        "no outer step": {"target_return": -1e9, "patience": 0},
    }
    if perfect:
        kept = tuple(text for text in learners if text not in perfect)
        found["no perfect learner"] = {"learners": kept}
    return found


@dataclass
class Arguments:
    """Meta-training without one source of variation at a time."""

    task: Literal["CartPole-v1", "Acrobot-v1"] = "CartPole-v1"
    """Target; those whose learners are drawn at random."""
    seeds: int = 2
    """Outer seeds."""
    agents: int = 6
    """Stock agents of each kind for each run."""
    out: Path = Path("runs/ablation")
    """Folder for the runs."""
    jobs: int = 2
    """Processes; each uses one thread."""


def run(task: str, variant: str, seed: int, agents: int, out: Path) -> dict[str, Any]:
    """Meta-train and judge: returns `[agents, episodes]` of each kind of agent, and the cost."""
    torch.set_num_threads(1)
    folder = out / task / f"{variant.replace(' ', '-')}-{seed}"
    config = replace(settings_for(task, "meta-gradient"), seed=seed, **variants(task)[variant])
    result = gtn_rl.train(task, folder, config, resume=folder.exists(), progress_bar=False)
    row: dict[str, Any] = {"seconds": result.seconds, "real_steps": result.real_steps}
    for algorithm in ALGORITHMS:
        for random in (False, True):
            returns = [one(str(folder), task, algorithm, random, own)[0] for own in range(agents)]
            row[f"{algorithm}{' random' if random else ''}"] = returns
    return row


def main(arguments: Arguments) -> None:
    names = list(variants(arguments.task))
    jobs = [(name, seed) for seed in range(arguments.seeds) for name in names]
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    work = partial(run, arguments.task, agents=arguments.agents, out=arguments.out)
    with make_pool(arguments.jobs) as pool:
        for (variant, seed), row in zip(
            jobs, pool.map(work, *zip(*jobs, strict=True)), strict=True
        ):
            rows[variant].append(row)
            print(variant, seed, f"{row['seconds']:.0f} s", flush=True)
            # Read anew: another task's run may have written in between.
            results = measured(RESULTS) | {arguments.task: rows}
            write_text(RESULTS, json.dumps(results, indent=1) + "\n")
    print_table(rows)


def print_table(rows: dict[str, list[dict[str, Any]]]) -> None:
    kinds = [f"{algorithm}{random}" for random in ("", " random") for algorithm in ALGORITHMS]
    heads = [kind.upper().replace("RANDOM", "random") for kind in kinds]
    print("| learners | " + " | ".join(heads) + " |")
    print("| --- |" + " ---: |" * len(kinds))
    for variant, runs in rows.items():
        cells = []
        for kind in kinds:
            score = summarize(np.concatenate([np.array(row[kind]) for row in runs]))
            cells.append(f"{score.iqm:.1f} ({score.min:.1f})")
        print(f"| {variant} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main(tyro.cli(Arguments))
