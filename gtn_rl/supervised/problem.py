"""What a teacher of classifiers is trained for: to show real examples, then to teach."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gtn_rl.agents.classifier import Classifiers, cross_entropy
from gtn_rl.envs.allowance import count
from gtn_rl.outer.meta_gradient import Objective
from gtn_rl.seeding import generator
from gtn_rl.supervised.augment import augmented
from gtn_rl.supervised.config import SupervisedConfig
from gtn_rl.supervised.data import Data
from gtn_rl.supervised.evaluate import taught

# Names of random streams; a run's randomness is a function of (seed, stream, outer step) alone, so
# that a resumed run is the run that was never killed.
_LEARNERS, _EXAMPLES, _SHOWN = 0, 1, 5


class Classification:
    """Classifiers trained by a teacher, scored on real data (Such et al. 2020, section 3)."""

    name = "teaching classifiers"

    def __init__(self, data: Data, config: SupervisedConfig) -> None:
        self.data, self.config = data, config

    def train(self, teacher: nn.Module, step: int) -> list[Classifiers]:
        """Fresh classifiers after each of the scored points of their training."""
        stream = generator(self.config.seed, _LEARNERS, step)
        return taught(teacher, self.data, self.config, stream, create_graph=True)

    def objective(
        self, trained: Sequence[Classifiers], step: int
    ) -> tuple[Objective, dict[str, float]]:
        """Minus the mean cross-entropy on real training examples, other ones for each learner."""
        source, part = generator(self.config.seed, _EXAMPLES, step), self.data.train
        exams = []
        for stack in trained:
            size = (len(stack.parameters), self.config.real_batch)
            index = torch.randint(len(part), size, generator=source)
            count(index.numel())
            dtype = stack.parameters.dtype
            targets = F.one_hot(part.labels[index], self.data.classes).to(dtype)
            inputs = augmented(
                part.inputs[index], self.data.shape, flip=self.config.flip, crop=self.config.crop,
                generator=source,
            )  # fmt: skip
            exams.append((inputs.to(dtype), targets))
        return partial(_score, exams=exams), {}


def _score(learners: Sequence[Classifiers], exams: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    losses = [
        cross_entropy(stack.logits(inputs), targets)
        for stack, (inputs, targets) in zip(learners, exams, strict=True)
    ]
    return -torch.cat(losses).mean()


@dataclass(frozen=True)
class Shown:
    """What a teacher shows, `[T, 1, B, F]`, in the place of learners' parameters."""

    parameters: Tensor

    def with_parameters(self, parameters: Tensor) -> Self:
        return type(self)(parameters)


def examples(data: Data, seed: int, labels: Tensor) -> Tensor:
    """Real training examples `[..., F]` of classes `[...]`, drawn at random."""
    part, source, index = data.train, generator(seed, _SHOWN), torch.zeros_like(labels)
    for label in range(data.classes):
        own, wanted = (part.labels == label).nonzero()[:, 0], labels == label
        index[wanted] = own[torch.randint(len(own), (int(wanted.sum()),), generator=source)]
    return part.inputs[index]


class Reconstruction:
    """Samples become real examples of their classes, by least squares (Bojanowski et al. 2018).

    From noise the meta-gradient first learns to harm learners less: on MNIST, 60 outer steps of 8
    inner ones led to 44 % from noise, and to 82 % from here.

    Args:
        real: The examples `[T, 1, B, F]`.
    """

    name = "showing real examples"

    def __init__(self, real: Tensor) -> None:
        self._real = real

    def train(self, teacher: Any, step: int) -> list[Shown]:
        """No learner: what the teacher shows."""
        return [Shown(teacher.samples()[0])]

    def objective(self, trained: Sequence[Shown], step: int) -> tuple[Objective, dict[str, float]]:
        """Minus the mean squared difference to the real examples, which are counted once."""
        if step == 0:
            count(self._real.shape[0] * self._real.shape[2])

        def score(shown: Sequence[Shown]) -> Tensor:
            return -(shown[0].parameters - self._real).square().mean()

        return score, {}
