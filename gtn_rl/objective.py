"""How good trained learners are on the real task, and a surrogate whose gradient says so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from gtn_rl.agents.learners import Learners
from gtn_rl.config import TrainConfig
from gtn_rl.critic import Critic
from gtn_rl.envs.targets import RealEnvs, Rollout
from gtn_rl.inner import act


class Experience(NamedTuple):
    """Real experience of K learners, M steps each, with what the surrogate needs of it.

    `observation` is `[K, M, O]`, the rest `[K, M]`; `weight` is 0 where a step only reset an
    environment and 1 elsewhere; `value_target` is what the critic should say.
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
    learners: Sequence[Learners],
    envs: RealEnvs,
    critic: Critic,
    config: TrainConfig,
    generator: torch.Generator,
) -> Experience:
    """Let the trained learners act in the real environment and estimate their advantages.

    Args:
        learners: Trained learners, all stacks.
        envs: Real environments, some for each learner.
        critic: Values of the real task.
        config: `rollout_steps`, `discount`, `trace`.
        generator: Source of the actions.
    """
    with torch.no_grad():
        rollout = envs.rollout(
            lambda observation: act(learners, observation), config.rollout_steps, generator
        )
        value = critic(rollout.observation)
        advantage = generalized_advantages(
            rollout, value, critic(rollout.next_observation), config.discount, config.trace
        )
        deviation, mean = torch.std_mean(advantage[rollout.valid])
        observation = rollout.observation.flatten(1, 2)
        action = rollout.action.flatten(1, 2)
        return Experience(
            observation,
            action,
            log_probabilities(act(learners, observation), action),
            ((advantage - mean) / (deviation + 1e-8)).flatten(1, 2),
            rollout.valid.flatten(1, 2).to(advantage.dtype),
            (advantage + value).flatten(1, 2),
        )


def surrogate(learners: Sequence[Learners], experience: Experience, clip: float) -> Tensor:
    """PPO's clipped surrogate of the learners' real return, to be maximised.

    At the learners that collected the experience its gradient is the policy gradient; clipping
    keeps several updates on one batch of experience honest (Schulman et al. 2017, arXiv 1707.06347,
    equation 7).

    Args:
        learners: Trained learners, all stacks.
        experience: Real experience of these learners, or of their like before an update.
        clip: Largest change of a probability ratio that is still rewarded.
    """
    logits = act(learners, experience.observation)
    ratio = (log_probabilities(logits, experience.action) - experience.log_probability).exp()
    gain = torch.minimum(
        ratio * experience.advantage, ratio.clamp(1 - clip, 1 + clip) * experience.advantage
    )
    return (gain * experience.weight).sum() / experience.weight.sum()


def log_probabilities(logits: Tensor, action: Tensor) -> Tensor:
    """Log-probabilities `[K, M]` of actions `[K, M]` under logits `[K, M, A]`."""
    return torch.log_softmax(logits, -1).gather(-1, action.unsqueeze(-1)).squeeze(-1)


def generalized_advantages(
    rollout: Rollout, value: Tensor, next_value: Tensor, discount: float, trace: float
) -> Tensor:
    """Advantages `[K, L, N]` (Schulman et al. 2016, arXiv 1506.02438, equation 16).

    Values are bootstrapped where an episode was truncated or the rollout ends, not where an episode
    terminated. Steps that only reset an environment get 0.

    Args:
        rollout: Real experience.
        value: Values `[K, L, N]` of `rollout.observation`.
        next_value: Values `[K, L, N]` of `rollout.next_observation`.
        discount: Gamma.
        trace: Lambda.
    """
    going = ~(rollout.terminated | rollout.truncated)
    delta = rollout.reward + discount * next_value * ~rollout.terminated - value
    advantages = torch.zeros_like(delta)
    running = torch.zeros_like(delta[:, 0])
    for step in range(delta.shape[1] - 1, -1, -1):
        running = delta[:, step] + discount * trace * going[:, step] * running
        running = running * rollout.valid[:, step]
        advantages[:, step] = running
    return advantages
