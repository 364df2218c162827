"""What keeps a few learners from drowning the others in the meta-gradient."""

from __future__ import annotations

import torch
from torch import Tensor


def even_out(gradient: Tensor, weight: Tensor) -> Tensor:
    """Shorten each learner's gradient `[C, ...]` w.r.t. its data to their median length.

    The training of some learners is chaotic, and their gradient longer by orders of magnitude and
    without direction; it would drown all others'.

    Args:
        gradient: One row for each learner.
        weight: Units of the last axis, so that lengths are not those of one observation alone.
    """
    length = (gradient * weight).flatten(1).norm(dim=1)
    finite = length.isfinite()
    if not finite.any():
        return gradient
    share = (length[finite].median() / length.clamp_min(1e-30)).clamp(max=1)
    share = torch.where(finite, share, 0.0).view(-1, *[1] * (gradient.dim() - 1))
    return torch.where(share > 0, gradient * share, 0.0)
