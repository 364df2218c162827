"""Off-policy actor-critics in a one-step environment: DDPG, TD3 and SAC, critic learned.

A learner's row is its actor's parameters, then its critic's. The target of the critic is the reward
itself, so target networks, clipped double Q-learning and target smoothing have nothing to do; what
is left of the algorithms is how they act, what the actor ascends, and how often it does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

from gtn_rl.agents.batch import Batch
from gtn_rl.agents.learners import slices
from gtn_rl.agents.networks import MLP
from gtn_rl.agents.optim import Adam, Optimizer


@dataclass(frozen=True)
class DDPG:
    """Deterministic policy gradient (Lillicrap et al. 2016); TD3 (Fujimoto et al. 2018).

    Args:
        noise: Deviation of the actions it learns from, on top of the actor's.
        random: Share of uniformly random actions in what it learns from.
    """

    noise: float = 0.2
    random: float = 0.2

    def explore(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Actions `[K, N, A]` in [-1, 1] to learn from."""
        noise, share = batch.noise[..., :-1], torch.special.ndtr(batch.noise[..., -1:])
        near = (self.mode(outputs) + self.noise * noise).clamp(-1, 1)
        return torch.where(share < self.random, 2 * torch.special.ndtr(noise) - 1, near)

    def ascend(self, outputs: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Actions `[K, N, A]` at which the critic is ascended, and a cost `[K, N]` of them."""
        action = self.mode(outputs)
        return action, torch.zeros_like(action[..., 0])

    def mode(self, outputs: Tensor) -> Tensor:
        """Greedy actions `[K, N, A]` in [-1, 1] for outputs `[K, N, 2A]`."""
        return torch.tanh(outputs.chunk(2, -1)[0])


@dataclass(frozen=True)
class SAC:
    """Soft actor-critic (Haarnoja et al. 2018, arXiv 1812.05905), squashed Gaussian.

    Args:
        alpha: Weight of the entropy. Stable-Baselines3 starts at 1 and has tuned it down to about
            0.2 after 5,000 steps.
        random: Share of uniformly random actions in what it learns from.
    """

    alpha: float = 0.3
    random: float = 0.1

    def explore(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Actions `[K, N, A]` in [-1, 1] to learn from."""
        noise, share = batch.noise[..., :-1], torch.special.ndtr(batch.noise[..., -1:])
        action = torch.tanh(self._sample(outputs, noise)[0])
        return torch.where(share < self.random, 2 * torch.special.ndtr(noise) - 1, action)

    def ascend(self, outputs: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Actions `[K, N, A]` at which the critic is ascended, and a cost `[K, N]` of them."""
        before, log_std = self._sample(outputs, noise)
        # log(1 - tanh(x)^2), in the form that does not lose precision far out (SAC appendix C).
        squash = 2 * (math.log(2) - before - F.softplus(-2 * before))
        density = -(noise.square() + math.log(2 * math.pi)) / 2 - log_std - squash
        return torch.tanh(before), self.alpha * density.sum(-1)

    def mode(self, outputs: Tensor) -> Tensor:
        """Greedy actions `[K, N, A]` in [-1, 1] for outputs `[K, N, 2A]`."""
        return torch.tanh(outputs.chunk(2, -1)[0])

    def _sample(self, outputs: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_std = outputs.chunk(2, -1)
        log_std = log_std.clamp(-20, 2)
        return mean + log_std.exp() * noise, log_std


@dataclass(frozen=True)
class Part:
    """`count` neighbouring rows of a stack that have one algorithm."""

    name: str
    algorithm: DDPG | SAC
    count: int


@dataclass(frozen=True)
class ActorCritics:
    """Learners with an actor and a critic each, for continuous actions.

    Args:
        actor: Shape of every actor, `O` to `2A`: mean and log-deviation (unused by DDPG).
        critic: Shape of every critic, `O + A` to 1.
        parts: The algorithms.
        parameters: One row per learner, `[K, D]`.
        learning_rate: Step size per learner, of both networks, `[K, 1]`.
        scale: Middle and half range `[A]` of the action space.
        optimizer: Makes the steps.
    """

    actor: MLP
    critic: MLP
    parts: tuple[Part, ...]
    parameters: Tensor
    learning_rate: Tensor
    scale: tuple[Tensor, Tensor]
    optimizer: Optimizer = Adam()
    reuse: int = 1
    epochs: int = 1

    @property
    def names(self) -> list[tuple[str, int]]:
        """Algorithm and number of rows of each part."""
        return [(part.name, part.count) for part in self.parts]

    def gather(self, parameters: Tensor, batch: Batch) -> Tensor:
        """The actors' outputs with which experience is gathered."""
        return self.actor(self._split(parameters)[0], batch.observation)

    def gradient(
        self, parameters: Tensor, gathered: Tensor | None, batch: Batch, create_graph: bool
    ) -> Tensor:
        """The actors' and the critics' gradients `[K, D]`, each of its own loss alone."""
        actors, critics = self._split(parameters)
        outputs = self.actor(actors, batch.observation)
        tried, ascended, costs = [], [], []
        for part, start, stop in slices(self.parts):
            rows = batch.rows(start, stop)
            tried.append(part.algorithm.explore(outputs[start:stop], rows))
            # The noise in another order: the actor's sample is not the one the critic learns from.
            action, cost = part.algorithm.ascend(outputs[start:stop], rows.noise[..., :-1].flip(1))
            ascended.append(action)
            costs.append(cost)
        action = torch.cat(tried)
        reward = batch.reward(batch.lesson, action)
        value = self._value(critics, batch.observation, action)
        error = (value - reward).square().mean(-1).sum()
        value = self._value(critics, batch.observation, torch.cat(ascended))
        regret = (torch.cat(costs) - value).mean(-1).sum()
        (critic,) = torch.autograd.grad(
            error, critics, create_graph=create_graph, retain_graph=True
        )
        (actor,) = torch.autograd.grad(regret, actors, create_graph=create_graph)
        return torch.cat([actor, critic], 1)

    def outputs(self, observations: Tensor) -> Tensor:
        """With what the learners act in the real environment: means `[K, N, A]`."""
        raw = self.actor(self._split(self.parameters)[0], observations)
        acts = [part.algorithm.mode(raw[start:stop]) for part, start, stop in slices(self.parts)]
        middle, half = self.scale
        return middle + half * torch.cat(acts)

    def with_parameters(self, parameters: Tensor) -> Self:
        """The same learners with other parameters."""
        return replace(self, parameters=parameters)

    def _split(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        sizes = [self.actor.num_parameters, self.critic.num_parameters]
        actors, critics = torch.split(parameters, sizes, 1)
        return actors, critics

    def _value(self, critics: Tensor, observation: Tensor, action: Tensor) -> Tensor:
        return self.critic(critics, torch.cat([observation, action], -1)).squeeze(-1)
