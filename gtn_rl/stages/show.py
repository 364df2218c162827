"""How a lesson is presented to agents at first: rules, their numbers measured on the task."""

from __future__ import annotations

import logging
from dataclasses import replace

import torch
from gymnasium import spaces
from torch import Tensor

from gtn_rl.config import TrainConfig
from gtn_rl.envs import lessons
from gtn_rl.envs.presentation import Phase, at, encode
from gtn_rl.envs.synthetic import SyntheticEnv
from gtn_rl.envs.targets import RealEnvs
from gtn_rl.inner.optimal import optimal_policy
from gtn_rl.seeding import generator
from gtn_rl.spaces import halves
from gtn_rl.stages.base import moments, returns_of, untrained_like

_LOG = logging.getLogger(__name__)

STATES = 2048
"""States of the target that an environment keeps."""

DISCRETE = (Phase(wide=1.0, spread=2.0, scale=0.2, width=1.0),)
"""Rewards of this deviation are about what a deep Q-network learns in 5,000 steps. The width is in
mean differences of scores. Of the target's own states many are where a policy lingers: agents that
met them learn to linger too."""

CONTINUOUS = (
    Phase(until=0.5, wide=1.0, spread=2.0, scale=1.0, width=1.8, gain=0.5),
    Phase(wide=0.5, spread=2.0, scale=1.0, width=0.3, gain=0.8),
)
"""Best actions lie inside the bounds, at first far inside: beyond a bound all actions are the same,
and an agent (A2C) whose mean got there does not come back."""

_GAINS = (1.0, 1.25, 1.6, 2.0, 2.5)
_REACHED, _ENOUGH = 0.55, 0.9
"""Of the best actions agents learn a part at least; with that part a policy must come nearly as far
from random agents as it does itself."""

_SHOWN = 4096
_LARGE, _APART = 100.0, 1000.0
"""Deviations of observations above which, and how many times apart, agents learn little of them."""
_STREAM = 8


def gain_of(env: SyntheticEnv, real: RealEnvs, random: float, own: float, seed: int) -> float:
    """What best continuous actions are to be multiplied by, that agents which learn a part do well.

    A policy may push just as much as it has to: agents that learn most of it then get nowhere.

    Args:
        env: One environment.
        real: Real environments for one learner.
        random: Return of agents that act at random.
        own: Return of the optimal policy itself.
        seed: Of the episodes.
    """
    if isinstance(env.action_space, spaces.Discrete):
        return 1.0
    middle, _ = halves(env.action_space)

    def played(part: float) -> float:
        def weak(observation: Tensor) -> Tensor:
            return middle + part * (optimal_policy(env, observation) - middle)

        return float(returns_of(real, weak, seed)[0].mean())

    wanted = random + _ENOUGH * (own - random)
    return next((gain for gain in _GAINS if played(_REACHED * gain) >= wanted), _GAINS[-1])


@torch.no_grad()
def show(
    env: SyntheticEnv, visited: Tensor, config: TrainConfig, gain: float = 1.0
) -> SyntheticEnv:
    """An environment of the same reward, presented by the rules.

    Agents meet wide states, which are easy to tell apart; where actions are continuous those of the
    target too, and where observations are whole numbers nothing else.
    Rewards have a given deviation over states and actions, whatever the scores are.

    Args:
        env: One environment.
        visited: States `[M, O]` that agents met in the target.
        config: Settings of the run.
        gain: Of best continuous actions, in those of the rules.
    """
    source = generator(config.seed, _STREAM)
    discrete = isinstance(env.action_space, spaces.Discrete)
    rules = DISCRETE if discrete else CONTINUOUS
    phases = [replace(rule, gain=gain * rule.gain) for rule in rules]
    if env._whole:
        # Made-up whole numbers are states of another task: one-hot codes of several things at once.
        phases = [replace(phase, wide=0.0) for phase in phases]
    chosen = torch.randint(len(visited), (STATES,), generator=source)
    shown = untrained_like(env, phases, visited[chosen], config.steps)
    mean, std = moments(visited)
    moved = visited.std(0) > 1e-6
    _check_scales(std[moved])
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


def _check_scales(std: Tensor) -> None:
    """Warn of observations whose deviations `[O]` agents that do not normalise them cannot use."""
    if len(std) and (std.max() > _LARGE or std.max() > _APART * std.min()):
        _LOG.warning(
            "observations have deviations from %.3g to %.3g: stock agents, which do not normalise "
            "them, learn little of such; scale them to about 1 in a wrapper (--wrap)",
            float(std.min()), float(std.max()),
        )  # fmt: skip


def _rewards(env: SyntheticEnv, output: Tensor, phase: Phase) -> Tensor:
    """Rewards of all actions, or of some spread evenly over a continuous space."""
    spread = lessons.probes(env.action_space)
    lesson = lessons.to_lesson(output, at(encode([phase]).unsqueeze(0), 1.0), spread)
    if spread is None:
        return lesson
    rows = lesson.unsqueeze(-2).expand(*lesson.shape[:-1], len(spread), -1)
    return lessons.to_reward(rows, spread.expand(*rows.shape[:-1], -1))
