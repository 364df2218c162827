"""K classifiers of one shape, trained side by side by SGD with momentum, differentiably."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import torch
from torch import Tensor

from gtn_rl import bounds
from gtn_rl.agents.cells import CellCNN
from gtn_rl.agents.cnn import CNN
from gtn_rl.agents.spec import MOST
from gtn_rl.agents.unroll import replay
from gtn_rl.agents.weight_norm import Network, WeightNorm
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
        network: Their shape.
        parameters: One row per classifier, `[K, D]`.
    """

    network: Network | WeightNorm
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
    start: int = 0,
    keep: Collection[int] = (),
    segment: int = 0,
) -> list[Classifiers]:
    """The classifiers after T steps of SGD with heavy-ball momentum, as `torch.optim.SGD` has it.

    Args:
        classifiers: Untrained.
        lesson: T batches, learning rates and momenta.
        create_graph: Whether the result is to be differentiated w.r.t. the lesson.
        start: Steps that are taken without a graph, so that the gradient is that of a window from
            there to the end.
        keep: Numbers of steps after which the classifiers are wanted as well.
        segment: Steps whose graph is kept at once; that of the others is made again when it is
            needed (gradient checkpointing). All if 0.

    Returns:
        The classifiers at the kept steps, and last of all at the end.
    """
    if not create_graph:
        lesson = Lesson(*(field.detach() for field in lesson))
    state = (classifiers.parameters.detach(), torch.zeros_like(classifiers.parameters))
    total = len(lesson.inputs)
    ends = {start, *keep, *range(start, total, segment or total), total} - {0}
    kept, before = [], 0
    for end in sorted(ends):
        graph = create_graph and end > start
        part = Lesson(*(field[before:end] for field in lesson))

        def steps(
            state: tuple[Tensor, Tensor], graph: bool, part: Lesson = part
        ) -> tuple[Tensor, Tensor]:
            return sgd(classifiers, state, part, create_graph=graph)

        state = replay(steps, state, part) if segment and graph else steps(state, graph)
        if end in keep or end == total:
            kept.append(classifiers.with_parameters(state[0]))
        before = end
    return kept


def sgd(
    classifiers: Classifiers,
    state: tuple[Tensor, Tensor],
    lesson: Lesson,
    *,
    create_graph: bool = False,
) -> tuple[Tensor, Tensor]:
    """Parameters and velocities `[K, D]` after the steps of a lesson, given those before."""
    parameters, velocity = state
    if not create_graph:
        lesson = Lesson(*(field.detach() for field in lesson))
    for inputs, targets, rate, momentum in zip(*lesson, strict=True):
        if not create_graph or not parameters.requires_grad:
            parameters = parameters.detach().requires_grad_()
        with torch.enable_grad():
            logits = classifiers.with_parameters(parameters).logits(inputs)
            loss = cross_entropy(logits, targets).sum()
            (gradient,) = torch.autograd.grad(loss, parameters, create_graph=create_graph)
        velocity = momentum * velocity + gradient
        parameters = parameters - rate * velocity
    return parameters if create_graph else parameters.detach(), velocity


@dataclass(frozen=True)
class Group:
    """Classifiers of one kind.

    Args:
        count: How many.
        kernel: Width of the convolutions; 0 for a multilayer perceptron.
        activation: Of the network.
        units: Least and most units (channels) of every hidden layer, and least and most times the
            layer is there.
        norm: As of `CNN`.
        pool: As of `CNN`.
        cell: As of `CellCNN`; none if empty.
    """

    count: int
    kernel: int
    activation: str
    units: tuple[tuple[int, int, int, int], ...]
    norm: str = ""
    pool: bool = False
    cell: str = ""

    def network(
        self, shape: Sequence[int], classes: int, source: torch.Generator | None = None
    ) -> Network:
        """A network of the group for inputs of a shape, or the largest if there is no source."""

        def chosen(low: int, high: int) -> int:
            return high if source is None else _between(low, high, source)

        widths = [
            chosen(low, high)
            for low, high, fewest, most in self.units
            for _ in range(chosen(fewest, most))
        ]
        if self.cell:
            return CellCNN(tuple(shape), tuple(widths), classes, self.cell, self.activation)
        if self.kernel:
            return CNN(
                tuple(shape), tuple(widths), classes, self.kernel, self.activation, self.norm,
                self.pool,
            )  # fmt: skip
        return MLP((math.prod(shape), *widths, classes), self.activation)


