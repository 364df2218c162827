"""How a lesson is presented to agents at first: rules, their numbers measured on the task."""

from __future__ import annotations

import torch
from gymnasium import spaces
from torch import Tensor

from gtn_rl.config import TrainConfig
from gtn_rl.envs import lessons
from gtn_rl.envs.presentation import Phase, at, encode
from gtn_rl.envs.synthetic import SyntheticEnv
from gtn_rl.seeding import generator
from gtn_rl.stages.base import moments, untrained_like

STATES = 2048
"""States of the target that an environment keeps."""

DISCRETE = (
    Phase(until=0.5, wide=1.0, spread=2.0, scale=0.2, width=1.0),
    Phase(wide=0.3, spread=2.0, scale=0.2, width=1.0),
)
"""Rewards of this deviation are about what a deep Q-network learns in 5,000 steps. The width is in
mean differences of scores."""

CONTINUOUS = (
    Phase(until=0.5, wide=1.0, spread=2.0, scale=1.0, width=1.8, gain=0.5),
    Phase(wide=0.0, spread=2.0, scale=1.0, width=0.3, gain=0.8),
)
"""Best actions lie inside the bounds, at first far inside: beyond a bound all actions are the same,
and an agent (A2C) whose mean got there does not come back."""

_SHOWN = 4096
_STREAM = 8


@torch.no_grad()
def show(env: SyntheticEnv, visited: Tensor, config: TrainConfig) -> SyntheticEnv:
    """An environment of the same reward, presented by the rules.

    Agents meet wide states first, which are easy to tell apart, then also those of the target.
    Rewards have a given deviation over states and actions, whatever the scores are.

    Args:
        env: One environment.
        visited: States `[M, O]` that agents met in the target.
        config: Settings of the run.
    """
    source = generator(config.seed, _STREAM)
    discrete = isinstance(env.action_space, spaces.Discrete)
    phases = DISCRETE if discrete else CONTINUOUS
    chosen = torch.randint(len(visited), (STATES,), generator=source)
    shown = untrained_like(env, phases, visited[chosen], config.steps)
    mean, std = moments(visited)
    moved = visited.std(0) > 1e-6
    shown.shift_parameters[:] = (mean - env.mean) / env.std
    # What never moved is shown as it is.
    shown.spread_parameters[:] = torch.where(moved, std / env.std, 1e-6).log()
    noise = torch.randn(1, _SHOWN, env.noise_size, generator=source)
    for index, phase in enumerate(phases):
        begin = 0.0 if index == 0 else phases[index - 1].until
        output = shown.output(shown.initial(noise, begin))
        width = phase.width
        if discrete:
            gap = output.amax(-1, keepdim=True) - output
            width = float(width * gap.sum(-1).mean() / max(output.shape[-1] - 1, 1))
        rewards = _rewards(shown, output, Phase(scale=1.0, width=max(width, 1e-6), gain=phase.gain))
        scale = phase.scale / max(float(rewards.std()), 1e-6)
        own = Phase(phase.until, phase.wide, phase.spread, scale, max(width, 1e-6), phase.gain)
        shown.presentation[:, index] = encode([own])
    return shown


def _rewards(env: SyntheticEnv, output: Tensor, phase: Phase) -> Tensor:
    """Rewards of all actions, or of some spread evenly over a continuous space."""
    spread = lessons.probes(env.action_space)
    lesson = lessons.to_lesson(output, at(encode([phase]).unsqueeze(0), 1.0), spread)
    if spread is None:
        return lesson
    rows = lesson.unsqueeze(-2).expand(*lesson.shape[:-1], len(spread), -1)
    return lessons.to_reward(rows, spread.expand(*rows.shape[:-1], -1))
