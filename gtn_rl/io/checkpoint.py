"""Everything a run needs to go on after a kill."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from gtn_rl.errors import ArtifactError, GTNError, TrainingDivergedError, UsageError
from gtn_rl.io.files import LOCK, is_leftover, write_bytes

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_FILE = "checkpoint.pt"
_BOARD = "tensorboard"
_TRACES = (LOCK, "log.csv", _BOARD)

_PARTS = {"progress", "state", "stage", "target", "config"}

BUDGET = ("max_real_steps", "max_minutes", "outer_steps", "target_return")
"""Settings that a resumed run may change."""


def prepare(out: str | Path | None, *, resume: bool) -> Path | None:
    """Make the folder of a run, or check that it holds one to go on with; nothing without one.

    Raises:
        UsageError: The folder holds something already, or with `resume` no checkpoint; or there is
            no folder to resume.
    """
    if out is None:
        if resume:
            raise UsageError("resume needs the folder of the run to go on with")
        return None
    folder = Path(out)
    if resume:
        if not started(folder) and not any((folder / name).exists() for name in _TRACES):
            raise UsageError(f"{folder} holds no checkpoint to resume: start without --resume")
        return folder
    # A run that was killed before its log was begun left nothing that a new one could harm.
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is no folder: choose one with --out")
    if folder.exists() and any(
        not is_leftover(path) and path.name != _BOARD for path in folder.iterdir()
    ):
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
    """Replace the folder's checkpoint.

    Raises:
        TrainingDivergedError: A tensor is not finite; the last checkpoint is kept.
        ArtifactError: The file cannot be written.
    """
    for name, leaf in _leaves(content):
        if isinstance(leaf, torch.Tensor) and leaf.is_floating_point() and leaf.isnan().any():
            raise TrainingDivergedError(
                f"{name} is not a number any more: the last checkpoint and artifact in {folder} "
                "are kept; check the environment's observations and rewards, or train more slowly"
            )
    known = {"target": target, "config": json.dumps(asdict(config))} | content
    file = io.BytesIO()
    torch.save(known | {"digest": _digest(known)}, file)
    write_bytes(folder / _FILE, file.getvalue())


@contextmanager
def fitting() -> Iterator[None]:
    """Say in one line that a checkpoint is not one of the run that takes it over.

    Raises:
        ArtifactError: It is not.
    """
    try:
        yield
    except GTNError:
        raise
    except (
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        ArithmeticError,
        RuntimeError,
    ) as error:
        raise ArtifactError(
            f"the checkpoint is none of this kind of run ({type(error).__name__}): "
            "train into a new folder"
        ) from error


def alike(own: Any, saved: Any) -> bool:
    """Whether a saved state has the types, lengths and axes of an object's own, as it began."""
    if isinstance(own, torch.Tensor):
        some = isinstance(saved, torch.Tensor) and own.dim() == saved.dim()
        # What was nothing at first has grown along its first axis.
        return some and (own.numel() > 0 or own.shape[1:] == saved.shape[1:])
    if isinstance(own, dict):
        same = isinstance(saved, dict) and (not own or own.keys() == saved.keys())
        return same and all(alike(own[name], saved[name]) for name in own)
    if isinstance(own, list | tuple):
        return type(own) is type(saved) and len(own) == len(saved) and all(map(alike, own, saved))
    return isinstance(saved, int | float) or (own is None and saved is None)


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """What a nested structure holds, by where in it that is."""
    if isinstance(value, dict | list | tuple):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for key, entry in pairs:
            yield from _leaves(entry, f"{name}/{key}")
    else:
        yield name, value


def _digest(content: dict[str, Any]) -> str:
    total = hashlib.sha256()
    for name, leaf in _leaves(content):
        total.update(f"{name}={type(leaf)}".encode())
        if isinstance(leaf, torch.Tensor):
            total.update(f"{leaf.dtype}{tuple(leaf.shape)}".encode())
            total.update(leaf.detach().contiguous().numpy().tobytes())
        else:
            total.update(repr(leaf).encode())
    return total.hexdigest()


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
        digest = content.pop("digest")
        if digest != _digest(content) or not content.keys() >= _PARTS:
            raise ValueError
        saved, saved_target = dict(json.loads(content["config"])), content["target"]
        if not isinstance(saved_target, str) or not saved_target.isprintable():
            raise ValueError
    except Exception as error:
        raise ArtifactError(
            f"{folder / _FILE} cannot be read ({type(error).__name__}): train into a new folder"
        ) from error
    if saved_target != target:
        raise UsageError(f"{folder} holds a run on {saved_target!s:.60}, not on {target}")
    asked = json.loads(json.dumps(asdict(config)))
    names = {*saved, *asked} - set(budget)
    changed = sorted(name for name in names if saved.get(name) != asked.get(name))
    if changed:
        raise UsageError(
            f"{folder} was trained with other settings ({', '.join(changed)}): "
            "resume with the same, only the budget may change"
        )
    return content
