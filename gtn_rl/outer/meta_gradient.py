"""Gradient of learners' score on the real task with respect to the teacher that trained them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from gtn_rl.agents.learners import Stack
from gtn_rl.errors import TrainingDivergedError

if TYPE_CHECKING:
    from gtn_rl.loop import Objective, Problem


class Update(NamedTuple):
    """What an update did: the surrogate before it and the norm of the meta-gradient."""

    surrogate: float
    gradient_norm: float


def meta_gradient(
    trained: Sequence[Stack], surrogate: Objective, parameters: Sequence[Tensor]
) -> tuple[Tensor, list[Tensor]]:
    """The surrogate and its gradients w.r.t. the teacher's parameters.

    The surrogate is differentiated at a detached copy of the trained learners; that gradient is the
    vector of one vector-Jacobian product through their whole training (Such et al. 2020, section 3;
    the surrogate may be reused with learners trained again, since it meets them only here).

    Args:
        trained: Learners whose parameters are a function of `parameters`.
        surrogate: Scalar to maximise.
        parameters: The teacher's parameters.
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
        teacher: The module to update in place.
        max_norm: Longer gradients are shortened to this norm.
    """

    def __init__(self, teacher: nn.Module, max_norm: float) -> None:
        self._teacher = teacher
        self._parameters = list(teacher.parameters())
        self._max_norm = max_norm
        self._optimizer = torch.optim.Adam(self._parameters, betas=(0.9, 0.99))

    def step(self, problem: Problem, step: int) -> dict[str, Any]:
        """Train learners, score them, and move the teacher along the gradient of their score."""
        rate = problem.learning_rate(step)
        learners = problem.train(self._teacher, step, create_graph=True)
        objective, row = problem.objective(learners, step)
        for epoch in range(problem.epochs(step)):
            if epoch:
                learners = problem.train(self._teacher, step, create_graph=True)
            update = self.update(learners, objective, rate)
        return row | update._asdict()

    def update(
        self, trained: Sequence[Stack], surrogate: Objective, learning_rate: float
    ) -> Update:
        """Change the teacher so that learners it trains do better.

        Args:
            trained: Learners whose parameters are a function of the teacher's.
            surrogate: Scalar to maximise.
            learning_rate: Adam's step size.

        Raises:
            TrainingDivergedError: The gradient is not finite; the teacher is left as it was.
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
        self._optimizer.param_groups[0]["lr"] = learning_rate
        self._optimizer.step()
        return Update(float(value), norm)

    def state_dict(self) -> dict[str, Any]:
        """Adam's state."""
        return dict(self._optimizer.state_dict())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Set Adam to a saved state."""
        self._optimizer.load_state_dict(state)
