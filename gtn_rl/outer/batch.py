"""All members together in this process."""

from __future__ import annotations

from torch import Tensor

from gtn_rl.inner.fitness import Fitness
from gtn_rl.outer.evolution import Generation


class Batch:
    """Trains the learners of all members together on stacked parameters.

    Args:
        fitness: Trains and scores them.
    """

    def __init__(self, fitness: Fitness) -> None:
        self._fitness = fitness

    def fitness(self, generation: Generation) -> tuple[Tensor, int]:
        return self._fitness(generation.population(), generation.step)

    def close(self) -> None:
        self._fitness.close()
