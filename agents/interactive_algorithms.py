"""A2C, PPO, a policy gradient that looks one step ahead, and DQN, for episodes of many steps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from gtn_rl.agents.interactive import Columns, Judged, Segment, World
from gtn_rl.agents.learners import Networks
from gtn_rl.agents.losses import (
    generalized_advantages,
    log_density,
    log_probability,
    policy_gain,
    q_loss,
)
from gtn_rl.agents.optim import Adam, Optimizer
from gtn_rl.networks import actor, orthogonal, uniform


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


@dataclass(frozen=True)
class DQN:
    """DQN with the settings of Stable-Baselines3, from experience of its own.

    There the target network is renewed for the first time after 10,000 steps, which is longer than
    learners train here: it is the untrained network throughout.

    Args:
        temperature: As of `BanditDQN`.
        explore: Share of the training in which the random actions go down from all to `random`.
        random: Share of random actions after that.
    """

    optimizer: Optimizer = Adam()
    length: int = 4
    batch_size: int = 64
    temperature: float = 0.1
    explore: float = 0.1
    random: float = 0.05
    discount: float = 0.99
    max_norm: float = 10.0
    updates: int = 1
    critic: bool = False

    def initial(
        self, networks: Networks, count: int, generator: torch.Generator, dtype: torch.dtype
    ) -> Tensor:
        return uniform(networks.shapes[0], count, generator=generator, dtype=dtype)

    def choose(self, outputs: Tensor, chance: Tensor, progress: float) -> Tensor:
        share = max(1 - (1 - self.random) * progress / self.explore, self.random)
        any_action = chance[..., :-1].argmax(-1)
        return torch.where(chance[..., -1] < share, any_action, outputs.argmax(-1))

    def prepare(
        self, networks: Networks, parameters: Tensor, memory: Columns, start: Tensor, world: World,
        segment: Segment,
    ) -> Columns:  # fmt: skip
        """All observations, actions and targets so far."""
        judged = world.judge(segment)
        ahead = networks.outputs(start.detach(), judged.following).amax(-1)
        target = judged.reward + self.discount * judged.going * ahead
        columns = (segment.observation, segment.action, target)
        new = tuple(column.flatten(1, 2) for column in columns)
        if not memory:
            return new
        return tuple(torch.cat(both, 1) for both in zip(memory, new, strict=True))

    def batches(self, columns: Columns, source: torch.Generator) -> list[Columns]:
        index = torch.randint(columns[0].shape[1], (self.batch_size,), generator=source)
        return [tuple(column[:, index] for column in columns)]

    def loss(
        self, networks: Networks, parameters: Tensor, batch: Columns, entropy: Tensor | None
    ) -> Tensor:
        """Huber losses `[R]` of the action values."""
        observation, action, target = batch
        return q_loss(networks.outputs(parameters, observation), action, target)

    def act(self, outputs: Tensor) -> Tensor:
        return outputs / self.temperature
