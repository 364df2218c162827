"""Search: the untrained environment whose optimal policy does best, scaled to the task."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from gymnasium import spaces
from torch import Tensor

from gtn_rl.config import TrainConfig
from gtn_rl.envs.actions import Actions
from gtn_rl.envs.synthetic import SyntheticEnv
from gtn_rl.envs.targets import RealEnvs, Target
from gtn_rl.inner.optimal import optimal_policy
from gtn_rl.seeding import derive, generator, log_uniform
from gtn_rl.stages.base import goal_of, ignore, nothing, returns_of, untrained
from gtn_rl.state import State, saving

_LOG = logging.getLogger(__name__)

_GAINS = (0.3, 3.0)
"""Bounds of the initial reach of continuous actions: some tasks need bold ones, some timid."""

_PATIENCE = 5
"""How many times longer episodes may last while all returns within the task's own are the same."""

_MUTATION = (0.1, 1.0)
"""Bounds of a mutation's size, relative to the deviation of untrained parameters."""

_RANDOM = 8
"""Episodes of random agents."""

_STREAM = 0


class Found(NamedTuple):
    """Returns `[K]` of candidates, those that count as ahead `[K]`, and what they saw."""

    returns: Tensor
    ahead: Tensor
    seen: Seen


class Mutation:
    """Fresh environments first, then mutated copies of the better ones."""

    state_dict, load_state_dict = saving(
        "scaled", "over", "_any", "mean", "std", "teacher", "_parents"
    )

    def __init__(self, task: Target, config: TrainConfig) -> None:
        self._task, self._config = task, config
        size = task.observation_space.shape[0]
        self.mean, self.std = torch.zeros(size), torch.ones(size)
        self.scaled = self.over = False
        self.teacher = untrained(task, config)
        self._parents = untrained(task, config)
        self._any = False

    def ask(self, step: int) -> SyntheticEnv:
        config = self._config
        source = generator(config.seed, _STREAM, 1, step)
        count = config.search.candidates
        gain: Tensor | float = 1.0
        if isinstance(self._task.action_space, spaces.Box):
            gain = log_uniform(_GAINS, count, generator=source)
        population = untrained(
            self._task, config, mean=self.mean.numpy(), std=self.std.numpy(), members=count,
            gain=gain, generator=source,
        )  # fmt: skip
        if self._any:
            _mutate(self._parents, population, source)
        self._asked = population
        return population

    def tell(self, trained: Any, score: Found, step: int) -> dict[str, Any]:
        """Keep the better ones, and scale observations by what they saw."""
        population, (scores, ahead, seen) = self._asked, score
        count = population.members
        if self.scaled and ahead.float().mean() >= 0.05:
            self.over = True
        if not ahead.any():
            scores = torch.where(scores == scores.max(), seen.extent(), -torch.inf)
        order = scores.argsort(descending=True)
        self.teacher = population.select(order[:1])
        if count > 1 and (self.scaled or not ahead.any()):
            self._parents = population.select(order[: max(count // 8, 1)])
            self._any = True
        if not self.scaled:
            rare = 0 < ahead.float().mean() < 0.5
            chosen = (ahead if rare else scores.isfinite()).nonzero()[:, 0]
            self.mean, self.std = seen.moments(chosen)
            self.scaled = bool(ahead.any())
        return {"return": float(score.returns.mean()), "return_best": float(score.returns.max())}


@dataclass
class Search:
    """Evolution of whole environments by the return of their optimal policies.

    An untrained environment teaches a structured explorer: its optimal policy does the same thing
    in the same place for a whole episode, and different environments make different ones. In most
    tasks their returns differ, and there is something to climb.

    Where nothing that they do within an episode counts (MountainCar), their returns are those of
    episodes that may last longer, and environments evolve until one gets somewhere within the
    task's own episodes. Where nothing counts in longer episodes either, or a quarter of them share
    the best return (CliffWalking: who stands still does best, until one reaches the goal), those
    are mutated whose policies get about most (novelty search, Lehman and Stanley 2011).

    Observations are scaled by what random actions see at first, then by what those policies have
    seen that got somewhere: the states that matter are often not those that random actions reach.
    """

    task: Target
    actions: Actions
    config: TrainConfig
    name, scored, every, competes, steady = "searching a start", "candidates", 1, True, True
    reset, evaluate = ignore, nothing
    state_dict, load_state_dict = saving("_random", "_alike")

    def begin(self, state: State) -> None:
        self.estimator = Mutation(self.task, self.config)
        self._state = state
        self._random: float | None = None
        self._alike = True
        self._real: dict[bool, RealEnvs] = {}

    def train(self, teachers: SyntheticEnv, step: int) -> SyntheticEnv:
        """The limit of a training without end: the policy that has learned all there is."""
        if self._random is not None:
            return teachers
        self._explore()
        # Now that the scale of observations is known.
        return self.estimator.ask(step)

    def objective(self, trained: SyntheticEnv, step: int) -> Found:
        """Real returns, of longer episodes where those of the task's own are all the same."""
        seed = derive(self.config.seed, _STREAM, 2, step)
        found = self._play(trained, seed, longer=False)
        assert self._random is not None
        self._alike &= bool((found.returns == self._random).all())
        if self.task.horizon is not None and found.ahead.float().mean() < 0.05:
            found = self._play(trained, seed, longer=True)
            self._alike &= bool((found.returns == found.returns[0]).all())
        if self._alike and step == 0:
            _LOG.warning(
                "%s: random agents and %d different policies all have the same return (%g): there "
                "is nothing to learn from yet. The search goes on, since a reward may be rare; if "
                "it is always the same nothing can be learned: check it, or give --expert",
                self.task.id, len(found.returns), self._random,
            )  # fmt: skip
        return found

    def _play(self, population: SyntheticEnv, seed: int, *, longer: bool) -> Found:
        seen = Seen(population.members, self.task.observation_space.shape[0])

        def greedy(observation: Tensor) -> Tensor:
            seen.add(observation)
            return optimal_policy(population, observation)

        real = self._envs(longer)
        returns = real.evaluate(greedy, [seed % 2**31]).mean(1)
        return Found(returns, ahead(returns, goal_of(self.task, self.config)), seen)

    def _envs(self, longer: bool) -> RealEnvs:
        if longer not in self._real:
            limit = _PATIENCE * (self.task.horizon or 0) if longer else None
            count = self.config.search.candidates
            self._real[longer] = RealEnvs(self.task, self.actions, count, 1, limit)
        return self._real[longer]

    def _explore(self) -> None:
        """Scale observations by what random agents see, and know their return."""
        source = generator(self.config.seed, _STREAM, 0)
        met: list[Tensor] = []

        def act(observation: Tensor) -> Tensor:
            met.append(observation.flatten(0, 1))
            return self.actions.uninformed(observation, source)

        with RealEnvs(self.task, self.actions, 1, _RANDOM) as real:
            seed = derive(self.config.seed, _STREAM, 0)
            discrete = isinstance(self.task.action_space, spaces.Discrete)
            returns, _ = returns_of(real, act, seed, source if discrete else None)
        self._random = self._state.returns["random"] = float(returns.mean())
        self._alike = bool((returns == returns[0]).all())
        seen = Seen(1, self.task.observation_space.shape[0])
        seen.add(torch.cat(met).unsqueeze(0))
        self.estimator.mean, self.estimator.std = seen.moments(torch.tensor([0]))

    def shares(self, step: int) -> Mapping[str, float]:
        return {"generations": step / self.config.search.generations}

    def converged(self, step: int) -> bool:
        """Whether there is something to climb."""
        return self.estimator.over

    def end(self, state: State) -> None:
        state.teacher = self.estimator.teacher

    def close(self) -> None:
        for real in self._real.values():
            real.close()


def ahead(scores: Tensor, goal: float | None) -> Tensor:
    """Which scores `[K]` are above the lowest; none if a quarter have the best, short of goal."""
    best = scores.max()
    shared = int((scores == best).sum())
    if shared >= max(len(scores) / 4, 2) and (goal is None or best < goal):
        return torch.zeros_like(scores, dtype=torch.bool)
    return scores > scores.min()


@torch.no_grad()
def _mutate(parents: SyntheticEnv, population: SyntheticEnv, source: torch.Generator) -> None:
    """Replace members of a fresh population: first the parents, then their mutated children.

    A quarter stays as it is.
    """
    count, total = parents.members, population.members
    children = total - count - total // 4
    if children < 1:
        return
    size = log_uniform(_MUTATION, children, 1, generator=source)
    chosen = torch.randint(count, (children,), generator=source)
    old, new = parents.reward_parameters, population.reward_parameters
    noise = torch.randn(children, new.shape[1], generator=source) * new.std(0)
    new[:count] = old
    new[count : count + children] = old[chosen] + size * noise


class Seen:
    """Moments and bounds of the observations of each of K learners."""

    def __init__(self, learners: int, size: int) -> None:
        self._count = 0
        self._sums = torch.zeros(2, learners, size, dtype=torch.float64)
        self._low = torch.full((learners, size), torch.inf)
        self._high = -self._low

    def add(self, observation: Tensor) -> None:
        """Add observations `[K, N, O]`."""
        self._count += observation.shape[1]
        values = observation.double()
        self._sums += torch.stack([values.sum(1), values.square().sum(1)])
        self._low = torch.minimum(self._low, observation.amin(1))
        self._high = torch.maximum(self._high, observation.amax(1))

    def moments(self, learners: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation `[O]` of what some of the learners saw."""
        mean, square = self._sums[:, learners].mean(1) / self._count
        std = (square - mean.square()).clamp_min(0).sqrt()
        # An observation that never moved says nothing of its scale.
        return mean.float(), torch.where(std > 1e-6, std, torch.ones_like(std)).float()

    def extent(self) -> Tensor:
        """How far each learner `[K]` got about, in deviations of what all of them saw."""
        _, std = self.moments(torch.arange(len(self._low)))
        return ((self._high - self._low) / std).sum(1)
