"""A2C, PPO and a policy gradient that looks one step ahead, for environments with dynamics."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from gtn_rl.agents.interactive import Columns, Judged, Segment, World
from gtn_rl.agents.learners import Networks
from gtn_rl.agents.losses import generalized_advantages, log_density, log_probability, policy_gain
from gtn_rl.agents.optim import Adam, Optimizer
from gtn_rl.networks import actor, orthogonal


class Evaluates(Protocol):
    """Networks that give outputs `[R, N, A]`, their log-deviations and state values `[R, N]`."""

    def forward(self, parameters: Tensor, observation: Tensor) -> tuple[Tensor, Tensor, Tensor]: ...


@dataclass(frozen=True)
class ActorCritic:
    """An actor-critic on its own segments, with the losses of Stable-Baselines3.

    Discrete actions are drawn from a softmax, continuous ones from a Gaussian around a learned
    mean.

    Args:
        clip: PPO's bound on the probability ratio (Schulman et al. 2017, equation 7); without
            bound if infinite.
        normalize: Whether advantages of a batch are scaled to mean 0 and deviation 1.
        ahead: Whether advantages are those of all actions by one step of the dynamics and the value
            of where it leads, instead of what was met: no noise, and a gradient for the dynamics of
            actions that were not taken. For discrete actions.
        max_norm: Gradients of a learner are shortened to this norm.
    """

    optimizer: Optimizer = Adam()
    length: int = 4
    epochs: int = 1
    minibatches: int = 1
    clip: float = math.inf
    normalize: bool = False
    trace: float = 1.0
    ahead: bool = False
    discount: float = 0.99
    max_norm: float = 0.5
    continuous: bool = False
    critic: bool = True

    @property
    def updates(self) -> int:
        """Optimizer steps for each segment."""
        return self.epochs * self.minibatches

    def initial(
        self, networks: Networks, count: int, generator: torch.Generator, dtype: torch.dtype
    ) -> Tensor:
        policy, value = networks.shapes
        policies = actor(policy, count, generator=generator, dtype=dtype)
        values = orthogonal(value, count, output_gain=1.0, generator=generator, dtype=dtype)
        return torch.cat([policies, values], 1)

    def choose(self, outputs: Tensor, chance: Tensor, progress: float) -> Tensor:
        if self.continuous:
            noise: Tensor = torch.special.ndtri(chance[..., :-1].clamp(1e-6, 1 - 1e-6))
            return outputs + noise
        total = torch.softmax(outputs, -1).cumsum(-1)
        return (chance[..., :1] >= total[..., :-1]).sum(-1)

    def log_probability(self, outputs: Tensor, log_std: Tensor, action: Tensor) -> Tensor:
        """Of actions, where the policy's outputs are `[..., A]`; but for a constant if vectors."""
        if self.continuous:
            return log_density(outputs, log_std, action)
        return log_probability(outputs, action)

    def prepare(
        self, networks: Networks, parameters: Tensor, memory: Columns, start: Tensor, world: World,
        segment: Segment,
    ) -> Columns:  # fmt: skip
        """Observations, actions, log-probabilities or all advantages, advantages, returns."""
        outputs, log_std, value = networks.forward(parameters, segment.observation)
        if self.ahead:
            worth = self._worth(networks, parameters, world.judge_all(segment))
            target = (torch.softmax(outputs, -1) * worth).sum(-1)
            columns = (worth - worth.mean(-1, keepdim=True), target, target)
        else:
            delta = self._worth(networks, parameters, world.judge(segment)) - value
            decay = self.discount * self.trace * ~segment.over
            advantage = generalized_advantages(delta, decay)
            old = self.log_probability(outputs, log_std, segment.action)
            columns = (old, advantage, advantage + value)
        flat = (segment.observation, segment.action, *columns)
        return tuple(column.flatten(1, 2) for column in flat)

    def _worth(self, networks: Networks, parameters: Tensor, judged: Judged) -> Tensor:
        following = networks.values(parameters, judged.following)
        return judged.reward + self.discount * judged.going * following

    def batches(self, columns: Columns, source: torch.Generator) -> list[Columns]:
        if self.updates == 1:
            return [columns]
        batches: list[Columns] = []
        for _ in range(self.epochs):
            order = torch.randperm(columns[0].shape[1], generator=source)
            parts = [column[:, order].tensor_split(self.minibatches, 1) for column in columns]
            batches += zip(*parts, strict=True)
        return batches

    def loss(
        self, networks: Evaluates, parameters: Tensor, batch: Columns, entropy: Tensor | None
    ) -> Tensor:
        """Losses `[R]`: policy, half the squared error of the values, entropy bonus."""
        observation, action, old, advantage, target = batch
        outputs, log_std, value = networks.forward(parameters, observation)
        if self.ahead:
            scaled = old / (old.std((1, 2), keepdim=True) + 1e-2)
            gain = (torch.softmax(outputs, -1) * scaled).sum(-1)
        else:
            new = self.log_probability(outputs, log_std, action)
            gain = policy_gain(new, old, advantage, self.clip, normalize=self.normalize)
        loss = (value - target).square() / 2 - gain
        if entropy is not None and not self.continuous:
            log = torch.log_softmax(outputs, -1)
            loss = loss + entropy * (log.exp() * log).sum(-1)
        return loss.mean(1)

    def act(self, outputs: Tensor) -> Tensor:
        return outputs
