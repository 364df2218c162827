"""Where a generation's members train their learners: in this process, in others, on a cluster."""

from __future__ import annotations

import pickle
from functools import partial

from gtn_rl.config import TrainConfig
from gtn_rl.envs.targets import Factory
from gtn_rl.errors import UsageError
from gtn_rl.executors.batch import Batch
from gtn_rl.executors.members import describe_job
from gtn_rl.executors.processes import Processes
from gtn_rl.executors.ray import Ray
from gtn_rl.outer.evolution import Executor
from gtn_rl.real_return import RealReturn


def make_executor(target: str | Factory, config: TrainConfig, problem: RealReturn) -> Executor:
    """The executor that the settings name.

    Raises:
        UsageError: The target's factory cannot be sent to another process, or no Ray cluster.
        MissingExtraError: Ray is not installed.
    """
    if config.executor == "batch":
        return Batch(problem)
    try:
        pickle.dumps(target)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise UsageError(
            f"{target} cannot be sent to another process: define it at the top of a module, or use "
            "the batch executor"
        ) from error
    job = partial(describe_job, target, config, problem)
    if config.executor == "processes":
        return Processes(job, config.workers, config.task_timeout)
    return Ray(job, config.workers, config.ray_address, config.task_timeout)
