"""Practice near to a lesson that teaches: its best actions win real return and stay as learnable.

What learners made of an expert's lesson (`gtn_rl.listening`) is something that agents of their kind
learn, but it plays less well than the expert. The policy gradient of the warm-up improves it, at a
cost of going far, so that what is learnable of it stays so.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from gtn_rl.config import TrainConfig
from gtn_rl.critic import Critic
from gtn_rl.envs.actions import Actions
from gtn_rl.envs.synthetic import SyntheticEnv
from gtn_rl.envs.targets import RealEnvs, Target
from gtn_rl.perfect import ascend, middle_and_half, perfect_learner, plain

_PULL = 0.5
"""What a squared half range from the lesson costs, where advantages have deviation 1."""


def practise(
    env: SyntheticEnv, task: Target, actions: Actions, critic: Critic, config: TrainConfig,
    stream: tuple[int, ...],
) -> int:  # fmt: skip
    """Improve the best actions of an environment by their real return, near to what they are.

    Args:
        env: One environment of continuous actions, changed in place.
        task: The target.
        actions: How learners act in it.
        critic: Values of the target, fitted on the way.
        config: Settings: `practice` real steps.
        stream: Name of the random stream.

    Returns:
        Real steps taken.
    """
    practised, rows = plain(env)
    lesson, _ = plain(env)
    middle, half = middle_and_half(env)

    def played(outputs: Tensor) -> Tensor:
        # Beyond the bound nobody acts.
        return ((outputs - middle) / half).clamp(-1, 1)

    def away(outputs: Tensor, observation: Tensor) -> Tensor:
        with torch.no_grad():
            wanted = played(perfect_learner(lesson, observation))
        return _PULL * (played(outputs) - wanted).square().sum(-1).mean()

    gentle = replace(config, warmup_learning_rate=config.warmup_learning_rate / 3)
    with RealEnvs(task, actions, 1, config.warmup_copies) as real:
        ascend(
            partial(perfect_learner, practised), [rows], real, actions, critic, gentle, stream,
            config.practice, cost=away,
        )  # fmt: skip
        env.reward_parameters.data.copy_(rows.detach())
        return real.steps
