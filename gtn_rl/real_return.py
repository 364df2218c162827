"""The problem of reinforcement learning: the return of fresh learners in the real environment."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import torch
from gymnasium import spaces
from torch import Tensor, nn

from gtn_rl.agents.learners import Student
from gtn_rl.agents.sharpness import sharpness
from gtn_rl.config import TrainConfig
from gtn_rl.envs.actions import make_actions
from gtn_rl.envs.synthetic import SyntheticEnv
from gtn_rl.envs.targets import RealEnvs, Target
from gtn_rl.errors import TrainingDivergedError, UsageError
from gtn_rl.inner import act, algorithms, inner_loop, members, places
from gtn_rl.objective import agreement, collect, surrogate
from gtn_rl.perfect import perfect_learner
from gtn_rl.prepare import CRITIC, VISITED, Prepared, fresh_critic, prepare
from gtn_rl.seeding import derive, generator
from gtn_rl.start import goal_of, untrained
from gtn_rl.stats import interquartile_mean
from gtn_rl.stock import member_returns, stock_returns

if TYPE_CHECKING:
    from gtn_rl.checkpoint import Progress
    from gtn_rl.loop import Objective

# Names of random streams, beside those of `prepare`; a run's randomness is a function of (seed,
# stream, outer step) alone, so that a resumed run is the run that was never killed.
_LEARNERS, _ACTIONS, _RESET, _EVALUATION = range(1, 5)

_FITS = 2**31 - 1
"""The outer step, if it were one, in which fits of initial states are compared."""

_OBSERVATIONS = 3200
"""Observations that all learners of a population together see in one inner step, for each core."""


class Teach(Protocol):
    """How a teacher trains fresh learners, all drawn from one generator."""

    def __call__(  # noqa: D102
        self, teacher: nn.Module, generator: torch.Generator, *, create_graph: bool
    ) -> Sequence[Student]: ...


class RealReturn:
    """Learners of a teacher, a synthetic environment if not said otherwise, scored by real return.

    In the first `imitation` outer steps they are scored by their agreement with the perfect learner
    of the start instead, which needs no real step.

    Args:
        task: The target.
        config: Settings, with learners for the target's action space.
        teach: How a teacher trains learners; the inner loop in a synthetic environment if not
            given.
        learners: How many learners a teacher trains, where the settings do not say so.

    Raises:
        UsageError: The target's vector environment cannot be used, or a setting does not fit its
            actions.
    """

    def __init__(
        self, task: Target, config: TrainConfig, teach: Teach | None = None, learners: int = 0
    ) -> None:
        if config.effort and isinstance(task.action_space, spaces.Discrete):
            raise UsageError("effort is for continuous actions: leave it at 0")
        self.task, self.config = task, config
        self._teach = teach or partial(_in_synthetic, config=config)
        examined = config.examined
        self._stock = examined.stock
        self._examine = teach or partial(_in_synthetic, config=examined)
        # Untrained teachers, so many, for evolution; others than environments replace it.
        self.blank: Callable[[int], nn.Module] = self._environments
        self.evaluate_every, self.patience = config.evaluate_every, config.patience
        self.goal = goal_of(task, config)
        self.actions = make_actions(task.action_space, config.outer_noise)
        self._expert = untrained(task, config).requires_grad_(False)
        self._visited = torch.zeros(0, self._expert.noise_size)
        self._count = learners or config.num_learners
        self._real = RealEnvs(task, self.actions, self._count, config.copies)
        count = learners or examined.num_learners
        self._exam = RealEnvs(task, self.actions, count, config.exam_copies)
        self._arena: RealEnvs | None = None
        # What the given start cost, if one is given.
        self.before: dict[str, float] = {}
        self.begin(self._expert.mean, self._expert.std, 0)

    def __enter__(self) -> RealReturn:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Free the real environments."""
        for envs in (self._real, self._exam, self._arena):
            if envs is not None:
                envs.close()

    def start(self, say: Callable[[str], None]) -> SyntheticEnv:
        """The environment to start from (`gtn_rl.prepare.prepare`).

        Args:
            say: Told what goes on.
        """
        judge = partial(taught, self.task, self.config)
        return self.go_on(prepare(self.task, self.config, self.actions, judge, say))

    def go_on(self, prepared: Prepared) -> SyntheticEnv:
        """Start from an environment that is prepared, with the critic and the states it left."""
        self.before = prepared.before
        self._critic, self._visited = prepared.critic, prepared.visited
        self._expert = copy.deepcopy(prepared.env).requires_grad_(False)
        self.charge(prepared.real_steps)
        return prepared.env

    def begin(self, mean: Tensor, std: Tensor, steps: int) -> None:
        """Start a critic for observations of this scale `[O]`, and count what it took to find."""
        self._critic = fresh_critic(self.config, mean, std)
        self.charge(steps)

    @property
    def visited(self) -> Tensor:
        """States `[M, O]` where learners are to agree with the expert of the warm-up, if any."""
        return self._visited

    @property
    def real_steps(self) -> int:
        """Steps of the real environment so far, search, warm-up and evaluations included."""
        return self._real.steps + self._exam.steps

    def charge(self, real_steps: int) -> None:
        """Count real steps that were taken elsewhere."""
        self._real.steps += real_steps

    @property
    def scales(self) -> tuple[Tensor, Tensor]:
        """Mean and deviation `[O]` of the target's observations, as `fitness` takes them."""
        return self._expert.mean, self._expert.std

    @scales.setter
    def scales(self, value: tuple[Tensor, Tensor]) -> None:
        self._expert.mean.copy_(value[0])
        self._expert.std.copy_(value[1])

    def limits(self, progress: Progress) -> dict[str, float]:
        """Shares of the budgets that are spent."""
        config = self.config
        shares = {
            "real steps": progress.real_steps / config.max_real_steps,
            "minutes": progress.seconds / 60 / config.max_minutes,
        }
        if config.max_outer_steps:
            shares["outer steps"] = progress.step / config.max_outer_steps
        return shares

    def reset(self, step: int) -> None:
        """Start new episodes in all real environments."""
        self._real.reset(derive(self.config.seed, _RESET, step))

    def learning_rate(self, step: int) -> float:
        """Linear decay to 0, of the agreement's step size and then of the return's.

        In steps and not in seconds, which would make a run depend on the machine's load.
        """
        config = self.config
        if step < config.imitation:
            return config.imitation_learning_rate * (1 - step / config.imitation)
        return config.outer_learning_rate * max(1 - self.real_steps / config.max_real_steps, 0.0)

    def epochs(self, step: int) -> int:
        """Updates by one batch of real experience."""
        return 1 if step < self.config.imitation else self.config.outer_epochs

    def train(self, teacher: nn.Module, step: int, *, create_graph: bool) -> Sequence[Student]:
        """Fresh learners, trained by the teacher."""
        stream = generator(self.config.seed, _LEARNERS, step)
        return self._teach(teacher, stream, create_graph=create_graph)

    def objective(
        self, learners: Sequence[Student], step: int
    ) -> tuple[Objective, dict[str, float | None]]:
        """The surrogate of their return, from acting in the target, or of their agreement."""
        config = self.config
        source = generator(config.seed, _ACTIONS, step)
        if step < config.imitation:
            index = torch.randint(len(self._visited), (self._count, 256), generator=source)
            agree = partial(
                agreement, expert=partial(perfect_learner, self._expert),
                observation=self._visited[index], actions=self.actions,
            )  # fmt: skip
            return (lambda trained: agree(partial(act, trained))), {"return": None}
        sure = self._sureness(learners, source)

        def play(trained: Sequence[Student], observation: Tensor) -> Tensor:
            return sure * act(trained, observation)

        experience = collect(
            partial(play, learners), self._real, self.actions, self._critic, config, source,
            config.rollout_steps,
        )  # fmt: skip
        error = self._critic.fit(
            *experience.values(), generator(config.seed, CRITIC, step), epochs=config.critic_epochs
        )
        gain = partial(surrogate, experience=experience, actions=self.actions, clip=config.clip)
        row = {"return": self._real.finished(), "critic_error": error}
        return (lambda trained: gain(partial(play, trained))), row

    def _sureness(self, learners: Sequence[Student], source: torch.Generator) -> Tensor | float:
        """What logits are multiplied by, that the return of sampled actions is that of greedy ones.

        A hundred steps of sampled experience leave learners so unsure that it is another return.
        """
        if self.config.horizon == 1 or isinstance(self.task.action_space, spaces.Box):
            return 1.0
        noise = torch.randn(1, 256, self._expert.noise_size, generator=source)
        states = self._expert.initial(noise).expand(self._count, -1, -1)
        return sharpness(act(learners, states))

    def fitness(self, population: Tensor, step: int, *, middle: bool = False) -> tuple[Tensor, int]:
        """Mean greedy real return of the learners of each member, and the real steps taken.

        All members teach the same learners, and these start from the same real states, which all
        learners of a member share.

        Args:
            population: Parameters of P synthetic environments, `[P, D]`.
            step: Outer step.
            middle: Each learner of a member has episodes of its own, and means are interquartile:
                neither some hard ones nor one in ten that learned nothing decide then.

        Returns:
            `[P, K]`, a column for each of the settings' `kinds`, and real steps.
        """
        # Some members at a time: what their learners work on then stays in the processor's cache.
        each = self.config.num_batched * self.config.batch_size
        most = max(_OBSERVATIONS * torch.get_num_threads(), each)
        parts = max(math.ceil(len(population) * each / most), 1)
        rows = torch.tensor_split(population.float(), parts)
        results = [self._fitness(some, step, middle) for some in rows]
        return torch.cat([values for values, _ in results]), sum(steps for _, steps in results)

    def _fitness(self, population: Tensor, step: int, middle: bool) -> tuple[Tensor, int]:
        config, count = self.config, len(population)
        env = self.blank(count).requires_grad_(False)
        sizes = [parameter.shape[1] for parameter in env.parameters()]
        parts = torch.split(population, sizes, 1)
        for own, rows in zip(env.parameters(), parts, strict=True):
            own.copy_(rows)
        seeds = [derive(config.seed, _RESET, step, copy) % 2**31 for copy in range(config.copies)]
        if config.stock:
            assert isinstance(env, SyntheticEnv)
            values, steps = member_returns(env, config.stock, self.task, config.stock_steps, seeds)
            return values.unsqueeze(1), steps
        learners = self.train(env, step, create_graph=False)
        shape = (count * config.num_learners, config.copies)
        if self._arena is None or self._arena.shape != shape:
            if self._arena is not None:
                self._arena.close()
            self._arena = RealEnvs(self.task, self.actions, *shape)
        before = self._arena.steps
        if middle:
            seeds = [
                derive(config.seed, _RESET, step, copy, place) % 2**31
                for place in places(learners, count).tolist()
                for copy in range(config.copies)
            ]
        returns = self._arena.evaluate(partial(act, learners), seeds).mean(1).float()
        kinds = list(config.kinds)
        kind = torch.tensor([kinds.index(name) for name in algorithms(learners)])
        index = members(learners, count) * len(kinds) + kind
        steps = self._arena.steps - before
        if middle:
            groups = [returns[index == group].numpy() for group in range(count * len(kinds))]
            means = torch.tensor([float(interquartile_mean(group)) for group in groups])
            return means.view(count, -1), steps
        sums = torch.zeros(count * len(kinds)).index_add(0, index, returns)
        numbers = index.bincount(minlength=count * len(kinds))
        return (sums / numbers).view(count, -1), steps

    def _environments(self, count: int) -> SyntheticEnv:
        mean, std = (scale.numpy() for scale in self.scales)
        return untrained(self.task, self.config, mean=mean, std=std, members=count)

    def evaluate(self, teacher: nn.Module, step: int) -> dict[str, float]:
        """Greedy real returns of fresh learners: mean, worst, mean of each kind.

        Raises:
            TrainingDivergedError: The returns are not finite.
        """
        stream = generator(self.config.seed, _EVALUATION, step)
        if self._stock:
            return self._examine_stock(teacher, derive(self.config.seed, _EVALUATION, step))
        learners = self._examine(teacher, stream, create_graph=False)
        met: list[Tensor] = []

        def policy(observation: Tensor) -> Tensor:
            met.append(observation.flatten(0, 1))
            return act(learners, observation)

        seed = derive(self.config.seed, _EVALUATION, step)
        returns = self._exam.evaluate(policy, seed).mean(1)
        if not returns.isfinite().all():
            raise TrainingDivergedError("the real return is not finite: check the target's rewards")
        row = {"evaluation": float(returns.mean()), "evaluation_min": float(returns.min())}
        names = algorithms(learners)
        for name in dict.fromkeys(names):
            mask = torch.tensor([own == name for own in names])
            row[f"evaluation_{name}"] = float(returns[mask].mean())
        if step < self.config.imitation:
            # Where learners go is where they must know what to do (Ross et al. 2011).
            flat = torch.cat(met)
            chosen = torch.randint(len(flat), (VISITED,), generator=stream)
            self._visited = torch.cat([self._visited[:VISITED], flat[chosen]])
        return row

    def _examine_stock(self, env: nn.Module, seed: int) -> dict[str, float]:
        assert isinstance(env, SyntheticEnv)
        config = self.config
        seeds = [derive(seed, copy) % 2**31 for copy in range(max(config.exam_copies, 10))]
        returns, steps = stock_returns(env, self._stock, self.task, config.stock_steps, seeds)
        self.charge(steps)
        means = returns.mean(1)
        return {"evaluation": float(means.mean()), "evaluation_min": float(means.min())}

    def state_dict(self) -> dict[str, Any]:
        """Critic, expert, the states where learners are to agree with it, and the cost so far."""
        return {
            "critic": self._critic.state_dict(),
            "critic_optimizer": self._critic.optimizer.state_dict(),
            "expert": self._expert.state_dict(),
            "visited": self._visited,
            "real_steps": self.real_steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Set it to a saved state."""
        self._critic.load_state_dict(state["critic"])
        self._critic.optimizer.load_state_dict(state["critic_optimizer"])
        self._expert.load_state_dict(state["expert"])
        self._visited = state["visited"]
        self._real.steps, self._exam.steps = state["real_steps"], 0


def taught(task: Target, config: TrainConfig, envs: SyntheticEnv) -> tuple[Tensor, int]:
    """Interquartile means `[P, K]` of real returns of the learners that watch a run, by kind.

    In each of P environments; and how many real steps that took. All environments teach the same
    learners.
    """
    rows = torch.cat(list(envs.parameters()), 1).detach()
    # As many episodes as tell: what is chosen here is not chosen again.
    examined = replace(config.examined, copies=max(config.copies, config.exam_copies))
    with RealReturn(task, examined) as judges:
        judges.scales = envs.mean, envs.std
        return judges.fitness(rows, _FITS, middle=True)


def _in_synthetic(
    teacher: nn.Module, generator: torch.Generator, *, create_graph: bool, config: TrainConfig
) -> Sequence[Student]:
    assert isinstance(teacher, SyntheticEnv)
    return inner_loop(teacher, config, generator, create_graph=create_graph)
