"""Stock Stable-Baselines3 agents, unmodified: the judges of a synthetic environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray
from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from gtn_rl.errors import UsageError, did_you_mean

ALGORITHMS: dict[str, type[BaseAlgorithm]] = {"ppo": PPO, "a2c": A2C, "dqn": DQN}

LEARNING_STARTS = 200
"""DQN's random steps before it learns; of a few thousand steps in all, 200 is what it can spare."""


def algorithm(name: str) -> type[BaseAlgorithm]:
    """The agent class for a lower-case name.

    Raises:
        UsageError: No such algorithm.
    """
    if name not in ALGORITHMS:
        raise UsageError(
            f"unknown algorithm {name!r}: use some of {', '.join(ALGORITHMS)}."
            f"{did_you_mean(name, ALGORITHMS)}"
        )
    return ALGORITHMS[name]


def train_stock(
    name: str,
    env: gym.Env[Any, Any] | VecEnv,
    steps: int,
    seed: int,
    overrides: Mapping[str, Any] | None = None,
) -> BaseAlgorithm:
    """Train an agent with its default hyperparameters (DQN: `learning_starts=200`) on the CPU.

    Args:
        name: `"ppo"`, `"a2c"` or `"dqn"`.
        env: Environment to train in.
        steps: Environment steps; on-policy agents round up to whole rollouts.
        seed: Of the agent and the environment.
        overrides: Hyperparameters that are not to have their default.

    Raises:
        UsageError: No such algorithm or hyperparameter.
    """
    chosen = algorithm(name)
    settings: dict[str, Any] = {"seed": seed, "device": "cpu"}
    if name == "dqn":
        settings["learning_starts"] = LEARNING_STARTS
    try:
        agent = chosen("MlpPolicy", env, **(settings | dict(overrides or {})))
    except TypeError as error:
        raise UsageError(f"{name}: {error}") from error
    return agent.learn(steps)


def greedy_returns(
    agent: BaseAlgorithm, target: str, episodes: int, seed: int
) -> NDArray[np.float64]:
    """Undiscounted returns `[episodes]` of an agent's deterministic policy in a real environment.

    Args:
        agent: A trained agent.
        target: Gymnasium id.
        episodes: Episodes, run side by side.
        seed: Of their initial states.
    """
    envs = gym.make_vec(target, num_envs=episodes)
    observation, _ = envs.reset(seed=seed)
    returns = np.zeros(episodes)
    alive = np.ones(episodes, dtype=np.bool_)
    while alive.any():
        action, _ = agent.predict(observation, deterministic=True)
        observation, reward, terminated, truncated, _ = envs.step(action)
        returns += reward * alive
        alive &= ~(terminated | truncated)
    envs.close()
    return returns
