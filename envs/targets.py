"""Real target environments: what they are, batched rollouts, evaluations, steps counted."""

from __future__ import annotations

import importlib
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import SyncVectorEnv, VectorEnv
from gymnasium.vector.utils import iterate
from numpy.typing import NDArray
from torch import Tensor

from gtn_rl.envs.actions import Actions
from gtn_rl.envs.allowance import take
from gtn_rl.envs.checked import Call, Checked
from gtn_rl.envs.checked import Factory as Factory
from gtn_rl.envs.classic import ClassicVectorEnv, is_gymnasiums
from gtn_rl.errors import TargetError, UsageError, did_you_mean
from gtn_rl.spaces import check_spaces

Act = Callable[[Tensor], Tensor]
"""Logits or means `[K, N, A]` for observations `[K, N, O]`."""


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

    def make(self, **settings: Any) -> Checked:
        """One environment, checked at every step.

        Args:
            settings: For `gymnasium.make`, where the target has an id.

        Raises:
            TargetError: It cannot be made.
        """
        return Checked(self.factory or _by_id(self.id, settings), self.id)

    def copies(self, num_envs: int, **settings: Any) -> VectorEnv[Any, Any, Any]:
        """N environments as `make` makes them; they reset on the step after an episode's end."""
        return SyncVectorEnv([partial(self.make, **settings)] * num_envs)

    def vector(self, num_envs: int, horizon: int | None = None) -> VectorEnv[Any, Any, Any]:
        """As `copies`, but of Gymnasium's own classic control faster ones that do the same.

        Args:
            num_envs: N.
            horizon: Steps after which episodes are truncated, if it is not to be the target's own.
        """
        if self.factory is None and is_gymnasiums(self.id):
            return ClassicVectorEnv(self.id, num_envs, horizon)
        return self.copies(num_envs, **({} if horizon is None else {"max_episode_steps": horizon}))


def describe(target: str | Factory) -> Target:
    """Look up a target by its Gymnasium id, or make one with a factory and look at it.

    Raises:
        UsageError: No such environment, or a factory that returns the same object each time.
        UnsupportedSpaceError: Its spaces are not supported.
        TargetError: Its own code failed.
    """
    if isinstance(target, str):
        name, make, factory = target, _by_id(target, {}), None
        _import_module(target.rpartition(":")[0])
    elif callable(target):
        name, make, factory = _name_of(target), target, target
    else:
        raise UsageError(
            "a target is a Gymnasium id or a function that makes an environment, not "
            f"{target!r:.80}: give its class, or lambda: {type(target).__name__}(...)"
        )
    call = Call(name)
    try:
        env, other = call(make), call(make)
    except TargetError as error:
        raise _why(name, error) from error
    if not isinstance(env, gym.Env):
        raise UsageError(f"{name} must make a gymnasium.Env, it made {env!r:.80}")
    same, spec = other.unwrapped is env.unwrapped, env.spec
    call(env.close)
    if same:
        raise UsageError(f"{name} makes the same object each time: make a new one at each call")
    call(other.close)
    observation, action = check_spaces(env.observation_space, env.action_space)
    if spec is None or factory is not None:
        return Target(name, observation, action, None, factory)
    return Target(name, observation, action, spec.reward_threshold, None, spec.max_episode_steps)


def _by_id(target: str, settings: Mapping[str, Any]) -> Factory:
    # What Gymnasium's own checker looks at, `Checked` does at every step.
    return partial(gym.make, target, disable_env_checker=True, **settings)


def _name_of(factory: Factory) -> str:
    if isinstance(factory, partial):
        given = [repr(x) for x in factory.args]
        given += [f"{key}={value!r}" for key, value in factory.keywords.items()]
        return f"{_name_of(factory.func)}({', '.join(given)})"
    if inspect.isfunction(factory):
        return f"{factory.__module__}.{factory.__name__}"
    told = not repr(factory).startswith("<")
    return getattr(factory, "__name__", repr(factory) if told else type(factory).__name__)


