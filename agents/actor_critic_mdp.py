"""A2C, PPO and a policy gradient that looks one step ahead, for environments with dynamics."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gtn_rl.agents.interactive import Judged, Networks, Segment, World
from gtn_rl.agents.networks import orthogonal
from gtn_rl.agents.optim import Adam, Optimizer
from gtn_rl.agents.policy_gain import policy_gain


@dataclass(frozen=True)
class ActorCritic:
    """An actor-critic on its own segments, with the losses of Stable-Baselines3.

    Args:
        optimizer: Makes the steps.
        length: Steps of a segment.
        epochs: Passes over it.
        minibatches: Parts of it, an update each.
        clip: PPO's bound on the probability ratio (Schulman et al. 2017, equation 7); without
            bound if infinite.
        normalize: Whether advantages of a batch are scaled to mean 0 and deviation 1.
        trace: Lambda of generalized advantage estimation.
        ahead: Whether advantages are those of all actions by one step of the dynamics and the value
            of where it leads, instead of what was met: no noise, and a gradient for the dynamics of
            actions that were not taken. For discrete actions.
        discount: Gamma.
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
    critic: bool = True

    @property
    def updates(self) -> int:
        """Optimizer steps for each segment."""
        return self.epochs * self.minibatches

    def initial(
        self, networks: Networks, count: int, generator: torch.Generator, dtype: torch.dtype
    ) -> Tensor:
        """Rows `[count, D]`, started as Stable-Baselines3's policy."""
        assert networks.value is not None
        gains = ((networks.policy, 0.01), (networks.value, 1.0))
        return torch.cat(
            [
                orthogonal(network, count, output_gain=gain, generator=generator, dtype=dtype)
                for network, gain in gains
            ],
            1,
        )

    def choose(self, outputs: Tensor, chance: Tensor, progress: float) -> Tensor:
        """Indices `[R, N]` drawn from the softmax of logits `[R, N, A]`."""
        total = torch.softmax(outputs, -1).cumsum(-1)
        return (chance[..., :1] >= total[..., :-1]).sum(-1)

    def log_probability(self, outputs: Tensor, action: Tensor) -> Tensor:
        """Of actions, where the policy's outputs are `[..., A]`."""
        return torch.log_softmax(outputs, -1).gather(-1, action.unsqueeze(-1)).squeeze(-1)

    def entropy(self, outputs: Tensor) -> Tensor:
        """Of the policy, where its outputs are `[..., A]`."""
        log = torch.log_softmax(outputs, -1)
        return -(log.exp() * log).sum(-1)

    def prepare(
        self, networks: Networks, parameters: Tensor, memory: tuple[Tensor, ...], start: Tensor,
        world: World, segment: Segment,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        """Observations, actions, log-probabilities or all advantages, advantages, returns."""
        outputs = networks.outputs(parameters, segment.observation)
        value = networks.values(parameters, segment.observation)
        if self.ahead:
            worth = self._worth(networks, parameters, world.judge_all(segment))
            probability = torch.softmax(outputs, -1)
            target = (probability * worth).sum(-1)
            columns = (worth - worth.mean(-1, keepdim=True), target, target)
        else:
            judged = world.judge(segment)
            delta = self._worth(networks, parameters, judged) - value
            advantage = self._accumulate(delta, segment.over)
            old = self.log_probability(outputs, segment.action)
            columns = (old, advantage, advantage + value)
        flat = (segment.observation, segment.action, *columns)
        return tuple(column.flatten(1, 2) for column in flat)

    def _worth(self, networks: Networks, parameters: Tensor, judged: Judged) -> Tensor:
        following = networks.values(parameters, judged.following)
        return judged.reward + self.discount * judged.going * following

    def _accumulate(self, delta: Tensor, over: Tensor) -> Tensor:
        """Generalized advantages (Schulman et al. 2016, arXiv 1506.02438, equation 16)."""
        advantage = [delta[:, -1]]
        for step in range(delta.shape[1] - 2, -1, -1):
            going = self.discount * self.trace * ~over[:, step]
            advantage.append(delta[:, step] + going * advantage[-1])
        return torch.stack(advantage[::-1], 1)

    def batches(
        self, columns: tuple[Tensor, ...], source: torch.Generator
    ) -> list[tuple[Tensor, ...]]:
        """The segment, shuffled anew and cut in each epoch."""
        if self.updates == 1:
            return [columns]
        batches = []
        for _ in range(self.epochs):
            order = torch.randperm(columns[0].shape[1], generator=source)
            for index in torch.tensor_split(order, self.minibatches):
                batches.append(tuple(column[:, index] for column in columns))
        return batches

    def loss(
        self, networks: Networks, parameters: Tensor, batch: tuple[Tensor, ...], entropy: Tensor
    ) -> Tensor:
        """Losses `[R]`: policy, half the squared error of the values, entropy bonus."""
        observation, action, old, advantage, target = batch
        outputs = networks.outputs(parameters, observation)
        if self.ahead:
            scaled = old / (old.std((1, 2), keepdim=True) + 1e-2)
            gain = (torch.softmax(outputs, -1) * scaled).sum(-1)
        else:
            new = self.log_probability(outputs, action)
            gain = policy_gain(new, old, advantage, self.clip, normalize=self.normalize)
        error = (networks.values(parameters, observation) - target).square()
        return (error / 2 - gain - entropy * self.entropy(outputs)).mean(1)

    def act(self, outputs: Tensor) -> Tensor:
        """Logits (means) with which it acts."""
        return outputs


@dataclass(frozen=True)
class GaussianActorCritic(ActorCritic):
    """The same with continuous actions: a Gaussian with a learned mean and deviation 1."""

    def choose(self, outputs: Tensor, chance: Tensor, progress: float) -> Tensor:
        """Actions `[R, N, A]` in the units of the space, around means `[R, N, A]`."""
        unit = chance[..., :-1].clamp(1e-6, 1 - 1e-6)
        action: Tensor = outputs + torch.special.ndtri(unit)
        return action

    def log_probability(self, outputs: Tensor, action: Tensor) -> Tensor:
        """Of actions `[..., A]`, but for a constant."""
        return -(action - outputs).square().sum(-1) / 2

    def entropy(self, outputs: Tensor) -> Tensor:
        """A constant, 0: the deviation does not change."""
        return torch.zeros_like(outputs[..., 0])
