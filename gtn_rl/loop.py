"""The outer loop: every stage of every kind of training runs in this one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from torch import nn

from gtn_rl.state import State


class Ledger(Protocol):
    """What `gtn_rl.run.Run` does: counts costs, keeps the best, logs, saves, and can be resumed."""

    @property
    def step(self) -> int: ...
    def remaining(self, stages: Sequence[Stage]) -> Iterator[Stage]: ...
    def enter(self, stage: Stage) -> None: ...
    def over(self, stage: Stage) -> bool: ...
    def record(self, stage: Stage, row: dict[str, Any]) -> None: ...
    def leave(self, stage: Stage) -> None: ...


class Estimator(Protocol):
    """Proposes teachers, and changes its teacher by how well their learners did."""

    def ask(self, step: int) -> Any:
        """The teacher, or a population, whose learners are to be trained."""

    def tell(self, trained: Any, score: Any, step: int) -> dict[str, Any]:
        """Move the teacher; what the log should say of it."""

    @property
    def teacher(self) -> nn.Module:
        """The teacher as it stands, averaged where the estimator averages."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must hold of it."""

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Stage(Protocol):
    """A filling of the loop's slots: teacher, learner, objective, estimator.

    What it does is a function of the state that it began with, the outer step and its own state
    alone, so that a resumed run is the run that was never killed.
    """

    name: str
    """What goes on, in words, for the progress bar."""

    scored: str
    """Whose return or accuracy an evaluation is, for the progress bar."""

    every: int
    """Outer steps from one evaluation to the next; a checkpoint is written then, and what is no
    part of it is forgotten (`reset`)."""

    @property
    def steady(self) -> bool:
        """Whether a checkpoint holds all of it after any outer step: `reset` forgets nothing."""

    competes: bool
    """Whether the teacher with the best evaluation is kept, and not the last one."""

    @property
    def estimator(self) -> Estimator:
        """What moves the teacher; made by `begin`."""

    def begin(self, state: State) -> None:
        """Take over what the stage before left, without a real step."""

    def reset(self, step: int) -> None:
        """Forget what a checkpoint does not hold."""

    def train(self, teachers: Any, step: int) -> Any:
        """The inner loop: fresh learners trained by the teachers; the same ones for a step."""

    def objective(self, trained: Any, step: int) -> Any:
        """How well they do on the real task."""

    def evaluate(self, step: int, *, last: bool) -> dict[str, float]:
        """Log entries; with `evaluation` among them the teacher may be the one that is kept."""

    def shares(self, step: int) -> Mapping[str, float]:
        """The share of each of its own limits that is used; the stage is over at 1."""

    def converged(self, step: int) -> bool:
        """Whether there is nothing left to gain."""

    def end(self, state: State) -> None:
        """Leave what the next stage needs; without a real step."""

    def close(self) -> None:
        """Free environments and workers."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must hold of it, besides the estimator."""

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


@runtime_checkable
class Reserving(Protocol):
    """A stage that knows beforehand what judging takes."""

    def reserve(self, state: State) -> int:
        """Real steps that its last evaluation takes at most; a run keeps them back for it.

        0 once the evaluations that it has made tell that better.
        """
        ...


def outer_loop(stages: Sequence[Stage], run: Ledger) -> None:
    """Improve a teacher, stage by stage, until all are over (Such et al. 2020)."""
    for stage in run.remaining(stages):
        run.enter(stage)
        while not run.over(stage):
            teachers = stage.estimator.ask(run.step)
            trained = stage.train(teachers, run.step)
            score = stage.objective(trained, run.step)
            row = stage.estimator.tell(trained, score, run.step)
            run.record(stage, row)
        run.leave(stage)
