"""Proximal policy optimization in a one-step environment (Schulman et al. 2017, arXiv 1707.06347).

Rollouts are gone through `epochs` times; the policy that gathered one stays in the differentiated
graph.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gtn_rl.agents.batch import Batch, expected_reward, explore
from gtn_rl.agents.networks import MLP, orthogonal
from gtn_rl.agents.optim import Adam, Optimizer
from gtn_rl.agents.policy_gain import clipped
from gtn_rl.agents.policy_gradient import normalize_advantages


@dataclass(frozen=True)
class PPO:
    """PPO for discrete actions, its expectation over the old policy's actions taken exactly.

    Args:
        optimizer: Makes the steps.
        clip: Largest change of a probability ratio that is rewarded (equation 7).
        reuse: Optimizer steps on one rollout: epochs times minibatches.
        epochs: Passes over one rollout.
    """

    optimizer: Optimizer = Adam()
    clip: float = 0.2
    reuse: int = 16
    epochs: int = 4

    def initial(
        self, network: MLP, count: int, generator: torch.Generator, dtype: torch.dtype
    ) -> Tensor:
        """Rows `[count, D]`, started as Stable-Baselines3's actor."""
        return orthogonal(network, count, output_gain=0.01, generator=generator, dtype=dtype)

    def loss(self, outputs: Tensor, behaviour: Tensor, batch: Batch, entropy: Tensor) -> Tensor:
        """Losses `[K]` at logits `[K, N, A]`, given those when gathered."""
        new, old = torch.log_softmax(outputs, -1), torch.log_softmax(behaviour, -1)
        gain = clipped((new - old).exp(), normalize_advantages(batch.lesson), self.clip)
        bonus = -entropy * (new.exp() * new).sum(-1)
        return -((old.exp() * gain).sum(-1) + bonus).mean(-1)

    def act(self, outputs: Tensor) -> Tensor:
        """Logits (means) with which it acts."""
        return outputs


@dataclass(frozen=True)
class GaussianPPO(PPO):
    """PPO for continuous actions: one sampled action for each observation, deviation 1.

    The baseline is the expected reward, as a trained critic has it. Without one, what rewards
    differ by from state to state drowns what they differ by from action to action.
    """

    def loss(self, outputs: Tensor, behaviour: Tensor, batch: Batch, entropy: Tensor) -> Tensor:
        """Losses `[K]` at means `[K, N, A]`, given those when gathered."""
        action, reward = explore(behaviour, batch)
        gain = reward - expected_reward(behaviour, batch)
        deviation, mean = torch.std_mean(gain, -1, keepdim=True)
        advantages = (gain - mean) / (deviation + 1e-3)
        new, old = (action - outputs).square().sum(-1), (action - behaviour).square().sum(-1)
        return -clipped(((old - new) / 2).exp(), advantages, self.clip).mean(-1)
