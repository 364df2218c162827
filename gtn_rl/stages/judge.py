"""Judging: the finished environment once more, by agents and episodes that chose nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from gtn_rl.seeding import derive
from gtn_rl.stages.teach import TeachLearners
from gtn_rl.state import State

_STREAM = 9


class Keep:
    """An estimator that leaves its teacher as it is.

    Args:
        teacher: The teacher.
    """

    def __init__(self, teacher: nn.Module) -> None:
        self.teacher = teacher

    def ask(self, step: int) -> nn.Module:
        """The teacher."""
        return self.teacher

    def tell(self, trained: Any, score: Any, step: int) -> dict[str, Any]:
        """Nothing to log."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing."""


class Judge:
    """Fresh learners of the finished teacher, scored by the return of fresh episodes.

    Args:
        teaching: Trains and scores them.
        seed: Of the run.
    """

    name, every, competes = "judging the result", 1, True

    def __init__(self, teaching: TeachLearners, seed: int) -> None:
        self._teaching, self._seed = teaching, seed

    def begin(self, state: State) -> None:
        """Take the finished teacher."""
        self._teaching.begin_judging(state)
        self.estimator = Keep(state.teacher)
        self._scores: dict[str, float] = {}

    def reserve(self, state: State) -> int:
        """Real steps of its one step."""
        return self._teaching.reserve(state)

    def reset(self, step: int) -> None:
        """Nothing hangs over."""

    def train(self, teachers: nn.Module, step: int) -> nn.Module:
        """Learners train where they are scored."""
        return teachers

    def objective(self, trained: nn.Module, step: int) -> dict[str, float]:
        """Real returns of fresh learners."""
        self._scores = self._teaching.judge(trained, derive(self._seed, _STREAM))
        return self._scores

    def evaluate(self, step: int, *, last: bool) -> dict[str, float]:
        """What the stage is for."""
        kinds = [value for name, value in self._scores.items() if "_of_" in name]
        return self._scores | ({"evaluation": sum(kinds) / len(kinds)} if kinds else {})

    def shares(self, step: int) -> Mapping[str, float]:
        """One step."""
        return {"judged": float(step)}

    def converged(self, step: int) -> bool:
        """After the one step."""
        return step >= 1

    def spent(self) -> int:
        """Real steps since this was last asked."""
        return self._teaching.spent()

    def end(self, state: State) -> None:
        """Hand on the scores."""
        marker = "evaluation_of_"
        state.returns |= {
            name.removeprefix(marker): value
            for name, value in self._scores.items()
            if name.startswith(marker)
        }

    def close(self) -> None:
        """Free the environments."""
        self._teaching.close()

    def state_dict(self) -> dict[str, Any]:
        """The scores, for who is killed before they are handed on."""
        return {"scores": self._scores}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Set it to a saved state."""
        self._scores = {name: float(score) for name, score in state["scores"].items()}
