"""K learners of one depth and several algorithms, trained as one batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self, TypeVar

import torch
from torch import Tensor

from gtn_rl.agents.batch import Batch
from gtn_rl.agents.networks import MLP
from gtn_rl.agents.optim import Optimizer


class Stack(Protocol):
    """What an estimator needs of K trained learners of whatever kind: `parameters` is `[K, D]`."""

    @property
    def parameters(self) -> Tensor: ...  # noqa: D102

    def with_parameters(self, parameters: Tensor) -> Self:
        """The same learners with other parameters."""
        ...


class Student(Stack, Protocol):
    """What is asked of trained learners: `names` says how many rows each algorithm has, in order.

    `outputs` are with what they act in the real environment: logits or means `[K, N, A]`.
    """

    @property
    def names(self) -> list[tuple[str, int]]: ...  # noqa: D102

    def outputs(self, observations: Tensor) -> Tensor:
        """Logits or means `[K, N, A]` at observations `[K, N, O]`."""
        ...


class Learners(Protocol):
    """A stack of K learners.

    `parameters` is `[K, D]`, `learning_rate` `[K, 1]`; `names` says how many rows each algorithm
    has, in their order. The policy that gathers experience is renewed every `reuse` steps; what it
    gathered is gone through `epochs` times in that time.
    """

    @property
    def parameters(self) -> Tensor: ...  # noqa: D102

    @property
    def learning_rate(self) -> Tensor: ...  # noqa: D102

    @property
    def names(self) -> list[tuple[str, int]]: ...  # noqa: D102

    @property
    def optimizer(self) -> Optimizer: ...  # noqa: D102

    @property
    def reuse(self) -> int: ...  # noqa: D102

    @property
    def epochs(self) -> int: ...  # noqa: D102

    def gather(self, parameters: Tensor, batch: Batch) -> Tensor:
        """Outputs with which experience is gathered; asked for where `reuse` is above 1."""
        ...

    def gradient(
        self, parameters: Tensor, gathered: Tensor | None, batch: Batch, create_graph: bool
    ) -> Tensor:
        """Descent directions `[K, D]` at `parameters`.

        Args:
            parameters: Where.
            gathered: The outputs that gathered the batch; those at `parameters` if `None`.
            batch: Experience.
            create_graph: Whether the directions are to be differentiated.
        """
        ...

    def outputs(self, observations: Tensor) -> Tensor:
        """With what the learners act in the real environment: logits or means `[K, N, A]`."""
        ...

    def with_parameters(self, parameters: Tensor) -> Self:
        """The same learners with other parameters."""
        ...


class ActorAlgorithm(Protocol):
    """An algorithm that trains one network, policy or action values, by descending a loss."""

    @property
    def optimizer(self) -> Optimizer: ...  # noqa: D102

    @property
    def reuse(self) -> int: ...  # noqa: D102

    @property
    def epochs(self) -> int: ...  # noqa: D102

    def initial(
        self, network: MLP, count: int, generator: torch.Generator, dtype: torch.dtype
    ) -> Tensor:
        """Fresh rows `[count, D]`."""
        ...

    def loss(self, outputs: Tensor, behaviour: Tensor, batch: Batch, entropy: Tensor) -> Tensor:
        """Losses `[K]` at the network's outputs `[K, N, A]` now and when it gathered the batch."""
        ...

    def act(self, outputs: Tensor) -> Tensor:
        """Logits or means `[K, N, A]` with which it acts."""
        ...


@dataclass(frozen=True)
class Part:
    """`count` neighbouring rows of a stack that have one algorithm."""

    name: str
    algorithm: ActorAlgorithm
    count: int


