"""Behaviour distillation: pairs from which fresh policies are cloned, from start to artifact."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gtn_rl import checkpoint
from gtn_rl.agents.cloning import Shape, parse_shape
from gtn_rl.agents.learners import Learners
from gtn_rl.checkpoint import Parts
from gtn_rl.distill_config import DistillConfig, distillation_for
from gtn_rl.envs.actions import Actions, make_actions
from gtn_rl.envs.targets import Factory, RealEnvs, Target, describe
from gtn_rl.errors import UsageError
from gtn_rl.inner import act
from gtn_rl.outer.meta_gradient import MetaGradient
from gtn_rl.pairs import Pairs
from gtn_rl.pairs_artifact import save_pairs
from gtn_rl.perfect import perfect_learner
from gtn_rl.real_return import RealReturn
from gtn_rl.run import run
from gtn_rl.runlog import COLUMNS
from gtn_rl.seeding import derive, generator

# Streams of random numbers besides those of `RealReturn`, which count from 0.
_SCALE, _PAIRS, _SCORE, _CHOICE, _SEARCH = range(100, 105)

Array = NDArray[np.floating]

_COPIES, _LENGTH = 64, 64
"""Real environments, and steps in each, that show the scale of observations."""

_FINALISTS, _JUDGES = 16, 8
"""Random pairs that come into the second round, and policies that judge each of them there."""


@dataclass(frozen=True)
class DistillResult:
    """Learned pairs and what they cost.

    Args:
        pairs: The pairs with the best evaluation.
        score: That evaluation: mean greedy real return of fresh policies.
        real_steps: Steps of the real environment, evaluations included.
        seconds: Wall time.
        stopped: Why it ended: `"converged"`, `"real steps"`, `"minutes"` or `"interrupted"`.
        rows: The log, one row per outer step.
    """

    pairs: Pairs
    score: float
    real_steps: int
    seconds: float
    stopped: str
    rows: list[dict[str, Any]]


def distill(
    target: str | Factory,
    out: str | Path | None = None,
    config: DistillConfig | None = None,
    *,
    resume: bool = False,
    progress_bar: bool = True,
    command: str = "",
) -> DistillResult:
    """Learn k (state, action) pairs from which fresh policies are cloned in a few gradient steps.

    The outer loop of `gtn_rl.train` with other parts: the teacher is the pairs and the learning
    rates, the learners are behaviour cloners (Lupu et al. 2024, section 4). No expert is needed:
    pairs follow the gradient of the real return through the whole cloning.

    Args:
        target: Gymnasium id of an environment with flat `Box` observations and `Discrete` or
            bounded `Box` actions, or a function that makes one.
        out: Folder for the artifact, `log.csv`, TensorBoard logs and checkpoints; made if missing.
        config: Settings; those that `gtn_rl.distill_config` has for the target if not given.
        resume: Go on with the run that `out` holds, as if it had never stopped.
        progress_bar: Whether to show a progress bar.
        command: Recorded in the artifact as the way to reproduce it.

    Raises:
        UsageError: Unknown target, or `out` already holds a run and `resume` is false.
        UnsupportedSpaceError: The target's spaces are not supported.
        TrainingDivergedError: Numbers stopped being finite; `out` keeps the last good artifact.
    """
    if resume and out is None:
        raise UsageError("resume needs the folder of the run to go on with")
    task = describe(target)
    config = config or distillation_for(task.id)
    shapes = config.shapes()
    folder = None if out is None else checkpoint.prepare(Path(out), resume=resume)
    teach = partial(_teach, shapes=shapes, temperature=config.temperature)
    count = sum(shape.count for shape in shapes)
    with RealReturn(task, config.outer(), teach, count) as problem:
        columns = {k: v for k, v in COLUMNS.items() if not k.startswith("evaluation_")}
        columns["evaluation_min"] = COLUMNS["evaluation_min"]
        columns |= {f"evaluation_{s.name}": f"mean over the {s.name} policies" for s in shapes}
        parts, progress = run(
            problem, config, folder, resume=resume, blank=_random(task, config),
            start=lambda say: _start(task, config, problem, say),
            assemble=lambda pairs: _parts(pairs, problem, config),
            write=save_pairs, command=command, progress_bar=progress_bar, columns=columns,
        )  # fmt: skip
    assert isinstance(parts.best, Pairs)
    return DistillResult(
        parts.best, progress.best, progress.real_steps, progress.seconds, progress.stopped,
        progress.rows,
    )  # fmt: skip


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
        pairs: What they are cloned from.
        target: Where they act; the pairs' own target if not given.
        networks: How many of which network.
        episodes: Real episodes of each.
        seed: Of initial weights and episodes.

    Raises:
        UsageError: Networks that do not exist, or an unknown target.
    """
    task, shape = describe(target or pairs.target), parse_shape(networks)
    trained = pairs.teach([shape], generator(seed, _SCORE))
    with RealEnvs(task, make_actions(task.action_space, 1.0), shape.count, episodes) as real:
        return real.evaluate(partial(act, trained), derive(seed, _SCORE))


