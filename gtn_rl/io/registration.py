"""Synthetic environments under Gymnasium ids."""

from __future__ import annotations

from pathlib import Path

import gymnasium

from gtn_rl import zoo


def register(artifact: str | Path, id: str) -> None:
    """Make a saved environment available to `gymnasium.make` and `make_vec` in this process.

    Args:
        artifact: Folder that `save_pretrained` or a training run wrote.
        id: Gymnasium id, e.g. `"gtn_rl/MyCartPole-v0"`.

    Raises:
        ArtifactError: Nothing usable in that folder.
    """
    from gtn_rl.io.artifact import read_config  # With torch, which `import gtn_rl` does without.

    read_config(artifact)
    _register(str(artifact), id)


def register_shipped() -> None:
    """Register the environments that come with the package, each as `gtn_rl/` + its target's id.

    `gtn_rl/RN-` + that id is the target itself with the reward of the synthetic environment.
    """
    for name in zoo.folders():
        if f"gtn_rl/{name}" not in gymnasium.registry:
            _register(f"gtn_rl/{name}", f"gtn_rl/{name}")
        if f"gtn_rl/RN-{name}" not in gymnasium.registry:
            gymnasium.register(
                f"gtn_rl/RN-{name}",
                entry_point="gtn_rl.envs.reward:make_rewarded",
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
