"""Real returns of what the members of a population teach, some members at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

import torch
from torch import Tensor, nn

from gtn_rl.agents.learners import Student
from gtn_rl.config import TrainConfig
from gtn_rl.envs.actions import make_actions
from gtn_rl.envs.synthetic import SyntheticEnv
from gtn_rl.envs.targets import RealEnvs, Target
from gtn_rl.inner.stock import member_returns
from gtn_rl.inner.training import act, algorithms, inner_loop, members
from gtn_rl.seeding import derive, generator

LEARNERS, RESET = 1, 3
"""Names of the random streams of learners and of real episodes."""

_STEPS, _MOST = 400, 64
"""Real steps by which a learner is judged, and episodes at most, where the settings do not say:
returns of short episodes depend on where they start."""

_OBSERVATIONS = 3200
"""Observations that all learners of a population together see in one inner step, for each core."""


class Teach(Protocol):
    """How a teacher trains fresh learners, all drawn from one generator."""

    def __call__(
        self, teacher: nn.Module, generator: torch.Generator, *, create_graph: bool
    ) -> Sequence[Student]: ...


def in_synthetic(
    teacher: nn.Module, generator: torch.Generator, *, create_graph: bool, config: TrainConfig
) -> Sequence[Student]:
    """Learners of a synthetic environment."""
    assert isinstance(teacher, SyntheticEnv)
    return inner_loop(teacher, config, generator, create_graph=create_graph)


def episodes_of(length: float) -> int:
    """How many real episodes of a length tell about as much as one long one."""
    return min(max(round(_STEPS / length), 1), _MOST) if length else 1


class Fitness:
    """Mean greedy real return of the learners of each member.

    All members teach the same learners, and these start from the same real states, which all
    learners of a member share.

    `blank` makes so many teachers, their parameters to be replaced; they train learners by the
    inner loop in a synthetic environment if `teach` is not given.
    """

    def __init__(
        self, task: Target, config: TrainConfig, blank: Callable[[int], nn.Module], copies: int,
        teach: Teach | None = None,
    ) -> None:  # fmt: skip
        self._task, self._config, self._blank = task, config, blank
        self._teach = teach or partial(in_synthetic, config=config)
        self._actions = make_actions(task.action_space, config.noise)
        self._copies = copies
        self._real: RealEnvs | None = None

    def close(self) -> None:
        if self._real is not None:
            self._real.close()

    def __call__(self, population: Tensor, step: int) -> Tensor:
        """Returns `[P, K]`, by kind of learner, of teachers' parameters `[P, D]`."""
        # Some members at a time: what their learners work on then stays in the processor's cache.
        config = self._config
        batched = sum(group.count for group in config.groups if not group.whole)
        each = batched * config.learners.batch_size
        most = max(_OBSERVATIONS * torch.get_num_threads(), each)
        parts = max(math.ceil(len(population) * each / most), 1)
        rows = torch.tensor_split(population.float(), parts)
        return torch.cat([self._some(some, step) for some in rows])

    def _some(self, population: Tensor, step: int) -> Tensor:
        config, count = self._config, len(population)
        env = self._blank(count).requires_grad_(False)
        sizes = [parameter.shape[1] for parameter in env.parameters()]
        parts = torch.split(population, sizes, 1)
        for own, rows in zip(env.parameters(), parts, strict=True):
            own.copy_(rows)
        copies = self._copies
        seeds = [derive(config.seed, RESET, step, copy) % 2**31 for copy in range(copies)]
        if config.stock:
            assert isinstance(env, SyntheticEnv)
            values = member_returns(env, config.stock, self._task, config.steps, seeds)
            return values.unsqueeze(1)
        stream = generator(config.seed, LEARNERS, step)
        learners = self._teach(env, stream, create_graph=False)
        shape = (count * config.num_learners, copies)
        if self._real is None or self._real.shape != shape:
            self.close()
            self._real = RealEnvs(self._task, self._actions, *shape)
        returns = self._real.evaluate(partial(act, learners), seeds).mean(1).float()
        kinds = list(config.kinds)
        kind = torch.tensor([kinds.index(name) for name in algorithms(learners)])
        index = members(learners, count) * len(kinds) + kind
        sums = torch.zeros(count * len(kinds)).index_add(0, index, returns)
        numbers = index.bincount(minlength=count * len(kinds))
        return (sums / numbers).view(count, -1)
