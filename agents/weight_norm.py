"""Weight normalisation of stacked networks: a unit's weights as a direction and a length."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from gtn_rl.agents.cells import CellCNN
from gtn_rl.agents.cnn import CNN
from gtn_rl.networks import MLP

Network = MLP | CNN | CellCNN


@dataclass(frozen=True)
class WeightNorm:
    """The same networks with weights `length * v / |v|` (Salimans and Kingma 2016, equation 2).

    Gradient descent changes directions and lengths apart. Rows are those of the plain network, with
    v for the weights, and the lengths of all units behind them.
    """

    network: Network

    @property
    def num_parameters(self) -> int:
        """Parameters of one network, lengths included."""
        return self.network.num_parameters + sum(shape[1] for shape in self.network.weights())

    def __call__(self, parameters: Tensor, inputs: Tensor) -> Tensor:
        """Outputs `[K, N, outputs]` of K networks for their own inputs `[K, N, features]`."""
        return self.network(self.plain(parameters), inputs)

    def plain(self, parameters: Tensor) -> Tensor:
        """Rows `[K, D]` of plain networks that compute the same."""
        own, lengths = parameters.tensor_split([self.network.num_parameters], 1)
        parts, start, done = [], 0, 0
        for weight, bias in self._layers(own):
            norm = _norm(weight)
            length = lengths[:, start : start + norm.shape[2]].view(norm.shape)
            parts += [(weight * (length / norm)).flatten(1), bias]
            start += norm.shape[2]
            done += weight[0].numel() + bias.shape[1]
        return torch.cat([*parts, own[:, done:]], 1)

    def of(self, rows: Tensor) -> Tensor:
        """Rows that compute what rows `[K, D]` of the plain network do."""
        lengths = [_norm(weight).flatten(1) for weight, _ in self._layers(rows)]
        return torch.cat([rows, *lengths], 1)

    def _layers(self, rows: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Weights `[K, before, units, after]`, whichever axis the units are, and biases."""
        start = 0
        for before, units, after in self.network.weights():
            end = start + before * units * after
            yield rows[:, start:end].view(-1, before, units, after), rows[:, end : end + units]
            start = end + units


def _norm(weight: Tensor) -> Tensor:
    """Lengths `[K, 1, units, 1]`."""
    return weight.square().sum((1, 3), keepdim=True).sqrt()
