"""Short trainings in environments of one step, several algorithms in one batch.

Observations and the rewards of all actions do not depend on the learner there, so all batches come
from one pass of the teacher, and the loop holds nothing but the learners.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from gtn_rl.agents.learners import Acts, Learners, slices
from gtn_rl.agents.optim import Optimizer
from gtn_rl.agents.unroll import descend, unroll
from gtn_rl.networks import MLP, Initial


class Batch(NamedTuple):
    """Observations `[K, N, O]` and what follows from them.

    `lesson` `[K, N, L]` holds the rewards of all actions (`SyntheticEnv.lesson`); for discrete
    actions it is these rewards. `noise` `[K, N, A + 1]` ~ N(0, I) is what the learner's exploration
    is made of. `reward` and `scale` serve continuous actions: rewards `[K, N]` for a lesson and
    actions in [-1, 1], and `(middle, half)`, `[A]` each, of the action space.
    """

    observation: Tensor
    lesson: Tensor
    noise: Tensor
    reward: Callable[[Tensor, Tensor], Tensor] | None = None
    scale: tuple[Tensor, Tensor] | None = None

    def rows(self, rows: slice) -> Batch:
        """The part of some of the learners."""
        return self._replace(
            observation=self.observation[rows], lesson=self.lesson[rows], noise=self.noise[rows]
        )

    def reward_of(self, action: Tensor) -> Tensor:
        """Rewards `[K, N]` of actions `[K, N, A]` in the units of the space."""
        assert self.scale is not None
        assert self.reward is not None
        middle, half = self.scale
        return self.reward(self.lesson, ((action - middle) / half).clamp(-1, 1))


class Bandit(Acts, Protocol):
    """An algorithm: `loss` if it has one network, policy or action values, else `losses`.

    `shapes` are inputs and outputs of each network, for O observed numbers and A actions; `initial`
    makes fresh rows of each. The policy that gathers experience is renewed every
    `reuse` steps; what it gathered is gone through `epochs` times in that time.
    """

    @property
    def optimizer(self) -> Optimizer: ...
    @property
    def initial(self) -> Initial: ...
    @property
    def reuse(self) -> int: ...
    @property
    def epochs(self) -> int: ...
    def shapes(self, size: int, actions: int) -> list[tuple[int, int]]: ...


def distinct(algorithm: Bandit, steps: int) -> int:
    """How many batches a training of so many steps goes through, some of them several times."""
    rollouts, rest = divmod(steps, algorithm.reuse)
    passes = algorithm.reuse // algorithm.epochs
    return rollouts * passes + min(rest, passes)


def train(
    learners: Learners[Any], batches: Sequence[Batch], steps: int | None = None, *,
    rates: Tensor | None = None, create_graph: bool = False,
) -> Learners[Any]:  # fmt: skip
    """The learners after T optimizer steps; differentiable w.r.t. the batches.

    T is the number of batches if `steps` is not given; `rates` are learning rates `[T]` of steps,
    if they are not the learners' own.
    """
    algorithm, steps = learners.algorithm, len(batches) if steps is None else steps
    reuse, passes = algorithm.reuse, algorithm.reuse // algorithm.epochs
    network = learners.networks.shapes[0]

    def run(weights: Any, begin: int, stop: int, graph: bool) -> Any:
        for rollout in range(begin, stop):
            own = batches[rollout * passes : (rollout + 1) * passes]
            gathered: list[Tensor | None] = [None] * passes
            if reuse > 1:
                with torch.set_grad_enabled(graph):
                    gathered = [network(weights[0], batch.observation) for batch in own]
            for step in range(rollout * reuse, min((rollout + 1) * reuse, steps)):
                index = step % reuse % passes
                rate = learners.learning_rate if rates is None else rates[step].view(1, 1)
                gradient = partial(
                    _gradient, learners, gathered=gathered[index], batch=own[index], graph=graph
                )
                weights = descend(weights, gradient, algorithm.optimizer, rate, graph)
        return weights

    start = learners.parameters.detach().requires_grad_()
    weights = (start, algorithm.optimizer.initial(start))
    weights = unroll(run, weights, -(-steps // reuse), create_graph=create_graph)
    return learners.with_parameters(weights[0])


def _gradient(
    learners: Learners[Any], here: Tensor, *, gathered: Tensor | None, batch: Batch, graph: bool
) -> Tensor:
    if len(learners.networks.shapes) > 1:
        return _of_both(learners, here, batch, graph)
    (network,) = learners.networks.shapes
    if graph:
        outputs, pull = network(here, batch.observation), None
    else:
        outputs, pull = network.pullback(here, batch.observation)
        outputs.requires_grad_()
    behaviour = outputs if gathered is None else gathered
    losses = [
        part.algorithm.loss(outputs[r], behaviour[r], batch.rows(r), learners.entropy[r])
        for part, r in slices(learners.parts)
    ]
    total = torch.cat(losses).sum()
    if pull is None:
        return torch.autograd.grad(total, here, create_graph=True)[0]
    return pull(torch.autograd.grad(total, outputs)[0])


def _of_both(learners: Learners[Any], here: Tensor, batch: Batch, graph: bool) -> Tensor:
    """The policies' and the critics' gradients, each of its own loss alone."""
    rows = learners.networks.split(here)
    errors, regrets = [], []
    for index, (part, r) in enumerate(slices(learners.parts)):
        policy, critic = (network.part(index) for network in learners.networks.shapes)
        own = batch.rows(r)
        error, regret = part.algorithm.losses(
            policy(rows[0][r], own.observation),
            partial(_value, critic, rows[1][r], own.observation), own,
        )  # fmt: skip
        errors.append(error)
        regrets.append(regret)
    (second,) = torch.autograd.grad(
        torch.cat(errors).sum(), rows[1], create_graph=graph, retain_graph=True
    )
    (first,) = torch.autograd.grad(torch.cat(regrets).sum(), rows[0], create_graph=graph)
    return torch.cat([first, second], 1)


def _value(critic: MLP, rows: Tensor, observation: Tensor, *action: Tensor) -> Tensor:
    return critic(rows, torch.cat([observation, *action], -1))
