"""Meta-training of a synthetic environment, from its start to its artifact."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gtn_rl import checkpoint
from gtn_rl.artifact import save_pretrained
from gtn_rl.checkpoint import Parts, Progress
from gtn_rl.config import TrainConfig
from gtn_rl.envs.synthetic import SyntheticEnv
from gtn_rl.envs.targets import Factory, describe
from gtn_rl.errors import UsageError
from gtn_rl.executors import make_executor
from gtn_rl.loop import outer_loop
from gtn_rl.outer.estimator import Estimator
from gtn_rl.outer.evolution import Evolution, Executor, make_strategy
from gtn_rl.outer.meta_gradient import MetaGradient
from gtn_rl.real_return import RealReturn
from gtn_rl.runlog import RunLog
from gtn_rl.settings import settings_for
from gtn_rl.start import untrained


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
        progress = Progress()
        parts = _parts(untrained(task, config), problem, executor, config)
        going = folder is not None and resume and checkpoint.started(folder)
        if folder is not None and going:
            progress = checkpoint.load(folder, task.id, config, parts)

        def save() -> None:
            if folder is not None:
                _save(folder, task.id, config, progress, parts, command)

        with RunLog(folder, progress.rows, progress=progress_bar) as log:
            try:
                if not going:
                    parts = _parts(problem.start(log.say), problem, executor, config)
                    progress.spend(problem)
                    if folder is not None:
                        # A run that ends before its first evaluation can still be resumed.
                        checkpoint.save(folder, task.id, config, progress, parts)
                outer_loop(problem, parts, progress, log, save)
            except KeyboardInterrupt:
                progress.stopped = "interrupted"
    assert isinstance(parts.best, SyntheticEnv)
    return TrainResult(
        parts.best, progress.best, progress.real_steps, progress.seconds, progress.stopped,
        progress.rows,
    )  # fmt: skip


def _parts(
    env: SyntheticEnv, problem: RealReturn, executor: Executor, config: TrainConfig
) -> Parts:
    estimator: Estimator = MetaGradient(env, config.max_gradient_norm)
    if config.estimator == "evolution":
        strategy = make_strategy(
            config.strategy, config.population, config.deviation, config.outer_learning_rate
        )
        estimator = Evolution(env, strategy, executor, config.seed)
    return Parts(env, estimator, problem, config.averaging)


def _save(
    folder: Path, target: str, config: TrainConfig, progress: Progress, parts: Parts, command: str
) -> None:
    training = progress.costs() | {
        "seed": config.seed,
        "command": command,
        "config": asdict(config),
    }
    results = {"meta_validation": progress.best}
    assert isinstance(parts.best, SyntheticEnv)
    save_pretrained(parts.best, folder, training=training, results=results)
    checkpoint.save(folder, target, config, progress, parts)