def _import_module(module: str) -> None:
    """Import the module that registers an environment, if an id names one."""
    if not module:
        return
    try:
        Call(f"module {module!r}")(importlib.import_module, module)
    except TargetError as error:
        cause = error.__cause__
        if isinstance(cause, ModuleNotFoundError) and f"{module}.".startswith(f"{cause.name}."):
            raise UsageError(
                f"no module {cause.name!r}: run from the folder that holds it, or install it"
            ) from error
        raise


def _why(name: str, error: TargetError) -> Exception:
    """The error for an environment that cannot be made."""
    cause = error.__cause__
    if isinstance(cause, gym.error.UnregisteredEnv):
        near = did_you_mean(name.rpartition(":")[2], gym.registry)
        if ":" not in name:
            near += f" If a module of yours registers it, name that too: my_module:{name}"
        return UsageError(f"no environment {name!r} in Gymnasium.{near}")
    if isinstance(cause, gym.error.DependencyNotInstalled | ImportError):
        return UsageError(
            f"environment {name!r} cannot be made: {cause}. Gymnasium's MuJoCo tasks need "
            "pip install 'gtn_rl[mujoco]', its Box2D tasks 'gtn_rl[box2d]'"
        )
    if isinstance(cause, gym.error.DeprecatedEnv):
        return UsageError(f"environment {name!r} is not there any more: {cause}")
    if isinstance(cause, gym.error.Error) and "alformed" in str(cause):
        return UsageError(
            f"{name!r} is not a Gymnasium id: those are like CartPole-v1 or my_module:MyEnv-v0"
        )
    return error


_ROUND, _ROUNDS, _ENOUGH = 20, 5, 10_000
"""Episodes of random agents side by side, how often at most, and steps after which no more are
begun: what a short episode returns is chance, and long ones are dear."""


def random_return(task: Target) -> float:
    """Mean real return of agents that act at random.

    The same episodes each time: whatever is measured by it is measured by the same number.

    Raises:
        TargetError: The target failed.
        SpentError: The run may take no more steps.
    """
    envs = task.vector(_ROUND)
    envs.action_space.seed(0)
    returns: list[float] = []
    steps = 0
    try:
        while len(returns) < _ROUND * _ROUNDS and steps < _ENOUGH:
            some, taken = play(envs, lambda _: envs.action_space.sample(), len(returns))
            returns += some.tolist()
            steps += taken
    finally:
        envs.close()
    return float(np.mean(returns))


def random_steps(length: float) -> int:
    """Real steps that `random_return` takes at most, of episodes of a length at most."""
    rounds = min(math.ceil(_ENOUGH / (_ROUND * length)), _ROUNDS) if length else 0
    return round(rounds * _ROUND * length)


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

    Environments run on from call to call, so that short rollouts still see the late parts of long
    episodes.

    Args:
        target: What to run.
        actions: How learners act in it.
        learners: K.
        copies: N, environments for each learner.
        horizon: Steps after which episodes are truncated, if it is not to be the target's own.

    Raises:
        TargetError: The target failed; so do `reset`, `rollout` and `evaluate`.
        SpentError: The run may take no more steps (`gtn_rl.envs.allowance`), of `rollout` and
            `evaluate`.
    """

    def __init__(
        self, target: Target, actions: Actions, learners: int, copies: int,
        horizon: int | None = None,
    ) -> None:  # fmt: skip
        self.shape, self.horizon = (learners, copies), horizon or target.horizon
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
            take(int(valid.sum()))
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
        action, count = act(observation), int(alive.sum())
        take(count)
        if isinstance(envs, SyncVectorEnv):
            _step(envs, action, observation, returns, alive)
        else:
            observation, reward, terminated, truncated, _ = envs.step(action)
            returns += reward * alive
            alive &= ~(terminated | truncated)
        steps += count
    return returns, steps


def _step(
    envs: SyncVectorEnv, action: NDArray[Any], observation: NDArray[Any],
    returns: NDArray[np.float64], alive: NDArray[np.bool_],
) -> None:  # fmt: skip
    """A step of those that are alive, in place: of the others it would be a new episode's."""
    for index, own in enumerate(iterate(envs.action_space, action)):
        if alive[index]:
            seen, reward, terminated, truncated, _ = envs.envs[index].step(own)
            observation[index] = seen
            returns[index] += float(reward)
            alive[index] = not (terminated or truncated)
