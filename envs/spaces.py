"""Which observation and action spaces the library handles."""

from __future__ import annotations

from typing import Any

from gymnasium import spaces

from gtn_rl.errors import UnsupportedSpaceError


def check_spaces(
    observation_space: spaces.Space[Any], action_space: spaces.Space[Any]
) -> tuple[spaces.Box, spaces.Discrete]:
    """The same spaces, known to be a flat `Box` and a `Discrete`.

    Raises:
        UnsupportedSpaceError: Another kind of space; the message says which wrapper helps.
    """
    supported = "supported are flat Box observations and Discrete actions"
    if not isinstance(observation_space, spaces.Box):
        raise UnsupportedSpaceError(
            f"observation space {observation_space} is not a Box ({supported}): "
            "wrap the environment in gymnasium.wrappers.FlattenObservation"
        )
    if len(observation_space.shape) != 1:
        raise UnsupportedSpaceError(
            f"observation space of shape {observation_space.shape} is not flat ({supported}): "
            "wrap the environment in gymnasium.wrappers.FlattenObservation"
        )
    if not isinstance(action_space, spaces.Discrete):
        raise UnsupportedSpaceError(
            f"action space {action_space} is not Discrete ({supported}): "
            "wrap the environment so that it takes one of a few actions"
        )
    return observation_space, action_space
