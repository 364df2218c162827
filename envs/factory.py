"""Real environments that are an id with other arguments, or wrapped."""

from __future__ import annotations

import importlib
import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium as gym

from gtn_rl.errors import UsageError

_EXAMPLE = '{"gravity": 5}'


@dataclass(frozen=True, repr=False)
class Made:
    """Makes an environment; can be sent to other processes.

    Args:
        id: Gymnasium id.
        kwargs: Arguments of `gymnasium.make`, as a JSON object.
        wrap: `module:function`, which is given the environment and returns another.
    """

    id: str
    kwargs: str
    wrap: str

    def __call__(self) -> gym.Env[Any, Any]:
        """The environment.

        Raises:
            UsageError: It does not take these arguments, or cannot be wrapped.
        """
        try:
            env = gym.make(self.id, **json.loads(self.kwargs))
            return self._wrapper()(env) if self.wrap else env
        except TypeError as error:
            raise UsageError(f"environment {self!r} cannot be made: {error}") from error

    def __repr__(self) -> str:
        """What it is called: the id and the command line's options."""
        text = self.id
        if self.kwargs != "{}":
            text += f" --env-kwargs {shlex.quote(self.kwargs)}"
        return f"{text} --wrap {self.wrap}" if self.wrap else text

    def _wrapper(self) -> Callable[[gym.Env[Any, Any]], gym.Env[Any, Any]]:
        module, _, name = self.wrap.partition(":")
        try:
            wrapper: Callable[[gym.Env[Any, Any]], gym.Env[Any, Any]] = getattr(
                importlib.import_module(module), name
            )
        except (ImportError, AttributeError, ValueError) as error:
            raise UsageError(
                f"--wrap {self.wrap}: {error}; give module:function, with the module in the "
                "working directory or installed"
            ) from error
        return wrapper


def made(id: str, kwargs: str = "{}", wrap: str = "") -> str | Made:
    """The id itself, or what makes it with arguments and a wrapper if there are any.

    Raises:
        UsageError: The arguments are not a JSON object.
    """
    try:
        content = json.loads(kwargs)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise UsageError(f"--env-kwargs must be JSON such as '{_EXAMPLE}', got {kwargs!r}")
    return Made(id, json.dumps(content, sort_keys=True), wrap) if content or wrap else id


def as_made(name: str, kwargs: str = "{}", wrap: str = "") -> str | Made:
    """What makes the environment that an artifact names, given the options that it was made with.

    An artifact does not decide what is imported: a wrapper must be asked for by name.

    Raises:
        UsageError: The artifact's environment was made with other options.
    """
    id, _, options = name.partition(" --")
    target = made(id, kwargs, wrap)
    if str(target) != name:
        advice = f"give --{options}" if options else "leave --env-kwargs and --wrap out"
        raise UsageError(f"the artifact was made for {name}: {advice}")
    return target
