"""Real target environments: what they are, batched rollouts, final scores, steps counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray
from torch import Tensor

from gtn_rl.envs.spaces import check_spaces
from gtn_rl.errors import UsageError, did_you_mean

Act = Callable[[Tensor], Tensor]
"""Logits `[K, N, A]` for observations `[K, N, O]`."""


@dataclass(frozen=True)
class Target:
    """What the library needs to know about a real environment.

    Args:
        id: Gymnasium id.
        observation_space: Flat `Box`.
        action_space: `Discrete`.
        reward_threshold: Return at which Gymnasium calls the task solved, if it says so.
    """

    id: str
    observation_space: spaces.Box
    action_space: spaces.Discrete
    reward_threshold: float | None


def describe(target: str) -> Target:
    """Look up a target by its Gymnasium id.

    Raises:
        UsageError: No such environment.
        UnsupportedSpaceError: Its spaces are not a flat `Box` and a `Discrete`.
    """
    try:
        env = gym.make(target)
    except (gym.error.UnregisteredEnv, ModuleNotFoundError) as error:
        raise UsageError(
            f"no environment {target!r} in Gymnasium.{did_you_mean(target, gym.registry)}"
        ) from error
    except gym.error.DependencyNotInstalled as error:
        raise UsageError(f"environment {target!r} cannot be made: {error}") from error
    try:
        observation_space, action_space = check_spaces(env.observation_space, env.action_space)
        threshold = None if env.spec is None else env.spec.reward_threshold
        return Target(target, observation_space, action_space, threshold)
    finally:
        env.close()


class Rollout(NamedTuple):
    """L steps of N real environments for each of K learners.

    `observation` and `next_observation` are `[K, L, N, O]`, the rest `[K, L, N]`. `valid` is false
    where the step only reset an environment.
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
        target: Gymnasium id.
        learners: K.
        copies: N, environments for each learner.
    """

    def __init__(self, target: str, learners: int, copies: int) -> None:
        self.shape = (learners, copies)
        self._envs: VectorEnv[Any, Any, Any] = gym.make_vec(target, num_envs=learners * copies)
        mode = self._envs.metadata.get("autoreset_mode")
        if mode != AutoresetMode.NEXT_STEP:
            raise UsageError(f"{target}: vector environment must autoreset on the next step")
        space = self._envs.single_action_space
        assert isinstance(space, spaces.Discrete)
        self._start, self._actions = int(space.start), int(space.n)
        self._observation: NDArray[Any] = np.empty(0)
        self._over = np.ones(learners * copies, dtype=np.bool_)
        self._return = np.zeros(learners * copies)
        self._finished: list[float] = []
        self.steps = 0

    def __enter__(self) -> RealEnvs:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Free the environments."""
        self._envs.close()

    def reset(self, seed: int) -> None:
        """Start new episodes everywhere, from one seed."""
        self._observation, _ = self._envs.reset(seed=seed)
        self._over[:] = False
        self._return[:] = 0
        self._finished.clear()

    def finished(self) -> float | None:
        """Mean undiscounted return of the episodes that ended since the last reset, if any did."""
        return float(np.mean(self._finished)) if self._finished else None

    def observation_statistics(
        self, length: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation `[O]` of observations under uniformly random actions."""
        rollout = self.rollout(
            lambda o: torch.zeros(*o.shape[:-1], self._actions), length, generator
        )
        std, mean = torch.std_mean(rollout.observation.flatten(0, 2), 0)
        # An observation that never moved says nothing of its scale.
        return mean, torch.where(std > 1e-6, std, torch.ones_like(std))

    def _tensor(self, array: NDArray[Any]) -> Tensor:
        return torch.as_tensor(array.astype(np.float32)).view(*self.shape, -1)

    @torch.no_grad()
    def rollout(self, act: Act, length: int, generator: torch.Generator) -> Rollout:
        """Act for `length` steps with actions sampled from the learners' logits."""
        columns: list[tuple[Tensor, ...]] = []
        observation = self._tensor(self._observation)
        for _ in range(length):
            action = _sample(act(observation), generator)
            valid = ~self._over
            array, reward, terminated, truncated, _ = self._envs.step(
                action.flatten().numpy() + self._start
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
    def evaluate(self, act: Act, seed: int) -> Tensor:
        """Undiscounted returns `[K, N]` of one greedy episode in every environment."""
        self.reset(seed)
        returns = np.zeros(self._over.shape)
        alive = np.ones(self._over.shape, dtype=np.bool_)
        while alive.any():
            action = act(self._tensor(self._observation)).argmax(-1)
            self._observation, reward, terminated, truncated, _ = self._envs.step(
                action.flatten().numpy() + self._start
            )
            returns += reward * alive
            self.steps += int(alive.sum())
            alive &= ~(terminated | truncated)
        self._over[:] = True
        return torch.as_tensor(returns).view(self.shape)


def _sample(logits: Tensor, generator: torch.Generator) -> Tensor:
    """Actions `[...]` drawn from logits `[..., A]` (the Gumbel-max trick)."""
    uniform = torch.rand(logits.shape, generator=generator)
    return (logits - (-uniform.clamp_min(1e-20).log()).log()).argmax(-1)
