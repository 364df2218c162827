"""The problem of supervised learning: how well fresh classifiers do on real data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gtn_rl.agents.classifier import Classifiers, cross_entropy, draw, fit, parse_group
from gtn_rl.seeding import generator
from gtn_rl.supervised.config import SupervisedConfig
from gtn_rl.supervised.data import Data, Part

if TYPE_CHECKING:
    from gtn_rl.checkpoint import Progress
    from gtn_rl.loop import Objective
    from gtn_rl.supervised.teachers import Teacher

# Names of random streams; a run's randomness is a function of (seed, stream, outer step) alone, so
# that a resumed run is the run that was never killed.
_LEARNERS, _EXAMPLES, _EVALUATION = range(3)

COLUMNS = {
    "step": "outer steps done",
    "real_steps": "real training examples used so far, counted as often as they were",
    "seconds": "seconds so far",
    "loss": "cross-entropy of the step's learners on real training examples",
    "surrogate": "minus that loss, as the estimator saw it",
    "gradient_norm": "norm of the step's meta-gradient, before clipping",
    "evaluation": "mean validation accuracy, in percent, of fresh learners of the averaged teacher",
    "evaluation_min": "the worst of these learners",
}
"""Columns of a supervised run's `log.csv`, each with what it means."""


class Classification:
    """Classifiers trained by a teacher, scored on real data (Such et al. 2020, section 3).

    The meta-gradient comes from the training part, the evaluation from the validation part; the
    test part is never looked at.

    Args:
        data: The task.
        config: Settings.
    """

    def __init__(self, data: Data, config: SupervisedConfig) -> None:
        self.data, self.config = data, config
        self.evaluate_every, self.patience = config.evaluate_every, config.outer_steps
        self.goal: float | None = None
        self.real_steps = 0

    def charge(self, real_steps: int) -> None:
        """Count real examples that were used elsewhere."""
        self.real_steps += real_steps

    def limits(self, progress: Progress) -> dict[str, float]:
        """Shares of the budgets that are spent."""
        return {
            "outer steps": progress.step / self.config.outer_steps,
            "minutes": progress.seconds / 60 / self.config.max_minutes,
        }

    def reset(self, step: int) -> None:
        """Nothing hangs over from one outer step to the next."""

    def learning_rate(self, step: int) -> float:
        """Half a cosine from the first step size to 0."""
        share = min(step / self.config.outer_steps, 1.0)
        return self.config.outer_learning_rate * (1 + math.cos(math.pi * share)) / 2

    def epochs(self, step: int) -> int:
        """One update by one batch of real examples."""
        return 1

    def train(self, teacher: nn.Module, step: int, *, create_graph: bool) -> list[Classifiers]:
        """Fresh classifiers after each of the scored points of their training."""
        config = self.config
        points = range(1, config.intermediate)
        keep = {round(config.inner_steps * point / config.intermediate) for point in points}
        return taught(
            teacher, self.data, config, generator(config.seed, _LEARNERS, step),
            create_graph=create_graph, keep=keep,
        )  # fmt: skip

    def objective(
        self, learners: Sequence[Classifiers], step: int
    ) -> tuple[Objective, dict[str, float | None]]:
        """Minus the mean cross-entropy on real training examples, other ones for each learner."""
        source, part = generator(self.config.seed, _EXAMPLES, step), self.data.train
        exams = []
        for stack in learners:
            size = (len(stack.parameters), self.config.real_batch)
            index = torch.randint(len(part), size, generator=source)
            self.real_steps += index.numel()
            dtype = stack.parameters.dtype
            targets = F.one_hot(part.labels[index], self.data.classes).to(dtype)
            exams.append((part.inputs[index].to(dtype), targets))
        score = partial(_score, exams=exams)
        with torch.no_grad():
            return score, {"loss": -float(score(learners))}

    def evaluate(self, teacher: nn.Module, step: int) -> dict[str, float]:
        """Validation accuracies, in percent, of fresh classifiers: mean and worst."""
        config = self.config
        stream = generator(config.seed, _EVALUATION, step)
        percent = torch.cat(
            [
                accuracy(stack, self.data.validation)
                for _ in range(config.exams)
                for stack in taught(teacher, self.data, config, stream)
            ]
        )
        return {"evaluation": float(percent.mean()), "evaluation_min": float(percent.min())}

    def state_dict(self) -> dict[str, Any]:
        """The cost so far."""
        return {"real_steps": self.real_steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Set it to a saved state."""
        self.real_steps = state["real_steps"]


def taught(
    teacher: nn.Module,
    data: Data,
    config: SupervisedConfig,
    generator: torch.Generator,
    *,
    create_graph: bool = False,
    keep: set[int] | frozenset[int] = frozenset(),
    count: int | None = None,
) -> list[Classifiers]:
    """Fresh classifiers, trained by a teacher.

    Args:
        teacher: A `teachers.Teacher`.
        data: For its shape and classes.
        config: Kinds of learners, and how many kinds to draw.
        generator: Source of all randomness.
        create_graph: Whether they are to be differentiated w.r.t. the teacher.
        keep: Numbers of steps after which they are wanted as well.
        count: Learners of each kind, if not as in the settings.

    Returns:
        A stack for each kind of learner and kept step.
    """
    groups = [parse_group(text) for text in config.learners]
    if 0 < config.draw < len(groups):
        chosen = torch.randperm(len(groups), generator=generator)[: config.draw]
        groups = [groups[index] for index in chosen.tolist()]
    told: Teacher = teacher  # type: ignore[assignment]
    stacks: list[Classifiers] = []
    with torch.set_grad_enabled(create_graph):
        for group in groups:
            group = group if count is None else replace(group, count=count)
            dtype = next(teacher.parameters()).dtype
            fresh = draw(
                group, data.shape, data.classes, generator=generator, dtype=dtype,
                weight_norm=config.weight_norm,
            )  # fmt: skip
            lesson = told.lesson(group.count, generator)
            stacks += fit(
                fresh, lesson, create_graph=create_graph, keep=keep, segment=config.segment
            )
    return stacks


def accuracy(classifiers: Classifiers, part: Part) -> Tensor:
    """Accuracies `[K]` in percent."""
    inputs = part.inputs.to(classifiers.parameters.dtype).unsqueeze(0)
    with torch.no_grad():
        right = classifiers.logits(inputs).argmax(-1) == part.labels
        return right.to(torch.float64).mean(-1) * 100


def _score(learners: Sequence[Classifiers], exams: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    losses = [
        cross_entropy(stack.logits(inputs), targets)
        for stack, (inputs, targets) in zip(learners, exams, strict=True)
    ]
    return -torch.cat(losses).mean()
