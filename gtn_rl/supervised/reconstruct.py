"""The stage before meta-training: a teacher of fixed samples learns to show real examples."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from gtn_rl.outer.meta_gradient import MetaGradient, Objective
from gtn_rl.seeding import generator
from gtn_rl.state import State
from gtn_rl.supervised.config import SupervisedConfig
from gtn_rl.supervised.data import Data
from gtn_rl.supervised.evaluate import validation

_STREAM, _RATE = 5, 3e-2


@dataclass(frozen=True)
class Shown:
    """What a teacher shows, `[T, 1, B, F]`, in the place of learners' parameters."""

    parameters: Tensor

    def with_parameters(self, parameters: Tensor) -> Self:
        """Other samples."""
        return type(self)(parameters)


class Reconstruction:
    """Samples become real examples of their classes, by least squares (Bojanowski et al. 2018).

    From noise the meta-gradient first learns to harm learners less: on MNIST, 60 outer steps of 8
    inner ones led to 44 % from noise, and to 82 % from here.

    Args:
        data: The task.
        config: Settings.
    """

    name, competes = "showing real examples", False

    def __init__(self, data: Data, config: SupervisedConfig) -> None:
        self.data, self.config, self.every = data, config, config.reconstruct
        self._examples = 0

    def begin(self, state: State) -> None:
        """Choose a real example for each sample, the same for a seed."""
        part, source = self.data.train, generator(self.config.seed, _STREAM)
        labels = state.teacher.labels.given.argmax(-1)  # type: ignore[union-attr, operator]
        index = torch.zeros_like(labels)
        for label in range(self.data.classes):
            own, wanted = (part.labels == label).nonzero()[:, 0], labels == label
            index[wanted] = own[torch.randint(len(own), (int(wanted.sum()),), generator=source)]
        self._real = part.inputs[index]
        self._examples = index.numel()
        self.estimator = MetaGradient(state.teacher, self._rate, max_norm=math.inf, averaging=0)

    def _rate(self, step: int) -> float:
        """Half a cosine to 0."""
        return _RATE * (1 + math.cos(math.pi * step / self.config.reconstruct)) / 2

    def reset(self, step: int) -> None:
        """Nothing hangs over from one outer step to the next."""

    def train(self, teachers: nn.Module, step: int) -> list[Shown]:
        """No learner: what the teacher shows."""
        return [Shown(teachers.samples()[0])]  # type: ignore[operator]

    def objective(self, trained: Sequence[Shown], step: int) -> tuple[Objective, dict[str, float]]:
        """Minus the mean squared difference to the real examples."""

        def score(shown: Sequence[Shown]) -> Tensor:
            return -(shown[0].parameters - self._real).square().mean()

        return score, {}

    def evaluate(self, step: int, *, last: bool) -> dict[str, float]:
        """Validation accuracies, in percent, of fresh classifiers: mean and worst."""
        return validation(self.estimator.teacher, self.data, self.config, step)

    def shares(self, step: int) -> Mapping[str, float]:
        """Of its outer steps."""
        return {"outer steps": step / self.config.reconstruct}

    def converged(self, step: int) -> bool:
        """At the end of the schedule only."""
        return False

    def spent(self) -> int:
        """Real training examples, which are chosen once."""
        new, self._examples = self._examples, 0
        return new

    def end(self, state: State) -> None:
        """The teacher is all that is left."""

    def close(self) -> None:
        """Nothing to free."""

    def state_dict(self) -> dict[str, Any]:
        """Nothing besides the estimator."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The examples were counted before."""
        self._examples = 0
