"""Between the synthetic environment's float32 tensors and the target's spaces in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

_POOL = 64
"""Episodes per environment drawn in one forward pass; beyond this the dispatch cost is gone."""


def into_space(space: spaces.Box, observation: NDArray[np.float32]) -> NDArray[Any]:
    """Observations `[..., O]` as `space` has them, a copy."""
    # The space may be float64, with bounds that float32 rounds outwards.
    array: NDArray[Any] = np.clip(observation.astype(space.dtype), space.low, space.high)
    return array


def to_core(space: spaces.Discrete | spaces.Box, action: NDArray[Any]) -> Tensor:
    """Actions of N agents, `[N]` or `[N, A]`, as `SyntheticEnv` has them: with a leading 1."""
    if isinstance(space, spaces.Discrete):
        return torch.as_tensor((action - space.start).astype(np.int64)[None])
    middle, half = (space.high + space.low) / 2, (space.high - space.low) / 2
    unit = ((np.clip(action, space.low, space.high) - middle) / half).astype(np.float32)
    return torch.as_tensor(unit[None])


class Pool:
    """Which rows are next of what is drawn ahead in blocks, 64 rows for each of N environments.

    Args:
        num_envs: N.
        draw: Draws as many rows as its first argument says; the caller keeps them.
    """

    def __init__(self, num_envs: int, draw: Callable[[int, np.random.Generator], None]) -> None:
        self._draw = draw
        self._size = num_envs * _POOL
        self._next = self._size

    def forget(self) -> None:
        """Drop what was drawn ahead, so that what comes next follows from the generator alone."""
        self._next = self._size

    def take(self, wanted: int, generator: np.random.Generator) -> slice:
        """The next rows, drawn if there are not enough left."""
        first = self._next
        if first + wanted > self._size:
            self._draw(self._size, generator)
            first = 0
        self._next = first + wanted
        return slice(first, self._next)
