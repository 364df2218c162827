"""Synthetic environments and their faces: Gymnasium, Gymnasium vector and Stable-Baselines3."""

if __name__ == "envs":
    raise ImportError(
        "import gtn_rl.envs, not envs: the folder is installed inside the gtn_rl package "
        "(pip install -e .), and a second copy of its modules would not see the first one's state"
    )
