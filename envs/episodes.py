"""N synthetic episodes side by side, NumPy in and out: what the Gymnasium and SB3 faces share."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray

from gtn_rl.envs.synthetic import SyntheticEnv

_POOL = 64
"""Episodes per environment drawn in one forward pass; beyond this the dispatch cost is gone."""


class Episodes:
    """Fresh one-step episodes of the first member of a synthetic environment.

    Neither the initial observations nor the lessons of a bandit depend on the agent, so both are
    drawn ahead in blocks, one forward pass each. A discrete action's reward is then a look-up.

    Args:
        env: The synthetic environment.
        num_envs: N.
    """

    def __init__(self, env: SyntheticEnv, num_envs: int) -> None:
        self.env = env
        self.num_envs = num_envs
        self._space = env.observation_space
        self._pool_size = num_envs * _POOL
        self._next = self._pool_size
        self._observations: NDArray[Any] = np.empty((0, *self._space.shape), self._space.dtype)
        self._lessons: NDArray[np.float32] = np.empty((0, 0), np.float32)
        self._observation = np.zeros((num_envs, *self._space.shape), self._space.dtype)
        self._lesson = np.zeros((num_envs, 0), np.float32)
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
            self._observation = self._observations[drawn]
            self._lesson = self._lessons[drawn]
        else:
            self._observation = self._observation.copy()
            self._observation[mask] = self._observations[drawn]
            self._lesson = self._lesson.copy()
            self._lesson[mask] = self._lessons[drawn]
        # Callers keep what they are given, and the pool must not change under their hands.
        return self._observation.copy()

    def reward(self, action: NDArray[Any]) -> NDArray[np.float32]:
        """Rewards `[N]` of actions, `[N]` or `[N, A]`, after which every episode is over."""
        space = self.env.action_space
        if isinstance(space, spaces.Discrete):
            rewards: NDArray[np.float32] = self._lesson[self._rows, action - space.start]
            return rewards
        middle, half = (space.high + space.low) / 2, (space.high - space.low) / 2
        unit = ((np.clip(action, space.low, space.high) - middle) / half).astype(np.float32)
        with torch.inference_mode():
            lesson = torch.as_tensor(self._lesson[None])
            continuous: NDArray[np.float32] = self.env.reward(lesson, torch.as_tensor(unit[None]))[
                0
            ].numpy()
        return continuous

    def observation(self) -> NDArray[Any]:
        """Current observations `[N, O]`, a copy."""
        return self._observation.copy()

    @torch.inference_mode()
    def _draw(self, generator: np.random.Generator) -> None:
        shape = (1, self._pool_size, self.env.noise_size)
        noise = generator.standard_normal(shape, dtype=np.float32)
        observation = self.env.initial(torch.as_tensor(noise))
        self._lessons = self.env.lesson(observation)[0].numpy()
        # The space may be float64, with bounds that float32 rounds outwards.
        array = observation[0].numpy().astype(self._space.dtype)
        self._observations = np.clip(array, self._space.low, self._space.high)
        self._next = 0
