"""Imitation: pairs from which policies are cloned that agree with an expert."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from gtn_rl.agents.learners import Student
from gtn_rl.envs.actions import Actions
from gtn_rl.envs.allowance import SpentError
from gtn_rl.envs.synthetic import SyntheticEnv
from gtn_rl.envs.targets import RealEnvs, Target
from gtn_rl.inner.fitness import Teach
from gtn_rl.inner.objective import agreement
from gtn_rl.inner.optimal import optimal_policy
from gtn_rl.inner.training import act, algorithms
from gtn_rl.modes.distill_config import DistillConfig
from gtn_rl.modes.pairs import Pairs
from gtn_rl.outer.meta_gradient import MetaGradient, Objective
from gtn_rl.seeding import derive, generator
from gtn_rl.stages.base import by_kind, ignore, moments, never
from gtn_rl.stages.search_pairs import random_pairs
from gtn_rl.state import State, saving

_STREAM = 102
_BATCH, _KEPT = 256, 2048
"""States in which each policy is compared with the expert, and states that are kept for that."""


class Imitate:
    """Pairs start as states that were met and an expert's actions there, then raise agreement.

    The expert is the optimal policy of the environment that the stages before found. Where the
    cloned policies go, when they are evaluated, they must know what to do (Ross et al. 2011).
    """

    name, scored, competes, steady = "imitating the expert", "fresh policies", True, True
    reset = end = ignore
    converged = never
    state_dict, load_state_dict = saving("_visited")

    def __init__(self, task: Target, actions: Actions, config: DistillConfig, teach: Teach) -> None:
        self.task, self.actions, self.config, self.teach = task, actions, config, teach
        self.every = config.outer.every

    def begin(self, state: State) -> None:
        """Make pairs of the expert's experience."""
        config, expert = self.config, state.teacher
        assert isinstance(expert, SyntheticEnv)
        self._expert = expert.requires_grad_(False)
        pairs = self._first(state.visited)
        self.estimator = MetaGradient(pairs, self._rate, averaging=config.averaging)
        self._exam = RealEnvs(self.task, self.actions, config.num_policies, config.episodes)

    def _first(self, states: Tensor) -> Pairs:
        if not len(states):
            # The budget ended before the expert had met any.
            raise SpentError("real steps")
        mean, std = moments(states)
        pairs = random_pairs(self.task, self.config, mean.numpy(), std.numpy())
        source, most = generator(self.config.seed, _STREAM, 0), max(_KEPT, pairs.count)
        self._visited = states[torch.randint(len(states), (most,), generator=source)]
        chosen = self._visited[: pairs.count]
        pairs.be(chosen, optimal_policy(self._expert, chosen.unsqueeze(0))[0].detach())
        return pairs

    def _rate(self, step: int) -> float:
        """Linear decay to 0."""
        config = self.config
        return config.imitation_learning_rate * (1 - step / max(config.imitation, 1))

    def train(self, teachers: Pairs, step: int) -> Sequence[Student]:
        """Fresh policies, cloned from the pairs."""
        stream = generator(self.config.seed, _STREAM, 1, step)
        return self.teach(teachers, stream, create_graph=True)

    def objective(
        self, trained: Sequence[Student], step: int
    ) -> tuple[Objective, dict[str, float]]:
        """How well they agree with the expert where agents go: no real step is needed."""
        size = (self.config.num_policies, _BATCH)
        source = generator(self.config.seed, _STREAM, 2, step)
        index = torch.randint(len(self._visited), size, generator=source)
        agree = partial(
            agreement, expert=partial(optimal_policy, self._expert),
            observation=self._visited[index], actions=self.actions,
        )  # fmt: skip
        return (lambda policies: agree(partial(act, policies))), {}

    def evaluate(self, step: int, *, last: bool) -> dict[str, float]:
        """Greedy real returns of fresh policies; where they go is added to what is compared.

        Raises:
            TrainingDivergedError: The returns are not finite.
        """
        stream = generator(self.config.seed, _STREAM, 4, step)
        trained = self.teach(self.estimator.teacher, stream, create_graph=False)
        met: list[Tensor] = []

        def policy(observation: Tensor) -> Tensor:
            met.append(observation.flatten(0, 1))
            return act(trained, observation)

        seed = derive(self.config.seed, _STREAM, 4, step) % 2**31
        returns = self._exam.evaluate(policy, seed).mean(1)
        seen = torch.cat(met)
        chosen = torch.randint(len(seen), (_KEPT,), generator=stream)
        self._visited = torch.cat([self._visited[:_KEPT], seen[chosen]])
        kinds = by_kind(returns, algorithms(trained), lambda own: float(own.mean()))
        return {"evaluation": float(returns.mean())} | kinds

    def shares(self, step: int) -> Mapping[str, float]:
        return {"imitation": step / self.config.imitation if self.config.imitation else 1.0}

    def close(self) -> None:
        self._exam.close()
