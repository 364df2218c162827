"""Tasks that nobody tuned for, as ids that `gtn-rl` can be given from this folder.

Flattened toy text (`FrozenLake`, `Blackjack`) and two environments of other packages
(`pip install flappy-bird-gymnasium minigrid`).
"""

from __future__ import annotations

import importlib
from typing import Any

import gymnasium as gym
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
