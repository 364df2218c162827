"""The stage of supervised learning: how well fresh classifiers do on real data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gtn_rl.agents.classifier import Classifiers, cross_entropy
from gtn_rl.outer.meta_gradient import MetaGradient, Objective
from gtn_rl.seeding import generator
from gtn_rl.state import State
from gtn_rl.supervised.augment import augmented
from gtn_rl.supervised.config import SupervisedConfig
from gtn_rl.supervised.data import Data
from gtn_rl.supervised.evaluate import final_accuracies, taught, validation

# Names of random streams; a run's randomness is a function of (seed, stream, outer step) alone, so
# that a resumed run is the run that was never killed.
_LEARNERS, _EXAMPLES = range(2)

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
    test part is looked at once, when all is over. It is the last teacher that is kept: of digits'
    180 validation examples the accuracy says less than the step size having fallen to 0, and to
    pick by it kept teachers that were worse by 2 points.

    Args:
        data: The task.
        config: Settings.
    """

    name, competes = "teaching classifiers", False

    def __init__(self, data: Data, config: SupervisedConfig) -> None:
        self.data, self.config, self.every = data, config, config.evaluate_every
        self._examples = 0

    def begin(self, state: State) -> None:
        """Start the meta-gradient."""
        config = self.config
        self.estimator = MetaGradient(
            state.teacher.requires_grad_(), self._rate, max_norm=config.max_gradient_norm,
            averaging=config.averaging,
        )  # fmt: skip

    def _rate(self, step: int) -> float:
        """Half a cosine from the first step size to 0."""
        share = min(step / self.config.outer_steps, 1.0)
        return self.config.outer_learning_rate * (1 + math.cos(math.pi * share)) / 2

    def reset(self, step: int) -> None:
        """Nothing hangs over from one outer step to the next."""

    def train(self, teachers: nn.Module, step: int) -> list[Classifiers]:
        """Fresh classifiers after each of the scored points of their training."""
        stream = generator(self.config.seed, _LEARNERS, step)
        return taught(teachers, self.data, self.config, stream, create_graph=True)

    def objective(
        self, trained: Sequence[Classifiers], step: int
    ) -> tuple[Objective, dict[str, float]]:
        """Minus the mean cross-entropy on real training examples, other ones for each learner."""
        source, part = generator(self.config.seed, _EXAMPLES, step), self.data.train
        exams = []
        for stack in trained:
            size = (len(stack.parameters), self.config.real_batch)
            index = torch.randint(len(part), size, generator=source)
            self._examples += index.numel()
            dtype = stack.parameters.dtype
            targets = F.one_hot(part.labels[index], self.data.classes).to(dtype)
            inputs = augmented(
                part.inputs[index], self.data.shape, flip=self.config.flip, crop=self.config.crop,
                generator=source,
            )  # fmt: skip
            exams.append((inputs.to(dtype), targets))
        score = partial(_score, exams=exams)
        with torch.no_grad():
            return score, {"loss": -float(score(trained))}

    def evaluate(self, step: int, *, last: bool) -> dict[str, float]:
        """Validation accuracies, in percent, of fresh classifiers: mean and worst."""
        return validation(self.estimator.teacher, self.data, self.config, step)

    def shares(self, step: int) -> Mapping[str, float]:
        """Of its outer steps."""
        return {"outer steps": step / self.config.outer_steps}

    def converged(self, step: int) -> bool:
        """At the end of the schedule only."""
        return False

    def spent(self) -> int:
        """Real training examples since this was last asked, counted as often as they were used."""
        new, self._examples = self._examples, 0
        return new

    def end(self, state: State) -> None:
        """Accuracies of fresh classifiers of the finished teacher, by which nothing is chosen."""
        for part in ("validation", "test"):
            percent = final_accuracies(
                state.teacher, self.data, self.config, self.config.seed, on=part
            )
            state.returns[part] = float(percent.mean())

    def close(self) -> None:
        """Nothing to free."""

    def state_dict(self) -> dict[str, Any]:
        """Nothing besides the estimator."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing."""


def _score(learners: Sequence[Classifiers], exams: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    losses = [
        cross_entropy(stack.logits(inputs), targets)
        for stack, (inputs, targets) in zip(learners, exams, strict=True)
    ]
    return -torch.cat(losses).mean()
