"""Gymnasium faces of a synthetic environment: one environment, and a vector of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from gtn_rl.envs.episodes import make_episodes
from gtn_rl.envs.synthetic import SyntheticEnv
from gtn_rl.errors import UsageError
from gtn_rl.io.kinds import from_pretrained


def _single_member(artifact: str | Path | SyntheticEnv) -> SyntheticEnv:
    env = artifact if isinstance(artifact, SyntheticEnv) else from_pretrained(artifact)
    if env.members != 1:
        raise UsageError(f"expected one synthetic environment, got a population of {env.members}")
    return env


class SyntheticGymEnv(gymnasium.Env[NDArray[Any], Any]):
    """A synthetic environment as a `gymnasium.Env` with the spaces of its target.

    Args:
        artifact: Name of a shipped environment, a folder, or a `SyntheticEnv`.
        render_mode: Only `None`: there is nothing to see.
        budget: Steps that the agent's training takes: the last phase of
            what it presents ends with them. If not given, what the
            environment takes it for; if that is nothing, it is there from the first step on. No
            reset starts it again.

    Raises:
        ArtifactError: Nothing usable under that name or in that folder.
        UsageError: A budget below 1.
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
        self._episodes = make_episodes(self.synthetic, 1, budget)
        self.observation_space = self.synthetic.observation_space
        self.action_space = self.synthetic.action_space
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
        """Take an action; the horizon, too, is an end of the task itself (`terminated`)."""
        rewards, over = self._episodes.step(np.asarray([action]), self.np_random)
        return self._episodes.observation()[0], float(rewards[0]), bool(over[0]), False, {}


class SyntheticVectorEnv(VectorEnv[NDArray[Any], NDArray[Any], NDArray[Any]]):
    """N synthetic environments as a `gymnasium.vector.VectorEnv` that steps at once.

    That is one look-up, or one forward pass if episodes are longer than a step.

    Args:
        artifact: Name of a shipped environment, a folder, or a `SyntheticEnv`.
        num_envs: N.
        autoreset_mode: `"NextStep"` (Gymnasium's default: a step after an episode's end only
            resets) or `"SameStep"` (the observation is already the next episode's, the last one is
            in `info["final_obs"]`; no step is lost).
        render_mode: Only `None`: there is nothing to see.
        budget: Steps of all N together that the agent's training takes, as of `SyntheticGymEnv`.
            Steps that only reset do not count.

    Raises:
        ArtifactError: Nothing usable under that name or in that folder.
        UsageError: Another autoreset mode, or a budget below 1.
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
        try:
            self._mode = AutoresetMode(autoreset_mode)
        except ValueError:
            self._mode = AutoresetMode.DISABLED
        if self._mode is AutoresetMode.DISABLED:
            raise UsageError(
                f"autoreset_mode must be 'NextStep' or 'SameStep', got {autoreset_mode!r}"
            )
        self.metadata = {"render_modes": [], "autoreset_mode": self._mode}
        env = _single_member(artifact)
        self._episodes = make_episodes(env, num_envs, budget)
        self.num_envs = num_envs
        self.render_mode = render_mode
        self.single_observation_space = env.observation_space
        self.single_action_space = env.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._over = np.ones(num_envs, dtype=np.bool_)

    def reset(
        self,
        *,
        seed: int | list[int] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """Start episodes everywhere, or where `options["reset_mask"]` says so."""
        if isinstance(seed, int):
            super().reset(seed=seed)
        elif seed is not None:
            entropy = np.random.SeedSequence(seed).generate_state(1)
            self._np_random, self._np_random_seed = seeding.np_random(int(entropy[0]))
        if seed is not None:
            self._episodes.restart()
        mask = None if options is None else options.get("reset_mask")
        self._over[... if mask is None else mask] = False
        return self._episodes.reset(self.np_random, mask), {}

    def step(
        self, actions: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Take an action in every environment, or reset it where its episode was over."""
        truncated = np.zeros(self.num_envs, dtype=np.bool_)
        if self._mode is AutoresetMode.SAME_STEP:
            rewards, over = self._episodes.step(np.asarray(actions), self.np_random)
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
        rewards, over = self._episodes.step(np.asarray(actions), self.np_random, resetting)
        if resetting.any():
            rewards[resetting] = 0.0
            over[resetting] = False
            observation = self._episodes.reset(self.np_random, resetting)
        else:
            observation = self._episodes.observation()
        self._over = over
        return observation, rewards, over.copy(), truncated, {}
