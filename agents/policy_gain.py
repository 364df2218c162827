"""What Stable-Baselines3's PPO and A2C ascend, but for values and entropy."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def policy_gain(
    new: Tensor, old: Tensor, advantage: Tensor, clip: float, *, normalize: bool
) -> Tensor:
    """Gains `[R, N]` of policies: PPO's clipped one (Schulman et al. 2017, equation 7), or A2C's.

    Args:
        new: Log-probabilities `[R, N]` of the actions that were taken.
        old: Those of the policies that took them.
        advantage: `[R, N]`.
        clip: Bound on the probability ratio; none, and no ratio, if infinite (A2C).
        normalize: Whether each row's advantages are.
    """
    if normalize:
        deviation, mean = torch.std_mean(advantage, 1, keepdim=True)
        advantage = (advantage - mean) / (deviation + 1e-8)
    if math.isinf(clip):
        return new * advantage
    return clipped((new - old).exp(), advantage, clip)


def clipped(ratio: Tensor, advantage: Tensor, clip: float) -> Tensor:
    """PPO's gain for ratios of probabilities and advantages of one shape (its equation 7)."""
    return torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)
