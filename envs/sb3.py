"""Stable-Baselines3 face of a synthetic environment: a native VecEnv."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.utils import seeding
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvStepReturn

from gtn_rl.envs.episodes import Episodes
from gtn_rl.envs.gym import SyntheticGymEnv
from gtn_rl.envs.synthetic import SyntheticEnv
from gtn_rl.spaces import counted_from_zero, first_action


class SyntheticVecEnv(VecEnv):
    """N synthetic environments that step at once, for any Stable-Baselines3 agent.

    That is one look-up, or one forward pass if episodes are longer than a step. Infos carry what
    `Monitor` would add, so that agents log `ep_rew_mean`. Discrete actions are counted from 0, as
    Stable-Baselines3's agents do, also where the target's space begins elsewhere.

    Args:
        artifact: As of `SyntheticGymEnv`.
        seed: Of the episodes; SB3 agents with a seed of their own set it again.
        budget: Steps of all N together that the agent's training takes, as of `SyntheticGymEnv`.

    Raises:
        ArtifactError: Nothing usable under that name or in that folder.
        UsageError: `n_envs` or a budget below 1.
    """

    def __init__(
        self,
        artifact: str | Path | SyntheticEnv,
        n_envs: int = 1,
        seed: int | None = None,
        *,
        budget: int | None = None,
    ) -> None:
        self.render_mode = None
        self._single = single = SyntheticGymEnv(artifact)
        self._episodes = Episodes(single.synthetic, n_envs, budget)
        self._rng, _ = seeding.np_random(seed)
        self._actions: NDArray[Any] = np.zeros(n_envs, np.int64)
        self._started = time.time()
        self._first = first_action(single.action_space)
        actions = counted_from_zero(single.action_space)
        super().__init__(n_envs, single.observation_space, actions)

    def reset(self) -> NDArray[Any]:
        """Start episodes everywhere; observations `[N, O]`."""
        if self._seeds[0] is not None:
            self._rng, _ = seeding.np_random(self._seeds[0])
            self._episodes.restart()
        self._reset_seeds()
        self._reset_options()
        return self._episodes.reset(self._rng)

    def step_async(self, actions: NDArray[Any]) -> None:
        """Remember actions, `[N]` or `[N, A]`, for `step_wait`."""
        self._actions = actions + self._first if self._first else actions

    def step_wait(self) -> VecEnvStepReturn:
        """Observations `[N, O]`, rewards, dones and infos; where done, of the next episode."""
        rewards, dones = self._episodes.step(self._actions, self._rng)
        last = self._episodes.observation()
        ended = np.count_nonzero(dones)
        if not ended:
            return last, rewards, dones, [{} for _ in range(self.num_envs)]
        returns, lengths = self._episodes.returns.tolist(), self._episodes.lengths.tolist()
        elapsed = round(time.time() - self._started, 6)
        infos: list[dict[str, Any]] = [
            {
                "terminal_observation": observation,
                "TimeLimit.truncated": False,
                "episode": {"r": total, "l": length, "t": elapsed},
            }
            for observation, total, length in zip(last, returns, lengths, strict=True)
        ]
        if ended == self.num_envs:
            return self._episodes.reset(self._rng), rewards, dones, infos
        for index in np.flatnonzero(~dones):
            infos[index] = {}
        return self._episodes.reset(self._rng, dones), rewards, dones, infos

    def close(self) -> None:
        """Nothing to free."""

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """Attribute of every environment."""
        owner: Any = self if attr_name == "render_mode" else self._single
        return [getattr(owner, attr_name) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Set an attribute; all environments are one object, so it is set for all."""
        setattr(self._single, attr_name, value)

    def env_method(
        self, method_name: str, *args: Any, indices: VecEnvIndices = None, **kwargs: Any
    ) -> list[Any]:
        """Call a method of a single synthetic environment, once per index."""
        method = getattr(self._single, method_name)
        return [method(*args, **kwargs) for _ in self._get_indices(indices)]

    def env_is_wrapped(self, wrapper_class: type[Any], indices: VecEnvIndices = None) -> list[bool]:
        """No environment has a wrapper, but episodes are logged as by `Monitor`."""
        from stable_baselines3.common.monitor import Monitor

        return [wrapper_class is Monitor for _ in self._get_indices(indices)]


make_sb3_env = SyntheticVecEnv
"""A native `VecEnv` of N synthetic environments."""
