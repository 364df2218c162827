"""Random streams named by numbers, so that any part of a run can be drawn again on its own."""

from __future__ import annotations

import numpy as np
import torch


def derive(seed: int, *stream: int) -> int:
    """A 63-bit seed for the stream `(seed, *stream)`; different names give independent streams."""
    state = np.random.SeedSequence([seed, *stream]).generate_state(1, np.uint64)
    return int(state[0] >> np.uint64(1))


def generator(seed: int, *stream: int) -> torch.Generator:
    """A `torch.Generator` at the start of the stream `(seed, *stream)`."""
    return torch.Generator().manual_seed(derive(seed, *stream))
