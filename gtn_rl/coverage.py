"""Where synthetic episodes start: in states like those that agents of the real task meet.

A bandit teaches what to do in the states that it shows. Those of an untrained environment have the
right scale and nothing else of the task: angles whose sine and cosine do not belong together,
velocities that do not go with positions. So before learners are trained, the initial states are
fitted to real ones.
"""

from __future__ import annotations

import copy
import itertools
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from gtn_rl.config import TrainConfig
from gtn_rl.envs.actions import Actions
from gtn_rl.envs.heads import BOUNDED
from gtn_rl.envs.synthetic import SyntheticEnv
from gtn_rl.envs.targets import RealEnvs, Target
from gtn_rl.inner import act, inner_loop, members
from gtn_rl.seeding import derive, generator

_EPISODES = 2
"""Real episodes of each judge."""

_STEPS, _BATCH, _LEARNING_RATE = 600, 256, 5e-3


def energy_distance(made: Tensor, real: Tensor) -> Tensor:
    """Energy distance of two samples `[M, O]`, but for what does not depend on `made`.

    It is least where both have one distribution (Székely and Rizzo 2013, equation 2). Pairs of a
    point with itself are left out, so that the estimate has no bias.
    """
    count = len(made)
    apart = (made - made.roll(1, 0)).norm(dim=-1).mean()
    if count <= 1024:
        apart = torch.cdist(made, made).sum() / (count * (count - 1))
    return 2 * torch.cdist(made, real).mean() - apart


def cover(env: SyntheticEnv, states: Tensor, source: torch.Generator) -> float:
    """Fit the initial states of an environment to real ones, in units of their deviation.

    Args:
        env: One environment, changed in place.
        states: Real states `[M, O]`.
        source: Of all randomness.

    Returns:
        The energy distance of the last steps, on average.
    """
    optimizer = torch.optim.Adam([env.initial_parameters], _LEARNING_RATE)
    real = (states - env.mean) / env.std
    late: list[float] = []
    for step in range(_STEPS):
        optimizer.param_groups[0]["lr"] = _LEARNING_RATE * (1 - step / _STEPS)
        noise = torch.randn(1, _BATCH, env.noise_size, generator=source)
        # Any time of an agent's training: a curriculum begins alike everywhere.
        progress = torch.rand(_BATCH, generator=source)
        made = (env.initial(noise, progress)[0] - env.mean) / env.std
        index = torch.randint(len(real), (_BATCH,), generator=source)
        loss = energy_distance(made, real[index])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if step >= _STEPS - 50:
            own = energy_distance(real[index], real[index.roll(1)])
            late.append(float(loss.detach() - own))
    return sum(late) / len(late)


def spread(env: SyntheticEnv, states: Tensor, width: float) -> Tensor:
    """States `[M, O]` moved away from their mean, but not out of the observation space."""
    mean = states.mean(0)
    return torch.clamp(mean + width * (states - mean), env.low, env.high)


@torch.no_grad()
def choose(
    env: SyntheticEnv, states: Tensor, task: Target, actions: Actions, config: TrainConfig,
    stream: int,
) -> int:  # fmt: skip
    """Fit an environment's initial states, and set what learners are sensitive to.

    How far initial states spread and how large rewards are does not change which action is best.
    But what an agent has learned of that after a few thousand steps depends on both, and each
    algorithm likes them otherwise. All combinations teach judges, and the one whose judges have the
    best real return, on average, is kept. Where states evolve, the first of each is.

    Args:
        env: One environment, changed in place.
        states: Real states `[M, O]`.
        task: The target.
        actions: How judges act in it.
        config: Settings: `coverage`, `reward_scale`, `judges`.
        stream: Number of the random stream.

    Returns:
        How many real steps were taken.
    """
    scales = config.reward_scale if env.head in BOUNDED else (1.0,)
    wide = [copy.deepcopy(env) for _ in config.coverage] or [env]
    for other, width in zip(wide, config.coverage, strict=False):
        with torch.enable_grad():
            cover(other, spread(env, states, width), generator(config.seed, stream, 0))
    candidates = []
    for other, scale in itertools.product(wide, scales):
        candidate = copy.deepcopy(other)
        if env.head in BOUNDED:
            candidate.scale_parameters.fill_(scale).log_()
        candidates.append(candidate)
    best, steps = 0, 0
    if len(candidates) > 1 and env.horizon == 1:
        population = env.like(len(candidates))
        for rows, *each in zip(
            population.parameters(), *(c.parameters() for c in candidates), strict=True
        ):
            rows.copy_(torch.cat(each))
        judged = replace(config, learners=config.judges, estimator="evolution")
        source = generator(config.seed, stream, 1)
        judges = inner_loop(population, judged, source, create_graph=False)
        taught = members(judges, len(candidates))
        with RealEnvs(task, actions, len(taught), _EPISODES) as real:
            seeds = [derive(config.seed, stream, 2, copy) % 2**31 for copy in range(_EPISODES)]
            returns = real.evaluate(partial(act, judges), seeds).mean(1).float()
            steps = real.steps
        best = int(torch.zeros(len(candidates)).index_add(0, taught, returns).argmax())
    env.load_state_dict(candidates[best].state_dict())
    return steps
