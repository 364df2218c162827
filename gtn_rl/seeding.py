"""Random streams named by numbers, so that any part of a run can be drawn again on its own."""

from __future__ import annotations

import math

import numpy as np
import torch


def derive(seed: int, *stream: int) -> int:
    """A 63-bit seed for the stream `(seed, *stream)`; different names give independent streams."""
    state = np.random.SeedSequence([seed, *stream]).generate_state(1, np.uint64)
    return int(state[0] >> np.uint64(1))


def log_uniform(
    bounds: tuple[float, float],
    *shape: int,
    generator: torch.Generator,
    dtype: torch.dtype = torch.float32,
) -> torch.Tensor:
    """Numbers `[*shape]` whose logarithms are uniform between those of the bounds."""
    low, high = math.log(bounds[0]), math.log(bounds[1])
    return (low + (high - low) * torch.rand(*shape, generator=generator, dtype=dtype)).exp()


def generator(seed: int, *stream: int) -> torch.Generator:
    """A `torch.Generator` at the start of the stream `(seed, *stream)`."""
    return torch.Generator().manual_seed(derive(seed, *stream))
