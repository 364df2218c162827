"""Soft actor-critic for discrete actions in a one-step environment (Christodoulou 2019)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from gtn_rl.agents.batch import Batch
from gtn_rl.agents.networks import MLP
from gtn_rl.agents.optim import Adam, Optimizer


@dataclass(frozen=True)
class SoftQ:
    """Learners with a policy and a network of action values each (arXiv 1910.07207).

    Args:
        network: Shape of both networks, `O` to `A`.
        parameters: One row per learner, `[K, D]`: the policy's parameters, then the values'.
        learning_rate: Step size per learner, of both networks, `[K, 1]`.
        alpha: Weight of the entropy.
        optimizer: Makes the steps.
    """

    network: MLP
    parameters: Tensor
    learning_rate: Tensor
    alpha: float = 0.1
    optimizer: Optimizer = Adam()
    reuse: int = 1
    epochs: int = 1

    @property
    def names(self) -> list[tuple[str, int]]:
        """Algorithm and number of rows of each part."""
        return [("sac", self.parameters.shape[0])]

    def gather(self, parameters: Tensor, batch: Batch) -> Tensor:
        """Logits with which experience is gathered."""
        return self.network(parameters.chunk(2, 1)[0], batch.observation)

    def gradient(
        self, parameters: Tensor, gathered: Tensor | None, batch: Batch, create_graph: bool
    ) -> Tensor:
        """The policies' and the values' gradients `[K, D]`, each of its own loss alone."""
        policies, critics = parameters.chunk(2, 1)
        value = self.network(critics, batch.observation)
        log_policy = torch.log_softmax(self.network(policies, batch.observation), -1)
        error = (value - batch.lesson).square().mean((-2, -1)).sum()
        regret = (log_policy.exp() * (self.alpha * log_policy - value)).sum(-1).mean(-1).sum()
        (critic,) = torch.autograd.grad(
            error, critics, create_graph=create_graph, retain_graph=True
        )
        (policy,) = torch.autograd.grad(regret, policies, create_graph=create_graph)
        return torch.cat([policy, critic], 1)

    def outputs(self, observations: Tensor) -> Tensor:
        """With what the learners act in the real environment: logits `[K, N, A]`."""
        return self.network(self.parameters.chunk(2, 1)[0], observations)

    def with_parameters(self, parameters: Tensor) -> Self:
        """The same learners with other parameters."""
        return replace(self, parameters=parameters)
