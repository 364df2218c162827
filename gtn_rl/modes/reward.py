"""Meta-training of a reward network: the same outer loop, with learners on real dynamics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from gtn_rl.agents.draw import check_learners
from gtn_rl.agents.learners import Student
from gtn_rl.config import TrainConfig, expect, reward_config
from gtn_rl.envs.actions import make_actions
from gtn_rl.envs.reward import RewardNetwork
from gtn_rl.envs.synthetic import SyntheticEnv
from gtn_rl.envs.targets import Factory, Target, describe
from gtn_rl.errors import UsageError
from gtn_rl.inner.training import interact
from gtn_rl.inner.worlds import RewardedWorld
from gtn_rl.io import checkpoint
from gtn_rl.io.artifact import total_costs
from gtn_rl.io.kinds import from_pretrained, save_reward
from gtn_rl.io.runlog import COLUMNS
from gtn_rl.modes.train import find_policy
from gtn_rl.run import Result, go
from gtn_rl.stages.base import Once, untrained
from gtn_rl.stages.teach import TeachLearners, judging
from gtn_rl.state import State

LEARNERS = ("4xppo@tanh:64-64", "4xa2c@tanh:64-64")
"""Learners that are trained with a reward network, if no others are asked for."""


def train_reward(
    target: str | Factory,
    out: str | Path | None = None,
    config: TrainConfig | None = None,
    *,
    form: str = "action",
    additive: bool = False,
    terms: bool = False,
    resume: bool = False,
    progress_bar: bool = True,
    command: str = "",
) -> Result:
    """Meta-train a reward with which fresh learners soon do well in the real environment.

    Learners train for `inner_steps` updates on real dynamics with the learned reward; their real
    return after that drives the reward, so that what it gains is speed of learning. Their real
    steps are counted. The form `action` starts from the reward of a synthetic environment, found as
    `gtn_rl.train` finds its start; the other forms start from 0.

    Arguments not named here are those of `gtn_rl.train`.

    Args:
        config: Settings; those of `gtn_rl.config.reward_config` if not given. Horizon, dynamics,
            workers and the parts that evolution moves have no use here.
        form: Of the reward network, `action`, `state` or `potential`.
        additive: Whether the learned reward is added to the real one.
        terms: Whether the network of `state` is also shown the real reward.

    Returns:
        The reward network as `teacher`; `score` is the mean greedy real return of fresh learners
        that were trained with it.

    Raises:
        UsageError: Unknown target or form, learners that do not fit, or `out` holds a run.
        UnsupportedSpaceError: The target's spaces are not supported.
        TrainingDivergedError: Numbers stopped being finite; `out` keeps the last good artifact.
    """
    config = reward_config() if config is None else config
    expect(config, TrainConfig)
    task = describe(target)
    config = _settings(config, task)
    blank = RewardNetwork(
        task.observation_space, task.action_space, target=task.id, form=form, additive=additive,
        terms=terms, hidden=config.hidden,
    )  # fmt: skip
    start, before = untrained(task, config), dict[str, float]()
    if config.init:
        start, before = from_pretrained(config.init, target=task.id), total_costs(config.init)
    stages = [
        *find_policy(task, config, pretrain=form == "action"),
        Once("making a reward network", make=lambda state: _first(blank, state.teacher)),
        *([_teaching(target, task, config)] if config.outer.steps else []),
        judging(_teaching(target, task, config), task, config.seed),
    ]
    folder = checkpoint.prepare(out, resume=resume)
    return go(
        stages, State(start, later=blank), target=task.id, config=config, folder=folder,
        resume=resume,
        budgets={"real_steps": config.max_real_steps, "minutes": config.max_minutes},
        write=save_reward, command=command, progress_bar=progress_bar, columns=COLUMNS,
        before=before, ready=lambda teacher: isinstance(teacher, RewardNetwork),
    )  # fmt: skip


def _settings(config: TrainConfig, task: Target) -> TrainConfig:
    """The settings, with learners that gather experience of their own.

    Raises:
        UsageError: Learners or workers that cannot be used.
    """
    if config.workers.executor != "batch":
        raise UsageError("reward networks are trained with --workers.executor batch")
    if config.stock:
        raise UsageError("reward networks are trained by learners such as 4xppo@tanh:64-64")
    learners = replace(config.learners, kinds=config.learners.kinds or LEARNERS)
    outer = replace(config.outer, moving=())
    config = replace(config, learners=learners, outer=outer, horizon=1)
    for group in config.groups:
        check_learners(group, task.action_space, 2)
    return config


def _first(blank: RewardNetwork, env: nn.Module) -> RewardNetwork:
    """A reward network to start with, as the form of another is."""
    assert isinstance(env, SyntheticEnv)
    if blank.form == "action":
        return RewardNetwork.of(env, additive=blank.additive)
    reward = blank.like(1)
    reward.mean.copy_(env.mean)
    reward.std.copy_(env.std)
    return reward


def _teaching(target: str | Factory, task: Target, config: TrainConfig) -> TeachLearners:
    """The stage in which learners on real dynamics are given the rewards of a network."""
    actions = make_actions(task.action_space, config.noise)

    def teach(
        teacher: nn.Module, generator: torch.Generator, *, create_graph: bool
    ) -> Sequence[Student]:
        assert isinstance(teacher, RewardNetwork)
        seed = int(torch.randint(2**31, (1,), generator=generator))
        worlds: list[RewardedWorld] = []

        def world(
            reward: RewardNetwork, learners: int, episodes: int, shared: bool
        ) -> RewardedWorld:
            made = RewardedWorld(task, reward, actions, learners, episodes, seed, shared=shared)
            worlds.append(made)
            return made

        try:
            return interact(
                teacher, world, task.observation_space.shape[0], task.action_space, config,
                generator, seed, create_graph=create_graph,
            )  # fmt: skip
        finally:
            for made in worlds:
                made.close()

    return TeachLearners(target, task, config, teach)
