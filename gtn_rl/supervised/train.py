"""Meta-training of a teacher of classifiers, from its start to its artifact."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from gtn_rl import checkpoint
from gtn_rl.checkpoint import Parts, Progress
from gtn_rl.errors import UsageError
from gtn_rl.loop import outer_loop
from gtn_rl.outer.meta_gradient import MetaGradient
from gtn_rl.runlog import RunLog
from gtn_rl.seeding import generator
from gtn_rl.supervised.artifact import save_teacher
from gtn_rl.supervised.config import SupervisedConfig
from gtn_rl.supervised.data import Data, load
from gtn_rl.supervised.evaluate import final_accuracies
from gtn_rl.supervised.problem import COLUMNS, Classification
from gtn_rl.supervised.teachers import make_teacher

_BUDGET = ("outer_steps", "max_minutes")
_TEACHER = 3  # The stream beside those of `problem`.


@dataclass(frozen=True)
class SupervisedResult:
    """A trained teacher and what it cost.

    Args:
        teacher: The averaged teacher at the end of the schedule. None is picked by its validation
            accuracy: of digits' 180 examples that says less than the step size having fallen to 0,
            and picking by it kept teachers that were worse by 2 points.
        validation: Mean accuracy in percent of its fresh learners on the validation set.
        test: Mean accuracy in percent of fresh learners on the test set; measured once, at the end.
        seconds: Wall time of the meta-training.
        stopped: Why it ended: `"outer steps"`, `"minutes"` or `"interrupted"`.
        rows: The log, one row per outer step (columns: `gtn_rl.supervised.problem.COLUMNS`).
    """

    teacher: nn.Module
    validation: float
    test: float
    seconds: float
    stopped: str
    rows: list[dict[str, Any]]


def train(
    data: str | Data,
    out: str | Path | None = None,
    config: SupervisedConfig | None = None,
    *,
    resume: bool = False,
    progress_bar: bool = True,
    command: str = "",
    data_folder: str | Path | None = None,
) -> SupervisedResult:
    """Meta-train a teacher, so that classifiers it trains do well on real data.

    Each outer step trains fresh classifiers on what the teacher says and changes the teacher along
    the gradient of their loss on real training examples through their whole training (Such et al.
    2020, section 3).

    Args:
        data: Name of a known task (`gtn_rl.supervised.DATASETS`), or data of your own
            (`from_arrays`, `from_torch`).
        out: Folder for the artifact, `log.csv`, TensorBoard logs and checkpoints; made if missing.
        config: Settings.
        resume: Go on with the run that `out` holds, as if it had never stopped.
        progress_bar: Whether to show a progress bar.
        command: Recorded in the artifact as the way to reproduce it.
        data_folder: Local files of mnist, fashion-mnist and cifar10.

    Raises:
        UsageError: Unknown data or teacher, or `out` already holds a run and `resume` is false.
        MissingExtraError: The package that reads the data is not installed.
        TrainingDivergedError: Numbers stopped being finite; `out` keeps the last good artifact.
    """
    if resume and out is None:
        raise UsageError("resume needs the folder of the run to go on with")
    config = config or SupervisedConfig()
    task = load(data, data_folder) if isinstance(data, str) else data
    problem = Classification(task, config)
    teacher = make_teacher(task, config, generator(config.seed, _TEACHER))
    problem.train(teacher, 0, create_graph=False)  # What does not fit the data fails here.
    folder = None if out is None else checkpoint.prepare(Path(out), resume=resume)
    estimator = MetaGradient(teacher, config.max_gradient_norm)
    parts, progress = Parts(teacher, estimator, problem, config.averaging), Progress()
    if folder is not None and resume and checkpoint.started(folder):
        progress = checkpoint.load(folder, task.name, config, parts, _BUDGET)

    results: dict[str, float] = {}

    def save() -> None:
        if folder is None:
            return
        training = {
            "outer_steps": progress.step,
            "real_examples": progress.real_steps,
            "seconds": round(progress.seconds, 1),
            "stopped": progress.stopped or "still running",
            "command": command,
        }
        save_teacher(parts.averaged, folder, task, config, training=training, results=results)
        checkpoint.save(folder, task.name, config, progress, parts)

    shown = ("loss", "evaluation")
    with RunLog(folder, progress.rows, progress=progress_bar, columns=COLUMNS, shown=shown) as log:
        try:
            outer_loop(problem, parts, progress, log, save)
        except KeyboardInterrupt:
            progress.stopped = "interrupted"
    if progress.best > -float("inf"):
        for part in ("validation", "test"):
            accuracies = final_accuracies(parts.averaged, task, config, config.seed, on=part)
            results[part] = float(accuracies.mean())
        if progress.stopped != "interrupted":
            save()
    return SupervisedResult(
        parts.averaged, results.get("validation", math.nan), results.get("test", math.nan),
        progress.seconds, progress.stopped, progress.rows,
    )  # fmt: skip
