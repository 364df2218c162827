"""Exact policy gradient in a one-step environment: no sampled action, no score-function noise."""

from __future__ import annotations

import torch
from torch import Tensor


def normalize_advantages(rewards: Tensor) -> Tensor:
    """Advantages of rewards `[..., N, A]`: mean 0 and deviation 1 over observations and actions.

    Normalising each batch, as PPO does, makes an environment that teaches this learner teach PPO.
    """
    deviation, mean = torch.std_mean(rewards, (-2, -1), keepdim=True)
    return (rewards - mean) / (deviation + 1e-3)


def loss(logits: Tensor, advantages: Tensor, entropy_coefficient: Tensor) -> Tensor:
    """Losses `[K]` of K policies: minus expected advantage, minus weighted entropy.

    Since an episode is one step and the reward of every action is known, the policy gradient
    theorem's expectation over actions is a finite sum (Sutton et al. 2000, "all-actions" form).

    Args:
        logits: Action logits `[K, N, A]`.
        advantages: Advantages `[K, N, A]` of every action.
        entropy_coefficient: Weight of the entropy bonus per learner, `[K, 1]`.
    """
    log_probability = torch.log_softmax(logits, -1)
    value = advantages - entropy_coefficient.unsqueeze(-1) * log_probability
    return -(log_probability.exp() * value).sum(-1).mean(-1)
