"""What teaches classifiers: generated data in several orders, learned images, or real data.

Every teacher's parameters include a learning rate and a momentum for each inner step.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from gtn_rl.agents.classifier import Lesson
from gtn_rl.errors import UsageError, did_you_mean
from gtn_rl.supervised.config import SupervisedConfig
from gtn_rl.supervised.data import Data, Part

CURRICULA = {
    "curriculum": "a learned input for every sample, in a fixed order",
    "shuffled-batches": "learned inputs, batches in an order drawn anew for each inner loop",
    "all-shuffled": "learned inputs, samples in an order drawn anew for each inner loop",
    "no-curriculum": "fresh noise and classes",
    "balanced-noise": "fresh noise, classes take turns",
}
"""Inputs of the generator (Such et al. 2020, section 3.2)."""

TEACHERS = {
    **{name: f"generator: {what}" for name, what in CURRICULA.items()},
    "distillation": "learned images in a fixed order, no generator (Wang et al. 2018)",
    "real": "real data; learning rates and momenta alone are learned",
}
"""All teachers, each with what it is."""


class Teacher(Protocol):
    """What an inner loop needs of a teacher; each is an `nn.Module` too."""

    def lesson(self, count: int, generator: torch.Generator) -> Lesson:
        """The data of one inner loop for `count` classifiers."""
        ...


class Rates(nn.Module):
    """Learning rate and momentum of each of T steps, `[T]`, as logarithm and logit."""

    def __init__(self, steps: int, rate: float, momentum: float) -> None:
        super().__init__()
        self.log_rate = nn.Parameter(torch.full((steps,), math.log(rate)))
        self.momentum = nn.Parameter(torch.full((steps,), math.log(momentum / (1 - momentum))))

    def forward(self) -> tuple[Tensor, Tensor]:
        """Both, in their own units."""
        return self.log_rate.exp(), self.momentum.sigmoid()


class GeneratorTeacher(nn.Module):
    """A conditional generator: labels and noise in, inputs `[T, 1 or K, B, F]` out.

    Two layers with weight normalisation (Such et al. 2020, section 3.1). Classes take turns where
    they are not drawn or shuffled, so that a batch holds all of them alike.

    Args:
        features: F.
        classes: C.
        config: `inner_steps` T, `batch_size` B, `noise`, `hidden` and the first rates.
        order: One of `CURRICULA`.
        generator: Source of the initial parameters.
    """

    def __init__(
        self, features: int, classes: int, config: SupervisedConfig, order: str,
        generator: torch.Generator,
    ) -> None:  # fmt: skip
        super().__init__()
        self.order, self.classes = order, classes
        self.size = config.inner_steps, config.batch_size, config.noise
        self.rates = Rates(config.inner_steps, config.first_rate, config.first_momentum)
        self.layers = nn.Sequential(
            _linear(config.noise + classes, config.hidden, generator),
            nn.LeakyReLU(0.1),
            _linear(config.hidden, features, generator),
        )
        if order not in ("no-curriculum", "balanced-noise"):
            self.noise = nn.Parameter(torch.randn(self.size, generator=generator))

    def lesson(self, count: int, generator: torch.Generator) -> Lesson:
        """The data of one inner loop; each of the classifiers gets its own where it is random."""
        steps, batch, width = self.size
        labels = torch.arange(steps * batch).view(steps, 1, batch) % self.classes
        if self.order == "no-curriculum":
            labels = torch.randint(self.classes, (steps, count, batch), generator=generator)
        dtype = self.rates.log_rate.dtype
        targets = F.one_hot(labels, self.classes).to(dtype)
        if self.order in ("no-curriculum", "balanced-noise"):
            noise = torch.randn(steps, count, batch, width, generator=generator, dtype=dtype)
            given = targets.expand(-1, count, -1, -1)
            return Lesson(self.layers(torch.cat([noise, given], -1)), targets, *self.rates())
        inputs = self.layers(torch.cat([self.noise.unsqueeze(1), targets], -1))
        if self.order == "curriculum":
            return Lesson(inputs, targets, *self.rates())
        if self.order == "shuffled-batches":
            # Row by row for each classifier: [K, T] of batches.
            order = torch.rand(count, steps, generator=generator).argsort(1)
            return Lesson(
                inputs[:, 0][order].transpose(0, 1), targets[:, 0][order].transpose(0, 1),
                *self.rates(),
            )  # fmt: skip
        order = torch.rand(count, steps * batch, generator=generator).argsort(1)

        def shuffled(values: Tensor) -> Tensor:
            rows = values.flatten(0, 2)[order]
            return rows.view(count, steps, batch, -1).transpose(0, 1)

        return Lesson(shuffled(inputs), shuffled(targets), *self.rates())


class Distilled(nn.Module):
    """Learned inputs `[T, 1, B, F]`, no generator: dataset distillation (arXiv 1811.10959).

    Args:
        features: F.
        classes: C.
        config: `inner_steps` T, `batch_size` B and the first rates.
        generator: Source of the initial parameters.
    """

    def __init__(
        self, features: int, classes: int, config: SupervisedConfig, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.classes = classes
        steps, batch = config.inner_steps, config.batch_size
        self.rates = Rates(steps, config.first_rate, config.first_momentum)
        self.inputs = nn.Parameter(torch.randn(steps, 1, batch, features, generator=generator))

    def lesson(self, count: int, generator: torch.Generator) -> Lesson:
        """The data of one inner loop."""
        steps, _, batch, _ = self.inputs.shape
        labels = torch.arange(steps * batch).view(steps, 1, batch) % self.classes
        targets = F.one_hot(labels, self.classes).to(self.inputs.dtype)
        return Lesson(self.inputs, targets, *self.rates())


class RealTeacher(nn.Module):
    """Real examples, drawn anew for each classifier; its rates are all that is learned.

    The baseline that a generator must beat: real data with the best learning rates that the same
    meta-gradient finds for them.

    Args:
        part: Real examples.
        classes: C.
        config: `inner_steps` T, `batch_size` B and the first rates.
    """

    def __init__(self, part: Part, classes: int, config: SupervisedConfig) -> None:
        super().__init__()
        self.part, self.classes = part, classes
        self.size = config.inner_steps, config.batch_size
        self.rates = Rates(config.inner_steps, config.first_rate, config.first_momentum)

    def lesson(self, count: int, generator: torch.Generator) -> Lesson:
        """The data of one inner loop."""
        steps, batch = self.size
        index = torch.randint(len(self.part), (steps, count, batch), generator=generator)
        dtype = self.rates.log_rate.dtype
        targets = F.one_hot(self.part.labels[index], self.classes).to(dtype)
        return Lesson(self.part.inputs[index].to(dtype), targets, *self.rates())


def make_teacher(
    data: Data, config: SupervisedConfig, generator: torch.Generator
) -> GeneratorTeacher | Distilled | RealTeacher:
    """The untrained teacher that `config.teacher` names.

    Raises:
        UsageError: No teacher of that name.
    """
    features, name = data.train.inputs.shape[1], config.teacher
    if name in CURRICULA:
        return GeneratorTeacher(features, data.classes, config, name, generator)
    if name == "distillation":
        return Distilled(features, data.classes, config, generator)
    if name == "real":
        return RealTeacher(data.train, data.classes, config)
    raise UsageError(
        f"unknown teacher {name!r}: use one of {', '.join(TEACHERS)}.{did_you_mean(name, TEACHERS)}"
    )


def _linear(inputs: int, outputs: int, generator: torch.Generator) -> nn.Module:
    # Made without values: torch's own would come from the global generator.
    layer = nn.Linear(inputs, outputs, device="meta").to_empty(device="cpu")
    with torch.no_grad():
        layer.weight.normal_(0, math.sqrt(1 / inputs), generator=generator)
        layer.bias.zero_()
    normalised: nn.Module = weight_norm(layer)
    return normalised
