"""What the outer loop needs of an estimator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from gtn_rl.loop import Problem


class Estimator(Protocol):
    """Estimates how to change a teacher so that its learners do better, and changes it."""

    def step(self, problem: Problem, step: int) -> dict[str, Any]:
        """One outer step; what the log should say of it."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must hold of it."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Set it to a saved state."""
        ...
