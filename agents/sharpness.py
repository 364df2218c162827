"""How sure trained agents act in the real environment, whatever their algorithm says."""

from __future__ import annotations

import torch
from torch import Tensor

_SIZE = 2.0
"""Root mean square of trained agents' centred logits: they will act greedily, and how sure they are
of an action after a few steps says more of the algorithm than of what they learned."""


@torch.no_grad()
def sharpness(logits: Tensor) -> Tensor:
    """Factors `[R, 1, 1]` that bring logits `[R, N, A]` of discrete actions to one size.

    The return of sampled actions is then close to that of greedy ones, which is what counts.
    """
    centred = logits - logits.mean(-1, keepdim=True)
    square = centred.square().mean((1, 2), keepdim=True)
    return _SIZE * (square + 1e-20).rsqrt()
