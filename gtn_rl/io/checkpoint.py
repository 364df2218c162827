"""Everything a run needs to go on after a kill."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from gtn_rl.errors import ArtifactError, UsageError
from gtn_rl.io.files import replacing

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_FILE = "checkpoint.pt"

BUDGET = ("max_real_steps", "max_minutes", "outer_steps", "target_return")
"""Settings that a resumed run may change."""


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


def save(folder: Path, target: str, config: DataclassInstance, content: dict[str, Any]) -> None:
    """Replace the folder's checkpoint."""
    known = {"target": target, "config": json.dumps(asdict(config))}
    with replacing(folder / _FILE) as path:
        torch.save(known | content, path)


def load(
    folder: Path, target: str, config: DataclassInstance, budget: Collection[str] = BUDGET
) -> dict[str, Any]:
    """What the folder's checkpoint holds.

    Args:
        folder: Of the run.
        target: What the run must be on.
        config: Its settings.
        budget: Settings that may differ from those of the run.

    Raises:
        ArtifactError: The checkpoint cannot be read.
        UsageError: It belongs to another target or to other settings.
    """
    try:
        content: dict[str, Any] = torch.load(folder / _FILE, weights_only=True)
        saved = json.loads(content["config"])
        saved_target = content["target"]
        missing = {"progress", "state", "stage"} - set(content)
    except Exception as error:
        raise ArtifactError(
            f"{folder / _FILE} cannot be read ({type(error).__name__}): train into a new folder"
        ) from error
    if missing:
        raise ArtifactError(f"{folder / _FILE} is no checkpoint: train into a new folder")
    if saved_target != target:
        raise UsageError(f"{folder} holds a run on {saved_target}, not on {target}")
    asked = json.loads(json.dumps(asdict(config)))
    names = {*saved, *asked} - set(budget)
    changed = sorted(name for name in names if saved.get(name) != asked.get(name))
    if changed:
        raise UsageError(
            f"{folder} was trained with other settings ({', '.join(changed)}): "
            "resume with the same, only the budget may change"
        )
    return content
