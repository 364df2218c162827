"""A run of the outer loop, begun or resumed, logged, saved, and ended by whatever ends it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import nn

from gtn_rl import checkpoint
from gtn_rl.checkpoint import Parts, Progress
from gtn_rl.loop import outer_loop
from gtn_rl.real_return import RealReturn
from gtn_rl.runlog import COLUMNS, RunLog


def run(
    problem: RealReturn,
    config: Any,
    folder: Path | None,
    *,
    resume: bool,
    blank: nn.Module,
    start: Callable[[Callable[[str], None]], nn.Module],
    assemble: Callable[[nn.Module], Parts],
    write: Callable[..., Path],
    command: str,
    progress_bar: bool,
    columns: Mapping[str, str] = COLUMNS,
) -> tuple[Parts, Progress]:
    """Go through the outer loop of a problem; what it leaves and what it cost.

    Args:
        problem: What to solve.
        config: Its settings, a dataclass with a `seed`.
        folder: Of the artifact, the logs and the checkpoints, if there is one.
        resume: Whether to go on with what the folder holds.
        blank: A teacher of the shape of those to come, for what a checkpoint is loaded into.
        start: Finds the teacher to start from; is given what to tell of it to.
        assemble: The parts of a run, for a teacher.
        write: Saves a teacher to the folder, with `training` and `results`.
        command: Recorded in the artifact as the way to reproduce it.
        progress_bar: Whether to show a progress bar.
        columns: Of the log.
    """
    target = problem.task.id
    progress = Progress()
    parts = assemble(blank)
    going = folder is not None and resume and checkpoint.started(folder)
    if folder is not None and going:
        progress = checkpoint.load(folder, target, config, parts)

    def save() -> None:
        if folder is not None:
            settings = {"seed": config.seed, "command": command, "config": asdict(config)}
            results = {"meta_validation": progress.best}
            write(parts.best, folder, training=progress.costs() | settings, results=results)
            checkpoint.save(folder, target, config, progress, parts)

    with RunLog(folder, progress.rows, progress=progress_bar, columns=columns) as log:
        try:
            if not going:
                parts = assemble(start(log.say))
                progress.before = problem.before
                progress.spend(problem)
                if folder is not None:
                    # A run that ends before its first evaluation can still be resumed.
                    checkpoint.save(folder, target, config, progress, parts)
            outer_loop(problem, parts, progress, log, save)
        except KeyboardInterrupt:
            progress.stopped = "interrupted"
    return parts, progress
