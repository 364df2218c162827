"""Memory that many steps take, and many environments made and closed; exits with 1 at 1 %.

Usage: python benchmarks/soak.py [--steps 100000000] [--made 1000]

A step is one of one environment: a vector of 64 takes 64 at a time. Growth is that of the process's
resident memory, relative to what it was after a tenth as many steps more, with which it begins.
"""

from __future__ import annotations

import gc
import sys
import time
from pathlib import Path

import gymnasium as gym
import numpy as np
import torch
import tyro

import gtn_rl


def resident() -> int:
    """Memory of this process, bytes (Linux)."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def step(name: str, steps: int) -> None:
    env = gtn_rl.make_sb3_env(name, 64, seed=0)
    env.reset()
    actions = np.random.default_rng(0).integers(0, 2, (1024, 64))
    for number in range(steps // 64):
        env.step(actions[number % 1024])


def make(name: str, count: int) -> None:
    for seed in range(count):
        for env in (gym.make(name), gym.make_vec(name, num_envs=4)):
            env.reset(seed=seed)
            env.step(env.action_space.sample())
            env.close()
        gtn_rl.make_sb3_env(name, 4, seed=seed).close()


def main(*, steps: int = 100_000_000, made: int = 1_000, name: str = "gtn_rl/CartPole-v1") -> int:
    """Steps of all environments of the vector together; environments made, with each face."""
    torch.set_num_threads(1)
    most = 0.0
    for run, count in ((step, steps), (make, made)):
        run(name, count // 10)  # What is loaded and cached at first is no leak.
        before, start = resident(), time.perf_counter()
        run(name, count)
        growth, seconds = resident() / before - 1, time.perf_counter() - start
        print(f"{run.__name__} {count:,}: {before >> 20} MiB {growth:+.2%}, {seconds:.0f} s")
        most = max(most, growth)
    return int(most >= 0.01)


if __name__ == "__main__":
    sys.exit(tyro.cli(main))
