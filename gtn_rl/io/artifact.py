"""Saved synthetic environments: a folder of `model.safetensors`, `config.json`, `README.md`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from gymnasium import spaces
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from gtn_rl import zoo
from gtn_rl.envs.presentation import Phase, decode
from gtn_rl.envs.synthetic import SyntheticEnv
from gtn_rl.errors import ArtifactError, GTNError, did_you_mean
from gtn_rl.io.card import render_card
from gtn_rl.io.files import replacing, write_text

FORMAT_VERSION = 2

M = TypeVar("M", bound=nn.Module)


def save_pretrained(
    env: SyntheticEnv,
    folder: str | Path,
    *,
    training: Mapping[str, Any] | None = None,
    results: Mapping[str, Any] | None = None,
    name: str = "",
) -> Path:
    """Write a synthetic environment to a folder; a kill while writing leaves the old one usable.

    Args:
        env: The environment (any number of members).
        folder: Made if missing; the three files in it are replaced.
        training: What the training cost, as JSON: `real_steps`, `seconds`, `seed`, `command`, ...
        results: What agents trained in it reach, as JSON.
        name: Under which it will be loaded, for the card; the folder if not given.

    Returns:
        The folder.

    Raises:
        ArtifactError: A parameter is not finite.
    """
    folder = Path(folder)
    config = {
        "format_version": FORMAT_VERSION,
        "name": name or str(folder),
        "target": env.target,
        "observation_space": encode_space(env.observation_space),
        "action_space": encode_space(env.action_space),
        "horizon": env.horizon,
        "phases": [asdict(phase) for phase in decode(env.presentation[0])],
        "states": len(env.states),
        "budget": env.budget,
        "hidden": list(env.hidden),
        "members": env.members,
        "parameters": sum(parameter.numel() for parameter in env.parameters()),
        "training": dict(training or {}),
        "results": dict(results or {}),
    }
    return write_artifact(env, folder, config, render_card(config))


def write_artifact(module: nn.Module, folder: Path, config: Mapping[str, Any], card: str) -> Path:
    """Write the three files of an artifact; a kill while writing leaves the old ones usable.

    Args:
        module: Whose state is saved.
        folder: Made if missing.
        config: What is needed to make the module again, as JSON.
        card: Text of `README.md`.

    Returns:
        The folder.

    Raises:
        ArtifactError: A number is not finite.
    """
    tensors = {name: tensor.contiguous() for name, tensor in module.state_dict().items()}
    broken = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    if broken:
        raise ArtifactError(f"not saved to {folder}: {', '.join(broken)} is not finite")
    # The weights come last: a folder without them is plainly not an artifact, and nothing that the
    # weights need ever changes within one run.
    write_text(folder / "config.json", json.dumps(config, indent=2) + "\n")
    write_text(folder / "README.md", card)
    with replacing(folder / "model.safetensors") as path:
        save_file(tensors, path)
    return folder


def from_pretrained(name_or_path: str | Path, *, target: str | None = None) -> SyntheticEnv:
    """Load a synthetic environment.

    Args:
        name_or_path: Name of a shipped environment (`"gtn_rl/CartPole-v1"`, or without the
            prefix), or a folder that `save_pretrained` or a training run wrote.
        target: Gymnasium id that the environment must have been made for, if it matters.

    Raises:
        ArtifactError: Nothing there, something unreadable there, or made for another target.
    """
    folder = locate(name_or_path)
    config = read_config(folder)
    if config.get("kind") == "pairs":
        raise ArtifactError(f"{folder} holds pairs: load them with gtn_rl.load_pairs")
    if config.get("kind") == "reward":
        raise ArtifactError(f"{folder} holds a reward network: load it with gtn_rl.load_reward")
    if target is not None and config["target"] != target:
        raise ArtifactError(
            f"{folder} was made for {config['target']}, not for {target}: use one made for {target}"
        )

    def make() -> SyntheticEnv:
        return SyntheticEnv(
            decode_space(config["observation_space"]),
            decode_space(config["action_space"]),
            target=config["target"],
            horizon=config["horizon"],
            phases=[Phase(**phase) for phase in config["phases"]],
            states=torch.zeros(config["states"], len(config["observation_space"]["low"])),
            budget=config["budget"],
            hidden=tuple(config["hidden"]),
            members=config["members"],
        )

    return read_artifact(folder, make)


def read_artifact(folder: Path, make: Callable[[], M], how: str = "save or train") -> M:
    """The module of an artifact, its parameters fixed.

    Args:
        folder: That `write_artifact` wrote.
        make: Makes the module from what `config.json` says.
        how: What to do again where the artifact is corrupt.

    Raises:
        ArtifactError: It is.
    """
    try:
        module = make()
        tensors = load_file(folder / "model.safetensors")
        module.load_state_dict(tensors)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        if isinstance(error, GTNError):
            raise
        first = str(error).strip().splitlines()[0]
        raise ArtifactError(
            f"{folder} is corrupt ({type(error).__name__}: {first}): {how} it again"
        ) from error
    if not all(tensor.isfinite().all() for tensor in tensors.values()):
        raise ArtifactError(f"{folder} is corrupt: it holds numbers that are not finite")
    return module.requires_grad_(False)


def read_config(name_or_path: str | Path) -> dict[str, Any]:
    """What `config.json` says: spaces, `target`, `training` cost and `results`.

    Raises:
        ArtifactError: Nothing there, unreadable, or written by a newer version.
    """
    folder = locate(name_or_path)
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        version = config["format_version"]
        config["target"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"{folder / 'config.json'} is corrupt ({type(error).__name__}): "
            "save or train the environment again"
        ) from error
    if version != FORMAT_VERSION:
        newer = isinstance(version, int) and version > FORMAT_VERSION
        what = "upgrade gtn_rl" if newer else "train it again"
        raise ArtifactError(
            f"{folder} has format {version}, this version reads {FORMAT_VERSION}: {what}"
        )
    return dict(config)


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


def locate(name_or_path: str | Path) -> Path:
    """The folder of a shipped environment or of a path.

    Raises:
        ArtifactError: No such shipped environment and no such folder; the message suggests one.
    """
    name = str(name_or_path)
    shipped = zoo.folders()
    if name.removeprefix("gtn_rl/") in shipped:
        return shipped[name.removeprefix("gtn_rl/")]
    folder = Path(name)
    if (folder / "config.json").is_file():
        return folder
    if folder.is_dir():
        raise ArtifactError(f"{folder} holds no environment: config.json is missing")
    known = [f"gtn_rl/{shipped_name}" for shipped_name in shipped]
    raise ArtifactError(
        f"no environment {name!r}: give one of {', '.join(known)} or a folder."
        f"{did_you_mean(name, known)}"
    )


def encode_space(space: spaces.Box | spaces.Discrete) -> dict[str, Any]:
    """A space as JSON."""
    if isinstance(space, spaces.Discrete):
        return {"n": int(space.n), "start": int(space.start)}
    # JSON has no infinity.
    low, high = (
        [float(x) if np.isfinite(x) else str(float(x)) for x in bound]
        for bound in (space.low, space.high)
    )
    return {"low": low, "high": high, "dtype": str(space.dtype)}


def decode_space(content: Mapping[str, Any]) -> spaces.Box | spaces.Discrete:
    """The space that `encode_space` wrote."""
    if "n" in content:
        return spaces.Discrete(content["n"], start=content["start"])
    dtype = np.dtype(content["dtype"])
    low, high = (np.array([float(x) for x in content[k]], dtype) for k in ("low", "high"))
    return spaces.Box(low, high, dtype=dtype.type)
