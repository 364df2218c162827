"""Three environments of a user, unknown to Gymnasium and never tuned for.

    cd examples && gtn-rl train my_env:Boat-v0 --out ../runs/boat

or `gtn_rl.train(Boat, "runs/boat")` from Python.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray


class Boat(gym.Env[NDArray[np.float32], NDArray[np.float32]]):
    """See position and drift, push in two directions; the reward is minus the distance."""

    observation_space = spaces.Box(-10.0, 10.0, (4,))
    action_space = spaces.Box(-1.0, 1.0, (2,))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Start somewhere, in a current of unknown direction."""
        super().reset(seed=seed)
        self._position = self.np_random.uniform(-3, 3, 2)
        self._current = self.np_random.uniform(-0.2, 0.2, 2)
        return self._see(), {}

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Move by push and current."""
        push = 0.4 * np.clip(action, -1, 1)
        self._position = np.clip(self._position + push + self._current, -10, 10)
        return self._see(), -float(np.linalg.norm(self._position)), False, False, {}

    def _see(self) -> NDArray[np.float32]:
        return np.concatenate([self._position, self._current]).astype(np.float32)


class Thermostat(gym.Env[NDArray[np.float32], int]):
    """Heat, cool or wait in a room that leaks to a changing outside; minus the discomfort."""

    observation_space = spaces.Box(-200.0, 200.0, (2,))
    action_space = spaces.Discrete(3)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Start too cold or too warm."""
        super().reset(seed=seed)
        self._inside, self._outside = (
            self.np_random.uniform(10, 30),
            self.np_random.uniform(-10, 35),
        )
        return self._see(), {}

    def step(self, action: int) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """One minute; action 0 cools, 1 waits, 2 heats."""
        self._outside += self.np_random.normal(0, 0.3)
        self._inside += 0.05 * (self._outside - self._inside) + 1.5 * (int(action) - 1)
        effort = 0.05 * abs(int(action) - 1)
        return self._see(), -abs(self._inside - 21) / 10 - effort, False, False, {}

    def _see(self) -> NDArray[np.float32]:
        return np.array([self._inside, self._outside], np.float32)


class Catch(gym.Env[NDArray[np.float32], int]):
    """Move a paddle under a falling ball: +1 caught, -1 missed, nothing in between."""

    observation_space = spaces.Box(0.0, 1.0, (3,))
    action_space = spaces.Discrete(3, start=-1)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Drop a ball."""
        super().reset(seed=seed)
        self._ball, self._height, self._paddle = self.np_random.uniform(0, 1), 1.0, 0.5
        return self._see(), {}

    def step(self, action: int) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """The ball falls by a tenth, the paddle moves by as much at most."""
        self._height = max(self._height - 0.1, 0.0)
        self._paddle = min(max(self._paddle + 0.1 * int(action), 0.0), 1.0)
        landed = self._height < 0.05
        reward = 0.0 if not landed else 1.0 if abs(self._ball - self._paddle) < 0.1 else -1.0
        return self._see(), reward, landed, False, {}

    def _see(self) -> NDArray[np.float32]:
        return np.array([self._ball, self._height, self._paddle], np.float32)


for name, steps in (("Boat", 40), ("Thermostat", 100), ("Catch", 20)):
    gym.register(f"{name}-v0", f"{__name__}:{name}", max_episode_steps=steps)
