"""From a network's output to the rewards of all actions.

The output says what is best: scores of discrete actions, or the best continuous action. The reward
of an action is `scale * (r - mean r)` with `r = -e / (e + width)`, `e` being by how much its score
is lower than the best one, or its mean squared distance from the best action. The bound keeps
a few states and actions from dominating a learner's updates. The mean is over all actions
(over actions spread evenly over a continuous space), so that what depends on the state alone, which
has no part in which action is right, is left out: a learner needs no baseline, and values have no
kink where another action becomes the best, which a deep Q-network would have to learn.
"""

from __future__ import annotations

import torch
from gymnasium import spaces
from torch import Tensor

from gtn_rl.envs.presentation import Shown

_BEYOND = 1.25
"""How far a best action may lie from the middle before it is clipped, in half ranges: to be at the
bound must not take an infinite output."""

_LINE, _CLOUD = 33, 64
"""Actions by which the mean over a continuous space is found, of one dimension or of more."""


def probes(space: spaces.Discrete | spaces.Box) -> Tensor | None:
    """Continuous actions `[M, A]` spread evenly over [-1, 1]; none where actions are discrete."""
    if isinstance(space, spaces.Discrete):
        return None
    size = space.shape[0]
    if size == 1:
        return torch.linspace(-1, 1, _LINE, dtype=torch.float32).unsqueeze(1)
    # A Sobol sequence (without scrambling it draws nothing at random).
    engine = torch.quasirandom.SobolEngine(size)  # type: ignore[no-untyped-call]
    points: Tensor = engine.draw(_CLOUD + 1, dtype=torch.float32)[1:]
    return 2 * points - 1


def to_action(output: Tensor) -> Tensor:
    """Best actions `[..., A]` for a network's output, before they are clipped to [-1, 1]."""
    return _BEYOND * torch.tanh(output)


def to_lesson(output: Tensor, shown: Shown, probes: Tensor | None) -> Tensor:
    """Rewards of all discrete actions, `[..., A]`, or `[..., A + 3]` for `to_reward`.

    Args:
        output: Scores, or best actions, `[..., A]`.
        shown: How it is presented, `[..., 1]` each.
    """
    if probes is None:
        return shown.scale * centred(bounded(output.amax(-1, keepdim=True) - output, shown.width))
    best = shown.gain * output.clamp(-1, 1)
    error = (probes.to(output.dtype) - best.unsqueeze(-2)).square().mean(-1)
    average = bounded(error, shown.width).mean(-1, keepdim=True)
    one = torch.ones_like(average)
    return torch.cat([best, average, shown.scale * one, shown.width * one], -1)


def to_reward(lesson: Tensor, action: Tensor) -> Tensor:
    """Rewards `[...]` of indices `[...]` or vectors `[..., A]` in [-1, 1]; lesson `[..., L]`."""
    if not action.is_floating_point():
        return lesson.gather(-1, action.unsqueeze(-1)).squeeze(-1)
    size = action.shape[-1]
    average, scale, width = lesson[..., size:].unbind(-1)
    error = (action - lesson[..., :size]).square().mean(-1)
    return scale * (bounded(error, width) - average)


def bounded(error: Tensor, width: Tensor | float) -> Tensor:
    """Between -1 and 0: half of it is lost where the error is as large as the width."""
    return -error / (error + width)


def centred(rewards: Tensor) -> Tensor:
    """Rewards `[..., A]` less their mean over all actions."""
    return rewards - rewards.mean(-1, keepdim=True)
