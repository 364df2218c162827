"""Saved teachers: a folder of `model.safetensors`, `config.json`, `README.md`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from gtn_rl.errors import ArtifactError, GTNError
from gtn_rl.io.artifact import FORMAT_VERSION, write_artifact
from gtn_rl.supervised.config import SupervisedConfig
from gtn_rl.supervised.data import Data, Part
from gtn_rl.supervised.teachers import TEACHERS, make_teacher

_CARD = """\
# Teacher of {name}

Made with gtn_rl by {teacher} ({what}). It trains a classifier of {name} in {steps} steps of
{batch} examples each.

```python
from gtn_rl.supervised import load_teacher

teacher, config = load_teacher("{folder}")
```

| quantity | value |
| --- | --- |
{rows}
"""


def save_teacher(
    teacher: nn.Module,
    folder: str | Path,
    data: Data,
    config: SupervisedConfig,
    *,
    training: Mapping[str, Any] | None = None,
    results: Mapping[str, Any] | None = None,
) -> Path:
    """Write a teacher to a folder; a kill while writing leaves the old one usable.

    Args:
        teacher: As `teachers.make_teacher` makes it.
        folder: Made if missing; the three files in it are replaced.
        data: The task it was trained for.
        config: Its settings.
        training: What the training cost, as JSON.
        results: What classifiers trained by it reach, as JSON.

    Raises:
        ArtifactError: A parameter is not finite.
    """
    folder = Path(folder)
    content = {
        "format_version": FORMAT_VERSION,
        "kind": "teacher",
        "data": {"name": data.name, "shape": list(data.shape), "classes": data.classes},
        "config": asdict(config),
        "training": dict(training or {}),
        "results": dict(results or {}),
    }
    return write_artifact(teacher, folder, content, _card(content, folder))


def load_teacher(
    folder: str | Path, data: Data | None = None
) -> tuple[nn.Module, SupervisedConfig]:
    """A saved teacher and its settings.

    Args:
        folder: That `save_teacher` or a training run wrote.
        data: The task; needed by the teacher that shows real data, which is not saved with it.

    Raises:
        ArtifactError: Nothing there, something unreadable there, or made for other data.
    """
    folder = Path(folder)
    try:
        content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if content.get("kind") != "teacher":
            raise ArtifactError(
                f"{folder} holds no teacher of classifiers: give a folder that does"
            )
        if content["format_version"] != FORMAT_VERSION:
            raise ArtifactError(
                f"{folder} has format {content['format_version']}, this version reads "
                f"{FORMAT_VERSION}: upgrade gtn_rl"
            )
        known = content["data"]
        saved = content["config"]
        config = SupervisedConfig(**saved | {"learners": tuple(saved["learners"])})
        if data is None and config.teacher == "real":
            raise ArtifactError(f"{folder} teaches with real data: give it as `data`")
        if data is None:
            data = _shape_only(known)
        if (list(data.shape), data.classes) != (known["shape"], known["classes"]):
            raise ArtifactError(f"{folder} was made for {known['name']}, whose shape is another")
        teacher = make_teacher(data, config, torch.Generator())
        teacher.load_state_dict(load_file(folder / "model.safetensors"))
    except FileNotFoundError as error:
        raise ArtifactError(
            f"{folder} holds no teacher: {Path(error.filename).name} is missing"
        ) from error
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        if isinstance(error, GTNError):
            raise
        raise ArtifactError(
            f"{folder} is corrupt ({type(error).__name__}): save or train it again"
        ) from error
    return teacher, config


def saved_task(folder: str | Path) -> str:
    """Name of the data that a saved teacher was made for.

    Raises:
        ArtifactError: No teacher there.
    """
    path = Path(folder) / "config.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return str(content["data"]["name"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"{folder} holds no teacher of classifiers: train one with gtn-rl supervised"
        ) from error


def _shape_only(known: Mapping[str, Any]) -> Data:
    empty = Part(torch.zeros(0, math.prod(known["shape"])), torch.zeros(0, dtype=torch.long))
    return Data(known["name"], tuple(known["shape"]), known["classes"], empty, empty, empty)


def _card(content: Mapping[str, Any], folder: Path) -> str:
    results = {f"{name} accuracy (%)": f"{value:.2f}" for name, value in content["results"].items()}
    quantities = {**results, **content["training"]}
    config = content["config"]
    return _CARD.format(
        name=content["data"]["name"], teacher=config["teacher"], what=TEACHERS[config["teacher"]],
        steps=config["inner_steps"], batch=config["batch_size"], folder=str(folder),
        rows="\n".join(
            f"| {name.replace('_', ' ')} | {value} |"
            for name, value in quantities.items()
            if value != ""
        ),
    )  # fmt: skip
