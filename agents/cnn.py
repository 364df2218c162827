"""K convolutional networks of one shape, stacked: grouped convolution serves them all."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from gtn_rl.errors import UsageError
from gtn_rl.networks import ACTIVATIONS


@dataclass(frozen=True)
class CNN:
    """Shape of a small convolutional classifier; its parameters are one flat row per network.

    Every convolution halves each spatial axis (stride 2); a linear layer reads the last one's
    output.

    Args:
        shape: Of an input: `(channels, length)` or `(channels, height, width)`.
        channels: Of every convolution.
        outputs: Of the linear layer.
        kernel: Width of the convolutions, an odd number.
        activation: After every convolution.

    Raises:
        UsageError: A shape that no network has.
    """

    shape: tuple[int, ...]
    channels: tuple[int, ...]
    outputs: int
    kernel: int = 3
    activation: str = "relu"

    def __post_init__(self) -> None:
        """Reject shapes that no network has."""
        if len(self.shape) not in (2, 3):
            raise UsageError(
                f"a CNN needs inputs of shape (channels, length) or (channels, height, width), "
                f"got {self.shape}: use an MLP"
            )
        if not self.channels or min(self.channels) < 1 or self.kernel % 2 == 0:
            raise UsageError("a CNN needs channels above 0 and an odd kernel")
        if self.activation not in ACTIVATIONS:
            raise UsageError(
                f"unknown activation {self.activation!r}: use one of {sorted(ACTIVATIONS)}"
            )

    @property
    def num_parameters(self) -> int:
        """Parameters of one network."""
        return sum(self._counts())

    @property
    def pixels(self) -> int:
        """Positions that are left after the last convolution."""
        halvings = 2 ** len(self.channels)
        return math.prod(-(-size // halvings) for size in self.shape[1:])

    def weights(self) -> list[tuple[int, int, int]]:
        """Shapes `(before, out, after)` of the layers' weights, each followed by `out` biases."""
        taps = self.kernel ** (len(self.shape) - 1)
        convolutions = [(1, o, i * taps) for i, o in self._pairs()]
        return [*convolutions, (self.channels[-1] * self.pixels, self.outputs, 1)]

    def __call__(self, parameters: Tensor, inputs: Tensor) -> Tensor:
        """Outputs `[K, N, outputs]` of K networks for their own flat inputs `[K, N, features]`."""
        count, batch = inputs.shape[:2]
        convolve = F.conv1d if len(self.shape) == 2 else F.conv2d
        parts = torch.split(parameters, self._counts(), dim=1)
        values = inputs.transpose(0, 1).reshape(batch, count * self.shape[0], *self.shape[1:])
        window = (self.kernel,) * (len(self.shape) - 1)
        for layer, (i, o) in enumerate(self._pairs()):
            weight = parts[2 * layer].reshape(count * o, i, *window)
            bias = parts[2 * layer + 1].flatten()
            values = convolve(
                values, weight, bias, stride=2, padding=self.kernel // 2, groups=count
            )
            values = ACTIVATIONS[self.activation](values)
        features = values.view(batch, count, -1).transpose(0, 1)
        weight = parts[-2].view(count, -1, self.outputs)
        return torch.baddbmm(parts[-1].unsqueeze(1), features, weight)

    def initial(self, channels: Tensor, generator: torch.Generator, dtype: torch.dtype) -> Tensor:
        """Fresh rows `[K, D]` with He's normal weights and zero biases (arXiv 1502.01852).

        Args:
            channels: How many channels of each layer a network has, `[K, layers]`, at most those of
                the stack; the others have no weight in or out and stay so (`networks.widen`).
            generator: Source of the weights.
            dtype: Of the rows.
        """
        count, taps = len(channels), self.kernel ** (len(self.shape) - 1)
        rows: list[Tensor] = []
        used = torch.ones(count, self.shape[0], dtype=dtype)
        for layer, (i, o) in enumerate(self._pairs()):
            own = (torch.arange(o) < channels[:, layer, None]).to(dtype)
            weight = torch.randn(count, o, i, taps, generator=generator, dtype=dtype)
            scale = (2 / (used.sum(1) * taps)).sqrt().view(-1, 1, 1, 1)
            rows += [
                (weight * scale * own[:, :, None, None] * used[:, None, :, None]).flatten(1),
                torch.zeros(count, o, dtype=dtype),
            ]
            used = own
        weight = torch.randn(
            count, self.channels[-1], self.pixels, self.outputs, generator=generator, dtype=dtype
        )
        scale = (1 / (used.sum(1) * self.pixels)).sqrt().view(-1, 1, 1, 1)
        rows += [(weight * scale * used[:, :, None, None]).flatten(1)]
        return torch.cat([*rows, torch.zeros(count, self.outputs, dtype=dtype)], 1)

    def _pairs(self) -> list[tuple[int, int]]:
        return list(zip((self.shape[0], *self.channels[:-1]), self.channels, strict=True))

    def _counts(self) -> list[int]:
        return [n for i, o, taps in self.weights() for n in (i * o * taps, o)]
