"""N synthetic episodes side by side, NumPy in and out: what the Gymnasium and SB3 faces share."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from gtn_rl.envs.synthetic import State, SyntheticEnv
from gtn_rl.errors import UsageError

_AHEAD = 64
"""Episodes per environment drawn in one forward pass; beyond this the dispatch cost is gone."""


class Episodes:
    """Episodes of the first member of a synthetic environment.

    Neither the initial observations nor the lessons of a one-step environment depend on the agent,
    so both are drawn ahead in blocks, one forward pass each, and a discrete action's reward is a
    look-up. With a longer horizon only the starts can be drawn ahead, and not even these while the
    phase may still change.

    Progress from 0 to 1 (Such et al. 2020, section 3.3) is the steps taken so far / budget. It
    belongs to one agent's training, so only new episodes start it again, and no reset.

    Args:
        env: Only one that is `timed` depends on progress.
        budget: Steps, of all N together, after which progress is 1; the environment's own if not
            given. If that is 0, progress is 1 all the time.

    Raises:
        UsageError: A budget or a number of environments below 1.
    """

    returns: NDArray[Any]
    """Sums `[N]` of the rewards of each episode so far, to be read only."""

    lengths: NDArray[Any]
    """Steps `[N]` of each episode so far, to be read only."""

    def __init__(self, env: SyntheticEnv, num_envs: int, budget: int | None = None) -> None:
        if num_envs < 1:
            raise UsageError(f"the number of environments must be at least 1, got {num_envs}")
        if budget is not None and budget < 1:
            raise UsageError(f"budget must be at least 1 step, got {budget}")
        self._env, self._num_envs, self._long = env, num_envs, env.horizon > 1
        self._budget = (budget or env.budget or None) if env.timed else None
        self._steps = 0
        # Drawn ahead; what agents see may have fewer values than float32 (a space of integers).
        size, dtype = env.observation_size, env.observation_space.dtype
        self._starts = np.zeros((num_envs, size), np.float32)
        self._shown: NDArray[Any] = np.zeros((num_envs, size), dtype)
        self._lessons = np.zeros((num_envs, 0), np.float32)
        self._planned = np.ones(num_envs, np.float32)
        self._next = self._block = num_envs * _AHEAD
        self._state, self._seen, self._lesson = self._starts, self._shown, self._lessons
        space = env.action_space
        self._first = int(space.start) if isinstance(space, spaces.Discrete) else None
        self._each = np.arange(num_envs)
        self._everywhere = np.ones(num_envs, dtype=np.bool_)
        self.returns = np.zeros(num_envs, np.float64)
        self.lengths = np.full(num_envs, 0 if self._long else 1)

    @property
    def progress(self) -> float:
        """Progress of the next step."""
        return 1.0 if self._budget is None else min(self._steps / self._budget, 1.0)

    def restart(self) -> None:
        """Forget episodes drawn ahead, so that the next ones follow from the generator alone."""
        self._next = self._block

    def reset(
        self, generator: np.random.Generator, mask: NDArray[np.bool_] | None = None
    ) -> NDArray[Any]:
        """Start new episodes, where `mask` `[N]` says so or everywhere; observations `[N, O]`."""
        rows = self._take(self._num_envs if mask is None else int(mask.sum()), generator)
        if mask is None:
            self._state, self._seen = self._starts[rows], self._shown[rows]
            self._lesson = self._lessons[rows]
        else:
            self._seen = self._seen.copy()
            self._seen[mask] = self._shown[rows]
            if self._long:
                self._state = self._state.copy()
                self._state[mask] = self._starts[rows]
            else:
                self._lesson = self._lesson.copy()
                self._lesson[mask] = self._lessons[rows]
        if self._long:
            where = self._everywhere if mask is None else mask
            self.returns[where], self.lengths[where] = 0.0, 0
        # Callers keep what they are given, and what is drawn ahead must not change.
        return self._seen.copy()

    def step(
        self, action: NDArray[Any], generator: np.random.Generator,
        resting: NDArray[np.bool_] | None = None,
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:  # fmt: skip
        """Take actions, `[N]` or `[N, A]`: rewards `[N]`, and which episodes are over, `[N]`.

        Where `resting` `[N]` says so the step means nothing (the caller is about to reset), and
        does not count as progress.
        """
        if self._long:
            return self._step(action, generator, resting)
        self._advance(resting)
        rewards: NDArray[np.float32]
        if self._first is not None:
            rewards = self._lesson[self._each, action - self._first]
        else:
            with torch.inference_mode():
                lesson = torch.as_tensor(self._lesson[None])
                taken = to_core(self._env.action_space, action)
                rewards = self._env.reward(lesson, taken)[0].numpy()
        self.returns = rewards
        return rewards, self._everywhere.copy()

    def observation(self) -> NDArray[Any]:
        """Current observations `[N, O]`, a copy."""
        return self._seen.copy()

    @torch.inference_mode()
    def _step(
        self, action: NDArray[Any], generator: np.random.Generator,
        resting: NDArray[np.bool_] | None,
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:  # fmt: skip
        chance = generator.random((1, self._num_envs), dtype=np.float32)
        state, reward, over = self._env.step(
            State(torch.as_tensor(self._state[None]), torch.as_tensor(self.lengths[None])),
            to_core(self._env.action_space, action),
            torch.as_tensor(chance),
            self.progress,
        )
        self._advance(resting)
        rewards: NDArray[np.float32] = reward[0].numpy()
        self._state = state.observation[0].numpy()
        self._seen = into_space(self._env.observation_space, self._state)
        self.returns += rewards
        self.lengths += 1
        return rewards, over[0].numpy()

    def _advance(self, resting: NDArray[np.bool_] | None) -> None:
        if self._budget is not None:
            idle = 0 if resting is None else int(np.count_nonzero(resting))
            self._steps += self._num_envs - idle

    def _take(self, wanted: int, generator: np.random.Generator) -> slice:
        """The next rows of what is drawn ahead, drawn if there are not enough left."""
        if self._long and self.progress < 1:
            self._draw(wanted, generator)
            return slice(wanted)
        first = self._next
        if first + wanted > self._block or self._stale(first, wanted):
            self._draw(self._block, generator)
            first = 0
        self._next = first + wanted
        return slice(first, self._next)

    def _stale(self, first: int, wanted: int) -> bool:
        """Whether episodes started again unplayed, so that those ahead are for another time."""
        if self._budget is None or self._long:
            return False
        now = np.float32(self.progress)
        return bool((self._planned[first : first + wanted] != now).any())

    @torch.inference_mode()
    def _draw(self, rows: int, generator: np.random.Generator) -> None:
        noise = generator.standard_normal((1, rows, self._env.noise_size), dtype=np.float32)
        progress: Tensor | float = self.progress
        if not self._long:
            # When each will be played, N at a time from now on, is known.
            steps = self._steps + np.arange(rows) // self._num_envs * self._num_envs
            planned = np.minimum(steps / self._budget, 1) if self._budget else np.ones(rows)
            self._planned = planned.astype(np.float32)
            progress = torch.as_tensor(self._planned)
        observation = self._env.initial(torch.as_tensor(noise), progress)
        if not self._long:
            self._lessons = self._env.lesson(observation, progress)[0].numpy()
        self._starts = observation[0].numpy()
        self._shown = into_space(self._env.observation_space, self._starts)


def into_space(space: spaces.Box, observation: NDArray[np.float32]) -> NDArray[Any]:
    """Observations `[..., O]` as `space` has them, a copy."""
    if np.issubdtype(space.dtype, np.integer):
        # The bounds of wide integers are further out than what a float32 is cast to correctly.
        low, high = space.low.astype(np.float32), space.high.astype(np.float32)
        inside = (observation > low) & (observation < high)
        array: NDArray[Any] = np.where(inside, observation, 0).astype(space.dtype)
        return np.where(inside, array, np.where(observation <= low, space.low, space.high))
    # The space may be float64, with bounds that float32 rounds outwards.
    return np.clip(observation.astype(space.dtype), space.low, space.high)


def to_core(space: spaces.Discrete | spaces.Box, action: NDArray[Any]) -> Tensor:
    """Actions of N agents, `[N]` or `[N, A]`, as `SyntheticEnv` has them: with a leading 1."""
    if isinstance(space, spaces.Discrete):
        return torch.as_tensor((action - space.start).astype(np.int64)[None])
    middle, half = (space.high + space.low) / 2, (space.high - space.low) / 2
    unit = ((np.clip(action, space.low, space.high) - middle) / half).astype(np.float32)
    return torch.as_tensor(unit[None])
