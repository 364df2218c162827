"""Generative Teaching Networks for reinforcement learning.

Importing the package registers its synthetic environments in Gymnasium:
`gymnasium.make("gtn_rl/CartPole-v1")`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from gtn_rl.io.registration import register, register_shipped

if TYPE_CHECKING:
    from gtn_rl.config import TrainConfig
    from gtn_rl.envs.learned_reward import LearnedReward
    from gtn_rl.envs.presentation import Phase
    from gtn_rl.envs.reward import RewardNetwork
    from gtn_rl.envs.sb3 import make_sb3_env
    from gtn_rl.envs.synthetic import SyntheticEnv
    from gtn_rl.evaluation.compare import compare
    from gtn_rl.io.kinds import (
        from_pretrained,
        load_pairs,
        load_reward,
        save_pairs,
        save_pretrained,
        save_reward,
    )
    from gtn_rl.modes.distill import clone_returns, distill
    from gtn_rl.modes.distill_config import DistillConfig
    from gtn_rl.modes.pairs import Pairs
    from gtn_rl.modes.reward import train_reward
    from gtn_rl.modes.train import train
    from gtn_rl.run import Result

__version__ = "0.2.0"

__all__ = [
    "DistillConfig",
    "LearnedReward",
    "Pairs",
    "Phase",
    "Result",
    "RewardNetwork",
    "SyntheticEnv",
    "TrainConfig",
    "clone_returns",
    "compare",
    "distill",
    "from_pretrained",
    "load_pairs",
    "load_reward",
    "make_sb3_env",
    "register",
    "save_pairs",
    "save_pretrained",
    "save_reward",
    "train",
    "train_reward",
]

_HOMES = {
    "config": ("TrainConfig",),
    "envs.presentation": ("Phase",),
    "envs.learned_reward": ("LearnedReward",),
    "envs.reward": ("RewardNetwork",),
    "envs.sb3": ("make_sb3_env",),
    "envs.synthetic": ("SyntheticEnv",),
    "evaluation.compare": ("compare",),
    "io.kinds": (
        "from_pretrained",
        "load_pairs",
        "load_reward",
        "save_pairs",
        "save_pretrained",
        "save_reward",
    ),
    "modes.distill": ("clone_returns", "distill"),
    "modes.distill_config": ("DistillConfig",),
    "modes.pairs": ("Pairs",),
    "modes.reward": ("train_reward",),
    "run": ("Result",),
    "modes.train": ("train",),
}


def __getattr__(name: str) -> Any:
    # Torch and Stable-Baselines3 take seconds to import: only what is used is loaded.
    for home, names in _HOMES.items():
        if name in names:
            # Kept: the next use costs nothing.
            globals()[name] = getattr(importlib.import_module(f"gtn_rl.{home}"), name)
            return globals()[name]
    raise AttributeError(f"module 'gtn_rl' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__


register_shipped()
