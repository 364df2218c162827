"""Algorithms for environments of one step, without the noise of sampled actions where it can be.

An episode ends after its only step, so the target of action values is the reward itself: there is
no bootstrapped value, and target networks, clipped double Q-learning and target smoothing have
nothing to do. What is left of off-policy algorithms is how they act, what they learn from, what an
actor ascends, and how often it does.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from gtn_rl.agents.bandit import Batch
from gtn_rl.agents.losses import log_density, normalized, policy_gain, q_loss
from gtn_rl.agents.optim import Adam, Optimizer
from gtn_rl.networks import Initial, actor, uniform

_NODES, _WEIGHTS = (0.0, math.sqrt(3.0), -math.sqrt(3.0)), (2 / 3, 1 / 6, 1 / 6)
"""Gauss-Hermite quadrature of three nodes."""


@dataclass(frozen=True)
class PolicyGradient:
    """Policy gradient whose expectations are exact; with `clip`, PPO on rollouts.

    Since an episode is one step and the reward of every discrete action is known, the expectation
    over actions is a finite sum (Sutton et al. 2000, "all-actions" form), with PPO that over the
    old policy's. For continuous actions the gradient is pathwise, through a Gaussian whose learned
    mean is what acts; its deviation stays 1, as Stable-Baselines3's policies start: a few thousand
    steps change it little.

    Args:
        optimizer: Adam, or for A2C as Stable-Baselines3 has it, RMSprop.
        normalize: Whether advantages of discrete actions are scaled, as PPO does and A2C does not:
            an environment that teaches this learner then teaches PPO.
        clip: Largest change of a probability ratio that is rewarded (Schulman et al. 2017, arXiv
            1707.06347, equation 7); no ratio if not given.
        reuse: Optimizer steps on one rollout: epochs times minibatches.
    """

    optimizer: Optimizer = Adam()
    normalize: bool = True
    clip: float | None = None
    reuse: int = 1
    epochs: int = 1
    continuous: bool = False
    initial: Initial = actor

    def shapes(self, size: int, actions: int) -> list[tuple[int, int]]:
        return [(size, actions)]

    def loss(self, outputs: Tensor, behaviour: Tensor, batch: Batch, entropy: Tensor) -> Tensor:
        """Losses `[K]` at logits or means `[K, N, A]`, given those when gathered."""
        if self.continuous:
            return self._sampled(outputs, behaviour, batch)
        advantage = normalized(batch.lesson, (-2, -1)) if self.normalize else batch.lesson
        new, weight = torch.log_softmax(outputs, -1), entropy.unsqueeze(-1)
        if self.clip is None:
            return -(new.exp() * (advantage - weight * new)).sum(-1).mean(-1)
        old = torch.log_softmax(behaviour, -1)
        gain = policy_gain(new, old, advantage, self.clip)
        return -(old.exp() * gain - weight * new.exp() * new).sum(-1).mean(-1)

    def _sampled(self, outputs: Tensor, behaviour: Tensor, batch: Batch) -> Tensor:
        """Of continuous actions; the reward sees them clipped, as in Stable-Baselines3."""
        action = behaviour + batch.noise[..., : behaviour.shape[-1]]
        reward = batch.reward_of(action)
        if self.clip is None:
            # Not normalised: the optimizer does not feel the scale of rewards, and a scale that
            # changes with the learner's actions would be learned from.
            return -reward.mean(-1)
        # The baseline is the expected reward, as a trained critic has it. Without one, what rewards
        # differ by from state to state drowns what they differ by from action to action. All
        # numbers of an action are at the same node: right where rewards are sums over them.
        expected = [
            w * batch.reward_of(behaviour + x) for x, w in zip(_NODES, _WEIGHTS, strict=True)
        ]
        advantage = normalized(reward - torch.stack(expected).sum(0), (-1,))
        one = action.new_zeros(())
        new, old = log_density(outputs, one, action), log_density(behaviour, one, action)
        return -policy_gain(new, old, advantage, self.clip).mean(-1)

    def act(self, outputs: Tensor) -> Tensor:
        return outputs


@dataclass(frozen=True)
class BanditDQN:
    """DQN (Mnih et al. 2015): Huber regression of action values on rewards.

    Args:
        temperature: It acts in the real environment with softmax(Q / temperature), so that the
            return has a gradient.
        epsilon: Share of random actions in what it learns from, the others greedy; if not given it
            learns from all actions of every observation.
    """

    optimizer: Optimizer = Adam()
    temperature: float = 0.1
    epsilon: float | None = None
    reuse: int = 1
    epochs: int = 1
    initial: Initial = uniform

    def shapes(self, size: int, actions: int) -> list[tuple[int, int]]:
        return [(size, actions)]

    def loss(self, outputs: Tensor, behaviour: Tensor, batch: Batch, entropy: Tensor) -> Tensor:
        """Losses `[K]` at action values `[K, N, A]`."""
        if self.epsilon is None:
            return F.smooth_l1_loss(outputs, batch.lesson, reduction="none").mean((-2, -1))
        # Much faster than argmax where there are few actions.
        greedy, random = behaviour.max(-1).indices, batch.noise[..., :-1].max(-1).indices
        share = torch.special.ndtr(batch.noise[..., -1])
        action = torch.where(share < self.epsilon, random, greedy)
        reward = batch.lesson.gather(-1, action.unsqueeze(-1)).squeeze(-1)
        return q_loss(outputs, action, reward)

    def act(self, outputs: Tensor) -> Tensor:
        return outputs / self.temperature


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

    `alpha` is the weight of the entropy.
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
