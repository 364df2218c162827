"""The inner loop: fresh learners trained by a teacher, differentiably."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from gymnasium import spaces
from torch import Tensor

from gtn_rl.agents import bandit, interactive
from gtn_rl.agents.bandit import Bandit, Batch
from gtn_rl.agents.draw import draw, draw_interactive
from gtn_rl.agents.interactive import Interactive, World
from gtn_rl.agents.learners import Learners, Student
from gtn_rl.agents.spec import OPTIMAL, Spec
from gtn_rl.agents.stock import ON_POLICY, train_stock_like
from gtn_rl.config import TrainConfig
from gtn_rl.envs.synthetic import SyntheticEnv
from gtn_rl.inner.gradients import M, clip_data_to_median, one_per_learner
from gtn_rl.inner.optimal import Optimal
from gtn_rl.inner.worlds import SyntheticWorld
from gtn_rl.networks import MLP
from gtn_rl.spaces import action_size, halves, to_unit

_TOGETHER = 8192
"""Observations of all members that an environment looks at together."""

_LENGTH = 4
"""Steps of an episode between two updates of most learners; times episodes, the `batch_size`."""


def inner_loop(
    env: SyntheticEnv, config: TrainConfig, generator: torch.Generator, *, create_graph: bool
) -> Sequence[Student]:
    """Draw fresh learners and train each for `inner_steps` optimizer steps in `env`.

    The generator's state fixes the learners and all their data: the same state again gives the same
    training of a changed environment.

    Args:
        env: Synthetic environment; each of its P members teaches the same learners, with the same
            noise, so that what they reach differs by the environment alone.
        config: Number, kinds and hyperparameters of the learners of one member.
        create_graph: Whether the trained parameters are to be differentiated w.r.t. the
            environment's.

    Returns:
        Trained learners, stacked. Within each algorithm of a stack, rows go member by member.
    """
    size, space, dtype = env.observation_size, env.action_space, env.reward_parameters.dtype
    if env.horizon > 1:
        seed = int(torch.randint(2**62, (1,), generator=generator))

        def world(env: SyntheticEnv, learners: int, episodes: int, shared: bool) -> SyntheticWorld:
            return SyntheticWorld(env, learners, episodes, seed, shared=shared)

        return interact(
            env, world, size, space, config, generator, seed, create_graph=create_graph,
            segments=config.dynamics.checkpointing, dtype=dtype,
        )  # fmt: skip
    drawn = draw(
        [spec for spec in config.groups if not spec.whole], size, space, members=env.members,
        learning_rate=config.learners.learning_rate, generator=generator, dtype=dtype,
    )  # fmt: skip
    trained: list[Student] = []
    with torch.set_grad_enabled(create_graph):
        for learners in drawn:
            batches = _batches(env, learners, config, generator)
            steps = config.learners.inner_steps
            trained.append(bandit.train(learners, batches, steps, create_graph=create_graph))
        for spec in config.groups:
            if spec.algorithm == OPTIMAL:
                trained.append(Optimal.of(env, spec.count))
            elif spec.whole:
                trained.append(
                    train_stock_agents(
                        env, spec, spec.steps or config.steps, generator,
                        create_graph=create_graph, last=config.dynamics.truncation,
                    )
                )  # fmt: skip
    return trained


def interact(
    teacher: M, world: Callable[[M, int, int, bool], World], observation_size: int,
    action_space: spaces.Discrete | spaces.Box, config: TrainConfig, generator: torch.Generator,
    seed: int, *, create_graph: bool, segments: int = 0, dtype: torch.dtype = torch.float32,
) -> list[Learners[Interactive]]:  # fmt: skip
    """Draw fresh learners that gather their own experience, and train them in a teacher's worlds.

    A world is made of a teacher, learners of each member, episodes of each learner, and whether the
    learners of all members see the same random numbers. Learners come in a stack for each group;
    rows go member by member.
    """
    own, trained = config.learners, []
    members = len(next(teacher.parameters()))
    for spec in config.groups:
        learners = draw_interactive(
            spec, observation_size, action_space, members=members,
            learning_rate=own.learning_rate, generator=generator, dtype=dtype,
        )  # fmt: skip
        split = create_graph and members == 1
        episodes = max(own.batch_size // _LENGTH, 1)
        if split:
            where = world(one_per_learner(teacher, spec.count), 1, episodes, False)
        else:
            where = world(teacher, spec.count, episodes, True)
        trained.append(
            interactive.train(
                learners, where, own.inner_steps, seed, create_graph=create_graph,
                last=config.dynamics.truncation, segments=segments,
            )
        )  # fmt: skip
    return trained


def train_stock_agents(
    env: SyntheticEnv, spec: Spec, steps: int, generator: torch.Generator, *,
    create_graph: bool = False, last: int = 0,
) -> Student:  # fmt: skip
    """Train fresh stock-like agents in an environment of one step.

    All of P members teach the same agents, with the same noise; the result has P K agents, member
    by member. They take so many environment steps each, rounded up to whole rollouts.
    """
    if spec.algorithm in ON_POLICY:
        length = ON_POLICY[spec.algorithm].length
        steps = -(-steps // length) * length
    space, size, dtype = env.action_space, env.observation_size, env.reward_parameters.dtype
    noise = torch.randn(spec.count * steps, env.noise_size, generator=generator, dtype=dtype)
    progress = torch.linspace(0, 1, steps, dtype=dtype).repeat(spec.count)
    with torch.set_grad_enabled(create_graph):
        data = _lessons(env, noise, progress).view(env.members * spec.count, steps, -1)
    if env.members == 1:
        clip_data_to_median(data, env.std)

    def reward(lesson: Tensor, action: Tensor) -> Tensor:
        return env.reward(lesson, to_unit(space, action))

    return train_stock_like(
        spec.algorithm, MLP((size, *spec.hidden, action_size(space)), spec.activation), spec.count,
        data, reward, generator, continuous=isinstance(space, spaces.Box),
        create_graph=create_graph, last=last,
    )  # fmt: skip


def _batches(
    env: SyntheticEnv, learners: Learners[Bandit], config: TrainConfig, generator: torch.Generator
) -> list[Batch]:
    """The batches of a training, for all rows of a stack, in one pass of `env`."""
    space, dtype = env.action_space, env.reward_parameters.dtype
    counts = [count // env.members for _, count in learners.names]
    steps = bandit.distinct(learners.algorithm, config.learners.inner_steps)
    shape = (sum(counts), steps, config.learners.batch_size)
    noise = torch.randn(math.prod(shape), env.noise_size, generator=generator, dtype=dtype)
    # Batch by batch, what a curriculum shows the later.
    progress = torch.linspace(0, 1, steps).view(1, -1, 1).expand(shape).reshape(-1)
    data = _lessons(env, noise, progress, _TOGETHER // env.members)
    data = data.view(env.members * shape[0], *shape[1:], -1)
    if env.members == 1:
        clip_data_to_median(data, env.std)

    def rows(data: Tensor) -> Tensor:
        if env.members == 1:
            return data
        data = data.view(env.members, *shape, -1)
        return torch.cat([part.flatten(0, 1) for part in torch.split(data, counts, 1)])

    explore = torch.randn(*shape, action_size(space) + 1, generator=generator, dtype=dtype)
    columns = (
        *rows(data).tensor_split([env.observation_size], -1),
        rows(explore.repeat(env.members, 1, 1, 1)),
    )
    scale = halves(space, dtype) if isinstance(space, spaces.Box) else None
    return [
        Batch(observation, lesson, explore, env.reward, scale)
        for observation, lesson, explore in zip(*(c.unbind(1) for c in columns), strict=True)
    ]


def _lessons(env: SyntheticEnv, noise: Tensor, progress: Tensor, together: int = 0) -> Tensor:
    """Observations and lessons `[P, N, O + L]` for noise `[N, noise_size]`, all as `env` has them.

    With `together`, and where nothing is differentiated, so many at a time: hidden units of
    millions of observations are gigabytes, and to be given so much memory takes longer than to
    compute them.
    """
    size = len(noise) if torch.is_grad_enabled() or not together else together
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
    """The member `[K]` that trained each row, of a population of `count`."""
    per_part = [rows for stack in learners for _, rows in stack.names]
    return torch.cat([torch.arange(count).repeat_interleave(rows // count) for rows in per_part])