def _between(low: int, high: int, source: torch.Generator) -> int:
    return low if low == high else int(torch.randint(low, high + 1, (), generator=source))


_RANGE = r"\d+(?:\.\.\d+)?"
_LAYER = rf"{_RANGE}(?:\*{_RANGE})?"
_KIND = (
    r"(?P<kind>mlp|cell\.(?P<cell>\w+)|cnn(?P<kernel>\d*)(?:\+(?P<norm>in|gn))?(?P<pool>\+pool)?)"
)
_GROUP = rf"(?:(?P<count>\d+)x)?{_KIND}@(?P<activation>\w+):(?P<units>{_LAYER}(?:-{_LAYER})*)"


def parse_group(text: str) -> Group:
    """The group that e.g. `"4xmlp@relu:64-64"` or `"2xcnn3+in+pool@relu:16..64*2..3"` names.

    Count (1 if left out), kind, activation, hidden units. `16..64` is a width drawn anew for each
    outer step, `*2..3` the number of such layers. `cnn3` has convolutions three wide with stride 2;
    `+in` and `+gn` have instance and group normalisation, `+pool` pools instead of striding.
    `cell.s13da0@relu:8*2-16*2` has cells, as `CellCNN` says.

    Raises:
        UsageError: Not of that form.
    """
    match = re.fullmatch(_GROUP, text)
    if match is None or len(text) > MOST:
        raise UsageError(
            f"learners {text[:MOST]!r} is not of the form 4xmlp@relu:64-64 or "
            "4xcnn3+in@relu:8..16*2..3"
        )

    def limits(text: str) -> tuple[int, int]:
        low, _, high = text.partition("..")
        return int(low), int(high or low)

    layers = [part.partition("*") for part in match["units"].split("-")]
    units = tuple((*limits(width), *limits(times or "1")) for width, _, times in layers)
    kernel = int(match["kernel"] or 3) if match["kind"].startswith("cnn") else 0
    group = Group(
        int(match["count"] or 1), kernel, match["activation"], units, match["norm"] or "",
        bool(match["pool"]), match["cell"] or "",
    )  # fmt: skip
    if group.activation not in ACTIVATIONS:
        raise UsageError(
            f"learners {text!r}: unknown activation, use one of {', '.join(ACTIVATIONS)}"
        )
    if group.count < 1 or any(not (0 < a <= b and 0 < c <= d) for a, b, c, d in units):
        raise UsageError(f"learners {text!r}: needs a count and units above 0, and low..high")
    bounds.within(f"count of learners {text!r}", group.count, bounds.Many)
    for _, width, _, times in units:
        bounds.within(f"units of learners {text!r}", width, bounds.Units)
        bounds.within(f"layers of learners {text!r}", times, bounds.Layers)
    if kernel > 15:
        raise UsageError(f"learners {text!r}: the kernel must be at most 15")
    if match["kind"].startswith("cnn") and kernel % 2 == 0:
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
    """Fresh classifiers of one drawn depth and width, each with its own initial weights.

    Args:
        group: What to draw.
        shape: Of an input: `(features,)`, `(channels, length)` or `(channels, height, width)`.
        classes: C.
        generator: Source of all randomness.
        dtype: Of the parameters.
        weight_norm: Whether their weights are normalised.
    """
    network = group.network(shape, classes, generator)
    rows = _he_normal(network, group.count, generator, dtype)
    if weight_norm:
        normalised = WeightNorm(network)
        return Classifiers(normalised, normalised.of(rows))
    return Classifiers(network, rows)


def _he_normal(
    network: Network, count: int, generator: torch.Generator, dtype: torch.dtype
) -> Tensor:
    """Rows `[K, D]`: weights as in He et al. 2015 (arXiv 1502.01852), no biases, scales 1.

    The last layer's are a hundredth of that: what it says at random takes steps to unlearn. 60
    outer steps of distilled MNIST led learners to 88 % in 8 steps, to 86 % without.
    """
    *hidden, last = network.weights()
    rows = []
    for gain, layers in ((2, hidden), (1e-4, [last])):
        for before, out, after in layers:
            size, scale = before * out * after, math.sqrt(gain / (before * after))
            weight = torch.randn(count, size, generator=generator, dtype=dtype) * scale
            rows += [weight, torch.zeros(count, out, dtype=dtype)]
    scales = network.num_parameters - sum(row.shape[1] for row in rows)
    return torch.cat([*rows, torch.ones(count, scales, dtype=dtype)], 1)
