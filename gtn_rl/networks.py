"""K multilayer perceptrons of one shape, stacked so that one batched product serves them all."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from gtn_rl.errors import UsageError


class _Tanh(torch.autograd.Function):
    """Hyperbolic tangent, from the logistic function: `torch.tanh` takes 2.5 times as long.

    It was a third of the time of a generation of evolution.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        result = (2 * values).sigmoid_().mul_(2).sub_(1)
        ctx.save_for_backward(result)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (result,) = ctx.saved_tensors
        derivative: Tensor = torch.ops.aten.tanh_backward(gradient, result)
        return derivative


def tanh(values: Tensor) -> Tensor:
    """Hyperbolic tangents `[...]`, twice differentiable."""
    result: Tensor = _Tanh.apply(values)  # type: ignore[no-untyped-call]
    return result


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"tanh": tanh, "relu": F.relu}

Activation = str | tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class MLP:
    """Shape of a multilayer perceptron; its parameters live outside, one flat row per network.

    Keeping the parameters of a network in one row makes an optimizer step a handful of tensor
    operations whatever the number of layers, and an evolution strategy's perturbation one addition.

    Args:
        sizes: Units of every layer, input and output included: `(4, 64, 64, 2)`.
        activation: `"tanh"` or `"relu"`, after every layer but the last; or, for a stack whose rows
            differ, `(("tanh", 8), ("relu", 4))`: the first 8 rows and the 4 after them.
    """

    sizes: tuple[int, ...]
    activation: Activation = "tanh"

    def __post_init__(self) -> None:
        """Reject shapes that no network has.

        Raises:
            UsageError: Fewer than two sizes, a size below one, or an unknown activation.
        """
        if len(self.sizes) < 2 or min(self.sizes) < 1:
            raise UsageError(f"sizes must be two or more positive integers, got {self.sizes}")
        names = [self.activation] if isinstance(self.activation, str) else dict(self.activation)
        for name in names:
            if name not in ACTIVATIONS:
                raise UsageError(f"unknown activation {name!r}: use one of {sorted(ACTIVATIONS)}")

    @property
    def num_parameters(self) -> int:
        """Parameters of one network."""
        return sum((i + 1) * o for i, o in zip(self.sizes[:-1], self.sizes[1:], strict=True))

    def part(self, index: int) -> MLP:
        """Of a stack whose rows differ in activation, the networks of one of these."""
        names = self.activation
        return self if isinstance(names, str) else replace(self, activation=names[index][0])

    def weights(self) -> list[tuple[int, int, int]]:
        """Shapes `(in, out, 1)` of the layers' weights, each followed by `out` biases."""
        return [(i, o, 1) for i, o in zip(self.sizes[:-1], self.sizes[1:], strict=True)]

    def layers(self, parameters: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Views `[K, in, out]` and `[K, 1, out]` of the rows `[K, num_parameters]`."""
        shapes = list(zip(self.sizes[:-1], self.sizes[1:], strict=True))
        # One split, not a slice per layer: its backward is one concatenation instead of a
        # zero-padded row for every view.
        parts = torch.split(parameters, [n for i, o in shapes for n in (i * o, o)], dim=1)
        return [
            (parts[2 * j].view(-1, i, o), parts[2 * j + 1].unsqueeze(1))
            for j, (i, o) in enumerate(shapes)
        ]

    def __call__(self, parameters: Tensor, inputs: Tensor) -> Tensor:
        """Outputs `[K, N, sizes[-1]]` of K networks for their own inputs `[K, N, sizes[0]]`."""
        return self._through(self.layers(parameters), inputs)[-1]

    def pullback(
        self, parameters: Tensor, inputs: Tensor
    ) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """The outputs `[K, N, A]`, and a function from derivatives by them to those by the rows.

        What autograd computes, without its graph and in place: for what is not to be
        differentiated again. Memory that autograd asked for anew at every step took as long as the
        products of matrices in a generation of evolution.
        """
        with torch.no_grad():
            layers = self.layers(parameters)
            *values, outputs = self._through(layers, inputs)

        def pull(signal: Tensor) -> Tensor:
            parts: list[Tensor] = []
            with torch.no_grad():
                for index in range(len(layers) - 1, -1, -1):
                    before = values[index]
                    if before.shape[2] > signal.shape[2]:
                        # As in `_through`.
                        own = torch.bmm(signal.transpose(1, 2), before).transpose(1, 2)
                    else:
                        own = torch.bmm(before.transpose(1, 2), signal)
                    parts = [own.flatten(1), signal.sum(1), *parts]
                    if index:
                        signal = torch.bmm(signal, layers[index][0].transpose(1, 2))
                        self._activate_back(signal, before)
                return torch.cat(parts, 1)

        return outputs, pull

    def _through(self, layers: list[tuple[Tensor, Tensor]], inputs: Tensor) -> list[Tensor]:
        """The inputs of every layer, and last of all the outputs."""
        values = [inputs]
        *hidden, (weight, bias) = layers
        for hidden_weight, hidden_bias in hidden:
            values.append(self._activate(torch.baddbmm(hidden_bias, values[-1], hidden_weight)))
        # MKL takes three times as long for few outputs whose weights are not rows in memory.
        rows = weight.transpose(1, 2).contiguous().transpose(1, 2)
        return [*values, torch.baddbmm(bias, values[-1], rows)]

    def _kinds(self, rows: int) -> tuple[list[str], list[int]]:
        """Activations, and how many of the rows have each."""
        kinds = ((self.activation, rows),) if isinstance(self.activation, str) else self.activation
        return [name for name, _ in kinds], [count for _, count in kinds]

    def _activate(self, values: Tensor) -> Tensor:
        """Activated `values`, which may be overwritten."""
        names, counts = self._kinds(len(values))
        if names == ["relu"]:
            return values.relu_()
        if len(names) == 1:
            return ACTIVATIONS[names[0]](values)
        parts = zip(names, torch.split(values, counts), strict=True)
        return torch.cat([ACTIVATIONS[name](part) for name, part in parts])

    def _activate_back(self, signal: Tensor, activated: Tensor) -> None:
        names, counts = self._kinds(len(signal))
        parts = zip(names, torch.split(signal, counts), torch.split(activated, counts), strict=True)
        for name, own, values in parts:
            if name == "tanh":
                torch.ops.aten.tanh_backward.grad_input(own, values, grad_input=own)
            else:
                torch.ops.aten.threshold_backward.grad_input(own, values, 0, grad_input=own)


def widen(rows: Tensor, narrow: MLP, wide: MLP) -> Tensor:
    """Rows `[K, wide.num_parameters]` of networks that compute what `rows` do, now and for ever.

    The units added have no weight in or out. Their gradient is then exactly zero under tanh and
    ReLU, so gradient descent never wakes them: networks of several widths train in one stack.
    """
    layers = []
    for (weight, bias), i, o in zip(
        narrow.layers(rows), wide.sizes[:-1], wide.sizes[1:], strict=True
    ):
        more_in, more_out = i - weight.shape[1], o - weight.shape[2]
        layers += [
            F.pad(weight, (0, more_out, 0, more_in)).flatten(1), F.pad(bias[:, 0], (0, more_out))
        ]  # fmt: skip
    return torch.cat(layers, 1)


class Initial(Protocol):
    """Fresh rows `[count, num_parameters]` of networks of one shape."""

    def __call__(  # noqa: D102
        self, network: MLP, count: int, *, generator: torch.Generator, dtype: torch.dtype
    ) -> Tensor: ...


def orthogonal(
    network: MLP, count: int, *, output_gain: float, generator: torch.Generator,
    dtype: torch.dtype = torch.float32,
) -> Tensor:  # fmt: skip
    """Rows `[count, num_parameters]`: orthogonal weights and zero biases.

    This is how Stable-Baselines3 starts its actor-critic policies: gain sqrt(2) in hidden layers,
    0.01 for action logits, 1 for values (Saxe et al. 2014, arXiv 1312.6120).
    """
    rows = []
    last = len(network.sizes) - 2
    for layer, (i, o) in enumerate(zip(network.sizes[:-1], network.sizes[1:], strict=True)):
        gaussian = torch.randn(count, max(i, o), min(i, o), generator=generator, dtype=dtype)
        q, r = torch.linalg.qr(gaussian)
        # Without the sign correction the distribution is not uniform over orthogonal matrices.
        q = q * r.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-2)
        weight = q if i >= o else q.transpose(1, 2)
        gain = output_gain if layer == last else math.sqrt(2)
        rows += [gain * weight.flatten(1), torch.zeros(count, o, dtype=dtype)]
    return torch.cat(rows, 1)


def actor(
    network: MLP, count: int, *, generator: torch.Generator, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Rows of policies as Stable-Baselines3 starts them: orthogonal, with small outputs."""
    return orthogonal(network, count, output_gain=0.01, generator=generator, dtype=dtype)


def uniform(
    network: MLP, count: int, *, generator: torch.Generator, dtype: torch.dtype = torch.float32,
) -> Tensor:  # fmt: skip
    """Rows `[count, num_parameters]`, weights and biases uniform in ±1/sqrt(inputs).

    This is the default of `torch.nn.Linear`, and so how Stable-Baselines3 starts its Q-networks.
    """
    rows = []
    for i, o in zip(network.sizes[:-1], network.sizes[1:], strict=True):
        unit = torch.rand(count, (i + 1) * o, generator=generator, dtype=dtype)
        rows.append((2 * unit - 1) / math.sqrt(i))
    return torch.cat(rows, 1)
