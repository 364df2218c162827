"""Which observation and action spaces the library handles."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from gtn_rl.errors import UnsupportedSpaceError

SUPPORTED = "supported are flat Box observations and Discrete or bounded flat Box actions"
_HOW = "a wrapped environment is given by --wrap module:function, or by an id of its own, module:Id"


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
        UnsupportedSpaceError: Another kind of space, or one that cannot be used; the message says
            which wrapper helps.
    """

    def refuse(what: str, space: object, why: str, wrapper: str) -> NoReturn:
        raise UnsupportedSpaceError(
            f"{what} space {space!s:.200} {why} ({SUPPORTED}): {wrapper}; {_HOW}"
        )

    shape = observation_space.shape
    if shape is not None and len(shape) > 2:
        refuse("observation", f"of shape {shape}", "is not flat", "reduce images to a few numbers")
    flatten = "wrap it in gymnasium.wrappers.FlattenObservation"
    if not isinstance(observation_space, spaces.Box):
        refuse("observation", observation_space, "is not a Box", flatten)
    if len(observation_space.shape) != 1:
        refuse("observation", f"of shape {shape}", "is not flat", flatten)
    if not observation_space.shape[0]:
        refuse("observation", observation_space, "is empty", "give agents something to see")
    if isinstance(action_space, spaces.Discrete):
        return observation_space, action_space
    if not isinstance(action_space, spaces.Box):
        wrapper = (
            "wrap it in gymnasium.wrappers.TransformAction so that it takes one of a few actions"
        )
        refuse("action", action_space, "is neither Discrete nor a Box", wrapper)
    if len(action_space.shape) != 1:
        wrapper = "wrap it in gymnasium.wrappers.TransformAction"
        refuse("action", f"of shape {action_space.shape}", "is not flat", wrapper)
    if not np.isfinite([action_space.low, action_space.high]).all():
        wrapper = "wrap it in gymnasium.wrappers.TransformAction with a bounded Box"
        refuse("action", action_space, "is not bounded", wrapper)
    span = action_space.high.astype(np.float64) - action_space.low
    if not span.size or (span <= 0).any():
        wrapper = "leave out what cannot be chosen (gymnasium.wrappers.TransformAction)"
        refuse("action", action_space, "has numbers with a single value", wrapper)
    if (span > np.finfo(np.float32).max).any():
        wrapper = "wrap it in gymnasium.wrappers.RescaleAction"
        refuse("action", action_space, "is too wide for float32", wrapper)
    return observation_space, action_space


def action_size(space: spaces.Discrete | spaces.Box) -> int:
    """A: how many actions a `Discrete` space has, or how many numbers an action of a `Box`."""
    return int(space.n) if isinstance(space, spaces.Discrete) else space.shape[0]


def halves(space: spaces.Box, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Middle and half range `[A]` of a bounded space."""
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    middle, half = (low + high) / 2, (high - low) / 2
    return torch.tensor(middle, dtype=dtype), torch.tensor(half, dtype=dtype)


def to_unit(space: spaces.Discrete | spaces.Box, action: Tensor) -> Tensor:
    """Indices as they are, and vectors `[..., A]` of a `Box` in [-1, 1], clipped to it."""
    if isinstance(space, spaces.Discrete):
        return action
    middle, half = halves(space, action.dtype)
    return ((action - middle) / half).clamp(-1, 1)


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
