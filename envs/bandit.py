"""N one-step episodes side by side, looked up in what was drawn ahead."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray

from gtn_rl.envs.edge import Pool, into_space, to_core
from gtn_rl.envs.progress import Progress
from gtn_rl.envs.synthetic import SyntheticEnv


class BanditEpisodes:
    """`Episodes` of a synthetic environment with horizon 1.

    Neither the initial observations nor the lessons of a bandit depend on the agent, so both are
    drawn ahead in blocks, one forward pass each. A discrete action's reward is then a look-up.

    Args:
        env: The synthetic environment.
        num_envs: N.
        progress: Of the agent.
    """

    def __init__(self, env: SyntheticEnv, num_envs: int, progress: Progress) -> None:
        self._env = env
        self._num_envs = num_envs
        self._progress = progress
        self._pool = Pool(num_envs, self._draw)
        space = env.observation_space
        self._observations: NDArray[Any] = np.empty((0, *space.shape), space.dtype)
        self._lessons: NDArray[np.float32] = np.empty((0, 0), np.float32)
        self._planned: NDArray[np.float32] = np.empty(0, np.float32)
        self._observation = np.zeros((num_envs, *space.shape), space.dtype)
        self._lesson = np.zeros((num_envs, 0), np.float32)
        self._each = np.arange(num_envs)
        self._everywhere = np.ones(num_envs, dtype=np.bool_)
        self.returns: NDArray[Any] = np.zeros(num_envs, np.float32)
        self.lengths: NDArray[Any] = np.ones(num_envs, np.int64)

    def restart(self) -> None:
        """Forget episodes drawn ahead, so that the next ones follow from the generator alone."""
        self._pool.forget()

    def reset(
        self, generator: np.random.Generator, mask: NDArray[np.bool_] | None = None
    ) -> NDArray[Any]:
        """Start new episodes, where `mask` `[N]` says so or everywhere; observations `[N, O]`."""
        wanted = self._num_envs if mask is None else int(mask.sum())
        rows = self._pool.take(wanted, generator)
        if self._progress.counts and (self._planned[rows] != np.float32(self._progress.now)).any():
            # Episodes were started again unplayed, so those drawn ahead are for another time.
            self._pool.forget()
            rows = self._pool.take(wanted, generator)
        if mask is None:
            self._observation = self._observations[rows]
            self._lesson = self._lessons[rows]
        else:
            self._observation = self._observation.copy()
            self._observation[mask] = self._observations[rows]
            self._lesson = self._lesson.copy()
            self._lesson[mask] = self._lessons[rows]
        # Callers keep what they are given, and the pool must not change under their hands.
        return self._observation.copy()

    def step(
        self,
        action: NDArray[Any],
        generator: np.random.Generator,
        resting: NDArray[np.bool_] | None = None,
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Take actions, after which every episode is over; as `Episodes.step`."""
        self._progress.advance(self._num_envs, resting)
        space = self._env.action_space
        rewards: NDArray[np.float32]
        if isinstance(space, spaces.Discrete):
            rewards = self._lesson[self._each, action - space.start]
        else:
            with torch.inference_mode():
                lesson = torch.as_tensor(self._lesson[None])
                rewards = self._env.reward(lesson, to_core(space, action))[0].numpy()
        self.returns = rewards
        return rewards, self._everywhere.copy()

    def observation(self) -> NDArray[Any]:
        """Current observations `[N, O]`, a copy."""
        return self._observation.copy()

    @torch.inference_mode()
    def _draw(self, rows: int, generator: np.random.Generator) -> None:
        noise = generator.standard_normal((1, rows, self._env.noise_size), dtype=np.float32)
        self._planned = self._progress.ahead(rows, self._num_envs)
        progress = torch.as_tensor(self._planned)
        observation = self._env.initial(torch.as_tensor(noise), progress)
        self._lessons = self._env.lesson(observation, progress)[0].numpy()
        self._observations = into_space(self._env.observation_space, observation[0].numpy())
