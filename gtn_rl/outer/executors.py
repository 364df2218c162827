"""Where a generation's members train their learners: in this process, in others, on a cluster.

Tasks of other processes may die or hang: they are tried again, and in the end their members are
left out of the update, with a warning.
"""

from __future__ import annotations

import importlib
import os
import pickle
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import wait
from concurrent.futures.process import BrokenProcessPool
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gtn_rl.config import TrainConfig
from gtn_rl.envs.allowance import Allowance, count, within
from gtn_rl.envs.targets import Factory, describe
from gtn_rl.errors import MissingExtraError, UsageError, one_line
from gtn_rl.inner.fitness import Fitness
from gtn_rl.outer.evolution import Executor, Generation
from gtn_rl.outer.pool import end, make_pool, unsendable


class Batch:
    """All members together in this process, their learners' parameters stacked."""

    def __init__(self, fitness: Fitness) -> None:
        self._fitness = fitness

    def fitness(self, generation: Generation) -> Tensor:
        return self._fitness(generation.population(), generation.step)

    def close(self) -> None:
        self._fitness.close()


class Job(NamedTuple):
    """What workers need to know of a run, besides the generation: it is small.

    `template` is a pickled teacher, of which all but its parameters is needed.
    """

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


def work(job: Job, generation: Generation, members: list[int]) -> tuple[list[list[float]], int]:
    """The task of a worker: fitness of members, given by their indices, and real steps."""
    torch.set_num_threads(1)
    rows, costs = generation.population()[members], Allowance()
    with within(costs):
        values = _fitness(job)(rows, generation.step)
    return values.tolist(), costs.taken


@lru_cache(maxsize=1)
def _fitness(job: Job) -> Fitness:
    template = pickle.loads(job.template)
    return Fitness(describe(job.target), job.config, template.like, job.copies)


def _complete(
    population: int, workers: int, attempt: Callable[[list[list[int]]], Iterable[Outcome]],
    retries: int,
) -> Tensor:  # fmt: skip
    """Fitness `[P, K]` of a generation, not a number where it was lost."""
    values: dict[int, list[float]] = {}
    # One task for each worker: a stack of half as many members takes more than half as long.
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
                count(outcome.real_steps)
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
    return torch.tensor([values.get(member, lost) for member in range(population)])


def _said(error: BaseException) -> str:
    """An error in one line; the end of what Ray says, where the worker's traceback ends."""
    return f"{type(error).__name__}: {one_line(error)[-500:]}"


class Processes:
    """A pool of processes on this machine; one that dies or hangs is replaced.

    A generation's tasks that are unfinished after `timeout` seconds count as hung.
    """

    def __init__(self, job: Job, workers: int, timeout: float, retries: int = 1) -> None:
        self._job, self._workers = job, workers
        self._timeout, self._retries = timeout, retries
        self._pool = make_pool(workers)

    def fitness(self, generation: Generation) -> Tensor:
        def attempt(tasks: list[list[int]]) -> Iterator[Outcome]:
            futures = [self._pool.submit(work, self._job, generation, task) for task in tasks]
            late = wait(futures, self._timeout).not_done
            broken = bool(late)
            for future, members in zip(futures, tasks, strict=True):
                if future in late:
                    yield Outcome(members, [], 0, f"no answer within {self._timeout:g} s")
                    continue
                error = future.exception()
                broken |= isinstance(error, BrokenProcessPool)
                if error is None:
                    yield Outcome(members, *future.result())
                else:
                    yield Outcome(members, [], 0, _said(error))
            if broken:
                self.close()
                self._pool = make_pool(self._workers)

        return _complete(generation.strategy.population, self._workers, attempt, self._retries)

    def close(self) -> None:
        end(self._pool)


class Ray:
    """Tasks of one core each, on a Ray cluster or a Ray of this machine (extra `ray`).

    Ray itself starts the tasks of a worker that died again. The generation's state is put into the
    object store once; tasks hold members' indices.

    Args:
        workers: Tasks at once; of a Ray that is started here, also its cores.
        address: Of a running cluster, e.g. `"auto"`; a Ray of this machine is started if empty.

    Raises:
        MissingExtraError: Ray is not installed.
        UsageError: No cluster at that address.
    """

    def __init__(
        self, job: Job, workers: int, address: str, timeout: float, retries: int = 1
    ) -> None:
        try:
            self._ray: Any = importlib.import_module("ray")
        except ImportError as error:
            raise MissingExtraError("Ray is missing: pip install 'gtn_rl[ray]'") from error
        self._job, self._workers = job, workers
        self._timeout, self._retries = timeout, retries
        here = {} if address else {"num_cpus": workers, "include_dashboard": False}
        self._started = not self._ray.is_initialized()
        if self._started:
            try:
                self._ray.init(address=address or "local", log_to_driver=False, **here)
            except (ConnectionError, ValueError) as error:
                raise UsageError(
                    f"no Ray cluster at {address!r}: start one with `ray start --head`"
                ) from error
        # What this process can import its workers can, such as environments beside the script; on a
        # cluster that is up to whoever set it up.
        paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
        environment = None if address else {"env_vars": {"PYTHONPATH": paths}}
        options = {"num_cpus": 1, "max_retries": retries, "runtime_env": environment}
        self._work = self._ray.remote(**options)(work)

    def fitness(self, generation: Generation) -> Tensor:
        job, shared = self._ray.put(self._job), self._ray.put(generation)

        def attempt(tasks: list[list[int]]) -> Iterator[Outcome]:
            refs = [self._work.remote(job, shared, members) for members in tasks]
            _, late = self._ray.wait(refs, num_returns=len(refs), timeout=self._timeout)
            for ref, members in zip(refs, tasks, strict=True):
                if ref in late:
                    self._ray.cancel(ref, force=True)
                    yield Outcome(members, [], 0, f"no answer within {self._timeout:g} s")
                    continue
                try:
                    yield Outcome(members, *self._ray.get(ref))
                except self._ray.exceptions.RayError as error:
                    yield Outcome(members, [], 0, _said(error))

        return _complete(generation.strategy.population, self._workers, attempt, self._retries)

    def close(self) -> None:
        if self._started:
            self._ray.shutdown()


def make_executor(
    target: str | Factory, config: TrainConfig, fitness: Fitness, teacher: nn.Module, copies: int
) -> Executor:
    """The executor that the settings name.

    Raises:
        UsageError: The target's factory cannot be sent to another process, or no Ray cluster.
        MissingExtraError: Ray is not installed.
    """
    workers = config.workers
    if workers.executor == "batch":
        return Batch(fitness)
    if unsendable(target):
        raise UsageError(
            f"{target} cannot be sent to another process: define it at the top of a module, or use "
            "the batch executor"
        )
    job = Job(target, config, pickle.dumps(teacher), copies)
    if workers.executor == "processes":
        return Processes(job, workers.count, workers.timeout)
    return Ray(job, workers.count, workers.ray_address, workers.timeout)
