"""Conversion: what was found is made the first teacher of another kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from gtn_rl.stages.judge import Keep
from gtn_rl.state import State


class Convert:
    """No step at all: the teacher is another from here on.

    Args:
        make: The teacher, given what the stages before left.
        name: What goes on, in words.
    """

    every, competes = 1, True

    def __init__(self, make: Callable[[State], nn.Module], name: str) -> None:
        self._make, self.name = make, name

    def begin(self, state: State) -> None:
        """Make the other teacher."""
        self.estimator = Keep(self._make(state))

    def reset(self, step: int) -> None:
        """Nothing hangs over."""

    def train(self, teachers: nn.Module, step: int) -> nn.Module:
        """Nothing is trained."""
        return teachers

    def objective(self, trained: nn.Module, step: int) -> None:
        """Nothing is scored."""

    def evaluate(self, step: int, *, last: bool) -> dict[str, float]:
        """Nothing."""
        return {}

    def shares(self, step: int) -> Mapping[str, float]:
        """It is over as soon as it began."""
        return {"made": 1.0}

    def converged(self, step: int) -> bool:
        """There is nothing to gain."""
        return True

    def spent(self) -> int:
        """No real step."""
        return 0

    def end(self, state: State) -> None:
        """The teacher is all that is left."""

    def close(self) -> None:
        """Nothing to free."""

    def state_dict(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing."""
