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


_GAIN = 5.0


class Rates(nn.Module):
    """Learning rate and momentum of each of T steps, `[T]`, as a fifth of logarithm and logit.

    So an outer step moves them five times as far as a weight of a generator. Without that, rates of
    MNIST had moved by a fifth after 200 outer steps, and 80 of them led to 83.1 instead of 84.2 %.
    """

    def __init__(self, steps: int, rate: float, momentum: float) -> None:
        super().__init__()
        self.log_rate = nn.Parameter(torch.full((steps,), math.log(rate) / _GAIN))
        logit = math.log(momentum / (1 - momentum))
        self.momentum = nn.Parameter(torch.full((steps,), logit / _GAIN))

    def forward(self) -> tuple[Tensor, Tensor]:
        """Both, in their own units."""
        return (_GAIN * self.log_rate).exp(), (_GAIN * self.momentum).sigmoid()


class Labels(nn.Module):
    """Class probabilities `[T, 1, B, C]`: classes take turns, so that a batch holds all alike.

    If soft, that is where learned ones start from.
    """

    given: Tensor

    def __init__(self, classes: int, config: SupervisedConfig) -> None:
        super().__init__()
        size = config.inner_steps, config.batch_size
        turns = torch.arange(math.prod(size)).view(size[0], 1, size[1]) % classes
        given = F.one_hot(turns, classes).float()
        self.logits = nn.Parameter(6 * given) if config.soft_labels else None
        self.register_buffer("given", given, persistent=False)

    def forward(self) -> Tensor:
        """The probabilities."""
        return self.given if self.logits is None else self.logits.softmax(-1)


