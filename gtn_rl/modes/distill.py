"""Behaviour distillation: pairs from which fresh policies are cloned, from start to artifact."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from gtn_rl.agents.learners import Student
from gtn_rl.agents.spec import Spec, parse_networks
from gtn_rl.config import expect
from gtn_rl.envs.actions import make_actions
from gtn_rl.envs.targets import Factory, RealEnvs, Target, describe
from gtn_rl.inner.fitness import Teach
from gtn_rl.inner.training import act
from gtn_rl.io import checkpoint
from gtn_rl.io.artifact import target_of
from gtn_rl.io.kinds import save_pairs
from gtn_rl.io.runlog import COLUMNS
from gtn_rl.loop import Stage
from gtn_rl.modes.distill_config import DistillConfig
from gtn_rl.modes.pairs import Pairs
from gtn_rl.modes.train import find_policy
from gtn_rl.run import Result, go
from gtn_rl.seeding import derive, generator
from gtn_rl.stages.base import untrained
from gtn_rl.stages.imitate import Imitate
from gtn_rl.stages.search_pairs import SearchPairs, random_pairs
from gtn_rl.stages.teach import TeachLearners, judging
from gtn_rl.state import State

_SCORE = 103  # A stream of random numbers besides those of the stages.


def distill(
    target: str | Factory,
    out: str | Path | None = None,
    config: DistillConfig | None = None,
    *,
    resume: bool = False,
    progress_bar: bool = True,
    command: str = "",
) -> Result:
    """Learn k (state, action) pairs from which fresh policies are cloned in a few gradient steps.

    The outer loop of `gtn_rl.train` with other parts: the teacher is the pairs and the learning
    rates, the learners are behaviour cloners (Lupu et al. 2024, section 4). No expert is needed:
    pairs follow the gradient of the real return through the whole cloning. Where that does not
    show the way, an expert is trained first (`config.pretrain`).

    Arguments are those of `gtn_rl.train`.

    Returns:
        The pairs as `teacher`; `score` is the mean greedy real return of fresh policies.

    Raises:
        UsageError: Unknown target, or `out` already holds a run and `resume` is false.
        UnsupportedSpaceError: The target's spaces are not supported.
        TrainingDivergedError: Numbers stopped being finite; `out` keeps the last good artifact.
    """
    config = DistillConfig() if config is None else config
    expect(config, DistillConfig)
    task, shapes = describe(target), config.shapes()
    folder = checkpoint.prepare(out, resume=resume)
    pairs = random_pairs(task, config)
    start = untrained(task, config.training()) if config.pretrain.real_steps else pairs
    columns = {name: text for name, text in COLUMNS.items() if "_of_" not in name}
    for shape in shapes:
        columns[f"evaluation_of_{shape.name}"] = f"of the {shape.name} policies among them"
    return go(
        stages_of(target, task, config), State(start, later=pairs), target=task.id, config=config,
        folder=folder, resume=resume,
        budgets={"real_steps": config.max_real_steps, "minutes": config.max_minutes},
        write=save_pairs, command=command, progress_bar=progress_bar, columns=columns,
        ready=lambda teacher: isinstance(teacher, Pairs),
    )  # fmt: skip


def stages_of(target: str | Factory, task: Target, config: DistillConfig) -> list[Stage]:
    """What a run does: find pairs, or an expert and its pairs; raise their return; judge."""
    settings = config.training()
    actions = make_actions(task.action_space, config.noise)
    teach: Teach = partial(_teach, shapes=config.shapes(), temperature=config.temperature)

    def teaching() -> TeachLearners:
        return TeachLearners(
            target, task, settings, teach, config.num_policies, epochs=config.epochs,
            averaging=config.averaging,
        )  # fmt: skip

    stages: list[Stage] = [SearchPairs(task, actions, config)]
    if config.pretrain.real_steps:
        stages = [*find_policy(task, settings), Imitate(task, actions, config, teach)]
    if config.outer.steps:
        stages.append(teaching())
    return [*stages, judging(teaching(), task, config.seed)]


def clone_returns(
    pairs: Pairs,
    target: str | Factory = "",
    *,
    networks: str = "20xtanh:64-64",
    episodes: int = 20,
    seed: int = 0,
) -> Tensor:
    """Greedy real returns `[K, episodes]` of K fresh policies cloned from the pairs.

    Args:
        target: Where they act; the pairs' own target if not given. If that is `"module:Id"` it
            must be given, since an artifact does not decide what is imported.
        networks: K of which network.

    Raises:
        UsageError: Networks that do not exist, or an unknown target.
    """
    task = describe(target or target_of("the pairs", {"target": pairs.target}))
    shape = parse_networks(networks)
    trained = pairs.teach([shape], generator(seed, _SCORE))
    with RealEnvs(task, make_actions(task.action_space, 1.0), shape.count, episodes) as real:
        return real.evaluate(partial(act, trained), derive(seed, _SCORE))


def _teach(
    teacher: nn.Module, generator: torch.Generator, *, create_graph: bool,
    shapes: Sequence[Spec], temperature: float,
) -> Sequence[Student]:  # fmt: skip
    assert isinstance(teacher, Pairs)
    return teacher.teach(shapes, generator, create_graph=create_graph, temperature=temperature)
