"""Generative Teaching Networks for reinforcement learning.

Importing the package registers its synthetic environments in Gymnasium:
`gymnasium.make("gtn_rl/CartPole-v1")`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from gtn_rl.io.registration import register as register
from gtn_rl.io.registration import register_shipped

if TYPE_CHECKING:
    from gtn_rl.config import TrainConfig as TrainConfig
    from gtn_rl.envs.learned_reward import LearnedReward as LearnedReward
    from gtn_rl.envs.presentation import Phase as Phase
    from gtn_rl.envs.reward import RewardNetwork as RewardNetwork
    from gtn_rl.envs.sb3 import make_sb3_env as make_sb3_env
    from gtn_rl.envs.synthetic import SyntheticEnv as SyntheticEnv
    from gtn_rl.evaluation.compare import compare as compare
    from gtn_rl.io.kinds import from_pretrained as from_pretrained
    from gtn_rl.io.kinds import load_pairs as load_pairs
    from gtn_rl.io.kinds import load_reward as load_reward
    from gtn_rl.io.kinds import save_pairs as save_pairs
    from gtn_rl.io.kinds import save_pretrained as save_pretrained
    from gtn_rl.io.kinds import save_reward as save_reward
    from gtn_rl.modes.distill import clone_returns as clone_returns
    from gtn_rl.modes.distill import distill as distill
    from gtn_rl.modes.distill_config import DistillConfig as DistillConfig
    from gtn_rl.modes.pairs import Pairs as Pairs
    from gtn_rl.modes.reward import train_reward as train_reward
    from gtn_rl.modes.train import train as train
    from gtn_rl.run import Result as Result

__version__ = "0.2.0"

_HOMES = {
    "config": "TrainConfig",
    "envs.presentation": "Phase",
    "envs.learned_reward": "LearnedReward",
    "envs.reward": "RewardNetwork",
    "envs.sb3": "make_sb3_env",
    "envs.synthetic": "SyntheticEnv",
    "evaluation.compare": "compare",
    "io.kinds": "from_pretrained load_pairs load_reward save_pairs save_pretrained save_reward",
    "modes.distill": "clone_returns distill",
    "modes.distill_config": "DistillConfig",
    "modes.pairs": "Pairs",
    "modes.reward": "train_reward",
    "modes.train": "train",
    "run": "Result",
}
_HOME = {name: home for home, names in _HOMES.items() for name in names.split()}
__all__ = sorted([*_HOME, "register"])


def __getattr__(name: str) -> Any:
    # Torch and Stable-Baselines3 take seconds to import: only what is used is loaded.
    if name not in _HOME:
        raise AttributeError(f"module 'gtn_rl' has no attribute {name!r}")
    # Kept: the next use costs nothing.
    globals()[name] = getattr(importlib.import_module(f"gtn_rl.{_HOME[name]}"), name)
    return globals()[name]


def __dir__() -> list[str]:
    return __all__


register_shipped()
