"""Gradient of learners' score on the real task with respect to the teacher that trained them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
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
    trained: Sequence[Stack],
    surrogate: Objective,
    parameters: Sequence[Tensor],
    *,
    equal: bool = False,
) -> tuple[Tensor, list[Tensor]]:
    """The surrogate and its gradients w.r.t. the teacher's parameters.

    The surrogate is differentiated at a detached copy of the trained learners; that gradient is the
    vector of one vector-Jacobian product through their whole training (Such et al. 2020, section 3;
    the surrogate may be reused with learners trained again, since it meets them only here).

    Args:
        trained: Learners whose parameters are a function of `parameters`.
        surrogate: Scalar to maximise.
        parameters: The teacher's parameters.
        equal: Whether each stack's gradient gets length 1 before they are averaged. The lengths
            differ by orders of magnitude between algorithms and from step to step, and the longest
            is as a rule the one that knows least.
    """
    leaves = [stack.parameters.detach().requires_grad_() for stack in trained]
    detached = [stack.with_parameters(leaf) for stack, leaf in zip(trained, leaves, strict=True)]
    value = surrogate(detached)
    vectors = torch.autograd.grad(value, leaves)
    if not equal:
        gradients = torch.autograd.grad(
            [stack.parameters for stack in trained], list(parameters), grad_outputs=list(vectors)
        )
        return value.detach(), list(gradients)
    total = [torch.zeros_like(parameter) for parameter in parameters]
    lengths = []
    for stack, vector in zip(trained, vectors, strict=True):
        share = torch.autograd.grad(
            stack.parameters, list(parameters), vector, retain_graph=True, materialize_grads=True
        )
        lengths.append(torch.stack([part.square().sum() for part in share]).sum().sqrt())
        # What is not finite says nothing; the others go on without it.
        if lengths[-1].isfinite():
            for part, own in zip(total, share, strict=True):
                part += own / (len(trained) * lengths[-1].clamp_min(1e-30))
    if not torch.stack(lengths).isfinite().any():
        total[0].fill_(torch.nan)
    return value.detach(), total


class MetaGradient:
    """Ascends the meta-gradient with Adam.

    Args:
        teacher: The module to update in place.
        max_norm: Longer gradients are shortened to this norm.
        equal: Whether all stacks of learners have an equal say (`meta_gradient`).
        faster: Names of parameters whose step size is `multiple` times that of the others.
        multiple: See there.
    """

    def __init__(
        self,
        teacher: nn.Module,
        max_norm: float,
        *,
        equal: bool = False,
        faster: Collection[str] = (),
        multiple: float = 1.0,
    ) -> None:
        self._teacher = teacher
        self._parameters = list(teacher.parameters())
        self._max_norm = max_norm
        self._equal = equal
        self._multiples = (1.0, multiple)
        groups = [
            [own for name, own in teacher.named_parameters() if (name in faster) == fast]
            for fast in (False, True)
        ]
        self._optimizer = torch.optim.Adam(
            [{"params": group} for group in groups if group], betas=(0.9, 0.99)
        )

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
        value, gradients = meta_gradient(trained, surrogate, self._parameters, equal=self._equal)
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            parameter.grad = -gradient
        norm = float(torch.nn.utils.clip_grad_norm_(self._parameters, self._max_norm))
        if not norm < float("inf"):
            raise TrainingDivergedError(
                "the meta-gradient is not finite: lower outer_learning_rate or the upper "
                "learning_rate, or take fewer inner_steps"
            )
        for group, multiple in zip(self._optimizer.param_groups, self._multiples, strict=False):
            group["lr"] = multiple * learning_rate
        self._optimizer.step()
        return Update(float(value), norm)

    def state_dict(self) -> dict[str, Any]:
        """Adam's state."""
        return dict(self._optimizer.state_dict())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Set Adam to a saved state."""
        self._optimizer.load_state_dict(state)
