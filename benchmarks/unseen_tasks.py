"""Tasks that nobody tuned for, as ids that `gtn-rl` can be given from this folder.

Flattened toy text (`FrozenLake`, `Blackjack`) and two environments of other packages
(`pip install flappy-bird-gymnasium minigrid`). `python benchmarks/unseen_tasks.py` prints what
controllers reach that know the dynamics of the examples' Boat and Thermostat.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.wrappers import FlattenObservation

from gtn_rl.envs.targets import play


def flat(name: str, **settings: Any) -> gym.Env[Any, Any]:
    """An environment without its limit of steps, its observations as one row of numbers."""
    return FlattenObservation(gym.make(name, **settings).unwrapped)


def flappy() -> gym.Env[Any, Any]:
    """Flappy Bird with the 12 numbers of its pipes and bird."""
    importlib.import_module("flappy_bird_gymnasium")
    return gym.make("FlappyBird-v0", use_lidar=False).unwrapped


def minigrid() -> gym.Env[Any, Any]:
    """A small grid world with a goal; 147 whole numbers tell what is in front of the agent."""
    importlib.import_module("minigrid")
    wrappers = importlib.import_module("minigrid.wrappers")
    return FlattenObservation(wrappers.ImgObsWrapper(gym.make("MiniGrid-Empty-5x5-v0").unwrapped))


# FrozenLake's state as 16 numbers of which one is 1, Blackjack's three as 45 of which three are.
lake = {"name": "FrozenLake-v1", "is_slippery": False}
gym.register("FlatFrozenLake-v1", flat, max_episode_steps=100, kwargs=lake)
gym.register("FlatBlackjack-v1", flat, kwargs={"name": "Blackjack-v1"})
gym.register("Flappy-v0", flappy, max_episode_steps=1_000)
gym.register("MiniGrid-v0", minigrid, max_episode_steps=100)


def steer(seen: Any) -> Any:
    """Boat: be at the goal in the next step, or push towards it."""
    return np.clip(-(seen[:, :2] + seen[:, 2:]) / 0.4, -1, 1).astype(np.float32)


def heat(seen: Any) -> Any:
    """Thermostat: what costs least in the next step."""
    leak = seen[:, :1] + 0.05 * (seen[:, 1:2] - seen[:, :1])
    action = np.arange(3)
    return (abs(leak + 1.5 * (action - 1) - 21) / 10 + 0.05 * abs(action - 1)).argmin(1)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
    for name, act in {"my_env:Boat-v0": steer, "my_env:Thermostat-v0": heat}.items():
        print(name, play(gym.make_vec(name, num_envs=200), act, seed=0)[0].mean())
