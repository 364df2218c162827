"""Policy gradient, A2C and PPO in environments of one step, without the score function's noise."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gtn_rl.agents.bandit import Batch
from gtn_rl.agents.losses import log_density, normalized, policy_gain
from gtn_rl.agents.optim import Adam, Optimizer
from gtn_rl.networks import Initial, actor

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
