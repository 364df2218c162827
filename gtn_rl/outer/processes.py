"""Members as tasks of processes on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import wait
from concurrent.futures.process import BrokenProcessPool

from torch import Tensor

from gtn_rl.outer.evolution import Generation
from gtn_rl.outer.members import Job, Outcome, complete, work
from gtn_rl.outer.pool import end, make_pool


class Processes:
    """A pool of processes; one that dies or hangs is replaced, and its task tried again.

    Args:
        job: Describes the run.
        workers: Processes.
        timeout: Seconds after which a generation's unfinished tasks count as hung.
        retries: How often a failed task is tried again.
    """

    def __init__(self, job: Job, workers: int, timeout: float, retries: int = 1) -> None:
        self._job, self._workers = job, workers
        self._timeout, self._retries = timeout, retries
        self._pool = make_pool(self._workers)

    def fitness(self, generation: Generation) -> tuple[Tensor, int]:
        job = self._job

        def attempt(tasks: list[list[int]]) -> Iterator[Outcome]:
            futures = [self._pool.submit(work, job, generation, members) for members in tasks]
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
                    yield Outcome(members, [], 0, f"{type(error).__name__}: {error}")
            if broken:
                self.close()
                self._pool = make_pool(self._workers)

        return complete(generation.strategy.population, self._workers, attempt, self._retries)

    def close(self) -> None:
        end(self._pool)
