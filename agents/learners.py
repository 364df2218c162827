"""K learners of one network shape and several algorithms, drawn fresh and trained as one batch."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gtn_rl.agents import policy_gradient, q_learning
from gtn_rl.agents.networks import MLP, orthogonal, uniform
from gtn_rl.agents.optim import Optimizer


@dataclass(frozen=True)
class Learners:
    """K learners side by side: the first `policies` of them policies, the others Q-networks.

    Args:
        network: Shape of every learner's network.
        policies: How many learners are policies.
        parameters: One row per learner, `[K, D]`.
        learning_rate: Step size per learner, `[K, 1]`.
        entropy: Weight of the entropy bonus per policy, `[policies, 1]`.
        temperature: Q-networks act in the real environment with softmax(Q / temperature), so that
            the return has a gradient.
    """

    network: MLP
    policies: int
    parameters: Tensor
    learning_rate: Tensor
    entropy: Tensor
    temperature: float = 0.1

    @property
    def count(self) -> int:
        """K."""
        return self.parameters.shape[0]

    def losses(self, outputs: Tensor, rewards: Tensor, advantages: Tensor) -> Tensor:
        """Losses `[K]` for network outputs, rewards and normalised advantages, all `[K, N, A]`."""
        n = self.policies
        return torch.cat(
            [
                policy_gradient.loss(outputs[:n], advantages[:n], self.entropy),
                q_learning.loss(outputs[n:], rewards[n:]),
            ]
        )

    def logits(self, observations: Tensor) -> Tensor:
        """Logits `[K, N, A]` with which the learners act at observations `[K, N, O]`."""
        outputs = self.network(self.parameters, observations)
        scale = outputs.new_ones(self.count, 1, 1)
        scale[self.policies :] = 1 / self.temperature
        return outputs * scale


def draw(
    network: MLP,
    *,
    policies: int,
    q_networks: int,
    learning_rate: tuple[float, float],
    entropy: tuple[float, float],
    temperature: float,
    generator: torch.Generator,
    dtype: torch.dtype = torch.float32,
) -> Learners:
    """Fresh learners, each with its own initial weights, learning rate and entropy weight.

    Args:
        network: Shape of every learner's network.
        policies: How many policies, started as Stable-Baselines3's PPO and A2C.
        q_networks: How many Q-networks, started as Stable-Baselines3's DQN.
        learning_rate: Bounds of the log-uniform learning rate.
        entropy: Bounds of the log-uniform entropy weight.
        temperature: Of the softmax by which Q-networks act in the real environment.
        generator: Source of all randomness.
        dtype: Of the parameters.
    """

    def log_uniform(count: int, bounds: tuple[float, float]) -> Tensor:
        low, high = math.log(bounds[0]), math.log(bounds[1])
        unit = torch.rand(count, 1, generator=generator, dtype=dtype)
        return (low + (high - low) * unit).exp()

    rows = torch.cat(
        [
            orthogonal(network, policies, output_gain=0.01, generator=generator, dtype=dtype),
            uniform(network, q_networks, generator=generator, dtype=dtype),
        ]
    )
    return Learners(
        network,
        policies,
        rows,
        log_uniform(policies + q_networks, learning_rate),
        log_uniform(policies, entropy),
        temperature,
    )


def train(
    learners: Learners,
    observations: Tensor,
    rewards: Tensor,
    optimizer: Optimizer,
    *,
    create_graph: bool = False,
) -> Learners:
    """The learners after T optimizer steps, one per batch; differentiable w.r.t. the batches.

    In a one-step environment the data does not depend on the learner, so all T batches come from
    one pass of the teacher and the loop holds nothing but the learners' own networks.

    Args:
        learners: Untrained learners.
        observations: Batches of observations `[K, T, N, O]`.
        rewards: Rewards `[K, T, N, A]` of every action.
        optimizer: Makes the steps.
        create_graph: Whether the result is to be differentiated w.r.t. the batches.
    """
    advantages = policy_gradient.normalize_advantages(rewards)
    parameters = learners.parameters.detach().requires_grad_()
    state = optimizer.initial(parameters)
    batches = zip(observations.unbind(1), rewards.unbind(1), advantages.unbind(1), strict=True)
    for batch, reward, advantage in batches:
        with torch.enable_grad():
            outputs = learners.network(parameters, batch)
            loss = learners.losses(outputs, reward, advantage).sum()
            (gradient,) = torch.autograd.grad(loss, parameters, create_graph=create_graph)
        parameters, state = optimizer.step(parameters, gradient, state, learners.learning_rate)
        if not create_graph:
            parameters = parameters.detach().requires_grad_()
    return replace(learners, parameters=parameters)
