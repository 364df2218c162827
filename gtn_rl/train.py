"""Meta-training of a synthetic environment, from its start to its artifact."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gtn_rl import checkpoint
from gtn_rl.artifact import save_pretrained
from gtn_rl.checkpoint import Parts
from gtn_rl.config import TrainConfig
from gtn_rl.envs.synthetic import SHOWING, SyntheticEnv
from gtn_rl.envs.targets import Factory, describe
from gtn_rl.errors import UsageError
from gtn_rl.executors import make_executor
from gtn_rl.outer.estimator import Estimator
from gtn_rl.outer.evolution import Evolution, Executor, make_strategy
from gtn_rl.outer.meta_gradient import MetaGradient
from gtn_rl.real_return import RealReturn
from gtn_rl.run import run
from gtn_rl.settings import settings_for
from gtn_rl.start import untrained
from gtn_rl.starts import best_start


@dataclass(frozen=True)
class TrainResult:
    """A trained synthetic environment and what it cost.

    Args:
        env: The environment with the best evaluation.
        score: That evaluation: mean greedy real return of fresh learners.
        real_steps: Steps of the real environment, evaluations included.
        seconds: Wall time.
        stopped: Why it ended: `"converged"`, `"real steps"`, `"minutes"` or `"interrupted"`.
        rows: The log, one row per outer step (columns: `gtn_rl.runlog.COLUMNS`).
    """

    env: SyntheticEnv
    score: float
    real_steps: int
    seconds: float
    stopped: str
    rows: list[dict[str, Any]]


def train(
    target: str | Factory,
    out: str | Path | None = None,
    config: TrainConfig | None = None,
    *,
    resume: bool = False,
    progress_bar: bool = True,
    command: str = "",
) -> TrainResult:
    """Meta-train a synthetic environment for a target by real return.

    Each outer step trains fresh learners in the environment, lets them act in the target, and
    changes the environment along the gradient of their real return through their whole training
    (Such et al. 2020, section 3, with return in the place of the validation loss); or, with the
    estimator `evolution`, does so for a population of environments and goes where the best are.

    Args:
        target: Gymnasium id of an environment with flat `Box` observations and `Discrete` or
            bounded `Box` actions, or a function that makes one.
        out: Folder for the artifact, `log.csv`, TensorBoard logs and checkpoints; made if missing.
        config: Settings; those that `gtn_rl.settings` has for the target if not given.
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
    config = (config or settings_for(task.id)).for_space(task.action_space)
    folder = None if out is None else checkpoint.prepare(Path(out), resume=resume)
    with (
        RealReturn(task, config) as problem,
        closing(make_executor(target, config, problem)) as executor,
    ):
        several = config.practised or (config.experts > 1 and not config.init)
        parts, progress = run(
            problem, config, folder, resume=resume, blank=untrained(task, config),
            start=partial(best_start, target, problem) if several else problem.start,
            assemble=lambda env: assemble(env, problem, executor, config),
            write=save_pretrained, command=command, progress_bar=progress_bar,
        )  # fmt: skip
    assert isinstance(parts.best, SyntheticEnv)
    return TrainResult(
        parts.best, progress.best, progress.real_steps, progress.seconds, progress.stopped,
        progress.rows,
    )  # fmt: skip


def assemble(
    teacher: nn.Module, problem: RealReturn, executor: Executor, config: TrainConfig
) -> Parts:
    """The parts of a run with the estimator that the settings ask for."""
    estimator: Estimator = MetaGradient(
        teacher, config.max_gradient_norm, equal=config.equal_say,
        faster=SHOWING, multiple=config.showing_rate,
    )  # fmt: skip
    if config.estimator == "evolution":
        strategy = make_strategy(
            config.strategy, config.population, config.deviation, config.outer_learning_rate
        )
        estimator = Evolution(
            teacher, strategy, executor, config.seed,
            weights=torch.tensor(list(config.kinds.values()), dtype=torch.float32),
            equal=config.equal_say, moving=[f"{part}_parameters" for part in config.evolved],
        )  # fmt: skip
    return Parts(teacher, estimator, problem, config.averaging)
