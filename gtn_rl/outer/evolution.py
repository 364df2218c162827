"""The estimator that needs no gradient: an evolution strategy on the learners' real return."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from gtn_rl.errors import TrainingDivergedError
from gtn_rl.outer.cma_es import CMAES
from gtn_rl.outer.strategies import SNES, OpenAIES, Strategy
from gtn_rl.seeding import generator

if TYPE_CHECKING:
    from gtn_rl.loop import Problem

_POPULATION = 100
"""Name of the random stream of populations."""


def make_strategy(
    name: str, population: int, deviation: float, learning_rate: float
) -> Strategy[Any]:
    """The strategy of a name; `learning_rate` is for `openai-es` only."""
    if name == "openai-es":
        return OpenAIES(population, deviation, learning_rate)
    return (SNES if name == "snes" else CMAES)(population, deviation)


class Generation(NamedTuple):
    """All that is needed to know a population: nothing of its size travels to another process."""

    strategy: Strategy[Any]
    state: Any
    seed: int
    step: int

    def population(self) -> Tensor:
        """Its members `[P, D]`."""
        return self.strategy.ask(self.state, generator(self.seed, _POPULATION, self.step))


class Executor(Protocol):
    """Where the members of a generation train their learners."""

    def fitness(self, generation: Generation) -> tuple[Tensor, int]:
        """Fitness `[P]`, not a number where it was lost, and how many real steps were taken."""
        ...

    def close(self) -> None:
        """Free what it holds."""
        ...


class Evolution:
    """Moves a teacher to where a strategy's populations do best.

    Args:
        teacher: The module to update in place; D parameters.
        strategy: Draws populations around it and learns from their fitness.
        executor: Finds their fitness.
        seed: Of the populations.
    """

    def __init__(
        self, teacher: nn.Module, strategy: Strategy[Any], executor: Executor, seed: int
    ) -> None:
        self._teacher, self._strategy, self._executor = teacher, strategy, executor
        self._seed = seed
        self._state = strategy.initial(parameters_to_vector(teacher.parameters()).detach())

    def step(self, problem: Problem, step: int) -> dict[str, Any]:
        """One generation: draw a population, have its learners scored, move the teacher.

        Raises:
            TrainingDivergedError: No member has a fitness; the teacher is left as it was.
        """
        generation = Generation(self._strategy, self._state, self._seed, step)
        fitness, steps = self._executor.fitness(generation)
        problem.charge(steps)
        known = fitness[fitness.isfinite()]
        if not len(known):
            raise TrainingDivergedError(
                "no member of the population has a finite return: see the warnings above, or check "
                "the target's rewards"
            )
        self._state = self._strategy.tell(self._state, generation.population(), fitness)
        vector_to_parameters(self._state.mean.float(), self._teacher.parameters())
        return {
            "return": float(known.mean()),
            "return_best": float(known.max()),
            "lost_members": float(len(fitness) - len(known)),
        }

    def state_dict(self) -> dict[str, Any]:
        """The strategy's state."""
        return dict(self._state._asdict())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Set it to a saved state."""
        self._state = type(self._state)(**state)
        with torch.no_grad():
            vector_to_parameters(self._state.mean.float(), self._teacher.parameters())
