"""Several starts, of which the one is taken that teaches best: an expert's return does not tell."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gtn_rl.config import TrainConfig
from gtn_rl.coverage import baffle
from gtn_rl.envs.actions import make_actions
from gtn_rl.envs.synthetic import SyntheticEnv
from gtn_rl.envs.targets import Factory, Target, describe
from gtn_rl.errors import GTNError
from gtn_rl.outer.strategies import summed_ranks
from gtn_rl.pool import end, make_pool
from gtn_rl.practice import practise
from gtn_rl.prepare import Prepared, prepare
from gtn_rl.real_return import RealReturn, taught
from gtn_rl.seeding import derive, generator

_STREAM = 200
"""Name of the random stream of further starts."""

_PRACTICE, _INTRODUCTION = 10, 11
"""Names of those of a start's practice."""


class Start(NamedTuple):
    """One start: its number, what was prepared and what that took, and how it teaches."""

    number: int
    prepared: Prepared
    returns: Tensor


Each = Callable[[Callable[[Any], Start], Sequence[Any]], Iterator[tuple[int, Start]]]
"""What a function makes of each of several things, whichever gets done first, and its index."""


def one_start(target: str | Factory, config: TrainConfig, index: int) -> Start:
    """Search, warm up and judge the start of a number; the first is that of a run without others.

    All are judged by the same agents, `[1, K]`.
    """
    own = _own(config, index)
    task = describe(target)
    actions = make_actions(task.action_space, own.outer_noise)
    prepared = prepare(task, own, actions, partial(taught, task, own), lambda _: None)
    return _judged(task, config, index, prepared)


def practised(target: str | Factory, config: TrainConfig, turn: int, start: Start) -> Start:
    """What comes of a start that practises in a round of a number, judged as it was."""
    own = _own(config, start.number)
    task = describe(target)
    actions = make_actions(task.action_space, own.outer_noise)
    # What it was before stays among the others.
    env, critic = copy.deepcopy((start.prepared.env, start.prepared.critic))
    steps = practise(env, task, actions, critic, own, (_PRACTICE, turn))
    if env.introduction:
        baffle(env, own.introduction_linear, generator(own.seed, _INTRODUCTION, turn))
    prepared = start.prepared._replace(env=env, critic=critic, real_steps=steps)
    return _judged(task, config, start.number, prepared)


def best_start(
    target: str | Factory, problem: RealReturn, say: Callable[[str], None]
) -> SyntheticEnv:
    """The environment, of `experts` and what comes of practice, whose learners do best.

    By rank for each algorithm, at every choice.

    Args:
        target: As of `train`.
        problem: Goes on from it: real steps of all are counted.
        say: Told how many are done.

    Raises:
        GTNError: A process that made a start died.
    """
    config = problem.config
    count = 1 if config.init else config.experts
    with _workers(config, max((count, *config.practised))) as each:
        say(f"warming up {count} starts")
        found = _all(each(partial(one_start, target, config), range(count)), count, "starts", say)
        for turn, wanted in enumerate(config.practised, 1):
            best = _by_rank(found)[:wanted]
            done = each(partial(practised, target, config, turn), best)
            found += _all(done, len(best), f"practised, round {turn}", say)
    total = sum(start.prepared.real_steps for start in found)
    return problem.go_on(_by_rank(found)[0].prepared._replace(real_steps=total))


def _own(config: TrainConfig, number: int) -> TrainConfig:
    """The settings of the start of a number."""
    seed = derive(config.seed, _STREAM, number) if number else config.seed
    return replace(config, seed=seed, experts=1)


def _judged(task: Target, config: TrainConfig, number: int, prepared: Prepared) -> Start:
    """A start of a number and how it teaches, which takes real steps too."""
    returns, steps = taught(task, config, prepared.env)
    real_steps = prepared.real_steps + steps
    return Start(number, prepared._replace(real_steps=real_steps), returns)


def _by_rank(starts: Sequence[Start]) -> list[Start]:
    """Those first whose learners do best."""
    ranks = summed_ranks(torch.cat([start.returns for start in starts]))
    return [starts[index] for index in ranks.argsort(descending=True, stable=True).tolist()]


def _all(
    done: Iterator[tuple[int, Start]], count: int, what: str, say: Callable[[str], None]
) -> list[Start]:
    """So many starts, in order, whichever gets done first."""
    found: dict[int, Start] = {}
    for index, start in done:
        found[index] = start
        say(f"{len(found)} of {count} {what}")
    return [found[index] for index in range(count)]


@contextmanager
def _workers(config: TrainConfig, most: int) -> Iterator[Each]:
    """What makes so many starts at most side by side, where the settings ask for processes."""
    if config.executor != "processes":
        yield lambda function, things: enumerate(map(function, things))
        return
    pool = make_pool(min(config.workers, most))

    def each(
        function: Callable[[Any], Start], things: Sequence[Any]
    ) -> Iterator[tuple[int, Start]]:
        tasks = {pool.submit(function, thing): index for index, thing in enumerate(things)}
        for task in as_completed(tasks):
            yield tasks[task], task.result()

    try:
        yield each
    except BrokenProcessPool as error:
        raise GTNError(
            "a process that made a start died, perhaps of too little memory: set fewer workers"
        ) from error
    finally:
        end(pool)
