"""Stages of one step: the teacher is changed, or measured, once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from gtn_rl.stages.base import ignore, never, nothing, unchanged
from gtn_rl.state import State

_KIND = "evaluation_of_"


class Keep:
    """An estimator that leaves its teacher to others."""

    tell = nothing

    def __init__(self, teacher: nn.Module) -> None:
        self.teacher = teacher

    def ask(self, step: int) -> nn.Module:
        return self.teacher

    def state_dict(self) -> dict[str, Any]:
        return {"teacher": self.teacher.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.teacher.load_state_dict(state["teacher"])


class Once:
    """A stage whose one step is a function of what the stages before left.

    Args:
        name: What goes on, in words.
        act: Changes the teacher in place or measures it; gives log entries and real steps. The
            stage has no step at all if not given.
        make: The teacher, if it is to be another one.
    """

    every, competes = 1, True
    reset = close = ignore
    train, converged = unchanged, never

    def __init__(
        self,
        name: str,
        act: Callable[[State], tuple[dict[str, float], int]] | None = None,
        make: Callable[[State], nn.Module] = lambda state: state.teacher,
    ) -> None:
        self.name, self._act, self._make = name, act, make

    def begin(self, state: State) -> None:
        self._state, self.estimator = state, Keep(self._make(state))
        self._row: dict[str, float] = {}
        self._taken = 0

    def objective(self, trained: nn.Module, step: int) -> None:
        assert self._act is not None
        self._row, self._taken = self._act(self._state)

    def evaluate(self, step: int, *, last: bool) -> dict[str, float]:
        return self._row

    def shares(self, step: int) -> Mapping[str, float]:
        return {"done": float(step) if self._act else 1.0}

    def spent(self) -> int:
        new, self._taken = self._taken, 0
        return new

    def end(self, state: State) -> None:
        """Hand on the teacher, and the scores of learners by their names."""
        state.teacher = self.estimator.teacher
        kinds = [name for name in self._row if name.startswith(_KIND)]
        state.returns |= {name.removeprefix(_KIND): self._row[name] for name in kinds}

    def state_dict(self) -> dict[str, Any]:
        return {"row": self._row}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._row = state["row"]
