"""A stage of supervised learning: so many outer steps, whose size falls to 0."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol

from torch import nn

from gtn_rl.outer.meta_gradient import MetaGradient, Objective
from gtn_rl.stages.base import ignore, never, nothing
from gtn_rl.state import State
from gtn_rl.supervised.config import SupervisedConfig
from gtn_rl.supervised.data import Data
from gtn_rl.supervised.evaluate import final_accuracies, validation

COLUMNS = {
    "step": "outer steps done",
    "real_steps": "real training examples used so far, counted as often as they were",
    "seconds": "seconds so far",
    "surrogate": "minus the cross-entropy of the step's learners on real training examples; minus "
    "the mean squared difference where samples become real examples",
    "gradient_norm": "norm of the step's meta-gradient, before clipping",
    "evaluation": "mean validation accuracy, in percent, of fresh learners of the averaged teacher",
    "evaluation_min": "the worst of these learners",
}
"""Columns of a supervised run's `log.csv`, each with what it means."""


class Problem(Protocol):
    """What the teacher is trained for: learner and objective; `problem` has those there are."""

    name: str

    def train(self, teacher: nn.Module, step: int) -> Any:
        """What becomes of learners, a function of the teacher's parameters."""

    def objective(self, trained: Any, step: int) -> tuple[Objective, dict[str, float]]:
        """How well they do."""


class Scheduled:
    """Meta-gradient steps along half a cosine.

    The evaluation is that of fresh classifiers on the validation part; the test part is looked at
    once, when all is over. It is the last teacher that is kept: of digits' 180 validation examples
    the accuracy says less than the step size having fallen to 0, and to pick by it kept teachers
    that were worse by 2 points.
    """

    scored, competes, steady = "classifiers", False, True
    reset = close = load_state_dict = ignore
    converged, state_dict = never, nothing

    def __init__(
        self, problem: Problem, data: Data, config: SupervisedConfig, *, steps: int, every: int,
        rate: float, last: bool = False, **options: float,
    ) -> None:  # fmt: skip
        self.problem, self.data, self.config = problem, data, config
        self.name, self.every = problem.name, every
        self._steps, self._first_rate = steps, rate
        self._last, self._options = last, options

    def begin(self, state: State) -> None:
        self.estimator = MetaGradient(
            state.teacher.requires_grad_(), self._rate, **self._options  # type: ignore[arg-type]
        )  # fmt: skip

    def _rate(self, step: int) -> float:
        return self._first_rate * (1 + math.cos(math.pi * min(step / self._steps, 1.0))) / 2

    def train(self, teachers: nn.Module, step: int) -> Any:
        return self.problem.train(teachers, step)

    def objective(self, trained: Any, step: int) -> tuple[Objective, dict[str, float]]:
        return self.problem.objective(trained, step)

    def evaluate(self, step: int, *, last: bool) -> dict[str, float]:
        return validation(self.estimator.teacher, self.data, self.config, step)

    def shares(self, step: int) -> Mapping[str, float]:
        return {"outer steps": step / self._steps}

    def end(self, state: State) -> None:
        """Accuracies of fresh classifiers after the last stage; nothing is chosen by them."""
        for part in ("validation", "test") if self._last else ():
            percent = final_accuracies(
                state.teacher, self.data, self.config, self.config.seed, on=part
            )
            state.returns[part] = float(percent.mean())
