"""What the learners' losses are made of, written once for all of them."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

_SIZE = 2.0
"""Root mean square of trained agents' centred logits: they will act greedily, and how sure they are
of an action after a few steps says more of the algorithm than of what they learned."""


def policy_gain(
    new: Tensor, old: Tensor, advantage: Tensor, clip: float, *, normalize: bool = False
) -> Tensor:
    """Gains of policies: PPO's clipped one (Schulman et al. 2017, equation 7), or A2C's.

    All tensors are `[R, N]`, or of all actions, `[R, N, A]`: `old` and `new` log-probabilities when
    the experience was gathered and now, and advantages, whose rows may be normalized. There is no
    probability ratio if `clip` is infinite (A2C).
    """
    if normalize:
        advantage = normalized(advantage, (1,), 1e-8)
    if math.isinf(clip):
        return new * advantage
    ratio = (new - old).exp()
    return torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)


def normalized(advantage: Tensor, axes: tuple[int, ...], eps: float = 1e-3) -> Tensor:
    """Advantages of mean 0 and deviation 1 over some axes."""
    deviation, mean = torch.std_mean(advantage, axes, keepdim=True)
    return (advantage - mean) / (deviation + eps)


def generalized_advantages(delta: Tensor, decay: Tensor) -> Tensor:
    """Advantages `[R, L, ...]` (Schulman et al. 2016, arXiv 1506.02438, equation 16).

    `delta` are temporal differences `[R, L, ...]`, `decay` gamma times lambda where episodes go
    on after a step and 0 where they do not.
    """
    advantage = [delta[:, -1]]
    for step in range(delta.shape[1] - 2, -1, -1):
        advantage.append(delta[:, step] + decay[:, step] * advantage[-1])
    return torch.stack(advantage[::-1], 1)


def log_probability(logits: Tensor, action: Tensor) -> Tensor:
    """Of actions `[...]`, under a softmax of logits `[..., A]`."""
    return torch.log_softmax(logits, -1).gather(-1, action.unsqueeze(-1)).squeeze(-1)


def log_density(mean: Tensor, log_std: Tensor, action: Tensor) -> Tensor:
    """Of actions `[..., A]`, but for a constant, under a Gaussian."""
    standard = (action - mean) * (-log_std).exp()
    return -(standard.square() / 2 + log_std).sum(-1)


def q_loss(values: Tensor, action: Tensor, target: Tensor) -> Tensor:
    """DQN's Huber losses `[R]` of values `[R, N, A]` of actions `[R, N]`, for targets `[R, N]`."""
    taken = values.gather(-1, action.unsqueeze(-1)).squeeze(-1)
    return F.smooth_l1_loss(taken, target, reduction="none").mean(1)


@torch.no_grad()
def sharpness(logits: Tensor) -> Tensor:
    """Factors `[R, 1, 1]` that bring logits `[R, N, A]` of discrete actions to one size.

    The return of sampled actions is then close to that of greedy ones, which is what counts.
    """
    centred = logits - logits.mean(-1, keepdim=True)
    square = centred.square().mean((1, 2), keepdim=True)
    return _SIZE * (square + 1e-20).rsqrt()
