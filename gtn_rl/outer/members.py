"""The task that a worker does: find the fitness of some members of a generation."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gtn_rl.config import TrainConfig
from gtn_rl.envs.targets import Factory, describe
from gtn_rl.inner.fitness import Fitness
from gtn_rl.outer.evolution import Generation


class Job(NamedTuple):
    """What workers need to know of a run, besides the generation: it is small."""

    target: str | Factory
    config: TrainConfig
    template: bytes
    copies: int


class Outcome(NamedTuple):
    """What became of a task: fitness of its members and real steps, or why it failed."""

    members: list[int]
    fitness: list[list[float]]
    real_steps: int
    failure: str = ""


def describe_job(
    target: str | Factory, config: TrainConfig, teacher: nn.Module, copies: int
) -> Job:
    """The job of a run; of the teacher all but its parameters is needed."""
    return Job(target, config, pickle.dumps(teacher), copies)


def work(job: Job, generation: Generation, members: list[int]) -> tuple[list[list[float]], int]:
    """Fitness of some members of a generation, and how many real steps that took.

    Args:
        job: The run.
        generation: Their generation.
        members: Their indices.
    """
    torch.set_num_threads(1)
    rows = generation.population()[members]
    values, steps = _fitness(job)(rows, generation.step)
    return values.tolist(), steps


@lru_cache(maxsize=1)
def _fitness(job: Job) -> Fitness:
    template = pickle.loads(job.template)
    return Fitness(describe(job.target), job.config, template.like, job.copies)


def complete(
    population: int,
    workers: int,
    attempt: Callable[[list[list[int]]], Iterable[Outcome]],
    retries: int,
) -> tuple[Tensor, int]:
    """Fitness `[P, K]` of a generation, and real steps, of tasks that may die or hang.

    Failed tasks are tried again; in the end their members' fitness is not a number, with a warning.

    Args:
        population: P.
        workers: Tasks that run at once; one for each, since a stack of half as many members takes
            more than half as long.
        attempt: Runs a task for each list of members.
        retries: How often to try again.
    """
    values: dict[int, list[float]] = {}
    steps = 0
    parts = torch.arange(population).tensor_split(min(workers, population))
    left = [part.tolist() for part in parts]
    failed: list[Outcome] = []
    for _ in range(1 + retries):
        failed = []
        for outcome in attempt(left):
            if outcome.failure:
                failed.append(outcome)
            else:
                values |= dict(zip(outcome.members, outcome.fitness, strict=True))
                steps += outcome.real_steps
        left = [outcome.members for outcome in failed]
        if not left:
            break
    for outcome in failed:
        warnings.warn(
            f"{len(outcome.members)} members are left out of this generation: {outcome.failure}",
            RuntimeWarning,
            stacklevel=2,
        )
    lost = [torch.nan] * max((len(row) for row in values.values()), default=1)
    return torch.tensor([values.get(member, lost) for member in range(population)]), steps
