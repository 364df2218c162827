"""The estimator that needs no gradient: an evolution strategy on the learners' real return."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from gtn_rl.errors import TrainingDivergedError, UsageError
from gtn_rl.outer.strategies import CMAES, SNES, OpenAIES, Strategy, summed_ranks
from gtn_rl.seeding import generator

_POPULATION = 100  # Name of the random stream of populations.


def make_strategy(
    name: str, population: int, deviation: float, learning_rate: float
) -> Strategy[Any]:
    """The strategy of a name; `learning_rate` is for `openai-es` only."""
    if name == "openai-es":
        return OpenAIES(population, deviation, learning_rate)
    return (SNES if name == "snes" else CMAES)(population, deviation)


class Generation(NamedTuple):
    """All that is needed to know a population: nothing of its size travels to another process.

    Where not all parameters of a teacher evolve, `moving` `[M]` are the indices of those that do,
    and `base` `[D]` is what the others are.
    """

    strategy: Strategy[Any]
    state: Any
    seed: int
    step: int
    base: Tensor | None = None
    moving: Tensor | None = None

    def asked(self) -> Tensor:
        """What the strategy asks about, `[P, M]`."""
        return self.strategy.ask(self.state, generator(self.seed, _POPULATION, self.step))

    def population(self) -> Tensor:
        """Its members `[P, D]`."""
        asked = self.asked()
        if self.base is None:
            return asked
        members = self.base.to(asked.dtype).repeat(len(asked), 1)
        members[:, self.moving] = asked
        return members


class Executor(Protocol):
    """Where the members of a generation train their learners."""

    def fitness(self, generation: Generation) -> Tensor:
        """Mean return `[P, K]` of learners of each of K kinds; not a number for lost members."""

    def close(self) -> None:
        """Free what it holds."""


class Evolution:
    """Moves a teacher to where a strategy's populations do best.

    Members are compared by their rank for each kind of learner, the ranks being summed, so that the
    kind whose returns vary most does not decide alone. Where all members do equally well nothing is
    known of the way, and the teacher stays.

    Args:
        moving: Names of the teacher's parameters that evolve; all if not given.

    Raises:
        UsageError: The teacher has no parameters of such a name.
    """

    def __init__(
        self, teacher: nn.Module, strategy: Strategy[Any], seed: int, *,
        moving: Collection[str] = (),
    ) -> None:  # fmt: skip
        self.teacher = teacher
        self._strategy, self._seed = strategy, seed
        known = dict(teacher.named_parameters())
        missing = [name for name in moving if name not in known]
        if missing:
            raise UsageError(
                f"nothing to evolve: no {' and no '.join(missing)}, only {', '.join(known)}"
            )
        flags = [
            torch.full((parameter.numel(),), not moving or name in moving)
            for name, parameter in known.items()
        ]
        self._moving = torch.cat(flags).nonzero()[:, 0]
        self._state = strategy.initial(self._all()[self._moving])

    def _all(self) -> Tensor:
        return parameters_to_vector(self.teacher.parameters()).detach()

    def _move(self) -> None:
        parameters = self._all()
        parameters[self._moving] = self._state.mean.float()
        vector_to_parameters(parameters, self.teacher.parameters())

    def ask(self, step: int) -> Generation:
        return Generation(self._strategy, self._state, self._seed, step, self._all(), self._moving)

    def tell(self, trained: Generation, score: Tensor, step: int) -> dict[str, Any]:
        """Move the teacher, by real returns `[P, K]` of K kinds, not a number where one was lost.

        Raises:
            TrainingDivergedError: No member has a fitness; the teacher is left as it was.
        """
        means = score.mean(1)
        lost = ~score.isfinite().all(1)
        if lost.all():
            raise TrainingDivergedError(
                "no member of the population has a finite return: see the warnings above, or check "
                "the target's rewards"
            )
        fitness = summed_ranks(score)
        if fitness[~lost].max() > fitness[~lost].min():
            fitness = fitness.masked_fill(lost, torch.nan)
            self._state = self._strategy.tell(self._state, trained.asked(), fitness)
            self._move()
        return {
            "return": float(means[~lost].mean()),
            "return_best": float(means[~lost].max()),
            "lost_members": float(lost.sum()),
        }

    def state_dict(self) -> dict[str, Any]:
        return {"strategy": dict(self._state._asdict()), "teacher": self.teacher.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.teacher.load_state_dict(state["teacher"])
        self._state = type(self._state)(**state["strategy"])
        with torch.no_grad():
            self._move()
