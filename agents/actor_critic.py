"""Off-policy actor-critics in environments of one step: DDPG, TD3 and SAC, critic learned.

The target of the critic is the reward itself, so target networks, clipped double Q-learning and
target smoothing have nothing to do; what is left of the algorithms is how they act, what the actor
ascends, and how often it does.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from gtn_rl.agents.bandit import Batch
from gtn_rl.agents.networks import Initial, uniform
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
    optimizer: Optimizer = Adam()
    initial: Initial = uniform
    reuse: int = 1
    epochs: int = 1

    def shapes(self, size: int, actions: int) -> list[tuple[int, int]]:
        """Inputs and outputs of the actor, mean and (unused) log-deviation, and of the critic."""
        return [(size, 2 * actions), (size + actions, 1)]

    def losses(
        self, outputs: Tensor, value: Callable[..., Tensor], batch: Batch
    ) -> tuple[Tensor, Tensor]:
        """Losses `[K]` of the critics and of the policies."""
        action = self.act(outputs)
        near = (action + self.noise * batch.noise[..., :-1]).clamp(-1, 1)
        return _losses(_explored(near, self.random, batch), action, 0.0, value, batch)

    def act(self, outputs: Tensor) -> Tensor:
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
    optimizer: Optimizer = Adam()
    initial: Initial = uniform
    reuse: int = 1
    epochs: int = 1

    def shapes(self, size: int, actions: int) -> list[tuple[int, int]]:
        """Inputs and outputs of the actor, mean and log-deviation, and of the critic."""
        return [(size, 2 * actions), (size + actions, 1)]

    def losses(
        self, outputs: Tensor, value: Callable[..., Tensor], batch: Batch
    ) -> tuple[Tensor, Tensor]:
        """Losses `[K]` of the critics and of the policies."""
        noise = batch.noise[..., :-1]
        taken = _explored(self.sample(outputs, noise)[0], self.random, batch)
        # The noise in another order: the actor's sample is not the one the critic learns from.
        action, density = self.sample(outputs, noise.flip(1))
        return _losses(taken, action, self.alpha * density, value, batch)

    def sample(self, outputs: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Actions `[K, N, A]` in [-1, 1] and their log-densities `[K, N]`."""
        mean, log_std = outputs.chunk(2, -1)
        log_std = log_std.clamp(-20, 2)
        before = mean + log_std.exp() * noise
        # log(1 - tanh(x)^2), in the form that does not lose precision far out (SAC appendix C).
        squash = 2 * (math.log(2) - before - F.softplus(-2 * before))
        density = -(noise.square() + math.log(2 * math.pi)) / 2 - log_std - squash
        return torch.tanh(before), density.sum(-1)

    def act(self, outputs: Tensor) -> Tensor:
        """Greedy actions `[K, N, A]` in [-1, 1] for outputs `[K, N, 2A]`."""
        return torch.tanh(outputs.chunk(2, -1)[0])


@dataclass(frozen=True)
class DiscreteSAC:
    """Soft actor-critic for discrete actions (Christodoulou 2019, arXiv 1910.07207).

    Args:
        alpha: Weight of the entropy.
    """

    alpha: float = 0.1
    optimizer: Optimizer = Adam()
    initial: Initial = uniform
    reuse: int = 1
    epochs: int = 1

    def shapes(self, size: int, actions: int) -> list[tuple[int, int]]:
        """Inputs and outputs of the policy and of the action values."""
        return [(size, actions)] * 2

    def losses(
        self, outputs: Tensor, value: Callable[..., Tensor], batch: Batch
    ) -> tuple[Tensor, Tensor]:
        """Losses `[K]` of the critics and of the policies."""
        values, log_policy = value(), torch.log_softmax(outputs, -1)
        regret = (log_policy.exp() * (self.alpha * log_policy - values)).sum(-1).mean(-1)
        return (values - batch.lesson).square().mean((-2, -1)), regret

    def act(self, outputs: Tensor) -> Tensor:
        """Logits with which it acts."""
        return outputs


def _explored(action: Tensor, random: float, batch: Batch) -> Tensor:
    """Actions `[K, N, A]`, a share of them replaced by uniformly random ones."""
    noise, share = batch.noise[..., :-1], torch.special.ndtr(batch.noise[..., -1:])
    return torch.where(share < random, 2 * torch.special.ndtr(noise) - 1, action)


def _losses(
    taken: Tensor, action: Tensor, cost: Tensor | float, value: Callable[..., Tensor], batch: Batch
) -> tuple[Tensor, Tensor]:
    """Of critics by the actions that were taken, and of actors by those they are asked for."""
    assert batch.reward is not None
    error = value(taken).squeeze(-1) - batch.reward(batch.lesson, taken)
    return error.square().mean(-1), (cost - value(action).squeeze(-1)).mean(-1)
