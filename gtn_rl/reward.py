"""Meta-training of a reward network: the same outer loop, with learners on real dynamics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gtn_rl import checkpoint
from gtn_rl.agents.draw import parse_group
from gtn_rl.agents.draw_interactive import check_interactive, draw_interactive
from gtn_rl.agents.interactive import train as train_learners
from gtn_rl.agents.learners import Student
from gtn_rl.checkpoint import Parts
from gtn_rl.config import TrainConfig
from gtn_rl.envs.actions import make_actions
from gtn_rl.envs.heads import HEADS
from gtn_rl.envs.reward import RewardNetwork
from gtn_rl.envs.rewarded import RewardedWorld
from gtn_rl.envs.targets import Factory, Target, describe
from gtn_rl.errors import UsageError
from gtn_rl.executors.batch import Batch
from gtn_rl.interaction import LENGTH, apart
from gtn_rl.real_return import RealReturn
from gtn_rl.reward_artifact import save_reward
from gtn_rl.run import run
from gtn_rl.settings import settings_for
from gtn_rl.train import assemble

LEARNERS = ("4xppo@tanh:64-64", "4xa2c@tanh:64-64")
"""Learners that are trained with a reward network, if no others are asked for."""


@dataclass(frozen=True)
class RewardResult:
    """A trained reward network and what it cost.

    Args:
        reward: The network with the best evaluation.
        score: That evaluation: mean greedy real return of fresh learners.
        real_steps: Steps of the real environment, those of all learners included.
        seconds: Wall time.
        stopped: Why it ended: `"converged"`, `"real steps"`, `"minutes"` or `"interrupted"`.
        rows: The log, one row per outer step.
    """

    reward: RewardNetwork
    score: float
    real_steps: int
    seconds: float
    stopped: str
    rows: list[dict[str, Any]]


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
) -> RewardResult:
    """Meta-train a reward with which fresh learners soon do well in the real environment.

    Learners train for `inner_steps` updates on real dynamics with the learned reward; their real
    return after that drives the reward, so that what it gains is speed of learning. Their real
    steps are counted. The form `action` starts from the reward of a synthetic environment, found as
    `gtn_rl.train` finds its start; the other forms start from 0.

    Args:
        target: Gymnasium id, or a function that makes an environment.
        out: Folder for the artifact, logs and checkpoints; made if missing.
        config: Settings; those of `gtn_rl.train`, of which agreement and the synthetic
            environment's own have no use here.
        form: Of the reward network, `action`, `state` or `potential`.
        additive: Whether the learned reward is added to the real one.
        terms: Whether the network of `state` is also shown the real reward.
        resume: Go on with the run that `out` holds.
        progress_bar: Whether to show a progress bar.
        command: Recorded in the artifact as the way to reproduce it.

    Raises:
        UsageError: Unknown target or form, learners that do not fit, or `out` holds a run.
        UnsupportedSpaceError: The target's spaces are not supported.
        TrainingDivergedError: Numbers stopped being finite; `out` keeps the last good artifact.
    """
    if resume and out is None:
        raise UsageError("resume needs the folder of the run to go on with")
    task = describe(target)
    config = config or settings_for(task.id, dynamics=True)
    if config.executor != "batch":
        raise UsageError("reward networks are trained with --executor batch")
    # Of the start only the reward is of interest, not the states in which it would be taught.
    config = replace(
        config, learners=config.learners or LEARNERS, imitation=0, horizon=1,
        coverage=False, fits=1, introduction=(), centred=0.0, fade=0.0, score_gap=0.0, rare=0.0,
        wide=0.0, reward_scale=config.reward_scale[:1],
        head=config.head or HEADS[type(task.action_space)][0],
    )  # fmt: skip
    for text in config.learners:
        check_interactive(parse_group(text), task.action_space)

    def fresh(mean: Any = None, std: Any = None) -> RewardNetwork:
        return RewardNetwork(
            task.observation_space, task.action_space, target=task.id, form=form, mean=mean,
            std=std, additive=additive, terms=terms, hidden=config.hidden,
            head=config.head if form == "action" else "",
        )  # fmt: skip

    folder = None if out is None else checkpoint.prepare(Path(out), resume=resume)

    def teach(
        teacher: nn.Module, generator: torch.Generator, *, create_graph: bool
    ) -> Sequence[Student]:
        assert isinstance(teacher, RewardNetwork)
        learners, steps = _on_real(teacher, generator, create_graph, task, config)
        problem.charge(steps)
        return learners

    def start(say: Callable[[str], None]) -> RewardNetwork:
        env = problem.start(say)
        if form == "action":
            return RewardNetwork.of(env, additive=additive)
        return fresh(env.mean.numpy(), env.std.numpy())

    def parts_of(reward: nn.Module) -> Parts:
        assert isinstance(reward, RewardNetwork)
        problem.blank = reward.blank
        return assemble(reward, problem, Batch(problem), config)

    with RealReturn(task, config, teach) as problem:
        parts, progress = run(
            problem, config, folder, resume=resume, blank=fresh(), start=start, assemble=parts_of,
            write=save_reward, command=command, progress_bar=progress_bar,
        )  # fmt: skip
    assert isinstance(parts.best, RewardNetwork)
    return RewardResult(
        parts.best, progress.best, progress.real_steps, progress.seconds, progress.stopped,
        progress.rows,
    )  # fmt: skip


def _on_real(
    reward: RewardNetwork, generator: torch.Generator, create_graph: bool, task: Target,
    config: TrainConfig,
) -> tuple[list[Student], int]:  # fmt: skip
    """Fresh learners, trained on real dynamics, and how many real steps that took."""
    seed = int(torch.randint(2**31, (1,), generator=generator))
    actions = make_actions(task.action_space, config.outer_noise)
    trained: list[Student] = []
    steps = 0
    for text in config.learners:
        group = parse_group(text)
        learners = draw_interactive(
            group, task.observation_space.shape[0], task.action_space, members=reward.members,
            learning_rate=config.learning_rate, entropy=config.entropy, generator=generator,
        )  # fmt: skip
        split = create_graph and config.even_out and reward.members == 1
        world = RewardedWorld(
            task, apart(reward, group.count) if split else reward, actions,
            1 if split else group.count, max(config.batch_size // LENGTH, 1), seed,
            shared=not split,
        )  # fmt: skip
        try:
            trained.append(
                train_learners(
                    learners, world, config.inner_steps, seed, create_graph=create_graph,
                    last=config.truncation,
                )
            )  # fmt: skip
            steps += world.steps
        finally:
            world.close()
    return trained, steps