class ConvGenerator(nn.Module):
    """Inputs `[..., I]` to flat images `[..., F]`: a linear layer and two convolutions.

    Before each of these the image is made twice as large.

    Raises:
        UsageError: Not the shape of an image.
    """

    def __init__(
        self, inputs: int, shape: tuple[int, ...], channels: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        if len(shape) != 3:
            raise UsageError(f"the generator conv makes images, not inputs of shape {shape}")
        self.shape, self.channels = shape, channels
        self.small = -(-shape[1] // 4), -(-shape[2] // 4)
        layers = (
            nn.Linear(inputs, channels * math.prod(self.small), device="meta"),
            nn.Conv2d(channels, channels, 3, padding=1, device="meta"),
            nn.Conv2d(channels, shape[0], 3, padding=1, device="meta"),
        )
        self.layers = nn.ModuleList([_normalised(layer, generator) for layer in layers])

    def forward(self, inputs: Tensor) -> Tensor:
        """The images."""
        values: Tensor = self.layers[0](inputs.flatten(0, -2)).view(-1, self.channels, *self.small)
        for layer in self.layers[1:]:
            values = layer(F.interpolate(F.leaky_relu(values, 0.1), scale_factor=2))
        values = values[:, :, : self.shape[1], : self.shape[2]]
        return values.reshape(*inputs.shape[:-1], -1)


class GeneratorTeacher(nn.Module):
    """A conditional generator: labels and noise in, inputs `[T, 1 or K, B, F]` out.

    Its layers have weight normalisation (Such et al. 2020, section 3.1).
    """

    def __init__(
        self, shape: tuple[int, ...], classes: int, config: SupervisedConfig,
        generator: torch.Generator,
    ) -> None:  # fmt: skip
        super().__init__()
        self.order, self.classes = config.teacher, classes
        self.size = config.inner_steps, config.batch_size, config.noise
        self.rates = Rates(config.inner_steps, config.first_rate, config.first_momentum)
        self.labels = Labels(classes, config)
        inputs, hidden = config.noise + classes, config.hidden
        self.layers: nn.Module
        if config.generator == "conv":
            self.layers = ConvGenerator(inputs, shape, max(hidden // 4, 1), generator)
        else:
            self.layers = nn.Sequential(
                _normalised(nn.Linear(inputs, hidden, device="meta"), generator),
                nn.LeakyReLU(0.1),
                _normalised(nn.Linear(hidden, math.prod(shape), device="meta"), generator),
            )
        if self.order not in ("no-curriculum", "balanced-noise"):
            self.noise = nn.Parameter(torch.randn(self.size, generator=generator))

    def samples(self) -> tuple[Tensor, Tensor]:
        """Inputs and class probabilities in the order in which they are learned."""
        targets = self.labels()
        return self.layers(torch.cat([self.noise.unsqueeze(1), targets], -1)), targets

    def lesson(self, count: int, generator: torch.Generator) -> Lesson:
        """The data of one inner loop; each of the classifiers gets its own where it is random."""
        steps, batch, width = self.size
        if self.order in ("no-curriculum", "balanced-noise"):
            targets = self.labels()
            if self.order == "no-curriculum":
                labels = torch.randint(self.classes, (steps, count, batch), generator=generator)
                targets = F.one_hot(labels, self.classes).to(targets.dtype)
            size = steps, count, batch, width
            noise = torch.randn(size, generator=generator, dtype=targets.dtype)
            given = targets.expand(-1, count, -1, -1)
            return Lesson(self.layers(torch.cat([noise, given], -1)), targets, *self.rates())
        inputs, targets = self.samples()
        if self.order == "curriculum":
            return Lesson(inputs, targets, *self.rates())
        # Units that are shuffled: whole batches or samples.
        units = steps if self.order == "shuffled-batches" else steps * batch
        order = torch.rand(count, units, generator=generator).argsort(1)

        def shuffled(values: Tensor) -> Tensor:
            rows = values.reshape(units, -1)[order]
            return rows.view(count, steps, batch, -1).transpose(0, 1)

        return Lesson(shuffled(inputs), shuffled(targets), *self.rates())


class Distilled(nn.Module):
    """Learned inputs `[T, 1, B, F]`, no generator: dataset distillation (arXiv 1811.10959)."""

    def __init__(
        self, features: int, classes: int, config: SupervisedConfig, generator: torch.Generator
    ) -> None:
        super().__init__()
        steps, batch = config.inner_steps, config.batch_size
        self.rates = Rates(steps, config.first_rate, config.first_momentum)
        self.labels = Labels(classes, config)
        self.inputs = nn.Parameter(torch.randn(steps, 1, batch, features, generator=generator))

    def samples(self) -> tuple[Tensor, Tensor]:
        """Inputs and class probabilities in the order in which they are learned."""
        return self.inputs, self.labels()

    def lesson(self, count: int, generator: torch.Generator) -> Lesson:
        """The data of one inner loop."""
        return Lesson(*self.samples(), *self.rates())


class RealTeacher(nn.Module):
    """Real examples, drawn anew for each classifier; its rates are all that is learned.

    The baseline that a generator must beat: real data with the best learning rates that the same
    meta-gradient finds for them.
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
    config = config.suited(data.shape)
    name = config.teacher
    if name in CURRICULA:
        return GeneratorTeacher(data.shape, data.classes, config, generator)
    if name == "distillation":
        return Distilled(math.prod(data.shape), data.classes, config, generator)
    if name == "real":
        return RealTeacher(data.train, data.classes, config)
    raise UsageError(
        f"unknown teacher {name!r}: use one of {', '.join(TEACHERS)}.{did_you_mean(name, TEACHERS)}"
    )


def _normalised(layer: nn.Linear | nn.Conv2d, generator: torch.Generator) -> nn.Module:
    """A layer, made without values (torch's would come from the global generator), with some."""
    layer = layer.to_empty(device="cpu")
    with torch.no_grad():
        layer.weight.normal_(0, math.sqrt(1 / layer.weight[0].numel()), generator=generator)
        assert layer.bias is not None
        layer.bias.zero_()
    normalised: nn.Module = weight_norm(layer)
    return normalised
