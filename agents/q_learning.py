"""Deep Q-learning in environments of one step: regression of action values on rewards."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from gtn_rl.agents.bandit import Batch
from gtn_rl.agents.losses import q_loss
from gtn_rl.agents.networks import Initial, uniform
from gtn_rl.agents.optim import Adam, Optimizer


@dataclass(frozen=True)
class DQN:
    """DQN (Mnih et al. 2015), Huber loss as in Stable-Baselines3.

    An episode ends after its only step, so the target is the reward itself: no bootstrapped value,
    no target network, and double DQN is the same algorithm.

    Args:
        optimizer: Makes the steps.
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
        """Inputs and outputs of its one network."""
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
        """Logits with which it acts."""
        return outputs / self.temperature
