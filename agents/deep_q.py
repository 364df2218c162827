"""DQN in environments with dynamics."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gtn_rl.agents.interactive import Segment, World
from gtn_rl.agents.learners import Networks
from gtn_rl.agents.losses import q_loss
from gtn_rl.agents.networks import uniform
from gtn_rl.agents.optim import Adam, Optimizer


@dataclass(frozen=True)
class DeepQ:
    """DQN (Mnih et al. 2015) with the settings of Stable-Baselines3.

    There the target network is renewed for the first time after 10,000 steps, which is longer than
    learners train here: it is the untrained network throughout.

    Args:
        optimizer: Makes the steps.
        length: Steps of each episode between two updates.
        batch_size: Remembered steps in an update.
        temperature: It acts in the real environment with softmax(Q / temperature), so that the
            return has a gradient.
        explore: Share of the training in which the random actions go down from all to `random`.
        random: Share of random actions after that.
        discount: Gamma.
        max_norm: Gradients of a learner are shortened to this norm.
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
        """Rows `[count, D]`, started as Stable-Baselines3's Q-network."""
        return uniform(networks.shapes[0], count, generator=generator, dtype=dtype)

    def choose(self, outputs: Tensor, chance: Tensor, progress: float) -> Tensor:
        """Indices `[R, N]`: the best of `[R, N, A]`, or at random."""
        share = max(1 - (1 - self.random) * progress / self.explore, self.random)
        any_action = chance[..., :-1].argmax(-1)
        return torch.where(chance[..., -1] < share, any_action, outputs.argmax(-1))

    def prepare(
        self, networks: Networks, parameters: Tensor, memory: tuple[Tensor, ...], start: Tensor,
        world: World, segment: Segment,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        """All observations, actions and targets so far."""
        judged = world.judge(segment)
        ahead = networks.outputs(start.detach(), judged.following).amax(-1)
        target = judged.reward + self.discount * judged.going * ahead
        new = tuple(
            column.flatten(1, 2) for column in (segment.observation, segment.action, target)
        )
        if not memory:
            return new
        return tuple(torch.cat(both, 1) for both in zip(memory, new, strict=True))

    def batches(
        self, columns: tuple[Tensor, ...], source: torch.Generator
    ) -> list[tuple[Tensor, ...]]:
        """A batch of all that is remembered."""
        index = torch.randint(columns[0].shape[1], (self.batch_size,), generator=source)
        return [tuple(column[:, index] for column in columns)]

    def loss(
        self, networks: Networks, parameters: Tensor, batch: tuple[Tensor, ...], entropy: Tensor
    ) -> Tensor:
        """Huber losses `[R]` of the action values."""
        observation, action, target = batch
        return q_loss(networks.outputs(parameters, observation), action, target)

    def act(self, outputs: Tensor) -> Tensor:
        """Logits with which it acts."""
        return outputs / self.temperature
