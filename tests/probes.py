"""Tasks with known answers that several modules learn, and gradients by finite differences."""

import gymnasium as gym
import pytest
import torch
from gymnasium import spaces


class Probe(gym.Env):
    """Shows a number drawn anew in each of a few steps, whatever was done; pays for the action."""

    observation_space = spaces.Box(-1.0, 1.0, (1,))
    steps = 5

    def _see(self):
        space = self.observation_space
        self.seen = self.np_random.uniform(space.low, space.high).astype(space.dtype)
        return self.seen

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.age = 0
        return self._see(), {}

    def step(self, action):
        reward = self.reward(action)
        self.age += 1
        return self._see(), reward, False, self.age == self.steps, {}


class Side(Probe):
    """Say on which side of 0.3 the number is: the best return is 5, of random actions 2.5."""

    action_space = spaces.Discrete(2)

    def reward(self, action):
        return float(action == (self.seen[0] > 0.3))


class Aim(Probe):
    """Put out half of the number; what is lost is the squared error."""

    action_space = spaces.Box(-2.0, 2.0, (1,))
    steps = 4

    def reward(self, action):
        return -float((action[0] - self.seen[0] / 2) ** 2)


def assert_slopes(score, parameters, gradients, step=1e-6, rel=1e-3):
    """Every gradient, along a direction of its own, is the slope of the score by differences."""
    generator = torch.Generator().manual_seed(11)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        kind = {"generator": generator, "dtype": parameter.dtype}
        direction = torch.randn(parameter.shape, **kind)
        sides = []
        for side in (step, -2 * step, step):
            with torch.no_grad():
                parameter.add_(side * direction)
            sides.append(score().item())
        slope = (sides[0] - sides[1]) / (2 * step)
        assert gradient.abs().max() > 1e-6
        assert float((gradient * direction).sum()) == pytest.approx(slope, rel=rel, abs=1e-7)
