"""All members in this process, as one batch."""

from __future__ import annotations

from torch import Tensor

from gtn_rl.outer.evolution import Generation
from gtn_rl.real_return import RealReturn


class Batch:
    """Trains the learners of all members together on stacked parameters.

    Args:
        problem: What they are trained for.
    """

    def __init__(self, problem: RealReturn) -> None:
        self._problem = problem

    def fitness(self, generation: Generation) -> tuple[Tensor, int]:
        """Fitness `[P, K]` and how many real steps were taken."""
        return self._problem.fitness(generation.population(), generation.step)

    def close(self) -> None:
        """Nothing to free."""
