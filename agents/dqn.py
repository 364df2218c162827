"""DQN (Mnih et al. 2015), Huber loss as in Stable-Baselines3."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from gtn_rl.agents.bandit import Batch
from gtn_rl.agents.interactive import Columns, Segment, World
from gtn_rl.agents.learners import Networks
from gtn_rl.agents.losses import q_loss
from gtn_rl.agents.optim import Adam, Optimizer
from gtn_rl.networks import Initial, uniform


@dataclass(frozen=True)
class BanditDQN:
    """DQN in environments of one step: regression of action values on rewards.

    An episode ends after its only step, so the target is the reward itself: no bootstrapped value,
    no target network, and double DQN is the same algorithm.

    Args:
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
        return outputs / self.temperature


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
