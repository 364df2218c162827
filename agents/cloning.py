"""Behaviour cloning: fresh policies fitted to a few (state, action) pairs, K at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from gtn_rl.agents.bandit import Batch, train
from gtn_rl.agents.draw import fresh
from gtn_rl.agents.learners import Learners
from gtn_rl.agents.optim import SGD, Adam, Optimizer
from gtn_rl.agents.spec import Spec
from gtn_rl.networks import Initial, actor

OPTIMIZERS: dict[str, Optimizer] = {"sgd": SGD(), "adam": Adam()}


@dataclass(frozen=True)
class Cloning:
    """Cross-entropy with soft labels, or the mean squared error of action vectors.

    Args:
        temperature: Logits are divided by it when a discrete policy acts. Greedy actions do not
            depend on it; how much is explored while returns are measured does.
    """

    discrete: bool
    optimizer: Optimizer
    temperature: float = 1.0
    reuse: int = 1
    epochs: int = 1
    initial: Initial = actor

    def shapes(self, size: int, actions: int) -> list[tuple[int, int]]:
        return [(size, actions)]

    def loss(self, outputs: Tensor, behaviour: Tensor, batch: Batch, entropy: Tensor) -> Tensor:
        """Losses `[K]` of outputs `[K, k, A]`; `batch.lesson` holds the actions to be cloned."""
        if self.discrete:
            return -(batch.lesson * F.log_softmax(outputs, -1)).sum(-1).mean(-1)
        return (outputs - batch.lesson).square().mean((-2, -1))

    def act(self, outputs: Tensor) -> Tensor:
        return outputs / self.temperature if self.discrete else outputs


def clone(
    specs: Sequence[Spec], algorithm: Cloning, states: Tensor, actions: Tensor, rates: Tensor, *,
    generator: torch.Generator, create_graph: bool = False,
) -> list[Learners[Cloning]]:  # fmt: skip
    """Fresh policies after T full-batch steps; differentiable w.r.t. all that they learned from.

    Args:
        specs: How many of which network; those of one depth share a stack.
        states: `[k, O]`, or for each row, `[K, k, O]`, in the units that the networks see.
        actions: `[k, A]` or `[K, k, A]`, probabilities or vectors.
        rates: Learning rate of each step, `[T]`.
    """
    depths: dict[int, list[Spec]] = {}
    for spec in specs:
        depths.setdefault(len(spec.hidden), []).append(spec)
    size, dtype = (states.shape[-1], actions.shape[-1]), states.dtype
    drawn = [
        fresh(stack, [algorithm] * len(stack), *size, 1, generator, dtype)
        for stack in depths.values()
    ]
    trained = []
    for networks, parts, rows in drawn:
        unused = rows.new_zeros(len(rows), 1)
        learners = Learners(networks, parts, rows, unused, unused)
        each = (len(rows), -1, -1)
        batch = Batch(states.expand(each), actions.expand(each), noise=unused)
        trained.append(
            train(learners, [batch] * len(rates), rates=rates, create_graph=create_graph)
        )
    return trained


def fold(
    learners: Learners[Cloning], mean: Tensor, std: Tensor, middle: Tensor, half: Tensor
) -> Learners[Cloning]:
    """The same policies as functions from raw observations to raw actions.

    Networks learn on observations of mean 0 and deviation 1 and on actions in half ranges; the
    scales go into their first and last layers, so that what remains is a plain network.

    `mean` and `std` are `[O]`, `middle` and `half` range of the outputs `[A]`.
    """
    layers = learners.networks.shapes[0].layers(learners.parameters)
    weight, bias = layers[0]
    weight = weight / std.unsqueeze(-1)
    layers[0] = (weight, bias - (mean @ weight).unsqueeze(1))
    weight, bias = layers[-1]
    layers[-1] = (weight * half, middle + half * bias)
    rows = [part.flatten(1) for layer in layers for part in layer]
    return learners.with_parameters(torch.cat(rows, 1))
