"""Gradient of learners' score on the real task with respect to the teacher that trained them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from gtn_rl.agents.learners import Stack
from gtn_rl.errors import TrainingDivergedError
from gtn_rl.state import saving

Objective = Callable[[Sequence[Any]], Tensor]
"""A scalar to maximise, for trained learners; differentiable in their parameters."""


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
    """
    leaves = [stack.parameters.detach().requires_grad_() for stack in trained]
    detached = [stack.with_parameters(leaf) for stack, leaf in zip(trained, leaves, strict=True)]
    value = surrogate(detached)
    vectors = torch.autograd.grad(value, leaves)
    # Not all of a teacher need have a part in what is learned (a phase that is never on).
    gradients = torch.autograd.grad(
        [stack.parameters for stack in trained], list(parameters), list(vectors),
        materialize_grads=True,
    )  # fmt: skip
    return value.detach(), list(gradients)


class Averaged:
    """The moving average of a teacher's parameters, which their owner changes."""

    state_dict, load_state_dict = saving("module")

    def __init__(self, teacher: nn.Module, decay: float) -> None:
        def blend(average: Tensor, new: Tensor, count: Tensor | int) -> Tensor:
            # The plain mean until it is longer than the decay's memory: no bias to the start.
            return average.lerp(new, max(1 - decay, 1 / (int(count) + 1)))

        self.module = AveragedModel(teacher, avg_fn=blend).requires_grad_(False)

    @property
    def teacher(self) -> nn.Module:
        module: nn.Module = self.module.module
        return module


class MetaGradient:
    """Ascends the meta-gradient with Adam, and averages the teacher.

    Args:
        averaging: Decay of the moving average of the teacher's parameters.
        again: Trains the learners of an outer step again, for every update but the first.
    """

    state_dict, load_state_dict = saving("_teacher", "_averaged", "_optimizer")

    def __init__(
        self, teacher: nn.Module, rate: Callable[[int], float], *, max_norm: float = 1.0,
        averaging: float = 0.9, epochs: int = 1,
        again: Callable[[nn.Module, int], Any] | None = None,
    ) -> None:  # fmt: skip
        self._teacher, self._rate, self._max_norm = teacher, rate, max_norm
        self._epochs, self._again = epochs, again
        self._parameters = list(teacher.parameters())
        self._optimizer = torch.optim.Adam(self._parameters, betas=(0.9, 0.99))
        self._averaged = Averaged(teacher, averaging)

    @property
    def teacher(self) -> nn.Module:
        return self._averaged.teacher

    def ask(self, step: int) -> nn.Module:
        return self._teacher

    def tell(self, trained: Any, score: Any, step: int) -> dict[str, Any]:
        """Move the teacher along the gradient of its learners' score.

        `score` is a surrogate to maximise, and what the log should say of it.
        """
        surrogate, row = score
        for epoch in range(self._epochs):
            if epoch:
                assert self._again is not None
                trained = self._again(self._teacher, step)
            update = self.update(trained, surrogate, self._rate(step))
        self._averaged.module.update_parameters(self._teacher)
        return dict(row) | update._asdict()

    def update(
        self, trained: Sequence[Stack], surrogate: Objective, learning_rate: float
    ) -> Update:
        """Change the teacher so that learners it trains do better.

        Raises:
            TrainingDivergedError: The gradient is not finite; the teacher is left as it was.
        """
        value, gradients = meta_gradient(trained, surrogate, self._parameters)
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            parameter.grad = -gradient
        norm = float(torch.nn.utils.clip_grad_norm_(self._parameters, self._max_norm))
        if not norm < float("inf"):
            raise TrainingDivergedError(
                "the meta-gradient is not finite: lower the outer learning rate or the learners', "
                "or take fewer inner steps"
            )
        self._optimizer.param_groups[0]["lr"] = learning_rate
        self._optimizer.step()
        return Update(float(value), norm)
