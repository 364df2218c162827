"""One batch of synthetic experience, for K learners side by side."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Batch(NamedTuple):
    """Observations `[K, N, O]` and what follows from them.

    `lesson` `[K, N, L]` holds the rewards of all actions (`SyntheticEnv.lesson`); for discrete
    actions it is these rewards. `noise` `[K, N, A + 1]` ~ N(0, I) is what the learner's exploration
    is made of. `reward` and `scale` serve continuous actions: rewards `[K, N]` for a lesson and
    actions in [-1, 1], and `(middle, half)`, `[A]` each, of the action space.
    """

    observation: Tensor
    lesson: Tensor
    noise: Tensor
    reward: Callable[[Tensor, Tensor], Tensor]
    scale: tuple[Tensor, Tensor] | None

    def rows(self, start: int, stop: int) -> Batch:
        """The part of some of the learners."""
        return self._replace(
            observation=self.observation[start:stop],
            lesson=self.lesson[start:stop],
            noise=self.noise[start:stop],
        )


def explore(mean: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Actions `[K, N, A]`, in the units of the space, and rewards `[K, N]` of a unit Gaussian."""
    assert batch.scale is not None
    middle, half = batch.scale
    action = mean + batch.noise[..., : mean.shape[-1]]
    return action, batch.reward(batch.lesson, ((action - middle) / half).clamp(-1, 1))


_NODES, _WEIGHTS = (0.0, math.sqrt(3.0), -math.sqrt(3.0)), (2 / 3, 1 / 6, 1 / 6)
"""Gauss-Hermite quadrature of three nodes."""


def expected_reward(mean: Tensor, batch: Batch) -> Tensor:
    """Mean reward `[K, N]` of a unit Gaussian, by quadrature: what a trained critic would say.

    All numbers of an action are at the same node, which is right where rewards are sums over them.
    """
    assert batch.scale is not None
    middle, half = batch.scale
    rewards = [
        weight * batch.reward(batch.lesson, ((mean + node - middle) / half).clamp(-1, 1))
        for node, weight in zip(_NODES, _WEIGHTS, strict=True)
    ]
    return torch.stack(rewards).sum(0)
