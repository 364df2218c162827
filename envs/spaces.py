"""Which observation and action spaces the library handles."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from gtn_rl.errors import UnsupportedSpaceError

SUPPORTED = "supported are flat Box observations and Discrete or bounded flat Box actions"

_HOW = (
    ", in a function that gtn-rl is given as --wrap module:function, or in the function that makes "
    "it and is given to gtn_rl.train"
)
_MOST = 2_000
"""Numbers in an observation that are worth flattening; an image has more."""


def first_action(space: spaces.Space[Any]) -> int:
    """The lowest action of a `Discrete` space; 0 for others.

    Stable-Baselines3's agents count actions from 0, whatever the space says.
    """
    return int(space.start) if isinstance(space, spaces.Discrete) else 0


def counted_from_zero(space: spaces.Space[Any]) -> spaces.Space[Any]:
    """The space in which Stable-Baselines3's agents act; the same if its first action is 0."""
    if isinstance(space, spaces.Discrete) and space.start:
        return spaces.Discrete(int(space.n))
    return space


def check_spaces(
    observation_space: spaces.Space[Any], action_space: spaces.Space[Any]
) -> tuple[spaces.Box, spaces.Discrete | spaces.Box]:
    """The same spaces, known to be a flat `Box`, and a `Discrete` or a bounded flat `Box`.

    Raises:
        UnsupportedSpaceError: Another kind of space; the message says which wrapper helps.
    """
    seen, acted = observation_space, action_space
    if not isinstance(seen, spaces.Box) or len(seen.shape) != 1:
        text = f"observation space {seen if not isinstance(seen, spaces.Box) else seen.shape}"
        size = spaces.flatdim(seen) if seen.is_np_flattenable else 0
        if size > _MOST:
            advice = f"{size:,} numbers are too many to learn: wrap it so that it says less"
        elif size:
            advice = "wrap it in gymnasium.wrappers.FlattenObservation"
        else:
            advice = "wrap it so that it gives one vector"
        raise UnsupportedSpaceError(f"{text} is not a flat Box ({SUPPORTED}): {advice}{_HOW}")
    if isinstance(acted, spaces.Discrete):
        return seen, acted
    if not isinstance(acted, spaces.Box) or len(acted.shape) != 1:
        advice = "wrap it with gymnasium.wrappers.TransformAction, so that it takes "
        advice += "a vector" if isinstance(acted, spaces.Box) else "one of a few actions"
        raise UnsupportedSpaceError(
            f"action space {acted} is neither Discrete nor a flat Box ({SUPPORTED}): {advice}{_HOW}"
        )
    if not np.isfinite([acted.low, acted.high]).all():
        raise UnsupportedSpaceError(
            f"action space {acted} is not bounded ({SUPPORTED}): "
            f"wrap it in gymnasium.wrappers.RescaleAction or ClipAction{_HOW}"
        )
    return seen, acted


def action_size(space: spaces.Discrete | spaces.Box) -> int:
    """A: how many actions a `Discrete` space has, or how many numbers an action of a `Box`."""
    return int(space.n) if isinstance(space, spaces.Discrete) else space.shape[0]


def halves(space: spaces.Box, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Middle and half range `[A]` of a bounded space."""
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    middle, half = (low + high) / 2, (high - low) / 2
    return torch.tensor(middle, dtype=dtype), torch.tensor(half, dtype=dtype)


def as_space(space: spaces.Box, observation: Tensor) -> Tensor:
    """The nearest observations `[..., O]` that the dtype of a space can hold, as float32.

    What learners in the loop see is then to the bit what agents see through the environment's
    faces. Gradients pass as if nothing was done.
    """
    if np.issubdtype(space.dtype, np.integer):
        held = observation.round()
    elif space.dtype == np.float16:
        held = observation.to(torch.float16).to(observation.dtype)
    else:
        return observation
    return observation + (held - observation).detach()
