"""Memory that many steps take, and many environments made and closed; exits with 1 at 1 %.

Usage: python benchmarks/soak.py [--steps 100000000] [--made 1000] [--out FILE]

A step is one of one environment: a vector of 64 takes 64 at a time. Growth is that of the process's
resident memory, relative to what it was after a tenth as many steps more, with which it begins.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import gymnasium as gym
import numpy as np
import torch
import tyro

import gtn_rl

N = 64


@dataclass
class Arguments:
    """Long use of a shipped environment."""

    steps: int = 100_000_000
    """VecEnv steps, of all environments of the vector together."""
    made: int = 1_000
    """Environments made and closed, with each of the three faces."""
    name: str = "gtn_rl/CartPole-v1"
    """Environment."""
    out: Path | None = None
    """Results."""


def resident() -> int:
    """Memory of this process, bytes (Linux)."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def step(name: str, steps: int) -> None:
    env = gtn_rl.make_sb3_env(name, N, seed=0)
    env.reset()
    actions = np.random.default_rng(0).integers(0, 2, (1024, N))
    for number in range(steps // N):
        env.step(actions[number % 1024])


def make(name: str, count: int) -> None:
    for seed in range(count):
        for env in (gym.make(name), gym.make_vec(name, num_envs=4)):
            env.reset(seed=seed)
            env.step(env.action_space.sample())
            env.close()
        gtn_rl.make_sb3_env(name, 4, seed=seed).close()


def main(arguments: Arguments) -> int:
    torch.set_num_threads(1)
    rows = []
    runs: dict[str, tuple[Callable[[str, int], None], int]] = {
        "steps": (step, arguments.steps), "made": (make, arguments.made)
    }  # fmt: skip
    for what, (run, count) in runs.items():
        # What is loaded and cached at first is no leak.
        run(arguments.name, count // 10)
        before, start = resident(), time.perf_counter()
        run(arguments.name, count)
        growth = resident() / before - 1
        row = {"what": what, "count": count, "seconds": round(time.perf_counter() - start, 1)}
        rows.append(row | {"mebibytes": before >> 20, "growth": round(growth, 5)})
        print(json.dumps(rows[-1]), flush=True)
        if arguments.out is not None:
            arguments.out.write_text(json.dumps(rows, indent=1) + "\n")
    return int(max(row["growth"] for row in rows) >= 0.01)


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Arguments)))
