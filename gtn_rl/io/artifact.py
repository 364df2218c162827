"""Artifacts: folders of `model.safetensors`, `config.json` and `README.md`, one format for all.

An artifact may be a stranger's. What `config.json` says is checked, and the header of the weights
against it, before anything is allocated; nothing that it says is ever imported.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from gtn_rl.errors import ArtifactError, GTNError, UsageError, did_you_mean, one_line
from gtn_rl.io.card import render_card
from gtn_rl.io.files import opened, write_bytes, write_text
from gtn_rl.io.schema import KINDS, plain

if TYPE_CHECKING:
    from torch import Tensor, nn

    M = TypeVar("M", bound=nn.Module)

FORMAT_VERSION = 2

_MOST_CONFIG, _MOST_HEADER, _MOST_WEIGHTS = 2**21, 2**20, 2**28
"""Bytes of `config.json`, of the weights' header and of the weights."""

Shapes = Mapping[str, tuple[int | None, ...]]
"""Of the tensors of a module by their names; `None` is any size."""


def shipped() -> dict[str, Path]:
    """Folders of the shipped environments by the id of their target."""
    zoo = Path(__file__).parents[1] / "zoo"
    return {path.parent.name: path.parent for path in sorted(zoo.glob("*/config.json"))}


def canonical(name_or_path: str | Path) -> str:
    """What names an artifact beyond doubt: `gtn_rl/CartPole-v1` the shipped one, or a folder.

    A folder goes before a shipped environment that is named without the prefix.

    Raises:
        ArtifactError: Neither; the message suggests one.
    """
    name, known = os.fspath(name_or_path), shipped()
    bare = name.removeprefix("gtn_rl/")
    if bare in known and (bare != name or not os.path.isdir(name)):
        return f"gtn_rl/{bare}"
    if os.path.isdir(name):
        return f".{os.sep}{name}" if name in known else name
    names = [f"gtn_rl/{shipped_name}" for shipped_name in known]
    raise ArtifactError(
        f"no artifact {name!r}: give one of {', '.join(names)} or a folder."
        f"{did_you_mean(name, names)}"
    )


def locate(name_or_path: str | Path) -> Path:
    """The folder of a shipped environment or of a path.

    Raises:
        ArtifactError: No such shipped environment and no such folder; the message suggests one.
    """
    name = canonical(name_or_path)
    folder = shipped().get(name.removeprefix("gtn_rl/")) if name.startswith("gtn_rl/") else None
    return folder or Path(name)


def read_config(name_or_path: str | Path, kind: str = "") -> dict[str, Any]:
    """What `config.json` says, checked: spaces, `target`, `training` cost, `results` and `kind`.

    Args:
        name_or_path: Of the artifact.
        kind: That it must be of, if it matters.

    Raises:
        ArtifactError: Nothing there, unreadable, of another kind, or written by a newer version.
    """
    folder = locate(name_or_path)
    if not os.path.lexists(folder / "config.json"):
        raise ArtifactError(f"{folder} holds no artifact: config.json is missing")
    try:
        with opened(folder / "config.json", _MOST_CONFIG) as (file, _):
            content = json.loads(file.read(_MOST_CONFIG).decode(), parse_constant=_refuse)
        version = content["format_version"]
        if version != FORMAT_VERSION:
            newer = isinstance(version, int) and version > FORMAT_VERSION
            raise ArtifactError(
                f"{folder} has format {version!r:.20}, this version reads {FORMAT_VERSION}: "
                f"{'upgrade gtn_rl' if newer else 'train it again'}"
            )
        plain(content)
        config: dict[str, Any] = {"kind": "environment"} | content
        if config["kind"] not in list(KINDS):
            raise ValueError("its kind is unknown")
        KINDS[config["kind"]][2](config, "config.json")
    except (OSError, ValueError, KeyError, TypeError, RecursionError, OverflowError) as error:
        raise _corrupt(folder, error) from error
    if kind and config["kind"] != kind:
        what, loader, _ = KINDS[config["kind"]]
        raise ArtifactError(f"{folder} holds a {what}, no {KINDS[kind][0]}: load it with {loader}")
    return config


def target_of(name_or_path: str | Path, config: Mapping[str, Any], named: str = "") -> str:
    """The Gymnasium id that an artifact was made for, as something to make environments of.

    An id such as `module:Id` has a module imported, so it is taken from the user only.

    Args:
        name_or_path: Of the artifact.
        config: What its `config.json` says.
        named: The target that the user names, if there is one.

    Raises:
        UsageError: The id has a module, and the user does not name it.
        ArtifactError: The user names another one.
    """
    target = str(config["target"])
    if named and named != target:
        raise ArtifactError(f"{name_or_path} was made for {target}, not for {named}")
    if ":" in target.partition(" ")[0] and not named:
        raise UsageError(
            f"{name_or_path} was made for {target}, and an artifact does not decide what is "
            f"imported. If you trust that module, name it: --target {target}"
        )
    return target


