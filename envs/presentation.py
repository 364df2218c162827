"""How a lesson is presented to an agent: a few numbers for each phase of the agent's training.

Phases are data of the environment. Their numbers are set from what is measured on the task
(`gtn_rl.stages.show`) and moved by an estimator; they do not change which action is best.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from typing import NamedTuple

import torch
from torch import Tensor

_LOW, _HIGH = 0.02, 0.98
"""Shares are kept between these, where their logits are finite."""


@dataclass(frozen=True)
class Phase:
    """What an agent is shown until a share of its training is over.

    Args:
        until: Share of the training at which the phase ends; the last phase ends with it.
        wide: Share of episodes that start in made-up states, each observation by itself from a
            normal distribution; the others start in states that were met in the target.
        spread: Deviation of the made-up states, relative to those that were met.
        scale: How large rewards are.
        width: Error at which half of the reward is lost: a difference of scores for discrete
            actions, a mean square of half ranges for continuous ones.
        gain: What best continuous actions are multiplied by, from the middle of their range.
    """

    until: float = 1.0
    wide: float = 1.0
    spread: float = 1.0
    scale: float = 1.0
    width: float = 1.0
    gain: float = 1.0


FIELDS = tuple(field.name for field in fields(Phase))
_UNITS = torch.tensor([0.8, 1.0, 0.4, 0.8, 0.6, 0.3], dtype=torch.float32)
"""Size of a step of 1 in each field's parameter, in logits of shares and logarithms of the rest."""


class Shown(NamedTuple):
    """The fields of the phase that is on, but for its end, `[P, 1 or N, 1]` each."""

    wide: Tensor
    spread: Tensor
    scale: Tensor
    width: Tensor
    gain: Tensor


def encode(phases: Sequence[Phase]) -> Tensor:
    """Parameters `[F, 6]` of F phases, in units in which all move alike."""
    values = torch.tensor([astuple(phase) for phase in phases], dtype=torch.float64)
    shares = values[:, :2].clamp(_LOW, _HIGH).logit()
    rest = values[:, 2:].clamp_min(1e-9).log()
    return (torch.cat([shares, rest], 1) / _UNITS).float()


def decode(parameters: Tensor) -> list[Phase]:
    """The phases whose parameters are `[F, 6]`."""
    values = _values(parameters.detach().double())
    values[-1, 0] = 1.0
    return [Phase(*row) for row in values.tolist()]


def at(parameters: Tensor, progress: Tensor | float) -> Shown:
    """What is shown by P presentations `[P, F, 6]` at `progress`, a number, `[N]` or `[P, N]`."""
    values = _values(parameters)
    count = values.shape[1]
    if count == 1:
        return Shown(*(column.unsqueeze(-1) for column in values[..., 1:].unbind(-1)))
    clock = torch.as_tensor(progress, dtype=values.dtype)
    clock = clock.view(1, -1) if clock.dim() < 2 else clock
    ends = values[:, :-1, 0]
    index = (clock.unsqueeze(-1) >= ends.unsqueeze(1)).sum(-1)
    rows = index.expand(len(values), -1).unsqueeze(-1).expand(-1, -1, values.shape[2] - 1)
    chosen = values[..., 1:].gather(1, rows)
    return Shown(*(column.unsqueeze(-1) for column in chosen.unbind(-1)))


def _values(parameters: Tensor) -> Tensor:
    raw = parameters * _UNITS.to(parameters.dtype)
    shares = torch.sigmoid(raw[..., :2]).clamp(_LOW, _HIGH)
    return torch.cat([shares, raw[..., 2:].exp()], -1)
