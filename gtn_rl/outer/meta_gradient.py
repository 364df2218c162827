"""Gradient of the learners' real return with respect to the environment that trained them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from gtn_rl.agents.learners import Learners
from gtn_rl.envs.synthetic import SyntheticEnv
from gtn_rl.errors import TrainingDivergedError

Surrogate = Callable[[Sequence[Learners]], Tensor]
"""A scalar to maximise, for trained learners."""


class Update(NamedTuple):
    """What an update did: the surrogate before it and the norm of the meta-gradient."""

    surrogate: float
    gradient_norm: float


def meta_gradient(
    trained: Sequence[Learners], surrogate: Surrogate, parameters: Sequence[Tensor]
) -> tuple[Tensor, list[Tensor]]:
    """The surrogate and its gradients w.r.t. the environment's parameters.

    The surrogate is differentiated at a detached copy of the trained learners; that gradient is the
    vector of one vector-Jacobian product through their whole training (Such et al. 2020, section 3;
    the surrogate may be reused with learners trained again, since it meets them only here).

    Args:
        trained: Learners whose parameters are a function of `parameters`.
        surrogate: Scalar to maximise.
        parameters: The environment's parameters.
    """
    leaves = [stack.parameters.detach().requires_grad_() for stack in trained]
    detached = [stack.with_parameters(leaf) for stack, leaf in zip(trained, leaves, strict=True)]
    value = surrogate(detached)
    vectors = torch.autograd.grad(value, leaves)
    gradients = torch.autograd.grad(
        [stack.parameters for stack in trained], list(parameters), grad_outputs=list(vectors)
    )
    return value.detach(), list(gradients)


class MetaGradient:
    """Ascends the meta-gradient with Adam.

    Args:
        env: The environment to update in place.
        max_norm: Longer gradients are shortened to this norm.
    """

    def __init__(self, env: SyntheticEnv, max_norm: float) -> None:
        self._parameters = list(env.parameters())
        self._max_norm = max_norm
        self.optimizer = torch.optim.Adam(self._parameters, betas=(0.9, 0.99))

    def update(
        self, trained: Sequence[Learners], surrogate: Surrogate, learning_rate: float
    ) -> Update:
        """Change the environment so that learners it trains do better.

        Args:
            trained: Learners whose parameters are a function of the environment's.
            surrogate: Scalar to maximise.
            learning_rate: Adam's step size.

        Raises:
            TrainingDivergedError: The gradient is not finite; the environment is left as it was.
        """
        value, gradients = meta_gradient(trained, surrogate, self._parameters)
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            parameter.grad = -gradient
        norm = float(torch.nn.utils.clip_grad_norm_(self._parameters, self._max_norm))
        if not norm < float("inf"):
            raise TrainingDivergedError(
                "the meta-gradient is not finite: lower outer_learning_rate or the upper "
                "learning_rate, or take fewer inner_steps"
            )
        self.optimizer.param_groups[0]["lr"] = learning_rate
        self.optimizer.step()
        return Update(float(value), norm)
