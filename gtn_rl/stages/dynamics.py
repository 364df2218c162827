"""Dynamics and termination of a synthetic environment, from real transitions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gtn_rl.config import TrainConfig
from gtn_rl.envs.actions import Actions
from gtn_rl.envs.synthetic import SyntheticEnv
from gtn_rl.envs.targets import Rollout, Target
from gtn_rl.seeding import derive
from gtn_rl.stages.world_model import explore, fit_dynamics
from gtn_rl.state import State

_STREAM = 7


class MaximumLikelihood:
    """Fits dynamics to transitions.

    Args:
        env: One environment, changed in place.
        task: The target.
        seed: Of the run.
    """

    def __init__(self, env: SyntheticEnv, task: Target, seed: int) -> None:
        self.teacher, self._task, self._seed = env, task, seed

    def ask(self, step: int) -> SyntheticEnv:
        """The environment itself."""
        return self.teacher

    def tell(self, trained: Any, score: Rollout, step: int) -> dict[str, Any]:
        """Fit them."""
        errors = fit_dynamics(self.teacher, self._task, score, derive(self._seed, _STREAM, 2))
        return {"surrogate": -sum(errors.values())}

    def state_dict(self) -> dict[str, Any]:
        """The environment."""
        return {"env": self.teacher.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Set it to a saved state."""
        self.teacher.load_state_dict(state["env"])


@dataclass
class LearnDynamics:
    """One step: transitions of what the optimal policy does and of what anyone might do.

    Args:
        task: The target.
        actions: How policies act in it.
        config: Settings of the run; those of the stage are in `dynamics`.
    """

    task: Target
    actions: Actions
    config: TrainConfig
    name: str = "learning dynamics"
    every: int = 1
    competes: bool = True

    def begin(self, state: State) -> None:
        """Go on from the environment that was found."""
        assert isinstance(state.teacher, SyntheticEnv)
        self.estimator = MaximumLikelihood(state.teacher, self.task, self.config.seed)
        self._steps = 0

    def reset(self, step: int) -> None:
        """Nothing hangs over."""

    def train(self, teachers: SyntheticEnv, step: int) -> SyntheticEnv:
        """Its optimal policy needs no training."""
        return teachers

    def objective(self, trained: SyntheticEnv, step: int) -> Rollout:
        """Real transitions."""
        wanted, seed = self.config.dynamics.real_steps, derive(self.config.seed, _STREAM)
        rollout, steps = explore(trained, self.task, self.actions, wanted, seed)
        self._steps += steps
        return rollout

    def evaluate(self, step: int, *, last: bool) -> dict[str, float]:
        """Nothing."""
        return {}

    def shares(self, step: int) -> Mapping[str, float]:
        """One step."""
        return {"dynamics": float(step)}

    def converged(self, step: int) -> bool:
        """After its one step only."""
        return False

    def spent(self) -> int:
        """Real steps since this was last asked."""
        new, self._steps = self._steps, 0
        return new

    def end(self, state: State) -> None:
        """The environment is what the estimator left."""
        state.teacher = self.estimator.teacher

    def close(self) -> None:
        """Nothing to free."""

    def state_dict(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing."""
