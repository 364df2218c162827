"""Gymnasium faces of a synthetic environment: one environment, and a vector of them."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from gtn_rl.envs.episodes import Episodes
from gtn_rl.envs.synthetic import SyntheticEnv
from gtn_rl.errors import UsageError
from gtn_rl.io.kinds import from_pretrained


class SyntheticGymEnv(gymnasium.Env[NDArray[Any], Any]):
    """A synthetic environment as a `gymnasium.Env` with the spaces of its target.

    Args:
        artifact: Name of a shipped environment, a folder, or a `SyntheticEnv`.
        render_mode: Only `None`: there is nothing to see.
        budget: Steps that the agent's training takes: the last phase of what it presents ends with
            them, and no reset starts it again. If not given, what the environment takes it for; if
            that is nothing, the last phase is there from the first step on.

    Raises:
        ArtifactError: Nothing usable under that name or in that folder.
        UsageError: A budget below 1, or a population.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 - Gymnasium declares it so

    def __init__(
        self,
        artifact: str | Path | SyntheticEnv,
        render_mode: str | None = None,
        *,
        budget: int | None = None,
    ) -> None:
        self.synthetic = _single_member(artifact)
        self._episodes = Episodes(self.synthetic, 1, budget)
        self.observation_space, self.action_space = _own_spaces(self.synthetic)
        self.render_mode = render_mode

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """Start an episode; `options` are not used."""
        super().reset(seed=seed)
        if seed is not None:
            self._episodes.restart()
        return self._episodes.reset(self.np_random)[0], {}

    def step(self, action: Any) -> tuple[NDArray[Any], float, bool, bool, dict[str, Any]]:
        """Take an action; the horizon, too, is an end of the task itself (`terminated`).

        Raises:
            UsageError: No action of the space. Numbers of a `Box` beyond its bounds are clipped.
        """
        actions = _checked([action], self.action_space, 1)
        rewards, over = self._episodes.step(actions, self.np_random)
        return self._episodes.observation()[0], float(rewards[0]), bool(over[0]), False, {}


class SyntheticVectorEnv(VectorEnv[NDArray[Any], NDArray[Any], NDArray[Any]]):
    """N synthetic environments as a `gymnasium.vector.VectorEnv` that steps at once.

    That is one look-up, or one forward pass if episodes are longer than a step. Arguments that are
    not described are those of `SyntheticGymEnv`.

    Args:
        autoreset_mode: `"NextStep"` (Gymnasium's default: a step after an episode's end only
            resets) or `"SameStep"` (the observation is already the next episode's, the last one is
            in `info["final_obs"]`; no step is lost).
        budget: Of all N together, steps that only reset not counted.

    Raises:
        ArtifactError: Nothing usable under that name or in that folder.
        UsageError: Another autoreset mode, a population, or a number below 1.
    """

    def __init__(
        self,
        artifact: str | Path | SyntheticEnv,
        num_envs: int = 1,
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
        *,
        budget: int | None = None,
    ) -> None:
        modes = (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP)
        if autoreset_mode not in (*modes, *(mode.value for mode in modes)):
            raise UsageError(
                f"autoreset_mode must be 'NextStep' or 'SameStep', got {autoreset_mode!r}"
            )
        self._mode = AutoresetMode(autoreset_mode)
        self.metadata = {"render_modes": [], "autoreset_mode": self._mode}
        env = _single_member(artifact)
        self._episodes = Episodes(env, num_envs, budget)
        self.num_envs = num_envs
        self.render_mode = render_mode
        self.single_observation_space, self.single_action_space = _own_spaces(env)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._over = np.ones(num_envs, dtype=np.bool_)

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """Start episodes everywhere, or where `options["reset_mask"]` says so.

        Args:
            seed: One, or one for each of N, `None` where chance may decide.
            options: `reset_mask`.

        Raises:
            UsageError: Another number of seeds.
        """
        if isinstance(seed, int | np.integer):
            super().reset(seed=int(seed))
            self._episodes.restart()
        elif seed is not None:
            if len(seed) != self.num_envs:
                raise UsageError(f"{len(seed)} seeds for {self.num_envs} environments")
            if any(one is not None for one in seed):
                fresh = np.random.SeedSequence().generate_state(len(seed)).tolist()
                given = [new if one is None else one for one, new in zip(seed, fresh, strict=True)]
                entropy = np.random.SeedSequence(given).generate_state(1)
                self._np_random, self._np_random_seed = seeding.np_random(int(entropy[0]))
                self._episodes.restart()
        mask = None if options is None else options.get("reset_mask")
        self._over[... if mask is None else mask] = False
        return self._episodes.reset(self.np_random, mask), {}

    def step(
        self, actions: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Take an action in every environment, or reset it where its episode was over.

        Raises:
            UsageError: As of `SyntheticGymEnv`.
        """
        actions = _checked(actions, self.single_action_space, self.num_envs)
        truncated = np.zeros(self.num_envs, dtype=np.bool_)
        if self._mode is AutoresetMode.SAME_STEP:
            rewards, over = self._episodes.step(actions, self.np_random)
            last = self._episodes.observation()
            ended = np.count_nonzero(over)
            if not ended:
                return last, rewards, over, truncated, {}
            final = np.empty(self.num_envs, dtype=object)
            final[:] = list(last)
            mask = None
            if ended < self.num_envs:
                mask = over
                final[~over] = None
            # As `SyncVectorEnv` has it: the infos of episodes' ends are empty, but they are there.
            info = {
                "final_obs": final,
                "_final_obs": over.copy(),
                "final_info": {},
                "_final_info": over.copy(),
            }
            return self._episodes.reset(self.np_random, mask), rewards, over, truncated, info
        resetting = self._over
        rewards, over = self._episodes.step(actions, self.np_random, resetting)
        if resetting.any():
            rewards[resetting] = 0.0
            over[resetting] = False
            observation = self._episodes.reset(self.np_random, resetting)
        else:
            observation = self._episodes.observation()
        self._over = over
        return observation, rewards, over.copy(), truncated, {}


def _single_member(artifact: str | Path | SyntheticEnv) -> SyntheticEnv:
    env = artifact if isinstance(artifact, SyntheticEnv) else from_pretrained(artifact)
    if env.members != 1:
        raise UsageError(f"expected one synthetic environment, got a population of {env.members}")
    return env


def _own_spaces(env: SyntheticEnv) -> tuple[spaces.Box, spaces.Discrete | spaces.Box]:
    """Copies, since a space has a random generator and many faces may have one core."""
    return deepcopy(env.observation_space), deepcopy(env.action_space)


def _checked(actions: Any, space: spaces.Space[Any], count: int) -> NDArray[Any]:
    array = np.asarray(actions)
    fits = array.shape == (count, *(space.shape or ()))
    if fits and isinstance(space, spaces.Discrete):
        above = array - space.start if array.dtype.kind in "iu" else np.full(count, -1)
        fits = bool(((above >= 0) & (above < space.n)).all())
    elif fits:
        fits = array.dtype.kind in "iuf" and not np.isnan(array).any()
    if not fits:
        raise UsageError(f"no actions of {space}: {actions!r:.200}")
    return array
