"""Generative Teaching Networks for reinforcement learning.

Importing the package registers its synthetic environments in Gymnasium:
`gymnasium.make("gtn_rl/CartPole-v1")`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gtn_rl.config import TrainConfig
from gtn_rl.envs.learned_reward import LearnedReward
from gtn_rl.envs.presentation import Phase
from gtn_rl.envs.reward import RewardNetwork
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
from gtn_rl.io.registration import register, register_shipped
from gtn_rl.modes.distill import clone_returns, distill
from gtn_rl.modes.distill_config import DistillConfig
from gtn_rl.modes.pairs import Pairs
from gtn_rl.modes.reward import train_reward
from gtn_rl.run import Result
from gtn_rl.train import train

if TYPE_CHECKING:
    from gtn_rl.envs.sb3 import make_sb3_env

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


def __getattr__(name: str) -> Any:
    # Stable-Baselines3 takes a second to import; most of the library does without it.
    if name == "make_sb3_env":
        from gtn_rl.envs.sb3 import make_sb3_env

        return make_sb3_env
    raise AttributeError(f"module 'gtn_rl' has no attribute {name!r}")


register_shipped()
