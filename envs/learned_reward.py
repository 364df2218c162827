"""Learned rewards on real dynamics: a wrapper of the real environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray

from gtn_rl.envs.episodes import to_core
from gtn_rl.envs.reward import RewardNetwork
from gtn_rl.envs.synthetic import SyntheticEnv
from gtn_rl.errors import UsageError
from gtn_rl.io.kinds import load_reward


class LearnedReward(gym.Wrapper[Any, Any, Any, Any]):
    """A user's environment whose reward is a learned one; the real one is in `info["reward"]`.

    Args:
        env: With the spaces of the environment that the reward was learned for; discrete
            observations are shown to it one-hot.
        reward: A `RewardNetwork`, a `SyntheticEnv`, the name of a shipped environment, or a folder.

    Raises:
        ArtifactError: Nothing usable under that name or in that folder.
        UsageError: The spaces differ, or there is a population of rewards.
    """

    def __init__(
        self, env: gym.Env[Any, Any], reward: str | Path | SyntheticEnv | RewardNetwork
    ) -> None:
        super().__init__(env)
        if isinstance(reward, (str, Path)):
            reward = load_reward(reward)
        if isinstance(reward, SyntheticEnv):
            reward = RewardNetwork.of(reward)
        space: spaces.Space[Any] = env.observation_space
        if isinstance(space, spaces.Discrete):
            space = spaces.utils.flatten_space(space)
        if space.shape != reward.observation_space.shape or env.action_space != reward.action_space:
            raise UsageError(
                f"the reward was learned for {reward.observation_space} and {reward.action_space}, "
                f"the environment has {env.observation_space} and {env.action_space}"
            )
        if reward.members != 1:
            raise UsageError(f"expected one reward network, got a population of {reward.members}")
        self._reward = reward.requires_grad_(False)
        self._before: NDArray[Any] = np.zeros(0)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._before = self._flat(observation)
        return observation, info

    @torch.inference_mode()
    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take a real step, and give the learned reward for it."""
        observation, real, terminated, truncated, info = self.env.step(action)
        after = self._flat(observation)
        space = self._reward.action_space
        learned = self._reward(
            torch.as_tensor(self._before)[None, None],
            to_core(space, np.asarray([action])),
            torch.as_tensor(after)[None, None],
            torch.tensor([[float(real)]]),
            torch.tensor([[bool(terminated)]]),
        )
        self._before = after
        return observation, float(learned), terminated, truncated, {**info, "reward": float(real)}

    def _flat(self, observation: Any) -> NDArray[np.float32]:
        space = self.env.observation_space
        return np.asarray(spaces.utils.flatten(space, observation), np.float32)


def make_rewarded(artifact: str | Path, target: str, **kwargs: Any) -> gym.Env[Any, Any]:
    """A real environment with a learned reward, as `gymnasium.make` makes it."""
    return LearnedReward(gym.make(target, **kwargs).unwrapped, artifact)
