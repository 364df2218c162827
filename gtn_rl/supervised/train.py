"""Meta-training of a teacher of classifiers, from its start to its artifact."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from gtn_rl.io import checkpoint
from gtn_rl.loop import Stage
from gtn_rl.run import Result, go
from gtn_rl.seeding import generator
from gtn_rl.state import State
from gtn_rl.supervised.artifact import save_teacher
from gtn_rl.supervised.config import SupervisedConfig
from gtn_rl.supervised.data import Data
from gtn_rl.supervised.datasets import load
from gtn_rl.supervised.evaluate import taught
from gtn_rl.supervised.problem import Classification, Reconstruction, examples
from gtn_rl.supervised.stage import COLUMNS, Scheduled
from gtn_rl.supervised.teachers import Distilled, RealTeacher, make_teacher

_TEACHER = 3  # The stream beside those of `problem`.
_SHOWN_RATE = 3e-2


def train(
    data: str | Path | Data,
    out: str | Path | None = None,
    config: SupervisedConfig | None = None,
    *,
    resume: bool = False,
    progress_bar: bool = True,
    command: str = "",
    size: int | None = None,
) -> Result:
    """Meta-train a teacher, so that classifiers it trains do well on real data.

    Each outer step trains fresh classifiers on what the teacher says and changes the teacher along
    the gradient of their loss on real training examples through their whole training (Such et al.
    2020, section 3).

    Args:
        data: A known task (`gtn_rl.supervised.DATASETS`), a folder or zip file of images, or data
            of your own (`from_arrays`, `from_torch`).
        out: Folder for the artifact, `log.csv`, TensorBoard logs and checkpoints; made if missing.
        config: Settings.
        resume: Go on with the run that `out` holds, as if it had never stopped.
        progress_bar: Whether to show a progress bar.
        command: Recorded in the artifact as the way to reproduce it.
        size: Height and width to which images in class folders are scaled.

    Returns:
        The averaged teacher at the end of the schedule and, as `scores`, the mean accuracies in
        percent of fresh learners on the `validation` and the `test` set, which are measured once,
        at the end. `real_steps` are real examples.

    Raises:
        UsageError: Unknown data or teacher, or `out` already holds a run and `resume` is false.
        MissingExtraError: The package that reads the data is not installed.
        TrainingDivergedError: Numbers stopped being finite; `out` keeps the last good artifact.
    """
    task = data if isinstance(data, Data) else load(data, size, progress_bar=progress_bar)
    settings = (config or SupervisedConfig()).suited(task.shape)
    source = generator(settings.seed, _TEACHER)
    teacher = make_teacher(task, settings, source)
    taught(teacher, task, settings, source)  # What does not fit the data fails here.
    folder = checkpoint.prepare(out, resume=resume)

    def write(
        teacher: nn.Module, folder: Path, *, training: Mapping[str, Any], results: Mapping[str, Any]
    ) -> Path:
        cost = {name: value for name, value in training.items() if name != "config"}
        cost["real_examples"] = cost.pop("real_steps")
        accuracies = results["returns"]
        return save_teacher(teacher, folder, task, settings, training=cost, results=accuracies)

    stages: list[Stage] = [
        Scheduled(
            Classification(task, settings), task, settings, steps=settings.outer_steps,
            every=settings.evaluate_every, rate=settings.outer_learning_rate, last=True,
            max_norm=settings.max_gradient_norm, averaging=settings.averaging,
        )
    ]  # fmt: skip
    if not isinstance(teacher, RealTeacher) and settings.fixed and settings.reconstruct:
        real = examples(task, settings.seed, teacher.labels.given.argmax(-1))
        if isinstance(teacher, Distilled):
            teacher.inputs.data.copy_(real)
        else:
            shown = Scheduled(
                Reconstruction(real), task, settings, steps=settings.reconstruct,
                every=settings.reconstruct, rate=_SHOWN_RATE, max_norm=math.inf, averaging=0,
            )  # fmt: skip
            stages.insert(0, shown)
    return go(
        stages, State(teacher), target=task.name, config=settings,
        folder=folder, resume=resume, budgets={"minutes": settings.max_minutes}, write=write,
        command=command, progress_bar=progress_bar, columns=COLUMNS,
    )  # fmt: skip
