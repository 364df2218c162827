"""Synthetic environments with dynamics, as worlds in which learners gather their own experience."""

from __future__ import annotations

import torch
from gymnasium import spaces
from torch import Tensor

from gtn_rl.agents.interactive import Judged, Place, Segment
from gtn_rl.envs.synthetic import SyntheticEnv
from gtn_rl.spaces import halves

_STARTS = 512
"""First observations drawn ahead; episodes start from them at random."""


class SyntheticWorld:
    """P synthetic environments with K learners each and N episodes for each learner; R = P K.

    Args:
        env: The environments.
        learners: K.
        episodes: N.
        seed: Of the first observations.
        through: Whether gradients run along episodes, through all states, instead of one step.
        shared: Whether the learners of all members see the same random numbers.
    """

    def __init__(
        self, env: SyntheticEnv, learners: int, episodes: int, seed: int, *, through: bool = False,
        shared: bool = True,
    ) -> None:  # fmt: skip
        self._env, self._through, self._shared = env, through, shared
        self._shape = (learners, episodes)
        self._rows = env.members * learners
        self._progress = -1.0
        source = torch.Generator().manual_seed(seed)
        dtype = env.reward_parameters.dtype
        self._noise = torch.randn(_STARTS, env.noise_size, generator=source, dtype=dtype)
        self._starts = torch.empty(0)
        box = env.action_space
        self._scale = halves(box, dtype) if isinstance(box, spaces.Box) else None

    @property
    def parameters(self) -> list[Tensor]:
        """Those of the environments."""
        return list(self._env.parameters())

    def forget(self) -> None:
        """Drop the first observations that were drawn ahead; the next are the same."""
        self._starts = torch.empty(0)

    def enter(self, progress: float) -> None:
        """Be what it is at this share of the learners' training."""
        self._progress = progress
        if len(self._starts) and not self._env.timed:
            return
        noise = self._noise.expand(self._env.members, -1, -1)
        with torch.enable_grad():
            self._starts = self._env.initial(noise, progress)

    def reset(self, source: torch.Generator) -> Place:
        """Start episodes everywhere."""
        observation = self._fresh(source)
        return Place(observation, torch.zeros(observation.shape[:2], dtype=torch.long))

    def step(
        self, place: Place, action: Tensor, source: torch.Generator
    ) -> tuple[Place, Tensor, Tensor, Tensor]:
        """Take actions: place after it and its resets, then `following`, `over`, `last`."""
        with torch.set_grad_enabled(self._through):
            flat = self._flat(place.observation)
            outcome = self._env.outcome(flat, self._taken(action))
            following = outcome.observation.reshape(place.observation.shape)
        age = place.age + 1
        last = age >= self._env.horizon
        chance = self.uniform(source)
        over = last | (chance < outcome.termination.detach().view(chance.shape))
        observation = torch.where(over.unsqueeze(-1), self._fresh(source), following)
        return Place(observation, torch.where(over, 0, age)), following, over, last

    def judge(self, segment: Segment) -> Judged:
        """Rewards and next states of the actions that were taken."""
        flat, action = self._flat(segment.observation), self._taken(segment.action)
        outcome = self._env.outcome(flat, action)
        reward = self._env.reward(self._env.lesson(flat, self._progress), action)
        return Judged(
            reward.reshape(segment.last.shape),
            outcome.observation.reshape(segment.observation.shape),
            (1 - outcome.termination).reshape(segment.last.shape) * ~segment.last,
        )

    def judge_all(self, segment: Segment) -> Judged:
        """Rewards and next states of all discrete actions."""
        flat, shape = self._flat(segment.observation), segment.last.shape
        outcome = self._env.outcomes(flat)
        size = segment.observation.shape[-1]
        return Judged(
            self._env.lesson(flat, self._progress).reshape(*shape, -1),
            outcome.observation.reshape(*shape, -1, size),
            (1 - outcome.termination).reshape(*shape, -1) * ~segment.last.unsqueeze(-1),
        )

    def uniform(self, source: torch.Generator, *size: int) -> Tensor:
        """Uniform numbers `[R, N, *size]` that members of a population share."""
        rows = self._shape[0] if self._shared else self._rows
        shape = (rows, self._shape[1], *size)
        drawn = torch.rand(*shape, generator=source, dtype=self._noise.dtype)
        if not self._shared:
            return drawn
        return drawn.expand(self._env.members, *drawn.shape).flatten(0, 1)

    def _fresh(self, source: torch.Generator) -> Tensor:
        chance = self.uniform(source).view(self._env.members, -1)
        index = (_STARTS * chance).long().clamp(max=_STARTS - 1)
        where = index.unsqueeze(-1).expand(*index.shape, self._starts.shape[-1])
        return self._starts.gather(1, where).view(self._rows, self._shape[1], -1)

    def _flat(self, observation: Tensor) -> Tensor:
        """Observations `[R, ..., O]` as `[P, rest, O]`, for the environments."""
        return observation.reshape(self._env.members, -1, observation.shape[-1])

    def _taken(self, action: Tensor) -> Tensor:
        """Actions of the learners as the environments have them, `[P, rest]` or `[P, rest, A]`."""
        if self._scale is None:
            return action.reshape(self._env.members, -1)
        middle, half = self._scale
        return self._flat(((action - middle) / half).clamp(-1, 1))
