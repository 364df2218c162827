"""Tasks that nobody tuned for, as ids that `gtn-rl` can be given from this folder.

Flattened toy text (`FrozenLake`, `Blackjack`) and two environments of other packages
(`pip install flappy-bird-gymnasium minigrid`). `python benchmarks/unseen_tasks.py` prints what
controllers reach that know the dynamics of the examples' Boat and Thermostat.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.wrappers import FlattenObservation

FROZEN_LAKE_STEPS = 100


def frozen_lake() -> gym.Env[Any, Any]:
    """FrozenLake without slipping, its state as 16 numbers of which one is 1."""
    return FlattenObservation(gym.make("FrozenLake-v1", is_slippery=False).unwrapped)


def blackjack() -> gym.Env[Any, Any]:
    """Blackjack, its three numbers as 45 of which three are 1."""
    return FlattenObservation(gym.make("Blackjack-v1").unwrapped)


def flappy() -> gym.Env[Any, Any]:
    """Flappy Bird with the 12 numbers of its pipes and bird."""
    importlib.import_module("flappy_bird_gymnasium")
    return gym.make("FlappyBird-v0", use_lidar=False).unwrapped


def minigrid() -> gym.Env[Any, Any]:
    """A small grid world with a goal; 147 whole numbers tell what is in front of the agent."""
    importlib.import_module("minigrid")
    wrappers = importlib.import_module("minigrid.wrappers")
    return FlattenObservation(wrappers.ImgObsWrapper(gym.make("MiniGrid-Empty-5x5-v0").unwrapped))


gym.register("FlatFrozenLake-v1", frozen_lake, max_episode_steps=FROZEN_LAKE_STEPS)
gym.register("FlatBlackjack-v1", blackjack)
gym.register("Flappy-v0", flappy, max_episode_steps=1_000)
gym.register("MiniGrid-v0", minigrid, max_episode_steps=100)


def steer(seen: Any) -> Any:
    """Boat: be at the goal in the next step, or push towards it."""
    return np.clip(-(seen[:2] + seen[2:]) / 0.4, -1, 1).astype(np.float32)


def heat(seen: Any) -> int:
    """Thermostat: what costs least in the next step."""
    leak = seen[0] + 0.05 * (seen[1] - seen[0])
    costs = [abs(leak + 1.5 * (a - 1) - 21) / 10 + 0.05 * abs(a - 1) for a in range(3)]
    return int(np.argmin(costs))


def controlled(task: str, act: Callable[[Any], Any], episodes: int = 200) -> float:
    """Mean return of a controller."""
    env, returns = gym.make(task), []
    for seed in range(episodes):
        seen, total, over = env.reset(seed=seed)[0], 0.0, False
        while not over:
            seen, reward, terminated, truncated, _ = env.step(act(seen))
            total, over = total + float(reward), terminated or truncated
        returns.append(total)
    return float(np.mean(returns))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
    print(controlled("my_env:Boat-v0", steer), controlled("my_env:Thermostat-v0", heat))
