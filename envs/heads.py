"""Forms of a learned reward of observation and action; `SyntheticEnv` says what each is for."""

from __future__ import annotations

import torch
from gymnasium import spaces
from torch import Tensor
from torch.nn import functional as F

HEADS = {spaces.Discrete: ("scores",), spaces.Box: ("quadratic", "mlp")}
"""Forms of the reward for each kind of action space, the first is the default."""


def to_lesson(head: str, output: Tensor) -> Tensor:
    """What the rewards of all actions follow from, `[..., L]`, for a network's output."""
    if head == "scores":
        return output - output.amax(-1, keepdim=True)
    weight, best = output.chunk(2, -1)
    return torch.cat([F.softplus(weight), best], -1)


def to_reward(head: str, lesson: Tensor, action: Tensor) -> Tensor:
    """Rewards `[...]` of indices `[...]` or vectors `[..., A]` in [-1, 1]; lesson `[..., L]`."""
    if head == "scores":
        return lesson.gather(-1, action.unsqueeze(-1)).squeeze(-1)
    weight, best = lesson.chunk(2, -1)
    return -(weight * (action - best).square()).sum(-1)