@dataclass(frozen=True)
class Actors:
    """Learners with one network each; parts of the stack may differ in algorithm and activation.

    Args:
        network: Shape of every learner's network; narrower ones are widened (`networks.widen`).
        parts: The algorithms; they share an optimizer and how often they renew experience.
        parameters: One row per learner, `[K, D]`.
        learning_rate: Step size per learner, `[K, 1]`.
        entropy: Weight of the entropy bonus per learner, `[K, 1]`.
    """

    network: MLP
    parts: tuple[Part, ...]
    parameters: Tensor
    learning_rate: Tensor
    entropy: Tensor

    @property
    def names(self) -> list[tuple[str, int]]:
        """Algorithm and number of rows of each part."""
        return [(part.name, part.count) for part in self.parts]

    @property
    def optimizer(self) -> Optimizer:
        """What makes the steps."""
        return self.parts[0].algorithm.optimizer

    @property
    def reuse(self) -> int:
        """Steps between renewals of experience."""
        return self.parts[0].algorithm.reuse

    @property
    def epochs(self) -> int:
        """Passes over experience between its renewals."""
        return self.parts[0].algorithm.epochs

    def gather(self, parameters: Tensor, batch: Batch) -> Tensor:
        """Outputs with which experience is gathered."""
        return self.network(parameters, batch.observation)

    def gradient(
        self, parameters: Tensor, gathered: Tensor | None, batch: Batch, create_graph: bool
    ) -> Tensor:
        """Gradients `[K, D]` of the algorithms' losses."""
        if create_graph:
            outputs, pull = self.network(parameters, batch.observation), None
        else:
            outputs, pull = self.network.pullback(parameters, batch.observation)
            outputs.requires_grad_()
        if gathered is None:
            gathered = outputs
        losses = [
            part.algorithm.loss(
                outputs[start:stop], gathered[start:stop], batch.rows(start, stop),
                self.entropy[start:stop],
            )
            for part, start, stop in slices(self.parts)
        ]  # fmt: skip
        total = torch.cat(losses).sum()
        if pull is None:
            return torch.autograd.grad(total, parameters, create_graph=True)[0]
        return pull(torch.autograd.grad(total, outputs)[0])

    def outputs(self, observations: Tensor) -> Tensor:
        """With what the learners act in the real environment: logits or means `[K, N, A]`."""
        raw = self.network(self.parameters, observations)
        acts = [part.algorithm.act(raw[start:stop]) for part, start, stop in slices(self.parts)]
        return torch.cat(acts)

    def with_parameters(self, parameters: Tensor) -> Self:
        """The same learners with other parameters."""
        return replace(self, parameters=parameters)


class _Counted(Protocol):
    @property
    def count(self) -> int: ...


C = TypeVar("C", bound=_Counted)
L = TypeVar("L", bound=Learners)


def slices(parts: Sequence[C]) -> Iterator[tuple[C, int, int]]:
    """Each part with its first row and the row after its last."""
    start = 0
    for part in parts:
        yield part, start, start + part.count
        start += part.count


def distinct(learners: Learners, steps: int) -> int:
    """How many batches a training of so many steps goes through, some of them several times."""
    rollouts, rest = divmod(steps, learners.reuse)
    passes = learners.reuse // learners.epochs
    return rollouts * passes + min(rest, passes)


def train(
    learners: L, batches: Sequence[Batch], steps: int | None = None, *, create_graph: bool = False
) -> L:
    """The learners after T optimizer steps; differentiable w.r.t. the batches.

    In a one-step environment observations and rewards of all actions do not depend on the learner,
    so all batches come from one pass of the teacher and the loop holds nothing but the learners.

    Args:
        learners: Untrained learners.
        batches: As many as `distinct` says.
        steps: T; as many as there are batches if not given.
        create_graph: Whether the result is to be differentiated w.r.t. the batches.
    """
    parameters = learners.parameters.detach().requires_grad_()
    state = learners.optimizer.initial(parameters)
    reuse, passes = learners.reuse, learners.reuse // learners.epochs
    behaviour = parameters
    gathered: dict[int, Tensor] = {}
    for step in range(len(batches) if steps is None else steps):
        if step % reuse == 0:
            behaviour, gathered = parameters, {}
        index = step % passes
        batch = batches[step // reuse * passes + index]
        if reuse > 1 and index not in gathered:
            with torch.set_grad_enabled(create_graph):
                gathered[index] = learners.gather(behaviour, batch)
        with torch.enable_grad():
            # The gradient is taken w.r.t. a view: what gathered the batch is held fixed, also at
            # the first step, when it was the same parameters.
            here = parameters.view_as(parameters)
            gradient = learners.gradient(here, gathered.get(index), batch, create_graph)
        parameters, state = learners.optimizer.step(
            parameters, gradient, state, learners.learning_rate
        )
        if not create_graph:
            parameters = parameters.detach().requires_grad_()
    return learners.with_parameters(parameters)
