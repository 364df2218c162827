"""Where the outer loop starts: the best of many untrained environments, scaled to the task."""

from __future__ import annotations

from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor

from gtn_rl.config import TrainConfig
from gtn_rl.envs.actions import Actions
from gtn_rl.envs.synthetic import SyntheticEnv
from gtn_rl.envs.targets import RealEnvs, Target
from gtn_rl.perfect import perfect_learner, robust_returns
from gtn_rl.seeding import derive, generator, log_uniform

_GAINS = (0.3, 3.0)
"""Bounds of the initial reach of continuous rewards: some tasks need bold actions, some timid."""

_PATIENCE = 5
"""How many times longer episodes may last while all returns within the task's own are the same."""

_MUTATION = (0.1, 1.0)
"""Bounds of a mutation's size, relative to the deviation of untrained parameters."""

_EPISODES = 2
"""Real episodes for each environment."""


def search(
    task: Target, actions: Actions, config: TrainConfig, stream: int
) -> tuple[SyntheticEnv, int]:
    """The environment, of a few generations, whose perfect learner has the best real return.

    An untrained environment teaches a structured explorer: it does the same thing in the same place
    for a whole episode, and different environments make different ones. In most tasks their returns
    differ, and there is something to climb.

    Where nothing that they do within an episode counts (MountainCar), their returns are those of
    episodes that may last longer, and environments evolve, the better ones being mutated, until one
    gets somewhere within the task's own episodes. Where nothing counts in longer episodes either,
    or a quarter of them share the best return (CliffWalking: who stands still does best, until one
    reaches the goal), those are mutated whose learners get about most (novelty search, Lehman and
    Stanley 2011).

    Observations are scaled by what random actions see at first, then by what those learners have
    seen that got somewhere: the states that matter are often not those that random actions reach.

    Args:
        task: The target.
        actions: How learners act in it.
        config: Settings: `starts` environments a generation, `start_rounds` at most.
        stream: Number of the random stream.

    Returns:
        The environment, and how many real steps were taken.
    """
    count = config.starts
    longer = None if task.horizon is None else _PATIENCE * task.horizon
    goal = goal_of(task, config)
    seen = _Seen(count, task.observation_space.shape[0])
    with (
        RealEnvs(task, actions, count, _EPISODES) as real,
        RealEnvs(task, actions, count, _EPISODES, longer) as long,
    ):
        random = generator(config.seed, stream, 0)

        def explore(observation: Tensor) -> Tensor:
            seen.add(observation)
            return actions.uninformed(observation, random)

        real.reset(derive(config.seed, stream, 0))
        real.rollout(explore, 32, random)
        mean, std = seen.moments(torch.arange(count))
        parents: SyntheticEnv | None = None
        scaled = False
        for index in range(1, config.start_rounds + 1):
            source = generator(config.seed, stream, index)
            population = _population(task, config, mean, std, source)
            if parents is not None:
                _mutate(parents, population, source)
            seen.clear()

            def greedy(observation: Tensor, population: SyntheticEnv = population) -> Tensor:
                seen.add(observation)
                return perfect_learner(population, observation)

            seed = derive(config.seed, stream, index)
            scores = robust_returns(real, task, greedy, seed, source).mean(1)
            moved = _ahead(scores, goal)
            if scaled and moved.float().mean() >= 0.05:
                break
            if longer is not None and moved.float().mean() < 0.05:
                scores = robust_returns(long, task, greedy, seed, source).mean(1)
                moved = _ahead(scores, goal)
            if not moved.any():
                scores = torch.where(scores == scores.max(), seen.extent(), -torch.inf)
            if count > 1 and (scaled or not moved.any()):
                parents = population.select(scores.argsort(descending=True)[: max(count // 8, 1)])
            if not scaled:
                rare = 0 < moved.float().mean() < 0.5
                mean, std = seen.moments((moved if rare else scores.isfinite()).nonzero()[:, 0])
                scaled = bool(moved.any())
        best = scores.argmax(0, keepdim=True)
        return population.select(best), real.steps + long.steps


def _ahead(scores: Tensor, goal: float | None) -> Tensor:
    """Which scores `[K]` are above the lowest; none if a quarter have the best, short of goal."""
    best = scores.max()
    shared = int((scores == best).sum())
    if shared >= max(len(scores) / 4, 2) and (goal is None or best < goal):
        return torch.zeros_like(scores, dtype=torch.bool)
    return scores > scores.min()


def goal_of(task: Target, config: TrainConfig) -> float | None:
    """The return that counts as solved, if there is one."""
    return task.reward_threshold if config.target_return is None else config.target_return


def untrained(task: Target, config: TrainConfig, **settings: Any) -> SyntheticEnv:
    """An environment for a task as the settings want it, its parameters not yet learned."""
    return SyntheticEnv(
        task.observation_space, task.action_space,
        target=task.id, hidden=config.hidden, head=config.head,
        **{"horizon": config.horizon, "curriculum": config.curriculum,
           "introduction": bool(config.introduction), "centred": config.centred,
           "fade": config.fade, "even": config.wide == 1, "budget": config.budget} | settings,
    )  # fmt: skip


def _population(
    task: Target, config: TrainConfig, mean: Tensor, std: Tensor, source: torch.Generator
) -> SyntheticEnv:
    gain: Tensor | float = 1.0
    if isinstance(task.action_space, spaces.Box):
        gain = log_uniform(_GAINS, config.starts, generator=source)
    return untrained(
        task, config, mean=mean.numpy(), std=std.numpy(), members=config.starts, gain=gain,
        generator=source,
    )  # fmt: skip


@torch.no_grad()
def _mutate(parents: SyntheticEnv, population: SyntheticEnv, source: torch.Generator) -> None:
    """Replace members of a fresh population: first the parents, then their mutated children.

    A quarter stays as it is: fresh blood.
    """
    count, total = parents.members, population.members
    children = total - count - total // 4
    size = log_uniform(_MUTATION, children, 1, generator=source)
    chosen = torch.randint(count, (children,), generator=source)
    for old, new in zip(parents.parameters(), population.parameters(), strict=True):
        noise = torch.randn(children, new.shape[1], generator=source) * new.std(0)
        new[:count] = old
        new[count : count + children] = old[chosen] + size * noise


class _Seen:
    """Moments and bounds of the observations of each of K learners."""

    def __init__(self, learners: int, size: int) -> None:
        self._count = 0
        self._sums = torch.zeros(2, learners, size, dtype=torch.float64)
        self._low = torch.full((learners, size), torch.inf)
        self._high = -self._low

    def clear(self) -> None:
        self._count = 0
        self._sums.zero_()
        self._low.fill_(torch.inf)
        self._high.fill_(-torch.inf)

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
