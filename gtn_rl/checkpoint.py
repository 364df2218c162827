"""Everything a run needs to go on after a kill."""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Collection
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from gtn_rl.errors import ArtifactError, UsageError
from gtn_rl.files import replacing

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from gtn_rl.loop import Problem
    from gtn_rl.outer.estimator import Estimator

_FILE = "checkpoint.pt"

BUDGET = ("max_real_steps", "max_minutes", "max_outer_steps", "patience", "target_return")
"""Settings that a resumed run may change."""


class Parts:
    """The moving parts of a run: the teacher, what updates it, its average and its best.

    Args:
        teacher: The module that is trained.
        estimator: Updates it.
        problem: What it is trained for.
        decay: Decay of the moving average of the teacher's parameters.
    """

    def __init__(
        self, teacher: nn.Module, estimator: Estimator, problem: Problem, decay: float
    ) -> None:
        def blend(average: Tensor, new: Tensor, count: Tensor | int) -> Tensor:
            # The plain mean until it is longer than the decay's memory: no bias to the start.
            return average.lerp(new, max(1 - decay, 1 / (int(count) + 1)))

        self.teacher = teacher
        self.estimator = estimator
        self.problem = problem
        self.average = AveragedModel(teacher, avg_fn=blend).requires_grad_(False)
        self.best = copy.deepcopy(teacher).requires_grad_(False)

    @property
    def averaged(self) -> nn.Module:
        """The teacher with averaged parameters."""
        return self.average.module

    def keep(self) -> None:
        """Make the averaged teacher the best."""
        self.best.load_state_dict(self.averaged.state_dict())

    def _holders(self) -> dict[str, Any]:
        return {
            "teacher": self.teacher,
            "average": self.average,
            "best": self.best,
            "estimator": self.estimator,
            "problem": self.problem,
        }

    def state_dict(self) -> dict[str, Any]:
        """States of all parts."""
        return {name: holder.state_dict() for name, holder in self._holders().items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Set all parts to saved states."""
        for name, holder in self._holders().items():
            holder.load_state_dict(state[name])


@dataclass
class Progress:
    """Where a run stands, besides tensors.

    Args:
        step: Outer steps done.
        real_steps: Steps of the real environment.
        seconds: Wall time, all sittings together.
        best: Best evaluation so far.
        since_best: Evaluations since then.
        stopped: Why the run ended, or an empty string.
        rows: The log.
        before: What the artifact cost that the run began from (`init`), all before it included:
            `real_steps` and `seconds`.
    """

    step: int = 0
    real_steps: int = 0
    seconds: float = 0.0
    best: float = -math.inf
    since_best: int = 0
    stopped: str = ""
    rows: list[dict[str, Any]] = field(default_factory=list)
    before: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Start the clock of this sitting."""
        self._clock = time.perf_counter()

    def spend(self, problem: Problem) -> tuple[str, float]:
        """Bring the costs up to date; the budget of which most is spent, and its share."""
        now = time.perf_counter()
        self.seconds += now - self._clock
        self._clock, self.real_steps = now, problem.real_steps
        limits = problem.limits(self)
        return max(limits.items(), key=lambda limit: limit[1])

    def costs(self) -> dict[str, Any]:
        """What the run cost so far, with what it began from, and why it ended."""
        costs = {"real_steps": self.real_steps, "seconds": round(self.seconds, 1)}
        if self.before:
            costs |= {f"{name}_of_init": value for name, value in self.before.items()}
        return costs | {"outer_steps": self.step, "stopped": self.stopped or "still running"}

    def judge(self, score: float, goal: float | None, patience: int) -> bool:
        """Whether none was better so far; stop when the goal is reached and it stalls."""
        better, as_good = score > self.best, score >= self.best
        self.best = max(score, self.best)
        self.since_best = 0 if better else self.since_best + 1
        if goal is not None and self.best >= goal and self.since_best >= patience:
            self.stopped = "converged"
        # Of equals the later: it has been trained longer.
        return as_good


def prepare(folder: Path, *, resume: bool) -> Path:
    """Make the folder of a run, or check that it holds one to go on with.

    Raises:
        UsageError: The folder holds something already, or with `resume` no checkpoint.
    """
    if resume:
        if not started(folder) and not (folder / "log.csv").is_file():
            raise UsageError(f"{folder} holds no checkpoint to resume: start without --resume")
        return folder
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(
            f"{folder} is not empty: go on with --resume, or choose another folder with --out"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make folder {folder}: {error.strerror}") from error
    return folder


def started(folder: Path) -> bool:
    """Whether a run got far enough to leave a checkpoint."""
    return (folder / _FILE).is_file()


def save(
    folder: Path, target: str, config: DataclassInstance, progress: Progress, parts: Parts
) -> None:
    """Replace the folder's checkpoint."""
    content = {
        "target": target,
        "config": json.dumps(asdict(config)),
        "progress": asdict(progress),
        "parts": parts.state_dict(),
    }
    with replacing(folder / _FILE) as path:
        torch.save(content, path)


def load(
    folder: Path,
    target: str,
    config: DataclassInstance,
    parts: Parts,
    budget: Collection[str] = BUDGET,
) -> Progress:
    """Set the parts to the folder's checkpoint and say where that run stood.

    Args:
        folder: Of the run.
        target: What the run must be on.
        config: Its settings.
        parts: Changed in place.
        budget: Settings that may differ from those of the run.

    Raises:
        ArtifactError: The checkpoint cannot be read.
        UsageError: It belongs to another target or to other settings.
    """
    try:
        content = torch.load(folder / _FILE, weights_only=True)
        states = content["parts"]
        saved = json.loads(content["config"])
        progress = Progress(**content["progress"])
        saved_target = content["target"]
    except Exception as error:
        raise ArtifactError(
            f"{folder / _FILE} cannot be read ({type(error).__name__}): train into a new folder"
        ) from error
    if saved_target != target:
        raise UsageError(f"{folder} holds a run on {saved_target}, not on {target}")
    asked = json.loads(json.dumps(asdict(config)))
    # Settings that are newer than the run were at their defaults in it, as it were.
    defaults = {own.name: own.default for own in fields(config) if own.default is not MISSING}
    saved = json.loads(json.dumps(defaults)) | saved
    names = {*saved, *asked} - set(budget)
    changed = sorted(name for name in names if saved.get(name) != asked.get(name))
    if changed:
        raise UsageError(
            f"{folder} was trained with other settings ({', '.join(changed)}): "
            "resume with the same, only the budget may change"
        )
    parts.load_state_dict(states)
    progress.stopped = ""
    return progress
