"""Convolutional networks made of one cell, repeated: a space for architecture search."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from gtn_rl.errors import UsageError
from gtn_rl.networks import ACTIVATIONS

OPERATIONS = "0s13da"
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))


@dataclass(frozen=True)
class CellCNN:
    """Shape of a network of cells, as in NAS-Bench-201 (Dong and Yang 2020, arXiv 2001.00326).

    A convolution with stride 2, then the cells, then the mean over all positions and a linear
    layer. Where the channels of one cell are not those of the one before, the image is halved and
    a convolution of width 1 changes them. A cell has an input and three nodes, each the sum of what
    all nodes before it give it by one operation each: 0 nothing, s the same, 1 and 3 convolutions
    of that width, d one of width 3 for every channel by itself (and no mixing of them), a the mean
    of 3 by 3. Every convolution is followed by normalisation of up to 4 groups.

    Args:
        shape: Of an input: `(channels, height, width)`.
        channels: Of every cell.
        outputs: Of the linear layer.
        cell: Six operations, in the order of `EDGES`.
        activation: Before every convolution in a cell, and before the last mean.

    Raises:
        UsageError: A shape that no network has, or a cell whose input does not reach its output.
    """

    shape: tuple[int, ...]
    channels: tuple[int, ...]
    outputs: int
    cell: str
    activation: str = "relu"

    def __post_init__(self) -> None:
        """Reject shapes that no network has."""
        if len(self.shape) != 3 or min(self.shape[1:]) < 2 ** len(set(self.channels)):
            raise UsageError(
                f"{len(set(self.channels))} sizes of cells need images, and larger ones than "
                f"{self.shape}"
            )
        if len(self.cell) != len(EDGES) or set(self.cell) - set(OPERATIONS):
            raise UsageError(f"a cell is six of {OPERATIONS}, got {self.cell!r}")
        if not connected(self.cell):
            raise UsageError(f"what goes into the cell {self.cell!r} does not come out")

    @property
    def num_parameters(self) -> int:
        """Parameters of one network."""
        return sum(self._counts())

    def weights(self) -> list[tuple[int, int, int]]:
        """Shapes `(before, out, after)` of the layers' weights, each followed by `out` biases.

        The scales of the normalisations are behind them all.
        """
        layers, before = [(1, self.channels[0], self.shape[0] * 9)], self.channels[0]
        for width in self.channels:
            if width != before:
                layers.append((1, width, before))
            taps = {"1": width, "3": 9 * width, "d": 9}
            layers += [(1, width, taps[name]) for name in self.cell if name in taps]
            before = width
        return [*layers, (before, self.outputs, 1)]

    def __call__(self, parameters: Tensor, inputs: Tensor) -> Tensor:
        """Outputs `[K, N, outputs]` of K networks for their own flat inputs `[K, N, features]`."""
        return torch.stack(
            [self._one(row, own) for row, own in zip(parameters, inputs, strict=True)]
        )

    def _one(self, row: Tensor, inputs: Tensor) -> Tensor:
        parts = torch.split(row, self._counts())
        layers = len(self.weights())
        weights, shifts = parts[: 2 * layers - 2 : 2], parts[1 : 2 * layers - 1 : 2]
        convolutions = iter(zip(weights, shifts, parts[2 * layers :], strict=True))
        activate = ACTIVATIONS[self.activation]

        def convolve(values: Tensor, kernel: int, *, stride: int = 1, groups: int = 1) -> Tensor:
            weight, shift, scale = next(convolutions)
            weight = weight.view(len(shift), -1, kernel, kernel)
            values = F.conv2d(values, weight, None, stride, kernel // 2, groups=groups)
            return F.group_norm(values, math.gcd(len(shift), 4), scale, shift)

        def operation(name: str, values: Tensor) -> Tensor:
            if name == "s":
                return values
            if name == "a":
                return F.avg_pool2d(values, 3, 1, 1)
            groups = values.shape[1] if name == "d" else 1
            return convolve(activate(values), 1 if name == "1" else 3, groups=groups)

        values = convolve(inputs.view(-1, *self.shape), 3, stride=2)
        for width in self.channels:
            if width != values.shape[1]:
                values = convolve(activate(F.avg_pool2d(values, 2)), 1)
            nodes: list[Tensor] = [values]
            for node in (1, 2, 3):
                own = [
                    operation(name, nodes[start])
                    for (start, end), name in zip(EDGES, self.cell, strict=True)
                    if end == node and name != "0"
                ]
                nodes.append(torch.stack(own).sum(0) if own else torch.zeros_like(values))
            values = nodes[-1]
        features = activate(values).mean((2, 3))
        bias, weight = parts[2 * layers - 1], parts[2 * layers - 2]
        return torch.addmm(bias, features, weight.view(-1, self.outputs))

    def _counts(self) -> list[int]:
        weights = self.weights()
        layers = [n for before, o, after in weights for n in (before * o * after, o)]
        return [*layers, *(o for _, o, _ in weights[:-1])]


def connected(cell: str) -> bool:
    """Whether what goes into a cell comes out."""
    reached = {0}
    for (start, end), name in zip(EDGES, cell, strict=True):
        if start in reached and name != "0":
            reached.add(end)
    return 3 in reached
