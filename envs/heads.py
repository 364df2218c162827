"""Forms of a learned reward of observation and action; `SyntheticEnv` says what each is for."""

from __future__ import annotations

import torch
from gymnasium import spaces
from torch import Tensor
from torch.nn import functional as F

HEADS = {
    spaces.Discrete: ("bounded-scores", "scores"),
    spaces.Box: ("bounded-quadratic", "welsch", "quadratic", "mlp"),
}
"""Forms of the reward for each kind of action space, the first is the default."""

BOUNDED = ("bounded-scores", "bounded-quadratic", "welsch")
"""Those whose rewards have a bound, which `SyntheticEnv` learns the scale of."""

_NUMBERS = {"scores": 1, "quadratic": 2, "welsch": 3}
"""Outputs of a network for each action, or each component of one."""

_BEYOND = 1.25
"""How far the best action of a bounded reward may lie from the middle, in half ranges: to be at the
action space's bound must not take an infinite output."""

_REACH = 3.5
"""Greatest width of a reward of form `welsch`, in half ranges: within the action space it is hardly
told from a quadratic one."""

_WIDE = 1.8
"""What the network's output is counted from: untrained widths are about 3."""


def outputs(head: str, size: int) -> int:
    """L, for a form but `mlp` and `size` A."""
    return size * _NUMBERS[head.removeprefix("bounded-")]


def to_lesson(head: str, output: Tensor, scale: Tensor | float = 1.0) -> Tensor:
    """What the rewards of all actions follow from, `[..., L]`, for a network's output.

    Args:
        head: Form of the reward, but `mlp`.
        output: `[..., L]`.
        scale: Rewards are so many times as large.
    """
    if head in ("scores", "bounded-scores"):
        score = output - output.amax(-1, keepdim=True)
        return scale * (score / (1 - score) if head in BOUNDED else score)
    if head == "quadratic":
        weight, best = output.chunk(2, -1)
        return torch.cat([F.softplus(weight), best], -1)
    weight, best, *reach = output.chunk(outputs(head, 1), -1)
    return torch.cat(
        [
            scale * 2 * torch.sigmoid(weight),
            _BEYOND * torch.tanh(best),
            *(_REACH * torch.sigmoid(number + _WIDE) for number in reach),
        ],
        -1,
    )


def to_reward(head: str, lesson: Tensor, action: Tensor) -> Tensor:
    """Rewards `[...]` of indices `[...]` or vectors `[..., A]` in [-1, 1]; lesson `[..., L]`."""
    if head in ("scores", "bounded-scores"):
        return lesson.gather(-1, action.unsqueeze(-1)).squeeze(-1)
    weight, best, *reach = lesson.chunk(outputs(head, 1), -1)
    error = (action - best).square()
    for width in reach:
        # Above 0, or the best action's would be 0/0.
        square = width.square().clamp_min(1e-6)
        error = -square * torch.expm1(-error / square)
    return -(weight * error).sum(-1)


def best_action(lesson: Tensor, size: int) -> Tensor:
    """The best action `[..., A]` of a continuous reward, from its lesson, of `size` A."""
    return lesson[..., size : 2 * size]
