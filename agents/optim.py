"""Optimizers whose step is differentiable, with a learning rate per learner.

An optimizer is two plain functions: `initial(parameters)` makes its state and
`step(parameters, gradient, state, learning_rate)` returns new parameters and state without touching
the old ones, so that a whole training run stays one differentiable expression. Parameters are rows
`[K, D]`; `learning_rate` is `[K, 1]`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor


class OptimizerState(NamedTuple):
    """Steps taken and the optimizer's running averages, each `[K, D]`."""

    steps: int
    averages: tuple[Tensor, ...]


class Optimizer(Protocol):
    """What an inner loop needs of an optimizer."""

    def initial(self, parameters: Tensor) -> OptimizerState: ...
    def step(
        self, parameters: Tensor, gradient: Tensor, state: OptimizerState, learning_rate: Tensor
    ) -> tuple[Tensor, OptimizerState]: ...


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent with heavy-ball momentum, as `torch.optim.SGD`."""

    momentum: float = 0.0

    def initial(self, parameters: Tensor) -> OptimizerState:
        return OptimizerState(0, (torch.zeros_like(parameters),) if self.momentum else ())

    def step(
        self, parameters: Tensor, gradient: Tensor, state: OptimizerState, learning_rate: Tensor
    ) -> tuple[Tensor, OptimizerState]:
        averages: tuple[Tensor, ...] = ()
        if self.momentum:
            gradient = torch.add(gradient, state.averages[0], alpha=self.momentum)
            averages = (gradient,)
        return parameters - learning_rate * gradient, OptimizerState(state.steps + 1, averages)


@dataclass(frozen=True)
class RMSprop:
    """Gradient divided by a running root mean square (Tieleman and Hinton 2012).

    With `eps_root=0` this is `torch.optim.RMSprop`; with `eps=0, eps_root=1e-5, initial_square=1`
    it is the TensorFlow form that Stable-Baselines3's A2C uses.

    Args:
        decay: Decay of the mean square.
        eps_root: Added inside the root. Above zero in a differentiated loop: the derivative of the
            root is infinite where the gradient is zero.
    """

    decay: float = 0.99
    eps: float = 1e-8
    eps_root: float = 1e-10
    initial_square: float = 0.0

    def initial(self, parameters: Tensor) -> OptimizerState:
        return OptimizerState(0, (torch.full_like(parameters, self.initial_square),))

    def step(
        self, parameters: Tensor, gradient: Tensor, state: OptimizerState, learning_rate: Tensor
    ) -> tuple[Tensor, OptimizerState]:
        square = torch.addcmul(
            self.decay * state.averages[0], gradient, gradient, value=1 - self.decay
        )
        root = (square + self.eps_root).sqrt()
        new = torch.addcdiv(parameters, -learning_rate * gradient, root + self.eps)
        return new, OptimizerState(state.steps + 1, (square,))


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma and Ba 2015, arXiv 1412.6980, algorithm 1).

    With `eps_root=0` this is `torch.optim.Adam`.

    Args:
        betas: Decays of the mean and of the mean square of the gradient.
        eps_root: Added inside the root. Above zero in a differentiated loop: the derivative of the
            root is infinite where the gradient is zero. The mean square itself must stay in the
            graph; detaching it looks stabler and destroys learning (docs/research_log.md).
    """

    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-5
    eps_root: float = 1e-10

    def initial(self, parameters: Tensor) -> OptimizerState:
        return OptimizerState(0, (torch.zeros_like(parameters), torch.zeros_like(parameters)))

    def step(
        self, parameters: Tensor, gradient: Tensor, state: OptimizerState, learning_rate: Tensor
    ) -> tuple[Tensor, OptimizerState]:
        mean, square = state.averages
        count = state.steps + 1
        mean = torch.lerp(mean, gradient, 1 - self.betas[0])
        # In place where autograd keeps nothing of what is overwritten: memory costs more than sums.
        square = (self.betas[1] * square).addcmul_(gradient, gradient, value=1 - self.betas[1])
        root = (square / (1 - self.betas[1] ** count)).add_(self.eps_root).sqrt_()
        scale = learning_rate / -(1 - self.betas[0] ** count)
        new = torch.addcdiv(parameters, scale * mean, root + self.eps)
        return new, OptimizerState(count, (mean, square))
