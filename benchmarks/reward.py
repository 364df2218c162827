"""Real steps that a stock agent needs to solve a task, with a learned reward and with the plain.

CartPole and MountainCarContinuous have the reward of the shipped synthetic environment (form
`action`, `gym.make("gtn_rl/RN-CartPole-v1")`). That of CliffWalking is trained first, from real
steps alone. An agent has solved a task when its greedy policy reaches the threshold on 10 real
episodes; it is asked every `--every` steps. Agents that do not get there count with the limit.

    python benchmarks/reward.py [cliff cartpole mountaincar] [--seeds 5]
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch
import tyro
from common import RESULTS, keep
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import EvalCallback, StopTrainingOnRewardThreshold
from stable_baselines3.common.monitor import Monitor

import gtn_rl
from gtn_rl.config import Search, reward_config
from gtn_rl.io.artifact import read_config

CLIFF = Path("runs/reward/cliff")


def cliff() -> gym.Env[Any, Any]:
    """CliffWalking with one-hot observations, at most 100 steps an episode."""
    limited = gym.wrappers.TimeLimit(gym.make("CliffWalking-v1"), 100)
    return gym.wrappers.FlattenObservation(limited)


class Task(NamedTuple):
    """A task, its agent and when it is solved."""

    target: str
    reward: str
    algorithm: type[BaseAlgorithm]
    threshold: float
    limit: int
    settings: dict[str, Any]

    def make(self) -> gym.Env[Any, Any]:
        """A new real environment."""
        return gym.make(self.target) if self.target else cliff()


CAR, STARTS = "MountainCarContinuous-v0", {"learning_starts": 200}
TASKS = {
    "cartpole": Task("CartPole-v1", "gtn_rl/CartPole-v1", DQN, 475, 50_000, STARTS),
    "mountaincar": Task(CAR, f"gtn_rl/{CAR}", PPO, 90, 75_000, {}),
    "cliff": Task("", str(CLIFF), DQN, -20, 50_000, STARTS),
}


def needed(task: Task, env: gym.Env[Any, Any], seed: int, every: int) -> int:
    """Steps until an agent that trains in an environment has solved the task, or the limit."""
    solved = StopTrainingOnRewardThreshold(task.threshold)
    watch = EvalCallback(
        Monitor(task.make()), solved, n_eval_episodes=10, eval_freq=every, verbose=0, warn=False
    )
    agent = task.algorithm("MlpPolicy", env, seed=seed, device="cpu", **task.settings)
    agent.learn(task.limit, callback=watch)
    return agent.num_timesteps if watch.best_mean_reward >= task.threshold else task.limit


def main(
    tasks: tyro.conf.Positional[tuple[str, ...]] = tuple(TASKS), *, seeds: int = 5,
    every: int = 512, minutes: float = 3.0,
) -> None:  # fmt: skip
    """Agents with each reward; steps between two looks; minutes for CliffWalking's reward."""
    torch.set_num_threads(1)
    for name in tasks:
        task = TASKS[name]
        if name == "cliff" and not CLIFF.exists():
            # -13 is the shortest way. No other task needs so many generations of novelty search.
            config = replace(
                reward_config(), max_minutes=minutes, target_return=-14.0,
                search=Search(generations=80),
            )  # fmt: skip
            gtn_rl.train_reward(cliff, CLIFF, config, progress_bar=False)
        training = read_config(task.reward)["training"]
        row: dict[str, Any] = {"task": name, "algorithm": task.algorithm.__name__}
        row |= {key: training[key] for key in ("seconds", "real_steps")}
        for kind in ("learned", "plain"):
            row[kind] = []
            for seed in range(seeds):
                env = task.make()
                env = gtn_rl.LearnedReward(env, task.reward) if kind == "learned" else env
                row[kind].append(needed(task, env, seed, every))
            row[f"{kind}_median"] = float(np.median(row[kind]))
        keep(RESULTS / "reward.json", name, row)


if __name__ == "__main__":
    tyro.cli(main)
