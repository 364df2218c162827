"""Speed of the native VecEnv against SB3's DummyVecEnv over the real CartPole, 16 environments.

Steps alone; PPO end to end with SB3's defaults; and PPO where collecting dominates (one epoch of
large minibatches). Beside both a VecEnv that does nothing: no environment can be faster than that.
Usage: python benchmarks/speed.py [--repeats 3]
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv

from gtn_rl import make_sb3_env

N = 16
PPO_SETTINGS: dict[str, dict[str, Any]] = {
    "PPO, SB3 defaults, 32,768 steps": {},
    "PPO, n_epochs=1, batch_size=2048, 32,768 steps": {"n_epochs": 1, "batch_size": 2048},
}


def free_env() -> VecEnv:
    """A VecEnv that gives the answers of its first step again and again, at no cost."""
    env = make_sb3_env("gtn_rl/CartPole-v1", n_envs=N, seed=0)
    observation, answer = env.reset(), env.step(np.zeros(N, np.int64))
    env.reset = lambda: observation  # type: ignore[method-assign]
    env.step = lambda actions: answer  # type: ignore[method-assign]
    return env


@dataclass
class Arguments:
    """Speed of the native VecEnv."""

    repeats: int = 3
    """Runs of each; the median counts."""


def step_seconds(env: VecEnv, steps: int = 5_000) -> float:
    rng = np.random.default_rng(0)
    actions = rng.integers(0, 2, (steps, N))
    env.reset()
    start = time.perf_counter()
    for action in actions:
        env.step(action)
    return (time.perf_counter() - start) / steps


def ppo_seconds(env: VecEnv, settings: dict[str, Any]) -> float:
    agent = PPO("MlpPolicy", env, seed=0, device="cpu", **settings)
    start = time.perf_counter()
    agent.learn(32_768)
    return time.perf_counter() - start


def main(arguments: Arguments) -> None:
    torch.set_num_threads(1)
    measures: dict[str, Callable[[VecEnv], float]] = {"one step of 16 environments": step_seconds}
    for name, settings in PPO_SETTINGS.items():
        measures[name] = lambda env, settings=settings: ppo_seconds(env, settings)  # type: ignore[misc]
    rows = []
    for name, measure in measures.items():
        synthetic, real, free = [], [], []
        for _ in range(arguments.repeats):
            synthetic.append(measure(make_sb3_env("gtn_rl/CartPole-v1", n_envs=N, seed=0)))
            real.append(measure(make_vec_env("CartPole-v1", n_envs=N, seed=0)))
            free.append(measure(free_env()))
        row = {
            "what": name,
            "synthetic_seconds": float(np.median(synthetic)),
            "real_seconds": float(np.median(real)),
            "free_seconds": float(np.median(free)),
        }
        row["ratio"] = row["real_seconds"] / row["synthetic_seconds"]
        row["highest_ratio"] = row["real_seconds"] / row["free_seconds"]
        rows.append(row)
        print(json.dumps(row), flush=True)
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    (results / "speed.json").write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Arguments))
