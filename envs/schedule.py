"""How rewards fade at the end of an agent's training."""

from __future__ import annotations

import torch
from torch import Tensor

_LEAST = 4.0
"""Logarithm of what rewards are divided by in the end. RMSprop's mean square forgets in a hundred
updates; where gradients shrink faster than that, so do its steps."""


def fading(progress: Tensor, share: float) -> Tensor:
    """What rewards are multiplied by, of the shape of progress: 1, and less in the last `share`.

    It falls exponentially, to a fiftieth.
    """
    return torch.exp(-_LEAST * ((progress - (1 - share)) / share).clamp(0, 1))
