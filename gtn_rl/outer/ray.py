"""Members as tasks on a Ray cluster, or on a Ray of this machine (extra `ray`)."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from typing import Any

from torch import Tensor

from gtn_rl.errors import MissingExtraError, UsageError
from gtn_rl.outer.evolution import Generation
from gtn_rl.outer.members import Job, Outcome, complete, work


class Ray:
    """Tasks of one core each; Ray itself starts the tasks of a worker that died again.

    The generation's state is put into the object store once; tasks hold members' indices.

    Args:
        job: Describes the run.
        workers: Tasks at once; of a Ray that is started here, also its cores.
        address: Of a running cluster, e.g. `"auto"`; a Ray of this machine is started if empty.
        timeout: Seconds after which a generation's unfinished tasks count as hung.
        retries: How often a failed task is tried again.

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
        self._workers, self._timeout, self._retries = workers, timeout, retries
        here = {} if address else {"num_cpus": workers, "include_dashboard": False}
        self._started = not self._ray.is_initialized()
        if self._started:
            try:
                self._ray.init(address=address or "local", log_to_driver=False, **here)
            except (ConnectionError, ValueError) as error:
                raise UsageError(
                    f"no Ray cluster at {address!r}: start one with `ray start --head`"
                ) from error
        self._job = job
        # What this process can import its workers can, such as environments beside the script; on a
        # cluster that is up to whoever set it up.
        paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
        environment = None if address else {"env_vars": {"PYTHONPATH": paths}}
        self._work = self._ray.remote(num_cpus=1, max_retries=retries, runtime_env=environment)(
            work
        )

    def fitness(self, generation: Generation) -> tuple[Tensor, int]:
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
                    last = str(error).strip().splitlines()[-1]
                    yield Outcome(members, [], 0, f"{type(error).__name__}: {last}")

        return complete(generation.strategy.population, self._workers, attempt, self._retries)

    def close(self) -> None:
        if self._started:
            self._ray.shutdown()