def _teach(
    teacher: nn.Module, generator: torch.Generator, *, create_graph: bool,
    shapes: Sequence[Shape], temperature: float,
) -> Sequence[Learners]:  # fmt: skip
    assert isinstance(teacher, Pairs)
    return teacher.teach(shapes, generator, create_graph=create_graph, temperature=temperature)


def _start(
    task: Target, config: DistillConfig, problem: RealReturn, say: Callable[[str], None]
) -> Pairs:
    """The best of many random pairs, or an expert's experience, if there is one."""
    if not config.warmup:
        say("searching a start")
        pairs, steps = _search(task, problem.actions, config)
        problem.begin(pairs.mean, pairs.std, steps)
        return pairs
    expert, states = problem.start(say), problem.visited
    std, mean = torch.std_mean(states, 0)
    pairs = _random(task, config, mean=mean.numpy(), std=std.clamp_min(1e-6).numpy())
    chosen = torch.randperm(len(states), generator=generator(config.seed, _CHOICE))[: pairs.count]
    with torch.no_grad():
        pairs.be(states[chosen], perfect_learner(expert, states[chosen].unsqueeze(0))[0])
    return pairs


def _search(task: Target, actions: Actions, config: DistillConfig) -> tuple[Pairs, int]:
    """The best of `starts` random pairs by real return, and the real steps that took.

    All teach a policy each; the best of these are judged by several policies, so that it is not the
    luckiest that wins. Observations are scaled by what random actions see.
    """
    mean, std, total = _observed(task, actions, config.seed)
    random = partial(_random, task, config, mean.numpy(), std.numpy())
    candidates = random(members=config.starts)
    shape = config.shapes()[0]
    for policies, episodes in ((1, 1), (_JUDGES, 2)):
        members = len(candidates.normal)
        (stack,) = candidates.teach(
            [replace(shape, count=members)], generator(config.seed, _SEARCH, policies)
        )
        with RealEnvs(task, actions, members, episodes) as real:
            seed = derive(config.seed, _SEARCH, policies)
            returns = real.evaluate(partial(act, [stack]), seed).view(-1, policies * episodes)
            total += real.steps
        best = returns.mean(1).argsort(descending=True)[:_FINALISTS]
        chosen = (best * policies).repeat_interleave(_JUDGES)
        following = random(members=len(chosen))
        following.load_state_dict(
            candidates.state_dict()
            | {"normal": candidates.normal[chosen], "wanted": candidates.wanted[chosen]}
        )
        candidates = following
    winner = random()
    with torch.no_grad():
        winner.normal.copy_(candidates.normal[0])
        winner.wanted.copy_(candidates.wanted[0])
    return winner, total


def _random(
    task: Target, config: DistillConfig, mean: Array | None = None, std: Array | None = None,
    members: int = 0,
) -> Pairs:  # fmt: skip
    return Pairs(
        task.observation_space, task.action_space, target=task.id, count=config.pairs,
        steps=config.steps, optimizer=config.optimizer, learning_rate=config.first_rate(),
        generator=generator(config.seed, _PAIRS), members=members, mean=mean, std=std,
    )  # fmt: skip


def _observed(task: Target, actions: Actions, seed: int) -> tuple[Tensor, Tensor, int]:
    """Mean and deviation `[O]` of what random actions see, and the real steps that took."""
    source = generator(seed, _SCALE)
    with RealEnvs(task, actions, 1, _COPIES) as real:
        real.reset(derive(seed, _SCALE))
        rollout = real.rollout(partial(actions.uninformed, generator=source), _LENGTH, source)
        std, mean = torch.std_mean(rollout.observation[rollout.valid], 0)
        # An observation that never moved says nothing of its scale.
        return mean, torch.where(std > 1e-6, std, torch.ones_like(std)), real.steps


def _parts(pairs: nn.Module, problem: RealReturn, config: DistillConfig) -> Parts:
    return Parts(pairs, MetaGradient(pairs, config.max_gradient_norm), problem, config.averaging)
