"""Imitation: pairs from which policies are cloned that agree with an expert."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from gtn_rl.agents.learners import Student
from gtn_rl.envs.actions import Actions
from gtn_rl.envs.allowance import SpentError
from gtn_rl.envs.synthetic import SyntheticEnv
from gtn_rl.envs.targets import RealEnvs, Target
from gtn_rl.errors import TrainingDivergedError
from gtn_rl.inner.fitness import Teach
from gtn_rl.inner.objective import agreement
from gtn_rl.inner.optimal import optimal_policy
from gtn_rl.inner.training import act, algorithms
from gtn_rl.modes.distill_config import DistillConfig
from gtn_rl.modes.pairs import Pairs
from gtn_rl.outer.meta_gradient import MetaGradient, Objective
from gtn_rl.seeding import derive, generator
from gtn_rl.stages.base import moments
from gtn_rl.stages.search_pairs import random_pairs
from gtn_rl.state import State

_STREAM = 102
_BATCH, _KEPT = 256, 2048
"""States in which each policy is compared with the expert, and states that are kept for that."""


class Imitate:
    """Pairs start as states that were met and an expert's actions there, then raise agreement.

    The expert is the optimal policy of the environment that the stages before found. Where the
    cloned policies go, when they are evaluated, they must know what to do (Ross et al. 2011).

    Args:
        task: The target.
        actions: How policies act in it.
        config: Settings of the run.
        teach: How pairs teach policies.
    """

    name, competes = "imitating the expert", True

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
        self._counted = 0

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

    def reset(self, step: int) -> None:
        """Nothing hangs over."""

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
        if not returns.isfinite().all():
            raise TrainingDivergedError("the real return is not finite: check the target's rewards")
        seen = torch.cat(met)
        chosen = torch.randint(len(seen), (_KEPT,), generator=stream)
        self._visited = torch.cat([self._visited[:_KEPT], seen[chosen]])
        row = {"evaluation": float(returns.mean()), "evaluation_min": float(returns.min())}
        names = algorithms(trained)
        for name in dict.fromkeys(names):
            own = torch.tensor([other == name for other in names])
            row[f"evaluation_of_{name}"] = float(returns[own].mean())
        return row

    def shares(self, step: int) -> Mapping[str, float]:
        """Of its outer steps."""
        return {"imitation": step / self.config.imitation if self.config.imitation else 1.0}

    def converged(self, step: int) -> bool:
        """After its steps only."""
        return False

    def spent(self) -> int:
        """Real steps since this was last asked."""
        new, self._counted = self._exam.steps - self._counted, self._exam.steps
        return new

    def end(self, state: State) -> None:
        """The pairs are all that is left."""

    def close(self) -> None:
        """Free the environments."""
        self._exam.close()

    def state_dict(self) -> dict[str, Any]:
        """The states where policies are compared with the expert."""
        return {"visited": self._visited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Set it to a saved state."""
        self._visited = state["visited"]
