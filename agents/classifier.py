"""K classifiers of one shape, trained side by side by SGD with momentum, differentiably."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import torch
from torch import Tensor

from gtn_rl.agents.cnn import CNN
from gtn_rl.agents.unroll import replay
from gtn_rl.agents.weight_norm import WeightNorm
from gtn_rl.errors import UsageError
from gtn_rl.networks import ACTIVATIONS, MLP


class Lesson(NamedTuple):
    """All that a teacher says in one inner loop of T steps.

    `inputs` are `[T, K, B, F]`, or `[T, 1, B, F]` where all learners get the same; `targets` are
    class probabilities `[T, K or 1, B, C]`; `learning_rate` and `momentum` are `[T]`.
    """

    inputs: Tensor
    targets: Tensor
    learning_rate: Tensor
    momentum: Tensor


@dataclass(frozen=True)
class Classifiers:
    """K classifiers of one network shape.

    Args:
        network: Their shape; those with fewer units have dead ones.
        parameters: One row per classifier, `[K, D]`.
    """

    network: MLP | CNN | WeightNorm
    parameters: Tensor

    def logits(self, inputs: Tensor) -> Tensor:
        """Logits `[K, N, C]` at flat inputs `[K, N, F]`, or the same `[1, N, F]` for all."""
        return self.network(self.parameters, inputs.expand(len(self.parameters), -1, -1))

    def with_parameters(self, parameters: Tensor) -> Self:
        """The same classifiers with other parameters."""
        return replace(self, parameters=parameters)


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy `[K]` of logits `[K, N, C]` and probabilities `[K or 1, N, C]`."""
    return -(torch.log_softmax(logits, -1) * targets).sum(-1).mean(-1)


def fit(
    classifiers: Classifiers,
    lesson: Lesson,
    *,
    create_graph: bool = False,
    keep: Collection[int] = (),
    segment: int = 0,
) -> list[Classifiers]:
    """The classifiers after T steps of SGD with heavy-ball momentum, as `torch.optim.SGD` has it.

    Args:
        classifiers: Untrained.
        lesson: T batches, learning rates and momenta.
        create_graph: Whether the result is to be differentiated w.r.t. the lesson.
        keep: Numbers of steps after which the classifiers are wanted as well.
        segment: Steps whose graph is kept at once; that of the others is made again when it is
            needed (gradient checkpointing). All if 0.

    Returns:
        The classifiers at the kept steps, and last of all at the end.
    """
    if not create_graph:
        lesson = Lesson(*(field.detach() for field in lesson))
    parameters = classifiers.parameters.detach().requires_grad_()
    velocity = torch.zeros_like(parameters)
    total = len(lesson.inputs)
    ends = {*keep, *range(segment, total, segment or total), total}
    kept, start = [], 0
    for end in sorted(ends):
        part = Lesson(*(field[start:end] for field in lesson))

        def steps(
            state: tuple[Tensor, Tensor], graph: bool, part: Lesson = part
        ) -> tuple[Tensor, Tensor]:
            return _steps(classifiers, *state, part, graph)

        state = (parameters, velocity)
        if segment and create_graph:
            parameters, velocity = replay(steps, state, part)
        else:
            parameters, velocity = steps(state, create_graph)
        if end in keep or end == total:
            kept.append(classifiers.with_parameters(parameters))
        start = end
    return kept


def _steps(
    classifiers: Classifiers,
    parameters: Tensor,
    velocity: Tensor,
    lesson: Lesson,
    create_graph: bool,
) -> tuple[Tensor, Tensor]:
    if not create_graph:
        parameters = parameters.detach().requires_grad_()
    for inputs, targets, rate, momentum in zip(*lesson, strict=True):
        with torch.enable_grad():
            logits = classifiers.with_parameters(parameters).logits(inputs)
            loss = cross_entropy(logits, targets).sum()
            (gradient,) = torch.autograd.grad(loss, parameters, create_graph=create_graph)
        velocity = momentum * velocity + gradient
        parameters = parameters - rate * velocity
        if not create_graph:
            parameters = parameters.detach().requires_grad_()
    return parameters, velocity


