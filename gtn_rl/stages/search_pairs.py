"""The start of a distillation without an expert: the best of many random pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from gtn_rl.envs.actions import Actions
from gtn_rl.envs.targets import RealEnvs, Target
from gtn_rl.inner.objective import Critic
from gtn_rl.inner.training import act
from gtn_rl.modes.distill_config import DistillConfig
from gtn_rl.modes.pairs import Pairs
from gtn_rl.seeding import derive, generator
from gtn_rl.stages.base import ignore, moments, never, nothing
from gtn_rl.state import State, load_sized, saving

# Streams of random numbers besides those of other stages.
_SCALE, _PAIRS, _SEARCH, _CRITIC = 100, 101, 104, 105

_COPIES, _LENGTH = 64, 64
"""Real environments, and steps in each, that show the scale of observations."""

_FINALISTS, _JUDGES = 16, 8
"""Random pairs that come into the second round, and policies that judge each of them there."""

_ROUNDS = ((1, 1), (_JUDGES, 2))
"""Policies that judge each candidate, and real episodes of each policy."""

_EPISODES = 8
"""Of random agents, after those that show the scale."""

Array = NDArray[np.floating[Any]]


def random_pairs(
    task: Target, config: DistillConfig, mean: Array | None = None, std: Array | None = None,
    members: int = 0,
) -> Pairs:  # fmt: skip
    """Untrained pairs for a task, or so many sets of them side by side."""
    return Pairs(
        task.observation_space, task.action_space, target=task.id, count=config.pairs,
        steps=config.steps, optimizer=config.optimizer, learning_rate=config.first_rate(),
        generator=generator(config.seed, _PAIRS), members=members, mean=mean, std=std,
    )  # fmt: skip


class Selection:
    """Keeps the better ones of random candidates."""

    def __init__(self, task: Target, config: DistillConfig) -> None:
        self._make = partial(random_pairs, task, config)
        self._count = config.candidates
        self.teacher = self._make()
        self._left: Pairs | None = None

    def scale(self, mean: Tensor, std: Tensor) -> None:
        """Know the scale `[O]` of observations before there are candidates."""
        self._make = partial(self._make, mean=mean.numpy(), std=std.numpy())
        self._left = None

    def ask(self, step: int) -> Pairs:
        if self._left is None:
            self._left = self._make(members=self._count)
        return self._left

    def tell(self, trained: Any, score: Tensor, step: int) -> dict[str, Any]:
        """Leave out all but the finalists, by real returns `[C]`."""
        candidates = self.ask(step)
        best = score.argsort(descending=True)[:_FINALISTS]
        self._left, self.teacher = self._make(members=len(best)), self._make()
        for name in ("normal", "wanted"):
            rows = candidates.get_parameter(name).detach()
            self._left.get_parameter(name).data.copy_(rows[best])
            self.teacher.get_parameter(name).data.copy_(rows[best[0]])
        return {"return": float(score.mean()), "return_best": float(score.max())}

    def state_dict(self) -> dict[str, Any]:
        left = self.ask(0)
        return {"best": self.teacher.state_dict(), "left": left.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        load_sized(self.teacher, state["best"])
        self.scale(self.teacher.mean, self.teacher.std)
        self._left = self._make(members=len(state["left"]["normal"]))
        self._left.load_state_dict(state["left"])


@dataclass
class SearchPairs:
    """Random pairs judged by the real return of policies that are cloned from them.

    All teach a policy each; the best of these are judged by several policies, so that it is not the
    luckiest that wins. Observations are scaled by what random actions see.
    """

    task: Target
    actions: Actions
    config: DistillConfig
    name, scored, every, competes, steady = "searching a start", "candidates", 1, True, True
    reset = close = ignore
    evaluate, converged = nothing, never
    state_dict, load_state_dict = saving("_random", "_known")

    def begin(self, state: State) -> None:
        self.estimator = Selection(self.task, self.config)
        self._random, self._known = 0.0, False

    def train(self, teachers: Pairs, step: int) -> Any:
        """A policy of each candidate, or several; candidates are drawn when the scale is known."""
        if not self._known:
            self._look()
            teachers = self.estimator.ask(step)
        policies, _ = _ROUNDS[step]
        members = len(teachers.normal)
        rows = torch.arange(members).repeat_interleave(policies)
        repeated = random_pairs(
            self.task, self.config, teachers.mean.numpy(), teachers.std.numpy(), len(rows)
        )
        for name in ("normal", "wanted"):
            repeated.get_parameter(name).data.copy_(teachers.get_parameter(name)[rows])
        shape = replace(self.config.shapes()[0], count=len(rows))
        return repeated.teach([shape], generator(self.config.seed, _SEARCH, policies))

    def objective(self, trained: Any, step: int) -> Tensor:
        """Mean real return `[C]` of the policies of each candidate."""
        policies, episodes = _ROUNDS[step]
        count = sum(len(stack.parameters) for stack in trained)
        with RealEnvs(self.task, self.actions, count, episodes) as real:
            seed = derive(self.config.seed, _SEARCH, policies)
            returns = real.evaluate(partial(act, trained), seed % 2**31)
        return returns.view(-1, policies * episodes).mean(1)

    def _look(self) -> None:
        """Scale observations by what random actions see, and know their return."""
        source, seed = generator(self.config.seed, _SCALE), derive(self.config.seed, _SCALE)
        random = partial(self.actions.uninformed, generator=source)
        with RealEnvs(self.task, self.actions, 1, _COPIES) as real:
            real.reset(seed % 2**31)
            rollout = real.rollout(random, _LENGTH, source)
        with RealEnvs(self.task, self.actions, 1, _EPISODES) as real:
            discrete = isinstance(self.task.action_space, spaces.Discrete)
            returns = real.evaluate(random, seed % 2**31, source if discrete else None)
        self.estimator.scale(*moments(rollout.observation[rollout.valid]))
        self._random, self._known = float(returns.mean()), True

    def shares(self, step: int) -> Mapping[str, float]:
        return {"rounds": step / len(_ROUNDS)}

    def end(self, state: State) -> None:
        """Hand on the best pairs, a critic of their scale, and what random agents reach."""
        pairs = self.estimator.teacher
        state.teacher, state.returns["random"] = pairs, self._random
        source = generator(self.config.seed, _CRITIC)
        state.critic = Critic(pairs.mean, pairs.std, generator=source)
