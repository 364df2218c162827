"""K convolutional networks of one shape; their parameters are one flat row per network."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from gtn_rl.errors import UsageError
from gtn_rl.networks import ACTIVATIONS

NORMS = ("", "in", "gn")


@dataclass(frozen=True)
class CNN:
    """Shape of a small convolutional classifier.

    Every block halves each spatial axis, by a convolution with stride 2 or, where it pools, by the
    mean of two by two positions after one with stride 1; a linear layer reads the last block's
    output. Blocks of 128 channels with instance normalisation and pooling are the ConvNet-3 of the
    literature on dataset distillation (Zhao et al. 2021, arXiv 2006.05929).

    Args:
        shape: Of an input: `(channels, length)` or `(channels, height, width)`.
        channels: Of every convolution.
        outputs: Of the linear layer.
        kernel: Width of the convolutions, an odd number.
        activation: After every convolution.
        norm: Before the activation: `"in"` (instance), `"gn"` (group, of up to 4 groups) or none.
        pool: Whether blocks pool.

    Raises:
        UsageError: A shape that no network has.
    """

    shape: tuple[int, ...]
    channels: tuple[int, ...]
    outputs: int
    kernel: int = 3
    activation: str = "relu"
    norm: str = ""
    pool: bool = False

    def __post_init__(self) -> None:
        """Reject shapes that no network has."""
        if len(self.shape) not in (2, 3):
            raise UsageError(
                f"a CNN needs inputs of shape (channels, length) or (channels, height, width), "
                f"got {self.shape}: use an MLP"
            )
        if not self.channels or min(self.channels) < 1 or self.kernel % 2 == 0:
            raise UsageError("a CNN needs channels above 0 and an odd kernel")
        if self.activation not in ACTIVATIONS or self.norm not in NORMS:
            raise UsageError(
                f"unknown activation {self.activation!r} or normalisation {self.norm!r}: use one "
                f"of {sorted(ACTIVATIONS)} and of {NORMS}"
            )
        if self.pool and min(self.shape[1:]) < 2 ** len(self.channels):
            raise UsageError(
                f"{len(self.channels)} blocks that pool leave nothing of inputs {self.shape}: take "
                f"fewer, or larger images"
            )

    @property
    def num_parameters(self) -> int:
        """Parameters of one network."""
        return sum(self._counts())

    @property
    def pixels(self) -> int:
        """Positions that are left after the last block."""
        halvings = 2 ** len(self.channels)
        return math.prod(
            size // halvings if self.pool else -(-size // halvings) for size in self.shape[1:]
        )

    def weights(self) -> list[tuple[int, int, int]]:
        """Shapes `(before, out, after)` of the layers' weights, each followed by `out` biases.

        The scales of the normalisations are behind them all.
        """
        taps = self.kernel ** (len(self.shape) - 1)
        convolutions = [(1, o, i * taps) for i, o in self._pairs()]
        return [*convolutions, (self.channels[-1] * self.pixels, self.outputs, 1)]

    def __call__(self, parameters: Tensor, inputs: Tensor) -> Tensor:
        """Outputs `[K, N, outputs]` of K networks for their own flat inputs `[K, N, features]`."""
        # One by one: a grouped convolution over all of them takes 1.2 times as long on a CPU.
        return torch.stack(
            [self._one(row, own) for row, own in zip(parameters, inputs, strict=True)]
        )

    def _one(self, row: Tensor, inputs: Tensor) -> Tensor:
        parts = torch.split(row, self._counts())
        scales = parts[2 * len(self.channels) + 2 :]
        values = inputs.view(-1, *self.shape)
        plane = len(self.shape) == 3
        convolve, mean = (F.conv2d, F.avg_pool2d) if plane else (F.conv1d, F.avg_pool1d)
        window = (self.kernel,) * (len(self.shape) - 1)
        for layer, (i, o) in enumerate(self._pairs()):
            weight, bias = parts[2 * layer].view(o, i, *window), parts[2 * layer + 1]
            # A normalisation takes off what a bias adds before it: there it is added behind.
            values = convolve(
                values, weight, None if self.norm else bias, stride=1 if self.pool else 2,
                padding=self.kernel // 2,
            )  # fmt: skip
            if self.norm:
                groups = o if self.norm == "in" else math.gcd(o, 4)
                values = F.group_norm(values, groups, scales[layer], bias)
            values = ACTIVATIONS[self.activation](values)
            if self.pool:
                values = mean(values, 2)
        return torch.addmm(
            parts[2 * len(self.channels) + 1],
            values.flatten(1),
            parts[2 * len(self.channels)].view(-1, self.outputs),
        )

    def _pairs(self) -> list[tuple[int, int]]:
        return list(zip((self.shape[0], *self.channels[:-1]), self.channels, strict=True))

    def _counts(self) -> list[int]:
        layers = [n for before, o, after in self.weights() for n in (before * o * after, o)]
        return [*layers, *(self.channels if self.norm else ())]
