"""Policy gradients in a one-step environment, without score-function noise."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gtn_rl.agents.batch import Batch, explore
from gtn_rl.agents.networks import MLP, orthogonal
from gtn_rl.agents.optim import Adam, Optimizer


def normalize_advantages(rewards: Tensor) -> Tensor:
    """Advantages of rewards `[..., N, A]`: mean 0 and deviation 1 over observations and actions.

    Normalising each batch, as PPO does, makes an environment that teaches this learner teach PPO.
    """
    deviation, mean = torch.std_mean(rewards, (-2, -1), keepdim=True)
    return (rewards - mean) / (deviation + 1e-3)


def exact_loss(logits: Tensor, advantages: Tensor, entropy_coefficient: Tensor) -> Tensor:
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


@dataclass(frozen=True)
class PolicyGradient:
    """Policy gradient for discrete actions: A2C whose baseline and sampling are exact.

    Args:
        optimizer: Adam, or for A2C as Stable-Baselines3 has it, RMSprop.
        normalize: Whether advantages are scaled, as PPO does and A2C does not.
    """

    optimizer: Optimizer = Adam()
    normalize: bool = True
    reuse: int = 1
    epochs: int = 1

    def initial(
        self, network: MLP, count: int, generator: torch.Generator, dtype: torch.dtype
    ) -> Tensor:
        """Rows `[count, D]`, started as Stable-Baselines3's actor."""
        return orthogonal(network, count, output_gain=0.01, generator=generator, dtype=dtype)

    def loss(self, outputs: Tensor, behaviour: Tensor, batch: Batch, entropy: Tensor) -> Tensor:
        """Losses `[K]` at logits `[K, N, A]`."""
        rewards = normalize_advantages(batch.lesson) if self.normalize else batch.lesson
        return exact_loss(outputs, rewards, entropy)

    def act(self, outputs: Tensor) -> Tensor:
        """Logits with which it acts."""
        return outputs


@dataclass(frozen=True)
class GaussianPolicyGradient(PolicyGradient):
    """Pathwise policy gradient for continuous actions: a Gaussian with a learned mean.

    The deviation stays 1, as Stable-Baselines3's policies start; a few thousand steps change it
    little, and the mean is what is scored. Sampled actions are clipped to the space before the
    reward sees them, as Stable-Baselines3 does. Rewards are not normalised: the optimizer does not
    feel their scale, and a scale that changes with the learner's actions would be learned from.
    """

    def loss(self, outputs: Tensor, behaviour: Tensor, batch: Batch, entropy: Tensor) -> Tensor:
        """Losses `[K]` at means `[K, N, A]`."""
        return -explore(outputs, batch)[1].mean(-1)
