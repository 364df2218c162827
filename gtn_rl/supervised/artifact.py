"""Saved teachers of classifiers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gtn_rl.errors import ArtifactError, UsageError
from gtn_rl.io.artifact import Shapes, load, locate, read_config, save
from gtn_rl.supervised.config import SupervisedConfig
from gtn_rl.supervised.data import Data, Part
from gtn_rl.supervised.teachers import CURRICULA, make_teacher

_MOST = 200
"""Kinds of learners at most, and characters of each."""


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
        ArtifactError: A parameter is not finite, or the folder cannot be written.
    """
    config = config.suited(data.shape)
    described = {"name": data.name, "shape": list(data.shape), "classes": data.classes}
    content = {
        "name": str(folder),
        "data": described,
        "config": asdict(_settings(folder, asdict(config))),
        "training": dict(training or {}),
        "results": dict(results or {}),
    }
    return save(folder, "teacher", content, teacher, _shapes(described, config))


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
    content = read_config(folder, "teacher")
    known, config = content["data"], _settings(folder, content["config"])
    if data is None and config.teacher == "real":
        raise ArtifactError(f"{folder} teaches with real data: give it as `data`")
    if data is not None and (list(data.shape), data.classes) != (known["shape"], known["classes"]):
        raise ArtifactError(f"{folder} was made for {known['name']}, whose shape is another")

    def make(_: dict[str, Tensor]) -> nn.Module:
        return make_teacher(data or _shape_only(known), config, torch.Generator())

    return load(locate(folder), _shapes(known, config), make), config


def saved_task(folder: str | Path) -> str:
    """Name of the data that a saved teacher was made for.

    Raises:
        ArtifactError: No teacher there.
    """
    return str(read_config(folder, "teacher")["data"]["name"])


def teacher_shapes(content: Mapping[str, Any]) -> Shapes:
    """Of the weights of the teacher that `config.json` describes."""
    return _shapes(content["data"], _settings("config.json", content["config"]))


def _settings(folder: str | Path, saved: Mapping[str, Any]) -> SupervisedConfig:
    given: dict[str, Any] = {
        field.name: tuple(value) if isinstance(value, list) else value
        for field in fields(SupervisedConfig)
        for value in [saved.get(field.name, field.default)]
    }
    try:
        long = [str(text)[:20] for text in given["learners"] if len(str(text)) > _MOST]
        if long or len(given["learners"]) > _MOST:
            raise UsageError(f"learners has more than {_MOST} entries, or characters of {long}")
        return SupervisedConfig(**given)
    except (UsageError, TypeError) as error:
        raise ArtifactError(f"{folder} is no teacher that can be saved: {error}") from error


def _shapes(data: Mapping[str, Any], config: SupervisedConfig) -> Shapes:
    steps, batch, noise, hidden = (
        config.inner_steps, config.batch_size, config.noise, config.hidden
    )  # fmt: skip
    inputs, classes = math.prod(data["shape"]), data["classes"]
    shapes: dict[str, tuple[int | None, ...]] = dict.fromkeys(
        ("rates.log_rate", "rates.momentum"), (steps,)
    )
    if config.soft_labels:
        shapes["labels.logits"] = (steps, 1, batch, classes)
    if config.teacher == "distillation":
        shapes["inputs"] = (steps, 1, batch, inputs)
    if config.teacher in CURRICULA:
        layers: dict[str, tuple[int, ...]] = {
            "layers.0": (hidden, noise + classes),
            "layers.2": (inputs, hidden),
        }
        if config.generator == "conv":
            channels, (colours, high, wide) = max(hidden // 4, 1), data["shape"]
            small = -(-high // 4) * -(-wide // 4)
            layers = {
                "layers.layers.0": (channels * small, noise + classes),
                "layers.layers.1": (channels, channels, 3, 3),
                "layers.layers.2": (colours, channels, 3, 3),
            }
        for name, (units, *rest) in layers.items():
            weight = f"{name}.parametrizations.weight.original"
            shapes |= {f"{name}.bias": (units,), f"{weight}1": (units, *rest)}
            shapes |= {f"{weight}0": (units, *(1 for _ in rest))}
        if config.teacher not in ("no-curriculum", "balanced-noise"):
            shapes["noise"] = (steps, batch, noise)
    return shapes


def _shape_only(known: Mapping[str, Any]) -> Data:
    empty = Part(torch.zeros(0, math.prod(known["shape"])), torch.zeros(0, dtype=torch.long))
    return Data(known["name"], tuple(known["shape"]), known["classes"], empty, empty, empty)
