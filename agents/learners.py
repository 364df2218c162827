"""K learners side by side in one stack, whatever they learn by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Generic, Protocol, Self, TypeVar

import torch
from torch import Tensor

from gtn_rl.networks import MLP


class Stack(Protocol):
    """What an estimator needs of K trained learners of whatever kind: `parameters` is `[K, D]`."""

    @property
    def parameters(self) -> Tensor: ...

    def with_parameters(self, parameters: Tensor) -> Self:
        """The same learners with other parameters."""


class Student(Stack, Protocol):
    """What is asked of trained learners: `names` says how many rows each algorithm has, in order.

    `outputs` are with what they act in the real environment: logits or means `[K, N, A]`.
    """

    @property
    def names(self) -> list[tuple[str, int]]: ...

    def outputs(self, observations: Tensor) -> Tensor:
        """Logits or means `[K, N, A]` at observations `[K, N, O]`."""


class Acts(Protocol):
    """How an algorithm acts: logits or means `[K, N, A]`, of its policy network's outputs."""

    def act(self, outputs: Tensor) -> Tensor: ...


A_co = TypeVar("A_co", bound=Acts, covariant=True)


@dataclass(frozen=True)
class Networks:
    """Shapes of a learner's networks: policy or action values, and, if there is one, a critic.

    Their parameters lie in one row, one network after the other; `outputs` and `values` are
    `[R, ..., A]` and `[R, ...]` at observations `[R, ..., O]`.
    """

    shapes: tuple[MLP, ...]

    def split(self, parameters: Tensor) -> tuple[Tensor, ...]:
        """The rows of each network; what a row holds besides is left out."""
        sizes = [network.num_parameters for network in self.shapes]
        rest = parameters.shape[1] - sum(sizes)
        return torch.split(parameters, [*sizes, rest], 1)[: len(sizes)]

    def outputs(self, parameters: Tensor, observation: Tensor) -> Tensor:
        return self._apply(0, parameters, observation)

    def values(self, parameters: Tensor, observation: Tensor) -> Tensor:
        return self._apply(1, parameters, observation).squeeze(-1)

    def forward(self, parameters: Tensor, observation: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Policy outputs, their log-deviations (0) and state values."""
        outputs = self.outputs(parameters, observation)
        return outputs, outputs.new_zeros(()), self.values(parameters, observation)

    def _apply(self, index: int, parameters: Tensor, observation: Tensor) -> Tensor:
        flat = observation.flatten(1, -2)
        output = self.shapes[index](self.split(parameters)[index], flat)
        return output.view(*observation.shape[:-1], -1)


@dataclass(frozen=True)
class Part(Generic[A_co]):
    """`count` neighbouring rows of a stack that have one algorithm."""

    name: str
    algorithm: A_co
    count: int


@dataclass(frozen=True)
class Learners(Generic[A_co]):
    """A stack of K learners; parts of it may differ in algorithm and activation.

    Narrower networks are widened (`networks.widen`); the parts share an optimizer and how often
    they renew experience.

    Args:
        parameters: One row per learner, `[K, D]`.
        learning_rate: Step size per learner, `[K, 1]`.
        entropy: Weight of the entropy bonus per learner, `[K, 1]`.
        shift: Added to what they act with.
        scale: What that is multiplied by before.
    """

    networks: Networks
    parts: tuple[Part[A_co], ...]
    parameters: Tensor
    learning_rate: Tensor
    entropy: Tensor
    shift: Tensor | float = 0.0
    scale: Tensor | float = 1.0

    @property
    def algorithm(self) -> A_co:
        return self.parts[0].algorithm

    @property
    def names(self) -> list[tuple[str, int]]:
        return [(part.name, part.count) for part in self.parts]

    def outputs(self, observations: Tensor) -> Tensor:
        raw = self.networks.outputs(self.parameters, observations)
        acts = [part.algorithm.act(raw[rows]) for part, rows in slices(self.parts)]
        return self.shift + self.scale * torch.cat(acts)

    def with_parameters(self, parameters: Tensor) -> Self:
        return replace(self, parameters=parameters)


def slices(parts: Sequence[Part[A_co]]) -> Iterator[tuple[Part[A_co], slice]]:
    """Each part with its rows."""
    start = 0
    for part in parts:
        yield part, slice(start, start + part.count)
        start += part.count
