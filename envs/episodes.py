"""N synthetic episodes side by side, NumPy in and out: what the Gymnasium and SB3 faces share."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gtn_rl.envs.synthetic import SyntheticEnv

_POOL = 64
"""Episodes per environment drawn in one forward pass; beyond this the dispatch cost is gone."""


class Episodes:
    """Fresh one-step episodes of the first member of a synthetic environment.

    Neither the initial observations nor the rewards of a bandit depend on the agent, so both are
    drawn ahead in blocks, one forward pass each, and a step is a table look-up.

    Args:
        env: The synthetic environment.
        num_envs: N.
    """

    def __init__(self, env: SyntheticEnv, num_envs: int) -> None:
        self.env = env
        self.num_envs = num_envs
        self._space = env.observation_space
        self._start = int(env.action_space.start)
        self._pool_size = num_envs * _POOL
        self._next = self._pool_size
        self._observations: NDArray[Any] = np.empty((0, *self._space.shape), self._space.dtype)
        self._rewards: NDArray[np.float32] = np.empty((0, 0), np.float32)
        self._current_observation = np.zeros((num_envs, *self._space.shape), self._space.dtype)
        self._current_rewards = np.zeros((num_envs, int(env.action_space.n)), np.float32)
        self._rows = np.arange(num_envs)

    def restart(self) -> None:
        """Forget episodes drawn ahead, so that the next ones follow from the generator alone."""
        self._next = self._pool_size

    def reset(
        self, generator: np.random.Generator, mask: NDArray[np.bool_] | None = None
    ) -> NDArray[Any]:
        """Start new episodes, where `mask` `[N]` says so or everywhere; observations `[N, O]`."""
        wanted = self.num_envs if mask is None else int(mask.sum())
        if self._next + wanted > self._pool_size:
            self._draw(generator)
        drawn = slice(self._next, self._next + wanted)
        self._next += wanted
        if mask is None:
            self._current_observation = self._observations[drawn]
            self._current_rewards = self._rewards[drawn]
        else:
            self._current_observation = self._current_observation.copy()
            self._current_observation[mask] = self._observations[drawn]
            self._current_rewards = self._current_rewards.copy()
            self._current_rewards[mask] = self._rewards[drawn]
        # Callers keep what they are given, and the pool must not change under their hands.
        return self._current_observation.copy()

    def reward(self, action: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """Rewards `[N]` of actions `[N]`, after which every episode is over."""
        rewards: NDArray[np.float32] = self._current_rewards[self._rows, action - self._start]
        return rewards

    def observation(self) -> NDArray[Any]:
        """Current observations `[N, O]`, a copy."""
        return self._current_observation.copy()

    @torch.inference_mode()
    def _draw(self, generator: np.random.Generator) -> None:
        shape = (1, self._pool_size, self.env.noise_size)
        noise = generator.standard_normal(shape, dtype=np.float32)
        observation = self.env.initial(torch.as_tensor(noise))
        self._rewards = self.env.rewards(observation)[0].numpy()
        # The space may be float64, with bounds that float32 rounds outwards.
        array = observation[0].numpy().astype(self._space.dtype)
        self._observations = np.clip(array, self._space.low, self._space.high)
        self._next = 0
