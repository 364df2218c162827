"""Saved reward networks: a folder of `model.safetensors`, `config.json`, `README.md`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gtn_rl.envs.reward import RewardNetwork
from gtn_rl.io.artifact import (
    FORMAT_VERSION,
    decode_space,
    encode_space,
    from_pretrained,
    locate,
    read_artifact,
    read_config,
    write_artifact,
)
from gtn_rl.io.card import render_reward_card


def save_reward(
    reward: RewardNetwork,
    folder: str | Path,
    *,
    training: Mapping[str, Any] | None = None,
    results: Mapping[str, Any] | None = None,
) -> Path:
    """Write a reward network to a folder; a kill while writing leaves the old one usable.

    Args:
        reward: The network.
        folder: Made if missing; the three files in it are replaced.
        training: What it cost, as JSON: `real_steps`, `seconds`, `seed`, `command`, ...
        results: What agents trained with it reach, as JSON.

    Returns:
        The folder.

    Raises:
        ArtifactError: A number is not finite.
    """
    config = {
        "format_version": FORMAT_VERSION,
        "kind": "reward",
        "name": str(folder),
        "target": reward.target,
        "observation_space": encode_space(reward.observation_space),
        "action_space": encode_space(reward.action_space),
        "form": reward.form,
        "additive": reward.additive,
        "terms": reward.terms,
        "hidden": list(reward.hidden),
        "discount": reward.discount,
        "training": dict(training or {}),
        "results": dict(results or {}),
    }
    return write_artifact(reward, Path(folder), config, render_reward_card(config))


def load_reward(name_or_path: str | Path) -> RewardNetwork:
    """Load a reward network; of a synthetic environment, its reward.

    Args:
        name_or_path: Name of a shipped environment (`"gtn_rl/CartPole-v1"`), or a folder that
            `save_reward`, `gtn-rl reward`, `save_pretrained` or `gtn-rl train` wrote.

    Raises:
        ArtifactError: Nothing there, something unreadable, or something else.
    """
    config = read_config(name_or_path)
    if config.get("kind") != "reward":
        return RewardNetwork.of(from_pretrained(name_or_path)).requires_grad_(False)

    def make() -> RewardNetwork:
        return RewardNetwork(
            decode_space(config["observation_space"]), decode_space(config["action_space"]),
            target=config["target"], form=config["form"], additive=config["additive"],
            terms=config["terms"], hidden=tuple(config["hidden"]), discount=config["discount"],
        )  # fmt: skip

    return read_artifact(locate(name_or_path), make)
