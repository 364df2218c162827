"""How good trained learners are on the real task, and a surrogate whose gradient says so."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from gtn_rl.agents.losses import generalized_advantages, policy_gain
from gtn_rl.config import TrainConfig
from gtn_rl.envs.actions import Actions
from gtn_rl.envs.targets import Act, RealEnvs, Rollout
from gtn_rl.networks import MLP, orthogonal


class Critic(nn.Module):
    """A value network over normalised observations, in units of the returns' deviation.

    It is shared by all learners and kept across outer steps. The units follow the returns it is
    fitted to, so that no task's reward scale needs a setting.
    `mean` and `std` are those of the target's observations, `[O]`.
    """

    mean: Tensor
    std: Tensor
    units: Tensor

    def __init__(
        self, mean: Tensor, std: Tensor, *, generator: torch.Generator, learning_rate: float = 1e-3
    ) -> None:
        super().__init__()
        self.network = MLP((mean.shape[0], 64, 64, 1))
        self.row = nn.Parameter(orthogonal(self.network, 1, output_gain=1.0, generator=generator))
        self.register_buffer("mean", mean.clone())
        self.register_buffer("std", std.clone())
        # Location and scale of the returns; before the first fit every value is 0.
        self.register_buffer("units", torch.zeros(2))
        self.optimizer = torch.optim.Adam(self.parameters(), learning_rate)

    def forward(self, observation: Tensor) -> Tensor:
        """Values `[...]` of observations `[..., O]`."""
        flat = ((observation - self.mean) / self.std).reshape(1, -1, observation.shape[-1])
        value = self.network(self.row, flat).view(observation.shape[:-1])
        return self.units[0] + self.units[1] * value

    def fit(
        self, observation: Tensor, target: Tensor, generator: torch.Generator, *, epochs: int = 4,
        batch_size: int = 1024,
    ) -> float:  # fmt: skip
        """Regress on targets `[M]` of observations `[M, O]`.

        Returns:
            Mean squared error over the last epoch, relative to the targets' variance.
        """
        deviation, mean = torch.std_mean(target)
        self.units.copy_(torch.stack([mean, deviation.clamp_min(1e-6)]))
        error = 0.0
        for _ in range(epochs):
            error = 0.0
            order = torch.randperm(len(target), generator=generator)
            for index in torch.split(order, batch_size):
                difference = (self(observation[index]) - target[index]) / self.units[1]
                loss = difference.square().mean()
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.step()
                error += float(loss.detach()) * len(index) / len(target)
        return error


class Experience(NamedTuple):
    """Real experience of K learners, M steps each, with what the surrogate needs of it.

    `observation` is `[K, M, O]`, `action` `[K, M]` or `[K, M, A]`, the rest `[K, M]`; `weight` is 0
    where a step only reset an environment and 1 elsewhere; `value_target` is what the critic should
    say.
    """

    observation: Tensor
    action: Tensor
    log_probability: Tensor
    advantage: Tensor
    weight: Tensor
    value_target: Tensor

    def values(self) -> tuple[Tensor, Tensor]:
        """Observations `[.., O]` and value targets `[..]` of the steps that count."""
        valid = self.weight.bool()
        return self.observation[valid], self.value_target[valid]


def collect(
    policy: Act, envs: RealEnvs, actions: Actions, critic: Critic, config: TrainConfig,
    generator: torch.Generator, length: int,
) -> Experience:  # fmt: skip
    """Let learners act in the real environment and estimate their advantages."""
    with torch.no_grad():
        rollout = envs.rollout(policy, length, generator)
        value = critic(rollout.observation)
        advantage = advantages(
            rollout,
            value,
            critic(rollout.next_observation),
            discount_of(envs.horizon),
            config.trace,
        )
        deviation, mean = torch.std_mean(advantage[rollout.valid])
        observation = rollout.observation.flatten(1, 2)
        action = rollout.action.flatten(1, 2)
        return Experience(
            observation,
            action,
            actions.log_probability(policy(observation), action),
            ((advantage - mean) / (deviation + 1e-8)).flatten(1, 2),
            rollout.valid.flatten(1, 2).to(advantage.dtype),
            (advantage + value).flatten(1, 2),
        )


def discount_of(horizon: int | None) -> float:
    """Gamma that looks as far ahead as an episode of the target may last, 100 steps at least.

    Args:
        horizon: Time limit of the target, if it has one; 200 if not.
    """
    return 1 - 1 / max(horizon or 200, 100)


def surrogate(policy: Act, experience: Experience, actions: Actions, clip: float) -> Tensor:
    """PPO's clipped surrogate of the learners' real return, to be maximised.

    At the learners that collected the experience its gradient is the policy gradient; clipping
    keeps several updates on one batch of experience honest (Schulman et al. 2017, arXiv 1707.06347,
    equation 7). Experience may be that of their like before an update.
    """
    new = actions.log_probability(policy(experience.observation), experience.action)
    gain = policy_gain(new, experience.log_probability, experience.advantage, clip)
    return (gain * experience.weight).sum() / experience.weight.sum()


def agreement(policy: Act, expert: Act, observation: Tensor, actions: Actions) -> Tensor:
    """How well learners agree with an expert at `[K, M, O]`: no real step is needed."""
    with torch.no_grad():
        wanted = expert(observation.flatten(0, 1).unsqueeze(0)).view(*observation.shape[:2], -1)
    return -actions.distance(policy(observation), wanted).mean()


def advantages(
    rollout: Rollout, value: Tensor, next_value: Tensor, discount: float, trace: float
) -> Tensor:
    """Generalized advantages `[K, L, N]`; 0 where a step only reset an environment.

    Values are bootstrapped where an episode was truncated or the rollout ends, not where an episode
    terminated. Values `[K, L, N]` are of `rollout.observation` and `rollout.next_observation`.
    """
    going = rollout.valid & ~(rollout.terminated | rollout.truncated)
    delta = rollout.reward + discount * next_value * ~rollout.terminated - value
    return generalized_advantages(delta * rollout.valid, discount * trace * going)
