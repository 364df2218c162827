"""What can be saved and loaded of reinforcement learning: environments, rewards, pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from gtn_rl.envs.presentation import FIELDS, Phase, decode
from gtn_rl.envs.reward import RewardNetwork
from gtn_rl.envs.synthetic import SyntheticEnv
from gtn_rl.errors import ArtifactError
from gtn_rl.io.artifact import Shapes, load, locate, read_config, read_weights, save
from gtn_rl.networks import MLP

if TYPE_CHECKING:
    from gtn_rl.modes.pairs import Pairs


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
        ArtifactError: A parameter is not finite, or the folder cannot be written.
    """
    config = _basis(env, folder, training, results) | {
        "name": name or str(folder),
        "horizon": env.horizon,
        "phases": [asdict(phase) for phase in decode(env.presentation[0])],
        "states": len(env.states),
        "budget": env.budget,
        "hidden": list(env.hidden),
        "members": env.members,
        "parameters": sum(parameter.numel() for parameter in env.parameters()),
    }
    return save(folder, "environment", config, env, _environment_shapes(config))


def from_pretrained(name_or_path: str | Path, *, target: str | None = None) -> SyntheticEnv:
    """Load a synthetic environment.

    Args:
        name_or_path: `"gtn_rl/CartPole-v1"`, a shipped environment; or a folder that
            `save_pretrained` or a training run wrote. `"CartPole-v1"` is the folder of that name
            if there is one, and the shipped environment otherwise.
        target: Gymnasium id that the environment must have been made for, if it matters.

    Raises:
        ArtifactError: Nothing there, something unreadable there, or made for another target.
    """
    config = read_config(name_or_path, "environment")
    _check_target(name_or_path, config, target)

    def make(tensors: dict[str, Tensor]) -> SyntheticEnv:
        return SyntheticEnv(
            *_spaces(config), target=config["target"], horizon=config["horizon"],
            phases=[Phase()] * (tensors["presentation_parameters"].shape[1] // len(FIELDS)),
            states=torch.zeros_like(tensors["states"]), budget=config["budget"],
            hidden=tuple(config["hidden"]), members=config["members"],
        )  # fmt: skip

    return load(locate(name_or_path), _environment_shapes(config), make)


def _environment_shapes(config: Mapping[str, Any]) -> Shapes:
    members, (size, actions) = config["members"], _sizes(config)
    shapes: dict[str, tuple[int | None, ...]] = {
        "mean": (size,),
        "std": (size,),
        "states": (None, size),
        "reward_parameters": (members, _numbers(size, *config["hidden"], actions)),
        "shift_parameters": (members, size),
        "spread_parameters": (members, size),
        "presentation_parameters": (members, None),
    }
    if config["horizon"] > 1:
        discrete = "n" in config["action_space"]
        taken, made = (size, actions) if discrete else (size + actions, 1)
        dynamics = _numbers(taken, *config["hidden"], made * (size + 1))
        shapes |= {"step_size": (size,), "dynamics_parameters": (members, dynamics)}
    return shapes


def save_reward(
    reward: RewardNetwork, folder: str | Path, *, training: Mapping[str, Any] | None = None,
    results: Mapping[str, Any] | None = None,
) -> Path:  # fmt: skip
    """Write a reward network, one and no population, to a folder, as `save_pretrained` does."""
    config = _basis(reward, folder, training, results) | {
        "form": reward.form, "additive": reward.additive, "terms": reward.terms,
        "hidden": list(reward.hidden), "discount": reward.discount,
    }  # fmt: skip
    return save(folder, "reward", config, reward, _reward_shapes(config))


def load_reward(name_or_path: str | Path) -> RewardNetwork:
    """Load a reward network; of a synthetic environment, its reward.

    Args:
        name_or_path: Name of a shipped environment (`"gtn_rl/CartPole-v1"`), or a folder that
            `save_reward`, `gtn-rl reward`, `save_pretrained` or `gtn-rl train` wrote.

    Raises:
        ArtifactError: Nothing there, something unreadable, or something else.
    """
    if read_config(name_or_path)["kind"] == "environment":
        return RewardNetwork.of(from_pretrained(name_or_path)).requires_grad_(False)
    config = read_config(name_or_path, "reward")

    def make(_: dict[str, Tensor]) -> RewardNetwork:
        own = {key: config[key] for key in ("target", "form", "additive", "terms", "discount")}
        return RewardNetwork(*_spaces(config), hidden=tuple(config["hidden"]), **own)

    return load(locate(name_or_path), _reward_shapes(config), make)


def _reward_shapes(config: Mapping[str, Any]) -> Shapes:
    size, actions = _sizes(config)
    outputs = actions if config["form"] == "action" else 1
    network = _numbers(size + config["terms"], *config["hidden"], outputs)
    scales = dict.fromkeys(("scale", "width", "gain"), (1, 1, 1))
    return {"mean": (size,), "std": (size,), **scales, "network_parameters": (1, network)}


def save_pairs(
    pairs: Pairs, folder: str | Path, *, training: Mapping[str, Any] | None = None,
    results: Mapping[str, Any] | None = None,
) -> Path:  # fmt: skip
    """Write pairs, one set of them, to a folder, as `save_pretrained` does."""
    config = _basis(pairs, folder, training, results) | {
        "pairs": pairs.count, "steps": pairs.steps, "optimizer": pairs.optimizer,
    }  # fmt: skip
    return save(folder, "pairs", config, pairs, _pairs_shapes(config))


def load_pairs(folder: str | Path, *, target: str | None = None) -> Pairs:
    """Load pairs that `save_pairs` or `gtn-rl distill` wrote, as `from_pretrained` does."""
    from gtn_rl.modes.pairs import Pairs

    config = read_config(folder, "pairs")
    _check_target(folder, config, target)

    def make(_: dict[str, Tensor]) -> Pairs:
        return Pairs(
            *_spaces(config), target=config["target"], count=config["pairs"],
            steps=config["steps"], optimizer=config["optimizer"],
        )  # fmt: skip

    return load(locate(folder), _pairs_shapes(config), make)


def _pairs_shapes(config: Mapping[str, Any]) -> Shapes:
    (size, actions), count = _sizes(config), config["pairs"]
    return {
        "mean": (size,), "std": (size,), "normal": (count, size), "wanted": (count, actions),
        "log_rates": (config["steps"],),
    }  # fmt: skip


def check(name_or_path: str | Path) -> dict[str, Any]:
    """What `config.json` says of an artifact of any kind, whose weights are sound too.

    Raises:
        ArtifactError: Nothing there, or something unreadable.
    """
    from gtn_rl.supervised.artifact import teacher_shapes

    config = read_config(name_or_path)
    shapes = {
        "environment": _environment_shapes, "reward": _reward_shapes, "pairs": _pairs_shapes,
        "teacher": teacher_shapes,
    }  # fmt: skip
    read_weights(locate(name_or_path), shapes[config["kind"]](config))
    return config


def _basis(
    module: SyntheticEnv | RewardNetwork | Pairs, folder: str | Path,
    training: Mapping[str, Any] | None, results: Mapping[str, Any] | None,
) -> dict[str, Any]:  # fmt: skip
    return {
        "name": str(folder),
        "target": module.target,
        "observation_space": encode_space(module.observation_space),
        "action_space": encode_space(module.action_space),
        "training": dict(training or {}),
        "results": dict(results or {}),
    }


def _check_target(name: str | Path, config: Mapping[str, Any], target: str | None) -> None:
    if target not in (None, config["target"]):
        raise ArtifactError(
            f"{name} was made for {config['target']}, not for {target}: use one made for {target}"
        )


def _sizes(config: Mapping[str, Any]) -> tuple[int, int]:
    """Numbers of an observation; actions, or numbers of one."""
    actions = config["action_space"]
    return len(config["observation_space"]["low"]), actions.get("n") or len(actions["low"])


def _numbers(*sizes: int) -> int:
    return MLP(sizes).num_parameters


def _spaces(config: Mapping[str, Any]) -> tuple[spaces.Box, spaces.Discrete | spaces.Box]:
    actions = config["action_space"]
    return _box(config["observation_space"]), (
        spaces.Discrete(actions["n"], start=actions["start"]) if "n" in actions else _box(actions)
    )


def encode_space(space: spaces.Box | spaces.Discrete) -> dict[str, Any]:
    """A space as JSON."""
    if isinstance(space, spaces.Discrete):
        return {"n": int(space.n), "start": int(space.start)}
    # JSON has no infinity.
    low, high = (
        [x if np.isfinite(x) else str(x) for x in bound.tolist()]
        for bound in (space.low, space.high)
    )
    return {"low": low, "high": high, "dtype": str(space.dtype)}


def _box(content: Mapping[str, Any]) -> spaces.Box:
    dtype = np.dtype(content["dtype"])
    whole = np.issubdtype(dtype, np.integer)
    limits: Any = np.iinfo(dtype) if whole else np.finfo(dtype)

    def held(x: Any) -> float | int:
        number = int(x) if whole else float(x)
        least, most = int(limits.min) if whole else float(limits.min), limits.max
        return number if np.isinf(float(number)) else min(max(number, least), type(least)(most))

    low, high = (np.array([held(x) for x in content[side]], dtype) for side in ("low", "high"))
    return spaces.Box(low, high, dtype=dtype.type)
