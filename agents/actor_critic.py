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
from gtn_rl.agents.optim import Adam, Optimizer
from gtn_rl.networks import Initial, uniform


@dataclass(frozen=True)
class ActorCriticBandit:
    """DDPG (Lillicrap et al. 2016), TD3 (Fujimoto et al. 2018), or SAC with its squashed Gaussian.

    Args:
        random: Share of uniformly random actions in what it learns from.
        noise: Deviation of the other actions of DDPG and TD3, on top of the actor's.
        alpha: Weight of the entropy of SAC (Haarnoja et al. 2018, arXiv 1812.05905); DDPG if not
            given. Stable-Baselines3 starts at 1 and has tuned it down to about 0.2 after 5,000
            steps.
    """

    random: float = 0.2
    noise: float = 0.2
    alpha: float | None = None
    optimizer: Optimizer = Adam()
    initial: Initial = uniform
    reuse: int = 1
    epochs: int = 1

    def shapes(self, size: int, actions: int) -> list[tuple[int, int]]:
        return [(size, 2 * actions), (size + actions, 1)]

    def losses(
        self, outputs: Tensor, value: Callable[..., Tensor], batch: Batch
    ) -> tuple[Tensor, Tensor]:
        """Losses `[K]` of the critics and of the policies."""
        noise, share = batch.noise[..., :-1], torch.special.ndtr(batch.noise[..., -1:])
        cost: Tensor | float = 0.0
        if self.alpha is None:
            action = self.act(outputs)
            near = (action + self.noise * noise).clamp(-1, 1)
        else:
            near, _ = squashed(outputs, noise)
            # In another order: the actor's sample is not the one that the critic learns from.
            action, density = squashed(outputs, noise.flip(1))
            cost = self.alpha * density
        taken = torch.where(share < self.random, 2 * torch.special.ndtr(noise) - 1, near)
        assert batch.reward is not None
        error = value(taken).squeeze(-1) - batch.reward(batch.lesson, taken)
        return error.square().mean(-1), (cost - value(action).squeeze(-1)).mean(-1)

    def act(self, outputs: Tensor) -> Tensor:
        return torch.tanh(outputs.chunk(2, -1)[0])


def squashed(outputs: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Actions `[K, N, A]` in [-1, 1] of SAC, and their log-densities `[K, N]`."""
    mean, log_std = outputs.chunk(2, -1)
    log_std = log_std.clamp(-20, 2)
    before = mean + log_std.exp() * noise
    # log(1 - tanh(x)^2), in the form that does not lose precision far out (SAC appendix C).
    squash = 2 * (math.log(2) - before - F.softplus(-2 * before))
    density = -(noise.square() + math.log(2 * math.pi)) / 2 - log_std - squash
    return torch.tanh(before), density.sum(-1)


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
        return [(size, actions)] * 2

    def losses(
        self, outputs: Tensor, value: Callable[..., Tensor], batch: Batch
    ) -> tuple[Tensor, Tensor]:
        """Losses `[K]` of the critics and of the policies."""
        values, log_policy = value(), torch.log_softmax(outputs, -1)
        regret = (log_policy.exp() * (self.alpha * log_policy - values)).sum(-1).mean(-1)
        return (values - batch.lesson).square().mean((-2, -1)), regret

    def act(self, outputs: Tensor) -> Tensor:
        return outputs
