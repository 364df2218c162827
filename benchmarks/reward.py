"""Real steps that a stock agent needs to solve a task, with a learned reward and with the plain.

CartPole and MountainCarContinuous have the reward of the shipped synthetic environment (form
`action`, `gym.make("gtn_rl/RN-CartPole-v1")`). That of CliffWalking is trained first, from real
steps alone. An agent has solved a task when its greedy policy reaches the threshold on 10 real
episodes; it is asked every `--every` steps. Agents that do not get there count with the limit.

    python benchmarks/reward.py [cliff cartpole mountaincar] [--seeds 5]
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
import tyro
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor

import gtn_rl
from gtn_rl.config import Search, reward_config
from gtn_rl.envs.learned_reward import LearnedReward
from gtn_rl.io.artifact import read_config

RESULTS = Path(__file__).parent / "results" / "reward.json"
CLIFF = Path("runs/reward/cliff")


def cliff() -> gym.Env[Any, Any]:
    """CliffWalking with one-hot observations, at most 100 steps an episode."""
    limited = gym.wrappers.TimeLimit(gym.make("CliffWalking-v1"), 100)
    return gym.wrappers.FlattenObservation(limited)


@dataclass(frozen=True)
class Task:
    """A task, its agent and when it is solved."""

    make: Callable[[], gym.Env[Any, Any]]
    reward: str
    algorithm: type[BaseAlgorithm]
    threshold: float
    limit: int
    settings: dict[str, Any]


TASKS = {
    "cartpole": Task(
        lambda: gym.make("CartPole-v1"), "gtn_rl/CartPole-v1", DQN, 475, 50_000,
        {"learning_starts": 200},
    ),
    "mountaincar": Task(
        lambda: gym.make("MountainCarContinuous-v0"), "gtn_rl/MountainCarContinuous-v0", PPO, 90,
        75_000, {},
    ),
    "cliff": Task(cliff, str(CLIFF), DQN, -20, 50_000, {"learning_starts": 200}),
}  # fmt: skip


@dataclass(frozen=True)
class Arguments:
    """Which tasks, how many agents."""

    tasks: tyro.conf.Positional[tuple[str, ...]] = tuple(TASKS)
    """Of cliff, cartpole, mountaincar."""

    seeds: int = 5
    """Agents with each reward."""

    every: int = 512
    """Steps between two looks."""

    minutes: float = 3.0
    """Of training the reward of CliffWalking."""


class Solved(BaseCallback):
    """Ends the training once the greedy policy reaches the threshold."""

    def __init__(self, task: Task, every: int) -> None:
        super().__init__()
        self._task, self._every = task, every
        self._envs = Monitor(task.make())
        self.steps = task.limit

    def _on_step(self) -> bool:
        if self.num_timesteps % self._every:
            return True
        mean, _ = evaluate_policy(self.model, self._envs, n_eval_episodes=10)
        if mean >= self._task.threshold:
            self.steps = self.num_timesteps
        return bool(mean < self._task.threshold)


def main(arguments: Arguments) -> None:
    """Measure and keep the rows."""
    torch.set_num_threads(1)
    rows = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    for name in arguments.tasks:
        task = TASKS[name]
        if name == "cliff" and not CLIFF.exists():
            # -13 is the shortest way. No other task needs so many generations of novelty search.
            config = replace(
                reward_config(), max_minutes=arguments.minutes, target_return=-14.0,
                search=Search(generations=80),
            )  # fmt: skip
            gtn_rl.train_reward(cliff, CLIFF, config, progress_bar=False)
        training = read_config(task.reward)["training"]
        row: dict[str, Any] = {"task": name, "algorithm": task.algorithm.__name__}
        row |= {key: training[key] for key in ("seconds", "real_steps")}
        for kind in ("learned", "plain"):
            start, solved = time.perf_counter(), []
            for seed in range(arguments.seeds):
                env = task.make()
                if kind == "learned":
                    env = LearnedReward(env, task.reward)
                watch = Solved(task, arguments.every)
                agent = task.algorithm("MlpPolicy", env, seed=seed, device="cpu", **task.settings)
                agent.learn(task.limit, callback=watch)
                solved.append(watch.steps)
            row[kind] = solved
            row[f"{kind}_median"] = float(np.median(solved))
            row[f"{kind}_seconds"] = round(time.perf_counter() - start, 1)
            print(name, kind, solved, flush=True)
        rows = [old for old in rows if old["task"] != name] + [row]
        RESULTS.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Arguments))
