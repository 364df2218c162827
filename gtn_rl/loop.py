"""The outer loop: whatever fills its slots, reinforcement or supervised learning, runs in this."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor, nn

from gtn_rl.checkpoint import Parts, Progress
from gtn_rl.runlog import RunLog

Objective = Callable[[Sequence[Any]], Tensor]
"""A scalar to maximise, for trained learners; differentiable in their parameters.

Learners are `gtn_rl.agents.learners.Stack`s here; of which kind is between a problem and itself.
"""


class Problem(Protocol):
    """What is to be taught, to whom, and how well they must do: all slots but the estimator's.

    What it does is a function of the teacher, the outer step and its own state alone, so that a
    resumed run is the run that was never killed.
    """

    evaluate_every: int
    """Outer steps between evaluations."""

    goal: float | None
    """Evaluation that counts as solved."""

    patience: int
    """Evaluations without a better one, once solved, before the run stops."""

    @property
    def real_steps(self) -> int:
        """Steps of the real environment, or real examples, used so far; everything included."""
        ...

    def charge(self, real_steps: int) -> None:
        """Count real steps that were taken for it elsewhere."""
        ...

    def limits(self, progress: Progress) -> Mapping[str, float]:
        """The share of each budget that is spent; the run stops at 1."""
        ...

    def reset(self, step: int) -> None:
        """Forget what hangs over from earlier outer steps; a checkpoint does not hold it."""
        ...

    def learning_rate(self, step: int) -> float:
        """The estimator's step size."""
        ...

    def epochs(self, step: int) -> int:
        """Updates of the teacher by one objective."""
        ...

    def train(self, teacher: nn.Module, step: int, *, create_graph: bool) -> Sequence[Any]:
        """The inner loop: fresh learners trained by the teacher; the same ones for the same step.

        Args:
            teacher: One teacher, or a population.
            step: Outer step.
            create_graph: Whether they are to be differentiated w.r.t. the teacher.
        """
        ...

    def objective(
        self, learners: Sequence[Any], step: int
    ) -> tuple[Objective, dict[str, float | None]]:
        """What is to be maximised, found with these learners on the real task, and log entries."""
        ...

    def evaluate(self, teacher: nn.Module, step: int) -> dict[str, float]:
        """Log entries, `evaluation` among them: how good fresh learners of the teacher are."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must hold of it."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Set it to a saved state."""
        ...


def outer_loop(
    problem: Problem, parts: Parts, progress: Progress, log: RunLog, save: Callable[[], None]
) -> None:
    """Improve a teacher until it has converged or a budget is used up (Such et al. 2020).

    Args:
        problem: What is to be taught.
        parts: The teacher, the estimator that updates it, its average and its best.
        progress: Where the run stands; brought up to date, `stopped` set at the end.
        log: Told of every outer step.
        save: Called after every evaluation.
    """
    first = progress.step
    if not progress.rows:
        _judge(problem, parts, progress, log, save, {})
    while not progress.stopped:
        step = progress.step
        if step == first or step % problem.evaluate_every == 0:
            problem.reset(step)
        row = parts.estimator.step(problem, step)
        parts.average.update_parameters(parts.teacher)

        progress.step = step + 1
        _, used = progress.spend(problem)
        if progress.step % problem.evaluate_every == 0 or used >= 1:
            _judge(problem, parts, progress, log, save, row)
        else:
            log.add(progress, row, used)


def _judge(
    problem: Problem, parts: Parts, progress: Progress, log: RunLog, save: Callable[[], None],
    row: dict[str, Any],
) -> None:  # fmt: skip
    """Evaluate the averaged teacher, keep it if none was better, stop if it is time to."""
    row |= problem.evaluate(parts.averaged, progress.step)
    limit, used = progress.spend(problem)
    if progress.judge(row["evaluation"], problem.goal, problem.patience):
        parts.keep()
    if used >= 1 and not progress.stopped:
        progress.stopped = limit
    log.add(progress, row, used)
    save()
