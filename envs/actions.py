"""How learners act in the real environment, for each kind of action space."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor


class Categorical:
    """Outputs are logits of a `Discrete` space's actions; actions are indices `[...]` from 0."""

    def __init__(self, space: spaces.Discrete) -> None:
        self.size = int(space.n)
        self._start = int(space.start)

    def uninformed(self, observations: Tensor, generator: torch.Generator) -> Tensor:
        """Outputs `[..., A]` of an agent that explores at random, at observations `[..., O]`."""
        return observations.new_zeros(*observations.shape[:-1], self.size)

    def sample(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
        """Draw actions (the Gumbel-max trick)."""
        uniform = torch.rand(outputs.shape, generator=generator, dtype=torch.float32)
        return (outputs - (-uniform.clamp_min(1e-20).log()).log()).argmax(-1)

    def mode(self, outputs: Tensor) -> Tensor:
        """The greedy actions."""
        return outputs.argmax(-1)

    def log_probability(self, outputs: Tensor, action: Tensor) -> Tensor:
        """Log-probabilities `[...]` of actions."""
        return torch.log_softmax(outputs, -1).gather(-1, action.unsqueeze(-1)).squeeze(-1)

    def distance(self, outputs: Tensor, wanted: Tensor) -> Tensor:
        """Cross-entropy `[...]` of the wanted distribution relative to the outputs'."""
        return -(torch.softmax(wanted, -1) * torch.log_softmax(outputs, -1)).sum(-1)

    def to_numpy(self, action: Tensor) -> NDArray[Any]:
        """Actions `[M]` as the environment takes them."""
        array: NDArray[Any] = action.numpy() + self._start
        return array


class Gaussian:
    """Outputs are means, in the units of a `Box`; actions are vectors, clipped only when taken.

    The deviation is not a learner's: exploration belongs to the outer loop, since a short inner
    loop leaves a learner's own noise about as it starts. Its logarithm `log_deviation`, `[A]`,
    relative to half the range of each number, may be trained.

    Args:
        noise: Standard deviation at first, relative to half the range of each number.
    """

    def __init__(self, space: spaces.Box, noise: float) -> None:
        self.size = space.shape[0]
        self._space = space
        self._low, self._high = space.low, space.high
        half = (space.high.astype(np.float64) - space.low) / 2
        self._middle = torch.tensor(np.asarray(space.low + half, np.float32))
        self._half = torch.tensor(np.asarray(half, np.float32))
        self.log_deviation = torch.full((self.size,), math.log(noise))

    @property
    def _deviation(self) -> Tensor:
        return self.log_deviation.exp() * self._half

    def uninformed(self, observations: Tensor, generator: torch.Generator) -> Tensor:
        """Outputs `[..., A]` of an agent that explores at random, at observations `[..., O]`."""
        shape = (*observations.shape[:-1], self.size)
        uniform = torch.rand(shape, generator=generator, dtype=torch.float32)
        return self._middle + self._half * (2 * uniform - 1)

    def sample(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
        """Draw actions."""
        noise = torch.randn(outputs.shape, generator=generator, dtype=torch.float32)
        return outputs + self._deviation.detach() * noise

    def mode(self, outputs: Tensor) -> Tensor:
        """The greedy actions."""
        return outputs

    def log_probability(self, outputs: Tensor, action: Tensor) -> Tensor:
        """Log-densities `[...]` of actions."""
        deviation = self._deviation
        standard = (action - outputs) / deviation
        constant = deviation.log().sum() + self.size * math.log(2 * math.pi) / 2
        return -standard.square().sum(-1) / 2 - constant

    def distance(self, outputs: Tensor, wanted: Tensor) -> Tensor:
        """Squared distance `[...]` in half ranges; beyond the space's bounds only outputs count."""
        unit = (outputs - self._middle) / self._half
        goal = ((wanted - self._middle) / self._half).clamp(-1, 1)
        # An output beyond a bound that is wanted acts as the bound does.
        unit = torch.where((goal.abs() == 1) & (unit * goal > 1), goal, unit)
        return (unit - goal).square().sum(-1)

    def to_numpy(self, action: Tensor) -> NDArray[Any]:
        """Actions `[M, A]` as the environment takes them."""
        return np.clip(action.numpy().astype(self._space.dtype), self._low, self._high)


Actions = Categorical | Gaussian
"""A distribution over actions, given by a learner's outputs `[..., A]`."""


def make_actions(space: spaces.Discrete | spaces.Box, noise: float) -> Actions:
    """The distribution for a space; `noise` is a continuous action's deviation."""
    return Categorical(space) if isinstance(space, spaces.Discrete) else Gaussian(space, noise)