def total_costs(name_or_path: str | Path) -> dict[str, float]:
    """The `real_steps` and `seconds` that an artifact took, with all that it was begun from.

    Raises:
        ArtifactError: Nothing there, or unreadable.
    """
    training = read_config(name_or_path)["training"]
    return {
        key: round(training.get(key, 0) + training.get(f"{key}_of_init", 0), 1)
        for key in ("real_steps", "seconds")
    }


def save(
    folder: str | Path, kind: str, config: Mapping[str, Any], module: nn.Module, shapes: Shapes
) -> Path:
    """Write an artifact; a kill while writing leaves the old one usable.

    Args:
        folder: Made if missing; the three files in it are replaced.
        kind: One of `schema.KINDS`.
        config: What is needed to make the module again, and what is to be known of it, as JSON.
        module: Whose state is saved, in single precision.
        shapes: What its tensors have.

    Returns:
        The folder.

    Raises:
        ArtifactError: A number is not finite, or it could not be loaded again.
    """
    from safetensors.torch import save as encode

    folder = Path(folder)
    tensors = {name: tensor.float().contiguous() for name, tensor in module.state_dict().items()}
    broken = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    if broken:
        raise ArtifactError(f"not saved to {folder}: {', '.join(broken)} is not finite")
    content = _finite({"format_version": FORMAT_VERSION, "kind": kind, **config})
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    try:
        plain(json.loads(text))
        KINDS[kind][2](json.loads(text), "config.json")
        _check_shapes({name: list(tensor.shape) for name, tensor in tensors.items()}, shapes)
    except ValueError as error:
        raise ArtifactError(f"not saved to {folder}: {error}") from error
    # The weights come last: a folder without them is plainly not an artifact, and what changes
    # within one run (states, phases) is read from them.
    write_text(folder / "config.json", text)
    write_text(folder / "README.md", render_card(content))
    write_bytes(folder / "model.safetensors", encode(tensors))
    return folder


def load(folder: Path, shapes: Shapes, make: Callable[[dict[str, Tensor]], M]) -> M:
    """The module of an artifact, its parameters fixed.

    Args:
        folder: That `save` wrote.
        shapes: What its tensors must have.
        make: Makes the module that takes these tensors as its state.

    Raises:
        ArtifactError: The weights are missing, corrupt, or not those of `config.json`.
    """
    import numpy as np
    import torch

    default = torch.get_default_dtype()
    with _reading(folder):
        tensors = read_weights(folder, shapes)
        try:
            torch.set_default_dtype(torch.float32)
            # Bounds that single precision cannot hold are infinite.
            with np.errstate(over="ignore"):
                module = make(tensors)
            module.load_state_dict(tensors)
        finally:
            torch.set_default_dtype(default)
    return module.requires_grad_(False)


@contextmanager
def _reading(folder: Path) -> Iterator[None]:
    from safetensors import SafetensorError

    try:
        yield
    except GTNError:
        raise
    except (
        SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError, AssertionError,
        OverflowError,
    ) as error:  # fmt: skip
        raise _corrupt(folder, error) from error


def read_weights(folder: Path, shapes: Shapes) -> dict[str, Tensor]:
    """The tensors of an artifact.

    Raises:
        ArtifactError: They are missing, corrupt, or not those of `config.json`.
    """
    from safetensors.torch import load as decode

    path = folder / "model.safetensors"
    with _reading(folder), opened(path, _MOST_WEIGHTS) as (file, size):
        start = file.read(8)
        length = int.from_bytes(start, "little")
        if length > min(_MOST_HEADER, size - 8):
            raise ValueError("the weights have no header")
        text = file.read(length)
        header = json.loads(text.decode(), parse_constant=_refuse)
        header.pop("__metadata__", None)
        _check_shapes({name: entry["shape"] for name, entry in header.items()}, shapes)
        if any(entry["dtype"] != "F32" for entry in header.values()):
            raise ValueError("weights are not in single precision")
        numbers = sum(math.prod(entry["shape"]) for entry in header.values())
        if 8 + length + 4 * numbers != size:
            raise ValueError(f"{path.name} has not the size that its header says")
        tensors = decode(start + text + file.read(size))
        if not all(tensor.isfinite().all() for tensor in tensors.values()):
            raise ValueError("it holds numbers that are not finite")
    return tensors


def _check_shapes(found: Mapping[str, Any], wanted: Shapes) -> None:
    if found.keys() != wanted.keys():
        raise ValueError(f"weights are {', '.join(found)[:200]}, not {', '.join(wanted)}")
    for name, shape in wanted.items():
        sizes = found[name]
        if (
            not isinstance(sizes, list)
            or len(sizes) != len(shape)
            or any(type(size) is not int or size < 0 for size in sizes)
            or any(want not in (None, size) for size, want in zip(sizes, shape, strict=True))
        ):
            raise ValueError(f"{name} has shape {sizes!r:.60}, not {shape}")


def _corrupt(folder: Path, error: Exception) -> ArtifactError:
    return ArtifactError(
        f"{folder} is corrupt ({type(error).__name__}: {one_line(error):.300}): train or save it "
        "again"
    )


def _finite(value: Any) -> Any:
    """The value as JSON can hold it: null where a number is not finite."""
    if isinstance(value, Mapping):
        return {str(name): _finite(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")
