"""N episodes of many steps side by side, one forward pass for all of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gtn_rl.envs.edge import Pool, into_space, to_core
from gtn_rl.envs.progress import Progress
from gtn_rl.envs.synthetic import State, SyntheticEnv


class MDPEpisodes:
    """`Episodes` of a synthetic environment with a horizon above 1.

    Only where episodes start can be drawn ahead: when they start depends on the agent, so not even
    that while the phase may still change.

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
        self._starts: NDArray[np.float32] = np.empty((0, *space.shape), np.float32)
        # What the agent sees may have fewer values than float32 (a space of integers).
        self._state = np.zeros((num_envs, *space.shape), np.float32)
        self._seen = np.zeros((num_envs, *space.shape), space.dtype)
        self.returns: NDArray[Any] = np.zeros(num_envs, np.float64)
        self.lengths: NDArray[Any] = np.zeros(num_envs, np.int64)

    def restart(self) -> None:
        """Forget episodes drawn ahead, so that the next ones follow from the generator alone."""
        self._pool.forget()

    def reset(
        self, generator: np.random.Generator, mask: NDArray[np.bool_] | None = None
    ) -> NDArray[Any]:
        """Start new episodes, where `mask` `[N]` says so or everywhere; observations `[N, O]`."""
        where = np.ones(self._num_envs, dtype=np.bool_) if mask is None else mask
        wanted = int(where.sum())
        if self._progress.moving:
            self._draw(wanted, generator)
            rows = slice(wanted)
        else:
            rows = self._pool.take(wanted, generator)
        self._state[where] = self._starts[rows]
        self._seen[where] = into_space(self._env.observation_space, self._starts[rows])
        self.returns[where] = 0.0
        self.lengths[where] = 0
        return self._seen.copy()

    @torch.inference_mode()
    def step(
        self,
        action: NDArray[Any],
        generator: np.random.Generator,
        resting: NDArray[np.bool_] | None = None,
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Take actions, `[N]` or `[N, A]`; as `Episodes.step`."""
        chance = generator.random((1, self._num_envs), dtype=np.float32)
        state, reward, over = self._env.step(
            State(torch.as_tensor(self._state[None]), torch.as_tensor(self.lengths[None])),
            to_core(self._env.action_space, action),
            torch.as_tensor(chance),
            self._progress.now,
        )
        self._progress.advance(self._num_envs, resting)
        rewards: NDArray[np.float32] = reward[0].numpy()
        self._state = state.observation[0].numpy()
        self._seen = into_space(self._env.observation_space, self._state)
        self.returns += rewards
        self.lengths += 1
        return rewards, over[0].numpy()

    def observation(self) -> NDArray[Any]:
        """Current observations `[N, O]`, a copy."""
        return self._seen.copy()

    @torch.inference_mode()
    def _draw(self, rows: int, generator: np.random.Generator) -> None:
        noise = generator.standard_normal((1, rows, self._env.noise_size), dtype=np.float32)
        observation = self._env.initial(torch.as_tensor(noise), self._progress.now)
        self._starts = observation[0].numpy()
