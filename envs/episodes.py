"""N synthetic episodes side by side, NumPy in and out: what the Gymnasium and SB3 faces share."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gtn_rl.envs.bandit import BanditEpisodes
from gtn_rl.envs.mdp import MDPEpisodes
from gtn_rl.envs.progress import Progress
from gtn_rl.envs.synthetic import SyntheticEnv


class Episodes(Protocol):
    """Episodes of the first member of a synthetic environment."""

    returns: NDArray[Any]
    """Sums `[N]` of the rewards of each episode so far, to be read only."""

    lengths: NDArray[Any]
    """Steps `[N]` of each episode so far, to be read only."""

    def restart(self) -> None:
        """Forget episodes drawn ahead, so that the next ones follow from the generator alone."""
        ...

    def reset(
        self, generator: np.random.Generator, mask: NDArray[np.bool_] | None = None
    ) -> NDArray[Any]:
        """Start new episodes, where `mask` `[N]` says so or everywhere; observations `[N, O]`."""
        ...

    def step(
        self,
        action: NDArray[Any],
        generator: np.random.Generator,
        resting: NDArray[np.bool_] | None = None,
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Take actions, `[N]` or `[N, A]`: rewards `[N]`, and which episodes are over, `[N]`.

        Where `resting` `[N]` says so the step means nothing (the caller is about to reset), and
        does not count as progress.
        """
        ...

    def observation(self) -> NDArray[Any]:
        """Current observations `[N, O]`, a copy."""
        ...


def make_episodes(env: SyntheticEnv, num_envs: int, budget: int | None = None) -> Episodes:
    """The fastest episodes for an environment's horizon.

    Args:
        env: The synthetic environment.
        num_envs: N.
        budget: Steps, of all N together, after which the last phase ends; the environment's own if
            not given.

    Raises:
        UsageError: A budget below 1.
    """
    progress = Progress(env, budget)
    if env.horizon == 1:
        return BanditEpisodes(env, num_envs, progress)
    return MDPEpisodes(env, num_envs, progress)
