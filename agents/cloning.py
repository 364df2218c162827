"""Behaviour cloning: fresh policies fitted to a few (state, action) pairs, K at once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from gtn_rl.agents.batch import Batch
from gtn_rl.agents.learners import Actors, Part
from gtn_rl.agents.networks import ACTIVATIONS, MLP, orthogonal, widen
from gtn_rl.agents.optim import SGD, Adam, Optimizer
from gtn_rl.errors import UsageError

OPTIMIZERS: dict[str, Optimizer] = {"sgd": SGD(), "adam": Adam()}


@dataclass(frozen=True)
class Cloning:
    """Cross-entropy with soft labels, or the mean squared error of action vectors.

    Args:
        discrete: Whether targets are probabilities.
        optimizer: What makes the steps.
        temperature: Logits are divided by it when a discrete policy acts. Greedy actions do not
            depend on it; how much is explored while returns are measured does.
    """

    discrete: bool
    optimizer: Optimizer
    temperature: float = 1.0
    reuse: int = 1
    epochs: int = 1

    def initial(
        self, network: MLP, count: int, generator: torch.Generator, dtype: torch.dtype
    ) -> Tensor:
        """Fresh rows `[count, D]`: orthogonal, small outputs, as policies of SB3 start."""
        return orthogonal(network, count, output_gain=0.01, generator=generator, dtype=dtype)

    def loss(self, outputs: Tensor, behaviour: Tensor, batch: Batch, entropy: Tensor) -> Tensor:
        """Losses `[K]` of outputs `[K, k, A]`; `batch.lesson` holds the actions to be cloned."""
        if self.discrete:
            return -(batch.lesson * F.log_softmax(outputs, -1)).sum(-1).mean(-1)
        return (outputs - batch.lesson).square().mean((-2, -1))

    def act(self, outputs: Tensor) -> Tensor:
        """Logits or means `[K, N, A]` with which it acts."""
        return outputs / self.temperature if self.discrete else outputs


@dataclass(frozen=True)
class Shape:
    """So many networks of one shape.

    Args:
        count: How many.
        activation: After every layer but the last.
        hidden: Units of the hidden layers.
    """

    count: int
    activation: str
    hidden: tuple[int, ...]

    @property
    def name(self) -> str:
        """As in the text that names it, without the count: `tanh:64-64`."""
        return f"{self.activation}:{'-'.join(map(str, self.hidden))}"


def parse_shape(text: str) -> Shape:
    """The networks that e.g. `"8xtanh:64-64"` names: count, activation, hidden units.

    Raises:
        UsageError: Not of that form, or no activation of that name.
    """
    match = re.fullmatch(r"(\d+)x(\w+):(\d+(?:-\d+)*)", text)
    if match is None:
        raise UsageError(f"networks {text!r} is not of the form 8xtanh:64-64")
    shape = Shape(int(match[1]), match[2], tuple(int(unit) for unit in match[3].split("-")))
    if shape.activation not in ACTIVATIONS or min(shape.hidden) < 1 or shape.count < 1:
        raise UsageError(
            f"networks {text!r}: needs a count and units above 0, and one of the activations "
            f"{', '.join(ACTIVATIONS)}"
        )
    return shape


def fresh(
    shapes: Sequence[Shape],
    inputs: int,
    outputs: int,
    algorithm: Cloning,
    *,
    generator: torch.Generator,
    dtype: torch.dtype = torch.float32,
) -> list[Actors]:
    """Untrained policies; those of one depth share a stack.

    Args:
        shapes: What to draw.
        inputs: O.
        outputs: A.
        algorithm: What they are trained with.
        generator: Source of the initial weights.
        dtype: Of the parameters.
    """
    depths: dict[int, list[Shape]] = {}
    for shape in shapes:
        depths.setdefault(len(shape.hidden), []).append(shape)
    stacks = []
    for stack in depths.values():
        units = [max(column) for column in zip(*(shape.hidden for shape in stack), strict=True)]
        activation = tuple((shape.activation, shape.count) for shape in stack)
        wide = MLP((inputs, *units, outputs), activation)
        rows = []
        for shape in stack:
            own = MLP((inputs, *shape.hidden, outputs), shape.activation)
            start = algorithm.initial(own, shape.count, generator, dtype)
            rows.append(widen(start, own, wide))
        parameters = torch.cat(rows)
        unused = parameters.new_zeros(len(parameters), 1)
        parts = tuple(Part(shape.name, algorithm, shape.count) for shape in stack)
        stacks.append(Actors(wide, parts, parameters, unused, unused))
    return stacks


def clone(
    learners: Actors, states: Tensor, actions: Tensor, rates: Tensor, *, create_graph: bool = False
) -> Actors:
    """The learners after T full-batch steps; differentiable w.r.t. all that they were taught.

    Args:
        learners: Untrained policies.
        states: `[K, k, O]`, in the units that the networks see.
        actions: `[K, k, A]`, probabilities or vectors.
        rates: Learning rate of each step, `[T]`.
        create_graph: Whether the result is to be differentiated.
    """
    batch = Batch(states, actions, noise=actions, reward=_no_reward, scale=None)
    parameters = learners.parameters.detach().requires_grad_()
    state = learners.optimizer.initial(parameters)
    for rate in rates:
        with torch.enable_grad():
            gradient = learners.gradient(parameters, None, batch, create_graph)
        parameters, state = learners.optimizer.step(parameters, gradient, state, rate.view(1, 1))
        if not create_graph:
            parameters = parameters.detach().requires_grad_()
    return learners.with_parameters(parameters)


def _no_reward(lesson: Tensor, action: Tensor) -> Tensor:
    raise AssertionError("who clones asks for no reward")


def fold(learners: Actors, mean: Tensor, std: Tensor, middle: Tensor, half: Tensor) -> Actors:
    """The same policies as functions from raw observations to raw actions.

    Networks learn on observations of mean 0 and deviation 1 and on actions in half ranges; the
    scales go into their first and last layers, so that what remains is a plain network.

    Args:
        learners: Policies over `(observation - mean) / std`.
        mean: `[O]`.
        std: `[O]`.
        middle: Of the outputs, `[A]`.
        half: Their half range, `[A]`.
    """
    layers = learners.network.layers(learners.parameters)
    weight, bias = layers[0]
    weight = weight / std.unsqueeze(-1)
    layers[0] = (weight, bias - (mean @ weight).unsqueeze(1))
    weight, bias = layers[-1]
    layers[-1] = (weight * half, middle + half * bias)
    rows = [part.flatten(1) for layer in layers for part in layer]
    return learners.with_parameters(torch.cat(rows, 1))