@dataclass(frozen=True)
class Group:
    """Classifiers of one kind.

    Args:
        count: How many.
        kernel: Width of the convolutions; 0 for a multilayer perceptron.
        activation: Of the network.
        units: Least and most units (channels) of every hidden layer; drawn in between.
    """

    count: int
    kernel: int
    activation: str
    units: tuple[tuple[int, int], ...]

    def network(self, shape: Sequence[int], classes: int) -> MLP | CNN:
        """The widest network of the group, for inputs of a shape."""
        widest = tuple(high for _, high in self.units)
        if self.kernel:
            return CNN(tuple(shape), widest, classes, self.kernel, self.activation)
        return MLP((math.prod(shape), *widest, classes), self.activation)


def parse_group(text: str) -> Group:
    """The group that e.g. `"4xmlp@relu:64-64"` or `"2xcnn3@relu:8..16-16"` names.

    Count (1 if left out), kind, activation, hidden units; `8..16` is a width drawn anew for each
    learner, `cnn3` has convolutions three wide.

    Raises:
        UsageError: Not of that form.
    """
    unit = r"\d+(?:\.\.\d+)?"
    match = re.fullmatch(rf"(?:(\d+)x)?(mlp|cnn(\d*))@(\w+):({unit}(?:-{unit})*)", text)
    if match is None:
        raise UsageError(
            f"learners {text!r} is not of the form 4xmlp@relu:64-64 or 4xcnn3@relu:8..16-16"
        )
    units = tuple(
        (int(low), int(high or low))
        for low, _, high in (part.partition("..") for part in match[5].split("-"))
    )
    kernel = 0 if match[2] == "mlp" else int(match[3] or 3)
    group = Group(int(match[1] or 1), kernel, match[4], units)
    if group.activation not in ACTIVATIONS:
        raise UsageError(
            f"learners {text!r}: unknown activation, use one of {', '.join(ACTIVATIONS)}"
        )
    if group.count < 1 or any(not 0 < low <= high for low, high in units):
        raise UsageError(f"learners {text!r}: needs a count and units above 0, and low..high")
    if match[2] != "mlp" and kernel % 2 == 0:
        raise UsageError(f"learners {text!r}: the kernel must be an odd number")
    return group


def draw(
    group: Group,
    shape: Sequence[int],
    classes: int,
    *,
    generator: torch.Generator,
    dtype: torch.dtype = torch.float32,
    weight_norm: bool = False,
) -> Classifiers:
    """Fresh classifiers, each with its own initial weights and widths.

    Args:
        group: What to draw.
        shape: Of an input: `(features,)`, `(channels, length)` or `(channels, height, width)`.
        classes: C.
        generator: Source of all randomness.
        dtype: Of the parameters.
        weight_norm: Whether their weights are normalised.
    """
    network = group.network(shape, classes)
    widths = torch.stack(
        [
            torch.randint(low, high + 1, (group.count,), generator=generator)
            for low, high in group.units
        ],
        1,
    )
    if isinstance(network, CNN):
        rows = network.initial(widths, generator, dtype)
    else:
        rows = _he_normal(network, widths, generator, dtype)
    if weight_norm:
        normalised = WeightNorm(network)
        return Classifiers(normalised, normalised.of(rows))
    return Classifiers(network, rows)


def _he_normal(
    network: MLP, widths: Tensor, generator: torch.Generator, dtype: torch.dtype
) -> Tensor:
    """Rows `[K, D]` (He et al. 2015); units beyond `widths` `[K, layers]` are dead and stay so."""
    count = len(widths)
    used = torch.ones(count, network.sizes[0], dtype=dtype)
    rows = []
    for layer, (i, o) in enumerate(zip(network.sizes[:-1], network.sizes[1:], strict=True)):
        last = layer == len(network.sizes) - 2
        own = torch.ones(count, o, dtype=dtype)
        if not last:
            own = (torch.arange(o) < widths[:, layer, None]).to(dtype)
        weight = torch.randn(count, i, o, generator=generator, dtype=dtype)
        scale = ((1 if last else 2) / used.sum(1)).sqrt().view(-1, 1, 1)
        rows += [
            (weight * scale * used[:, :, None] * own[:, None, :]).flatten(1),
            torch.zeros(count, o, dtype=dtype),
        ]
        used = own
    return torch.cat(rows, 1)
