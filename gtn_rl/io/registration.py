"""Synthetic environments under Gymnasium ids."""

from __future__ import annotations

import os
from pathlib import Path

import gymnasium

from gtn_rl.io.artifact import canonical, read_config, shipped


def register(artifact: str | Path, id: str) -> None:
    """Make a saved environment available to `gymnasium.make` and `make_vec` in this process.

    Args:
        artifact: Folder that `save_pretrained` or a training run wrote. It is found from every
            working directory, and by every process that is given the environment's specification.
        id: Gymnasium id, e.g. `"gtn_rl/MyCartPole-v0"`.

    Raises:
        ArtifactError: Nothing usable in that folder.
    """
    read_config(artifact, "environment")
    name = canonical(artifact)
    _register(name if name.startswith("gtn_rl/") else os.path.abspath(name), id)


def register_shipped() -> None:
    """Register the environments that come with the package, each as `gtn_rl/` + its target's id.

    `gtn_rl/RN-` + that id is the target itself with the reward of the synthetic environment.
    """
    for name in shipped():
        if f"gtn_rl/{name}" not in gymnasium.registry:
            _register(f"gtn_rl/{name}", f"gtn_rl/{name}")
        if f"gtn_rl/RN-{name}" not in gymnasium.registry:
            gymnasium.register(
                f"gtn_rl/RN-{name}",
                entry_point="gtn_rl.envs.learned_reward:make_rewarded",
                max_episode_steps=gymnasium.spec(name).max_episode_steps,
                kwargs={"artifact": f"gtn_rl/{name}", "target": name},
            )


def _register(artifact: str, id: str) -> None:
    gymnasium.register(
        id,
        entry_point="gtn_rl.envs.gym:SyntheticGymEnv",
        vector_entry_point="gtn_rl.envs.gym:SyntheticVectorEnv",
        kwargs={"artifact": artifact},
    )
