"""Several starts, of which the one is taken that teaches best: an expert's return does not tell."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from gtn_rl.config import TrainConfig
from gtn_rl.envs.actions import make_actions
from gtn_rl.envs.synthetic import SyntheticEnv
from gtn_rl.envs.targets import Factory, describe
from gtn_rl.errors import GTNError
from gtn_rl.outer.strategies import summed_ranks
from gtn_rl.pool import end, make_pool
from gtn_rl.prepare import Prepared, prepare
from gtn_rl.real_return import RealReturn, taught
from gtn_rl.seeding import derive

_STREAM = 200
"""Name of the random stream of further starts."""


class Start(NamedTuple):
    """One start: its number, what was prepared, and how it teaches."""

    number: int
    prepared: Prepared
    returns: Tensor


def one_start(target: str | Factory, config: TrainConfig, index: int) -> Start:
    """Search, warm up and judge the start of a number; the first is that of a run without others.

    All are judged by the same agents, `[1, K]`.
    """
    seed = derive(config.seed, _STREAM, index) if index else config.seed
    own = replace(config, seed=seed, experts=1)
    task = describe(target)
    actions = make_actions(task.action_space, own.outer_noise)
    prepared = prepare(task, own, actions, partial(taught, task, own), lambda _: None)
    returns, steps = taught(task, config, prepared.env)
    real_steps = prepared.real_steps + steps
    return Start(index, prepared._replace(real_steps=real_steps), returns)


def best_start(
    target: str | Factory, problem: RealReturn, say: Callable[[str], None]
) -> SyntheticEnv:
    """The environment, of `experts`, whose learners do best, by rank for each algorithm.

    Args:
        target: As of `train`.
        problem: Goes on from it: real steps of all are counted.
        say: Told how many are done.
    """
    config = problem.config
    say(f"warming up {config.experts} starts")
    found: list[Start] = []
    for start in _starts(target, config):
        found.append(start)
        say(f"{len(found)} of {config.experts} starts")
    found.sort(key=lambda start: start.number)
    best = found[int(summed_ranks(torch.cat([start.returns for start in found])).argmax())]
    total = sum(start.prepared.real_steps for start in found)
    return problem.go_on(best.prepared._replace(real_steps=total))


def _starts(target: str | Factory, config: TrainConfig) -> Iterator[Start]:
    if config.executor != "processes":
        for index in range(config.experts):
            yield one_start(target, config, index)
        return
    pool = make_pool(min(config.workers, config.experts))
    try:
        tasks = [pool.submit(one_start, target, config, index) for index in range(config.experts)]
        for task in as_completed(tasks):
            yield task.result()
    except BrokenProcessPool as error:
        raise GTNError(
            "a process that made a start died, perhaps of too little memory: set fewer workers"
        ) from error
    finally:
        end(pool)
