"""The outer loop: every stage of every kind of training runs in this one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from torch import nn

from gtn_rl.state import State


class Ledger(Protocol):
    """Counts costs, keeps the best, logs and saves; knows where a resumed run stands."""

    @property
    def step(self) -> int:
        """The outer step of the stage that is on."""
        ...

    def remaining(self, stages: Sequence[Stage]) -> Iterator[Stage]:
        """The stages that are not over."""
        ...

    def enter(self, stage: Stage) -> None:
        """Begin a stage, or go on in the middle of the one that was killed."""
        ...

    def over(self, stage: Stage) -> bool:
        """Whether a stage, or the run, has come to its end."""
        ...

    def record(self, stage: Stage, row: dict[str, Any]) -> None:
        """Count and log an outer step; evaluate and save where it is time to."""
        ...

    def leave(self, stage: Stage) -> None:
        """Make the best teacher the one that is handed on."""
        ...


class Estimator(Protocol):
    """Proposes teachers, and changes its teacher by how well their learners did."""

    def ask(self, step: int) -> Any:
        """The teacher, or a population, whose learners are to be trained."""
        ...

    def tell(self, trained: Any, score: Any, step: int) -> dict[str, Any]:
        """Move the teacher; what the log should say of it."""
        ...

    @property
    def teacher(self) -> nn.Module:
        """The teacher as it stands, averaged where the estimator averages."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must hold of it."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Set it to a saved state."""
        ...


class Stage(Protocol):
    """A filling of the loop's slots: teacher, learner, objective, estimator.

    What it does is a function of the state that it began with, the outer step and its own state
    alone, so that a resumed run is the run that was never killed.
    """

    name: str
    """What goes on, in words, for the progress bar."""

    every: int
    """Outer steps from one checkpoint to the next; what is no part of a checkpoint is forgotten
    then (`reset`)."""

    competes: bool
    """Whether the teacher with the best evaluation is kept, and not the last one."""

    @property
    def estimator(self) -> Estimator:
        """What moves the teacher; made by `begin`."""
        ...

    def begin(self, state: State) -> None:
        """Take over what the stage before left, without a real step."""
        ...

    def reset(self, step: int) -> None:
        """Forget what a checkpoint does not hold."""
        ...

    def train(self, teachers: Any, step: int) -> Any:
        """The inner loop: fresh learners trained by the teachers; the same ones for a step."""
        ...

    def objective(self, trained: Any, step: int) -> Any:
        """How well they do on the real task."""
        ...

    def evaluate(self, step: int, *, last: bool) -> dict[str, float]:
        """Log entries; with `evaluation` among them the teacher may be the one that is kept."""
        ...

    def shares(self, step: int) -> Mapping[str, float]:
        """The share of each of its own limits that is used; the stage is over at 1."""
        ...

    def converged(self, step: int) -> bool:
        """Whether there is nothing left to gain."""
        ...

    def spent(self) -> int:
        """Real steps taken since this was last asked, all of its randomness and judges included."""
        ...

    def end(self, state: State) -> None:
        """Leave what the next stage needs; without a real step."""
        ...

    def close(self) -> None:
        """Free environments and workers."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must hold of it, besides the estimator."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Set it to a saved state."""
        ...


@runtime_checkable
class Reserving(Protocol):
    """A stage that knows beforehand what judging takes."""

    def reserve(self, state: State) -> int:
        """Real steps that its last evaluation takes at most; a run keeps them back for it.

        0 once the evaluations that it has made tell that better.
        """
        ...


def outer_loop(stages: Sequence[Stage], run: Ledger) -> None:
    """Improve a teacher, stage by stage, until all are over or a budget is used (Such et al. 2020).

    Args:
        stages: What is done, in order.
        run: Its ledger, a `gtn_rl.run.Run`.
    """
    for stage in run.remaining(stages):
        run.enter(stage)
        while not run.over(stage):
            teachers = stage.estimator.ask(run.step)
            trained = stage.train(teachers, run.step)
            score = stage.objective(trained, run.step)
            row = stage.estimator.tell(trained, score, run.step)
            run.record(stage, row)
        run.leave(stage)
