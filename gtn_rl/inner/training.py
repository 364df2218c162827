"""The inner loop: fresh learners trained in the synthetic environment, differentiably."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from gymnasium import spaces
from torch import Tensor

from gtn_rl.agents.batch import Batch
from gtn_rl.agents.draw import ENTROPY, OPTIMAL, WHOLE, Group, draw
from gtn_rl.agents.learners import Learners, Student, distinct, train
from gtn_rl.agents.stock import train_stock_agents
from gtn_rl.config import TrainConfig
from gtn_rl.envs.synthetic import SyntheticEnv
from gtn_rl.inner.gradients import even_out_data
from gtn_rl.inner.interaction import interact
from gtn_rl.inner.optimal import Optimal
from gtn_rl.spaces import action_size, halves

_TOGETHER = 8192
"""Observations of all members that an environment looks at together."""


def inner_loop(
    env: SyntheticEnv, config: TrainConfig, generator: torch.Generator, *, create_graph: bool
) -> Sequence[Student]:
    """Draw fresh learners and train each for `inner_steps` optimizer steps in `env`.

    The generator's state fixes the learners and all their data: the same state again gives the same
    training of a changed environment.

    Args:
        env: Synthetic environment; each of its P members teaches the same learners, with the same
            noise, so that what they reach differs by what they were taught alone.
        config: Number, kinds and hyperparameters of the learners of one member.
        generator: Source of all randomness.
        create_graph: Whether the trained parameters are to be differentiated w.r.t. the
            environment's.

    Returns:
        Trained learners, stacked. Within each algorithm of a stack, rows go member by member.
    """
    if env.horizon > 1:
        return interact(env, config, generator, create_graph=create_graph)
    groups = config.groups
    whole = [group for group in groups if group.algorithm in WHOLE]
    drawn = draw(
        [group for group in groups if group.algorithm not in WHOLE],
        env.observation_size,
        env.action_space,
        members=env.members,
        learning_rate=config.learners.learning_rate,
        entropy=ENTROPY,
        generator=generator,
        dtype=env.reward_parameters.dtype,
    )
    trained: list[Student] = []
    with torch.set_grad_enabled(create_graph):
        for learners in drawn:
            batches = _batches(env, learners, config, generator)
            trained.append(
                train(learners, batches, config.learners.inner_steps, create_graph=create_graph)
            )
        for group in whole:
            trained.append(_at_once(env, group, config, generator, create_graph))
    return trained


def _at_once(
    env: SyntheticEnv,
    group: Group,
    config: TrainConfig,
    generator: torch.Generator,
    create_graph: bool,
) -> Student:
    if group.algorithm == OPTIMAL:
        return Optimal.of(env, group.count)
    return train_stock_agents(
        env, group.algorithm, group.hidden, group.activation, group.count,
        group.steps or config.steps, generator,
        create_graph=create_graph, last=config.dynamics.truncation, even=True,
    )  # fmt: skip


def _batches(
    env: SyntheticEnv, learners: Learners, config: TrainConfig, generator: torch.Generator
) -> list[Batch]:
    """The batches of a training, for all rows of a stack, in one pass of `env`."""
    space, dtype = env.action_space, env.reward_parameters.dtype
    counts = [count // env.members for _, count in learners.names]
    shape = (
        sum(counts),
        distinct(learners, config.learners.inner_steps),
        config.learners.batch_size,
    )
    noise = torch.randn(math.prod(shape), env.noise_size, generator=generator, dtype=dtype)
    # Batch by batch, what a curriculum shows the later.
    progress = torch.linspace(0, 1, shape[1]).view(1, -1, 1).expand(shape).reshape(-1)
    data = _said(env, noise, progress).view(env.members, *shape, -1)
    if env.members == 1:
        data = data[0]
        even_out_data(data, env.std)

    def rows(data: Tensor) -> Tensor:
        data = data.reshape(env.members, *shape, -1)
        if env.members == 1:
            return data[0]
        parts = [part.flatten(0, 1) for part in torch.split(data, counts, 1)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    explore = torch.randn(*shape, action_size(space) + 1, generator=generator, dtype=dtype)
    exploration = rows(explore.expand(env.members, *explore.shape))
    columns = (*rows(data).tensor_split([env.observation_size], -1), exploration)
    unit = halves(space, dtype) if isinstance(space, spaces.Box) else None
    return [
        Batch(observation, lesson, explore, env.reward, unit)
        for observation, lesson, explore in zip(*(c.unbind(1) for c in columns), strict=True)
    ]


def _said(env: SyntheticEnv, noise: Tensor, progress: Tensor) -> Tensor:
    """Observations and lessons `[P, N, O + L]` for noise `[N, noise_size]`, all as `env` has them.

    Where nothing is differentiated, a part at a time: hidden units of millions of observations are
    gigabytes, and to be given so much memory takes longer than to compute them.
    """
    size = len(noise) if torch.is_grad_enabled() else max(1, _TOGETHER // env.members)
    parts = []
    for some, when in zip(torch.split(noise, size), torch.split(progress, size), strict=True):
        observations = env.initial(some.expand(env.members, -1, -1), when)
        parts.append(torch.cat([observations, env.lesson(observations, when)], -1))
    return torch.cat(parts, 1)


def act(learners: Sequence[Student], observations: Tensor) -> Tensor:
    """Logits or means `[K, N, A]` of all learners of all stacks at observations `[K, N, O]`."""
    parts = torch.split(observations, [stack.parameters.shape[0] for stack in learners])
    return torch.cat([stack.outputs(o) for stack, o in zip(learners, parts, strict=True)])


def algorithms(learners: Sequence[Student]) -> list[str]:
    """The name of every row's algorithm, K in all."""
    return [name for stack in learners for name, count in stack.names for _ in range(count)]


def members(learners: Sequence[Student], count: int) -> Tensor:
    """The member `[K]` that taught each row, of a population of `count`."""
    per_part = [rows for stack in learners for _, rows in stack.names]
    return torch.cat([torch.arange(count).repeat_interleave(rows // count) for rows in per_part])


def places(learners: Sequence[Student], count: int) -> Tensor:
    """The place `[K]` of each row among those of its member, of a population of `count`."""
    each = [rows // count for stack in learners for _, rows in stack.names]
    starts = torch.tensor([0, *each]).cumsum(0)
    return torch.cat(
        [start + torch.arange(own).repeat(count) for start, own in zip(starts, each, strict=False)]
    )
