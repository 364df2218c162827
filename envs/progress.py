"""How far an agent's training has got, by the steps it has taken: the clock of its phases."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gtn_rl.envs.synthetic import SyntheticEnv
from gtn_rl.errors import UsageError


class Progress:
    """Progress from 0 to 1 (Such et al. 2020, section 3.3): steps taken so far / budget.

    It belongs to one agent's training, so only a new environment starts it again, and no reset.

    Args:
        env: The synthetic environment; only one that is `timed` depends on progress.
        budget: Steps after which progress is 1; the environment's own if not given. If that is 0,
            progress is 1 all the time.

    Raises:
        UsageError: A budget below 1.
    """

    counts: bool
    """Whether progress depends on the steps at all."""

    def __init__(self, env: SyntheticEnv, budget: int | None) -> None:
        if budget is not None and budget < 1:
            raise UsageError(f"budget must be at least 1 step, got {budget}")
        self._budget = (budget or env.budget or None) if env.timed else None
        self._steps = 0
        self.counts = self._budget is not None

    @property
    def moving(self) -> bool:
        """Whether progress is still to change."""
        return self._budget is not None and self._steps < self._budget

    @property
    def now(self) -> float:
        """Progress of the next step."""
        return 1.0 if self._budget is None else min(self._steps / self._budget, 1.0)

    def advance(self, num_envs: int, resting: NDArray[np.bool_] | None) -> None:
        """Count a step in N environments, but not where it only resets (`resting`, `[N]`)."""
        if self._budget is not None:
            idle = 0 if resting is None else int(np.count_nonzero(resting))
            self._steps += num_envs - idle

    def ahead(self, rows: int, num_envs: int) -> NDArray[np.float32]:
        """Progress `[rows]` at which one-step episodes will be played, N at a time, from now on."""
        if self._budget is None:
            return np.ones(rows, np.float32)
        steps = self._steps + np.arange(rows) // num_envs * num_envs
        return np.minimum(steps / self._budget, 1.0).astype(np.float32)
