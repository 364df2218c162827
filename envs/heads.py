"""Forms of a learned reward of observation and action; `SyntheticEnv` says what each is for."""

from __future__ import annotations

from typing import NamedTuple

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

_NUMBERS = {"scores": 1, "quadratic": 2, "welsch": 1}
"""Outputs of a network for each action, or each component of one."""

_BEYOND = 1.25
"""How far the best action of a bounded reward may lie from the middle, in half ranges: to be at the
action space's bound must not take an infinite output."""


_SLOPE = 0.1
"""How much of a quadratic reward is left of one of form `welsch` far from the best action: without
it nothing says there which way is better, and who is sure of a wrong action (TD3, DDPG) stays."""


class Showing(NamedTuple):
    """How a lesson is shown; what each is for says `SyntheticEnv`.

    Numbers, or tensors that broadcast with a network's output `[..., A]`. The width and excess are
    of form `welsch` alone, `centred` (1 where rewards are, 0 elsewhere) of form `bounded-scores`.
    """

    scale: Tensor | float = 1.0
    width: Tensor | float = 3.0
    excess: Tensor | float = 1.0
    centred: Tensor | None = None


PLAIN = Showing()
"""Rewards that are nearly quadratic, of size 1."""


def outputs(head: str, size: int) -> int:
    """L, for a form but `mlp` and `size` A."""
    return size * _NUMBERS[head.removeprefix("bounded-")]


def to_lesson(head: str, output: Tensor, showing: Showing = PLAIN) -> Tensor:
    """What the rewards of all actions follow from, `[..., L]`, for a network's output.

    Args:
        head: Form of the reward, but `mlp`.
        output: `[..., L]`; of form `welsch` `[..., A]`, for `[..., 3A]`.
        showing: How it is shown.
    """
    if head in ("scores", "bounded-scores"):
        score = output - output.amax(-1, keepdim=True)
        lesson = showing.scale * (score / (1 - score) if head in BOUNDED else score)
        if showing.centred is None:
            return lesson
        return lesson - showing.centred * lesson.mean(-1, keepdim=True)
    if head == "welsch":
        best = _BEYOND * torch.tanh(output)
        inside = best.clamp(-1, 1)
        best, one = inside + showing.excess * (best - inside), torch.ones_like(best)
        return torch.cat([showing.scale * one, best, showing.width * one], -1)
    weight, best = output.chunk(2, -1)
    if head == "quadratic":
        return torch.cat([F.softplus(weight), best], -1)
    return torch.cat([showing.scale * 2 * torch.sigmoid(weight), _BEYOND * torch.tanh(best)], -1)


def to_reward(head: str, lesson: Tensor, action: Tensor) -> Tensor:
    """Rewards `[...]` of indices `[...]` or vectors `[..., A]` in [-1, 1]; lesson `[..., L]`."""
    if head in ("scores", "bounded-scores"):
        return lesson.gather(-1, action.unsqueeze(-1)).squeeze(-1)
    weight, best, *reach = lesson.chunk(3 if head == "welsch" else 2, -1)
    error = (action - best).square()
    for width in reach:
        # Above 0, or the best action's would be 0/0.
        square = width.square().clamp_min(1e-6)
        error = _SLOPE * error - square * torch.expm1(-error / square)
    return -(weight * error).sum(-1)


def best_action(lesson: Tensor, size: int) -> Tensor:
    """The best action `[..., A]` of a continuous reward, from its lesson, of `size` A."""
    return lesson[..., size : 2 * size]
