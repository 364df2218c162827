"""Agents unlike those of meta-training: random hyperparameters, and algorithms it never saw.

Random: learning rate 1e-4 to 1e-2 (log-uniform), discount 0.8 to 1, two hidden layers of 32 to 256
units, tanh or ReLU, the rest SB3's defaults. Unseen: TRPO, QR-DQN, ARS, and TQC for continuous
actions, with their defaults. Final agents, deterministic, 20 real episodes. Usage:

    python benchmarks/other_agents.py [--seeds 10] [--tasks CartPole-v1 ...]
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

from gtn_rl import from_pretrained, make_sb3_env
from gtn_rl.agents.sb3 import check_action_space, train_stock
from gtn_rl.errors import UsageError
from gtn_rl.evaluation.stats import summarize
from gtn_rl.inner.stock import greedy_returns
from gtn_rl.io.files import write_text
from gtn_rl.outer.pool import make_pool
from gtn_rl.seeding import derive

RESULTS = Path(__file__).parent / "results" / "other_agents.json"
DISCRETE = ("CartPole-v1", "Acrobot-v1", "MountainCar-v0")
CONTINUOUS = ("MountainCarContinuous-v0", "Pendulum-v1")
STEPS = {"CartPole-v1": 2_048, "Acrobot-v1": 2_048, "MountainCar-v0": 5_000}
SLOW = ("sac", "td3", "ddpg", "tqc")
RANDOM, UNSEEN = ("ppo", "a2c", "dqn", "sac", "td3", "ddpg"), ("trpo", "qrdqn", "ars", "tqc")


@dataclass
class Arguments:
    """Agents unlike those of meta-training."""

    seeds: int = 10
    """Agents of each kind."""
    slow_seeds: int = 2
    """Of SAC, TD3, DDPG and TQC, which take a minute each."""
    tasks: tuple[str, ...] = (*DISCRETE, *CONTINUOUS)
    """Targets."""
    algos: tuple[str, ...] = (*RANDOM, *UNSEEN)
    """Algorithms."""
    jobs: int = 2
    """Processes."""


def hyperparameters(seed: int) -> dict[str, Any]:
    rng = np.random.default_rng([seed, 99])
    units = [int(unit) for unit in np.exp(rng.uniform(np.log(32), np.log(257), 2))]
    activation = [torch.nn.Tanh, torch.nn.ReLU][rng.integers(2)]
    return {
        "learning_rate": float(np.exp(rng.uniform(np.log(1e-4), np.log(1e-2)))),
        "gamma": float(rng.uniform(0.8, 1.0)),
        "policy_kwargs": {"net_arch": units, "activation_fn": activation},
    }


def one(
    artifact: str, task: str, algorithm: str, random: bool, seed: int
) -> tuple[list[float], float]:
    torch.set_num_threads(1)
    steps = STEPS.get(task, 10_000)
    if algorithm in ("dqn", "qrdqn", *SLOW):
        steps = 5_000
    overrides = hyperparameters(seed) if random else {}
    start = time.perf_counter()
    env = make_sb3_env(artifact, seed=seed, budget=steps)
    agent = train_stock(algorithm, env, steps, seed, overrides)
    seconds = time.perf_counter() - start
    return greedy_returns(agent, task, 20, derive(seed, 7) >> 32).tolist(), seconds


def main(arguments: Arguments) -> None:
    before = json.loads(RESULTS.read_text()) if RESULTS.is_file() else []
    rows = [
        row for row in before
        if row["task"] not in arguments.tasks or row["algorithm"] not in arguments.algos
    ]  # fmt: skip
    with make_pool(arguments.jobs) as pool:
        for task in arguments.tasks:
            space = from_pretrained(f"gtn_rl/{task}").action_space
            for algorithm, random in [(a, True) for a in RANDOM] + [(a, False) for a in UNSEEN]:
                if algorithm not in arguments.algos:
                    continue
                try:
                    check_action_space(algorithm, space)
                except UsageError:
                    continue
                n = arguments.slow_seeds if algorithm in SLOW else arguments.seeds
                kinds = [f"gtn_rl/{task}"] * n, [task] * n, [algorithm] * n, [random] * n
                results = pool.map(one, *kinds, range(n))
                returns, seconds = zip(*results, strict=True)
                summary = summarize(np.array(returns))
                row = {
                    "task": task, "algorithm": algorithm,
                    "hyperparameters": "random" if random else "default",
                    **summary._asdict(), "seeds": n, "seconds": float(np.mean(seconds)),
                    "returns": returns,
                }  # fmt: skip
                rows.append(row)
                print({k: v for k, v in row.items() if k != "returns"}, flush=True)
                write_text(RESULTS, json.dumps(rows, indent=1) + "\n")
    print_table(rows)


def print_table(rows: list[dict[str, Any]]) -> None:
    """IQM (worst agent) for each task: random hyperparameters, then algorithms it never saw."""
    done = {
        (row["task"], row["algorithm"], row["hyperparameters"]): (
            f"{row['iqm']:.1f} ({row['min']:.1f})"
        )
        for row in rows
    }
    every = [(name, "random") for name in RANDOM] + [(name, "default") for name in UNSEEN]
    for tasks in (DISCRETE, CONTINUOUS):
        kinds = [kind for kind in every if any((task, *kind) in done for task in tasks)]
        print("| task | " + " | ".join(f"{name.upper()} {kind}" for name, kind in kinds) + " |")
        print("| --- |" + " ---: |" * len(kinds))
        for task in tasks:
            cells = [done.get((task, *kind), "") for kind in kinds]
            print(f"| {task} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main(tyro.cli(Arguments))
