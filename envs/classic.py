"""Gymnasium's classic-control tasks, N at once: meta-training's real steps would be its cost.

Gymnasium steps them one by one in Python (Acrobot: 0.1 ms each). The physics here is a batched copy
of Gymnasium's in float64, held to it step by step in `tests/test_classic.py`; final agents are
scored in Gymnasium's own. Of CartPole Gymnasium has a vector implementation; this one can start
chosen environments in the same state, which makes the members of a population comparable.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

Array = NDArray[np.float64]
Result = tuple[Array, Array, NDArray[np.bool_]]


class Physics(NamedTuple):
    """A task as functions of states `[N, S]`.

    Args:
        initial: Initial states `[count, S]`.
        step: Next states, rewards `[N]`, whether terminated `[N]`, of states and actions.
        observe: Observations `[N, O]`.
    """

    entry_point: str
    initial: Callable[[np.random.Generator, int], Array]
    step: Callable[[Array, NDArray[Any]], Result]
    observe: Callable[[Array], Array]


def _cartpole(state: Array, action: NDArray[Any]) -> Result:
    # Masses 1 and 0.1, half length 0.5, g = 9.8, 0.02 s a step.
    _, speed, angle, rate = state.T
    sine, cosine = np.sin(angle), np.cos(angle)
    thrust = (np.where(action == 1, 10.0, -10.0) + 0.05 * rate**2 * sine) / 1.1
    turn = (9.8 * sine - cosine * thrust) / (0.5 * (4.0 / 3.0 - 0.1 * cosine**2 / 1.1))
    push = thrust - 0.05 * turn * cosine / 1.1
    change = np.stack([speed, push, rate, turn], 1)
    state = state + 0.02 * change
    limit = 12 * 2 * np.pi / 360
    terminated = (np.abs(state[:, 0]) > 2.4) | (np.abs(state[:, 2]) > limit)
    return state, np.ones(len(state)), terminated


def _car_start(rng: np.random.Generator, count: int) -> Array:
    return np.stack([rng.uniform(-0.6, -0.4, count), np.zeros(count)], 1)


def _car(state: Array, action: NDArray[Any]) -> Result:
    state, terminated = _roll(state, 0.001 * (action - 1), 0.5)
    return state, np.full(len(state), -1.0), terminated


def _continuous_car(state: Array, action: NDArray[Any]) -> Result:
    push = action[:, 0].astype(np.float64)
    state, terminated = _roll(state, 0.0015 * np.clip(push, -1.0, 1.0), 0.45)
    return state, 100.0 * terminated - 0.1 * push**2, terminated


def _roll(state: Array, force: Array, goal: float) -> tuple[Array, NDArray[np.bool_]]:
    position, velocity = state.T
    velocity = np.clip(velocity + force - 0.0025 * np.cos(3 * position), -0.07, 0.07)
    position = np.clip(position + velocity, -1.2, 0.6)
    velocity = np.where((position == -1.2) & (velocity < 0), 0.0, velocity)
    return np.stack([position, velocity], 1), (position >= goal) & (velocity >= 0)


def _pendulum_start(rng: np.random.Generator, count: int) -> Array:
    high = np.array([np.pi, 1.0])
    return rng.uniform(-high, high, (count, 2))


def _pendulum(state: Array, action: NDArray[Any]) -> Result:
    angle, speed = state.T
    torque = np.clip(action[:, 0].astype(np.float64), -2.0, 2.0)
    wrapped = (angle + np.pi) % (2 * np.pi) - np.pi
    cost = wrapped**2 + 0.1 * speed**2 + 0.001 * torque**2
    speed = np.clip(speed + (15.0 * np.sin(angle) + 3.0 * torque) * 0.05, -8.0, 8.0)
    state = np.stack([angle + 0.05 * speed, speed], 1)
    return state, -cost, np.zeros(len(state), np.bool_)


def _acrobot(state: Array, action: NDArray[Any]) -> Result:
    torque, h = action.astype(np.float64) - 1.0, 0.2
    k1 = _acrobot_derivative(state, torque)
    k2 = _acrobot_derivative(state + h / 2 * k1, torque)
    k3 = _acrobot_derivative(state + h / 2 * k2, torque)
    k4 = _acrobot_derivative(state + h * k3, torque)
    state = state + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    angles = (state[:, :2] + np.pi) % (2 * np.pi) - np.pi
    limit = np.array([4 * np.pi, 9 * np.pi])
    state = np.concatenate([angles, np.clip(state[:, 2:], -limit, limit)], 1)
    terminated = -np.cos(state[:, 0]) - np.cos(state[:, 1] + state[:, 0]) > 1.0
    return state, np.where(terminated, 0.0, -1.0), terminated


def _acrobot_derivative(state: Array, torque: Array) -> Array:
    # All masses, lengths and moments of inertia are 1, centres of mass lie at 0.5, g = 9.8.
    first, second, speed1, speed2 = state.T
    sin2, cos2 = np.sin(second), np.cos(second)
    d1 = 3.5 + cos2
    d2 = 1.25 + 0.5 * cos2
    phi2 = 4.9 * np.sin(first + second)
    phi1 = -0.5 * speed2**2 * sin2 - speed2 * speed1 * sin2 + 14.7 * np.sin(first) + phi2
    acceleration2 = (torque + d2 / d1 * phi1 - 0.5 * speed1**2 * sin2 - phi2) / (1.25 - d2**2 / d1)
    acceleration1 = -(d2 * acceleration2 + phi1) / d1
    return np.stack([speed1, speed2, acceleration1, acceleration2], 1)


def _with_angles(state: Array, count: int) -> Array:
    """Cosine and sine of each of the first `count` numbers of a state, then the others."""
    angles = [function(state[:, i]) for i in range(count) for function in (np.cos, np.sin)]
    return np.concatenate([np.stack(angles, 1), state[:, count:]], 1)


def _same(state: Array) -> Array:
    return state


_MODULE = "gymnasium.envs.classic_control"

PHYSICS: dict[str, Physics] = {
    "Acrobot-v1": Physics(
        f"{_MODULE}.acrobot:AcrobotEnv",
        lambda rng, count: rng.uniform(-0.1, 0.1, (count, 4)),
        _acrobot, partial(_with_angles, count=2),
    ),
    "CartPole-v1": Physics(
        f"{_MODULE}.cartpole:CartPoleEnv",
        lambda rng, count: rng.uniform(-0.05, 0.05, (count, 4)),
        _cartpole, _same,
    ),
    "MountainCar-v0": Physics(
        f"{_MODULE}.mountain_car:MountainCarEnv", _car_start, _car, _same
    ),
    "MountainCarContinuous-v0": Physics(
        f"{_MODULE}.continuous_mountain_car:Continuous_MountainCarEnv",
        _car_start, _continuous_car, _same,
    ),
    "Pendulum-v1": Physics(
        f"{_MODULE}.pendulum:PendulumEnv",
        _pendulum_start, _pendulum, partial(_with_angles, count=1),
    ),
}  # fmt: skip


def is_gymnasiums(target: str) -> bool:
    """Whether an id is one of `PHYSICS`, registered as Gymnasium does and not by the user."""
    spec = gym.registry.get(target)
    return (
        spec is not None
        and target in PHYSICS
        and spec.entry_point == PHYSICS[target].entry_point
        and not spec.kwargs
        and not spec.additional_wrappers
    )


class ClassicVectorEnv(VectorEnv[NDArray[Any], NDArray[Any], NDArray[Any]]):
    """N copies of a classic-control task; an episode's end is followed by a step that resets it.

    Args:
        max_episode_steps: Steps after which an episode is truncated; the task's own if not given.
    """

    def __init__(self, target: str, num_envs: int, max_episode_steps: int | None = None) -> None:
        single = gym.make(target)
        assert single.spec is not None
        self._limit = max_episode_steps or single.spec.max_episode_steps or 0
        self.single_observation_space = single.observation_space
        self.single_action_space = single.action_space
        single.close()
        self.metadata = {"render_modes": [], "autoreset_mode": AutoresetMode.NEXT_STEP}
        self.render_mode = None
        self.num_envs = num_envs
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._physics = PHYSICS[target]
        self._state = self._physics.initial(np.random.default_rng(0), num_envs)
        self._age = np.zeros(num_envs, np.int64)
        self._over = np.zeros(num_envs, np.bool_)

    def reset(
        self, *, seed: int | list[int] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """Start new episodes everywhere, or where `options["reset_mask"]` says so.

        Args:
            seed: One for all, or one for each: environments with the same seed start alike.
            options: `reset_mask` `[N]`, without a seed.
        """
        mask = None if options is None else options.get("reset_mask")
        if mask is not None:
            self._state[mask] = self._physics.initial(self.np_random, int(mask.sum()))
            self._age[mask] = 0
            self._over[mask] = False
            return self._observe(), {}
        if isinstance(seed, list):
            super().reset(seed=seed[0])
            starts = {s: self._physics.initial(np.random.default_rng(s), 1) for s in set(seed)}
            self._state = np.concatenate([starts[s] for s in seed])
        else:
            super().reset(seed=seed)
            self._state = self._physics.initial(self.np_random, self.num_envs)
        self._age[:] = 0
        self._over[:] = False
        return self._observe(), {}

    def step(
        self, actions: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Take an action in every environment, or reset it where its episode was over."""
        resetting = self._over
        state, reward, terminated = self._physics.step(self._state, actions)
        self._age += 1
        if resetting.any():
            state[resetting] = self._physics.initial(self.np_random, int(resetting.sum()))
            reward[resetting], terminated[resetting], self._age[resetting] = 0.0, False, 0
        self._state = state
        truncated = self._age >= self._limit
        self._over = terminated | truncated
        return self._observe(), reward, terminated, truncated, {}

    def _observe(self) -> NDArray[Any]:
        return self._physics.observe(self._state).astype(np.float32)
