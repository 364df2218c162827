"""Q-learning in a one-step environment: regression of action values on rewards."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def loss(values: Tensor, rewards: Tensor) -> Tensor:
    """Losses `[K]` of K Q-networks: Huber loss of action values on the rewards of every action.

    An episode ends after its only step, so the target of Q-learning is the reward itself, with no
    bootstrapped value. Huber's loss is what Stable-Baselines3's DQN minimises (Mnih et al. 2015).

    Args:
        values: Action values `[K, N, A]`.
        rewards: Rewards `[K, N, A]` of every action.
    """
    return F.smooth_l1_loss(values, rewards, reduction="none").mean((-2, -1))
