"""Saved pairs: a folder of `model.safetensors`, `config.json`, `README.md`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gtn_rl.errors import ArtifactError
from gtn_rl.io.artifact import (
    FORMAT_VERSION,
    decode_space,
    encode_space,
    read_artifact,
    read_config,
    write_artifact,
)
from gtn_rl.io.card import render_pairs_card
from gtn_rl.modes.pairs import Pairs
from gtn_rl.spaces import check_spaces


def save_pairs(
    pairs: Pairs,
    folder: str | Path,
    *,
    training: Mapping[str, Any] | None = None,
    results: Mapping[str, Any] | None = None,
) -> Path:
    """Write pairs to a folder; a kill while writing leaves the old ones usable.

    Args:
        pairs: The pairs.
        folder: Made if missing; the three files in it are replaced.
        training: What they cost, as JSON: `real_steps`, `seconds`, `seed`, `command`, ...
        results: What policies cloned from them reach, as JSON.

    Returns:
        The folder.

    Raises:
        ArtifactError: A number is not finite.
    """
    folder = Path(folder)
    config = {
        "format_version": FORMAT_VERSION,
        "kind": "pairs",
        "name": str(folder),
        "target": pairs.target,
        "observation_space": encode_space(pairs.observation_space),
        "action_space": encode_space(pairs.action_space),
        "pairs": pairs.count,
        "steps": pairs.steps,
        "optimizer": pairs.optimizer,
        "training": dict(training or {}),
        "results": dict(results or {}),
    }
    return write_artifact(pairs, folder, config, render_pairs_card(config))


def load_pairs(folder: str | Path, *, target: str | None = None) -> Pairs:
    """Load pairs that `save_pairs` or `gtn-rl distill` wrote.

    Args:
        folder: Where they are.
        target: Gymnasium id that they must have been made for, if it matters.

    Raises:
        ArtifactError: Nothing there, something unreadable or else there, or another target.
    """
    config = read_config(folder)
    if config.get("kind") != "pairs":
        raise ArtifactError(f"{folder} holds an environment: load it with gtn_rl.from_pretrained")
    if target is not None and config["target"] != target:
        raise ArtifactError(
            f"{folder} was made for {config['target']}, not for {target}: use one made for {target}"
        )

    def make() -> Pairs:
        box, actions = (decode_space(config[f"{kind}_space"]) for kind in ("observation", "action"))
        return Pairs(
            *check_spaces(box, actions), target=config["target"], count=config["pairs"],
            steps=config["steps"], optimizer=config["optimizer"],
        )  # fmt: skip

    return read_artifact(Path(folder), make, "save or distill")
