"""Real target environments: what they are, batched rollouts, evaluations, steps counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from numpy.typing import NDArray
from torch import Tensor

from gtn_rl.envs.actions import Actions
from gtn_rl.envs.classic import PHYSICS, ClassicVectorEnv
from gtn_rl.envs.spaces import check_spaces
from gtn_rl.errors import UsageError, did_you_mean

Act = Callable[[Tensor], Tensor]
"""Logits or means `[K, N, A]` for observations `[K, N, O]`."""

Factory = Callable[[], gym.Env[Any, Any]]


@dataclass(frozen=True)
class Target:
    """What the library needs to know about a real environment.

    Args:
        id: Gymnasium id, or a factory's name.
        observation_space: Flat `Box`.
        action_space: `Discrete` or bounded flat `Box`.
        reward_threshold: Return at which Gymnasium calls the task solved, if it says so.
        factory: Makes the environment, where it has no id.
        horizon: Steps after which an episode is truncated, if there is such a limit.
    """

    id: str
    observation_space: spaces.Box
    action_space: spaces.Discrete | spaces.Box
    reward_threshold: float | None
    factory: Factory | None = None
    horizon: int | None = None

    def vector(self, num_envs: int, horizon: int | None = None) -> VectorEnv[Any, Any, Any]:
        """N copies that step together and reset on the step after an episode's end.

        Args:
            num_envs: N.
            horizon: Steps after which episodes are truncated, if it is not to be the target's own.

        Raises:
            UsageError: The target's own vector implementation resets in another way.
        """
        if self.id in PHYSICS:
            return ClassicVectorEnv(self.id, num_envs, horizon)
        if horizon is not None:
            longer = partial(gym.make, self.id, max_episode_steps=horizon)
            return SyncVectorEnv([longer] * num_envs)
        if self.factory is not None:
            return SyncVectorEnv([self.factory] * num_envs)
        envs: VectorEnv[Any, Any, Any] = gym.make_vec(self.id, num_envs=num_envs)
        if envs.metadata.get("autoreset_mode") != AutoresetMode.NEXT_STEP:
            envs.close()
            raise UsageError(f"{self.id}: vector environment must autoreset on the next step")
        return envs


def describe(target: str | Factory) -> Target:
    """Look up a target by its Gymnasium id, or make one with a factory and look at it.

    Raises:
        UsageError: No such environment.
        UnsupportedSpaceError: Its spaces are not supported.
    """
    factory = None if isinstance(target, str) else target
    if factory is not None and not callable(factory):
        raise UsageError(
            f"the target is a {type(target).__name__}: give a Gymnasium id, or a function that "
            "makes a new environment each time"
        )
    try:
        env = gym.make(target) if isinstance(target, str) else target()
    except (gym.error.UnregisteredEnv, ImportError) as error:
        module = str(target).partition(":")[0]
        # Gymnasium raises an error of its own where the module that registers is not found.
        lost = getattr(error.__cause__ or error, "name", None) or module
        if ":" in str(target) and not module.startswith(lost):
            raise UsageError(f"environment {target!r} cannot be made: {error}") from error
        if target in gym.registry or factory is not None:
            raise UsageError(
                f"environment {target!r} cannot be made: {error}. Gymnasium's MuJoCo tasks need "
                "pip install 'gtn_rl[mujoco]'"
            ) from error
        raise UsageError(
            f"no environment {target!r} in Gymnasium.{did_you_mean(str(target), gym.registry)}"
        ) from error
    except gym.error.Error as error:  # A dependency, or a malformed or deprecated id.
        raise UsageError(f"environment {target!r} cannot be made: {error}") from error
    try:
        observation_space, action_space = check_spaces(env.observation_space, env.action_space)
        if factory is not None or env.spec is None:
            name = getattr(target, "__name__", repr(target))
            return Target(name, observation_space, action_space, None, factory)
        return Target(
            str(target), observation_space, action_space, env.spec.reward_threshold,
            horizon=env.spec.max_episode_steps,
        )  # fmt: skip
    finally:
        env.close()


class Rollout(NamedTuple):
    """L steps of N real environments for each of K learners.

    `observation` and `next_observation` are `[K, L, N, O]`, `action` is `[K, L, N]` or
    `[K, L, N, A]`, the rest `[K, L, N]`. `valid` is false where the step only reset an environment.
    """

    observation: Tensor
    next_observation: Tensor
    action: Tensor
    reward: Tensor
    terminated: Tensor
    truncated: Tensor
    valid: Tensor


class RealEnvs:
    """K x N copies of the target, stepped together; counts every real step taken.

    Gymnasium's own vector implementation serves where the target has one. Environments run on from
    call to call, so that short rollouts still see the late parts of long episodes.

    Args:
        target: What to run.
        actions: How learners act in it.
        learners: K.
        copies: N, environments for each learner.
        horizon: Steps after which episodes are truncated, if it is not to be the target's own.

    Raises:
        UsageError: The target's own vector implementation cannot be used.
    """

    def __init__(
        self,
        target: Target,
        actions: Actions,
        learners: int,
        copies: int,
        horizon: int | None = None,
    ) -> None:
        self.shape = (learners, copies)
        self._actions = actions
        self._envs = target.vector(learners * copies, horizon)
        self._observation: NDArray[Any] = np.empty(0)
        self._over = np.ones(learners * copies, dtype=np.bool_)
        self._return = np.zeros(learners * copies)
        self._finished: list[float] = []
        self.steps = 0

    def close(self) -> None:
        """Free the environments."""
        self._envs.close()

    def __enter__(self) -> RealEnvs:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Free the environments."""
        self.close()

    def reset(self, seed: int) -> None:
        """Start new episodes everywhere, from one seed."""
        self._observation, _ = self._envs.reset(seed=seed)
        self._over[:] = False
        self._return[:] = 0
        self._finished.clear()

    def forget(self) -> None:
        """Leave the episodes that ended so far out of `finished`."""
        self._finished.clear()

    def finished(self) -> float | None:
        """Mean undiscounted return of the episodes that ended since the last reset, if any did."""
        return float(np.mean(self._finished)) if self._finished else None

    def _tensor(self, array: NDArray[Any]) -> Tensor:
        return torch.as_tensor(array.astype(np.float32)).view(*self.shape, -1)

    @torch.no_grad()
    def rollout(self, act: Act, length: int, generator: torch.Generator) -> Rollout:
        """Act for `length` steps with actions sampled from the learners' distributions."""
        columns: list[tuple[Tensor, ...]] = []
        observation = self._tensor(self._observation)
        for _ in range(length):
            action = self._actions.sample(act(observation), generator)
            valid = ~self._over
            array, reward, terminated, truncated, _ = self._envs.step(
                self._actions.to_numpy(action.flatten(0, 1))
            )
            self._observation, self._over = array, terminated | truncated
            self.steps += int(valid.sum())
            self._return += reward
            if self._over.any():
                self._finished += self._return[self._over].tolist()
                self._return[self._over] = 0
            following = self._tensor(array)
            flat = (torch.as_tensor(x).view(self.shape) for x in (terminated, truncated, valid))
            reward_tensor = torch.as_tensor(reward.astype(np.float32)).view(self.shape)
            columns.append((observation, following, action, reward_tensor, *flat))
            observation = following
        return Rollout(*(torch.stack(column, 1) for column in zip(*columns, strict=True)))

    @torch.no_grad()
    def evaluate(
        self, act: Act, seed: int | list[int], noise: torch.Generator | None = None
    ) -> Tensor:
        """Undiscounted returns `[K, N]` of one episode in every environment.

        Args:
            act: With what the learners act, greedily.
            seed: Of the initial states; or N seeds, and all learners start alike; or K x N.
            noise: Source of actions that are sampled instead.
        """

        def choose(observation: NDArray[Any]) -> NDArray[Any]:
            outputs = act(self._tensor(observation))
            action = self._actions.mode(outputs)
            if noise is not None:
                action = self._actions.sample(outputs, noise)
            return self._actions.to_numpy(action.flatten(0, 1))

        self._over[:] = True
        alike = not isinstance(seed, int) and len(seed) == self.shape[1]
        seeds = seed * self.shape[0] if alike else seed
        returns, steps = play(self._envs, choose, seeds)
        self.steps += steps
        return torch.as_tensor(returns).view(self.shape)


def play(
    envs: VectorEnv[Any, Any, Any],
    act: Callable[[NDArray[Any]], NDArray[Any]],
    seed: int | list[int],
) -> tuple[NDArray[np.float64], int]:
    """Undiscounted returns `[M]` of one episode in each of M environments, and their steps."""
    observation, _ = envs.reset(seed=seed)  # type: ignore[arg-type]
    returns = np.zeros(envs.num_envs)
    alive = np.ones(envs.num_envs, dtype=np.bool_)
    steps = 0
    while alive.any():
        observation, reward, terminated, truncated, _ = envs.step(act(observation))
        returns += reward * alive
        steps += int(alive.sum())
        alive &= ~(terminated | truncated)
    return returns, steps
