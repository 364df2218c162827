"""Where a generation's members train their learners: in this process, in others, on a cluster."""

from __future__ import annotations

from torch import nn

from gtn_rl.config import TrainConfig
from gtn_rl.envs.targets import Factory
from gtn_rl.errors import UsageError
from gtn_rl.inner.fitness import Fitness
from gtn_rl.outer.batch import Batch
from gtn_rl.outer.evolution import Executor
from gtn_rl.outer.members import describe_job
from gtn_rl.outer.pool import unsendable
from gtn_rl.outer.processes import Processes
from gtn_rl.outer.ray import Ray


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
    job = describe_job(target, config, teacher, copies)
    if workers.executor == "processes":
        return Processes(job, workers.count, workers.timeout)
    return Ray(job, workers.count, workers.ray_address, workers.timeout)
