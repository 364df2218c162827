"""Teaching: learners are trained by the teacher, and their real return moves it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, cast

import torch
from gymnasium import spaces
from torch import Tensor, nn

from gtn_rl.agents.learners import Student
from gtn_rl.agents.losses import sharpness
from gtn_rl.config import TrainConfig
from gtn_rl.envs.actions import make_actions
from gtn_rl.envs.allowance import left
from gtn_rl.envs.reward import RewardNetwork
from gtn_rl.envs.synthetic import SyntheticEnv
from gtn_rl.envs.targets import RealEnvs, Target, random_return, random_steps
from gtn_rl.evaluation.stats import interquartile_mean
from gtn_rl.inner.fitness import Fitness, Teach, episodes_of, in_synthetic
from gtn_rl.inner.objective import Critic, collect, surrogate
from gtn_rl.inner.stock import stock_returns
from gtn_rl.inner.training import act, algorithms
from gtn_rl.loop import Estimator
from gtn_rl.outer.evolution import Evolution, Executor, Generation, make_strategy
from gtn_rl.outer.executors import make_executor
from gtn_rl.outer.meta_gradient import MetaGradient, Objective
from gtn_rl.seeding import derive, generator
from gtn_rl.stages.base import Once, by_kind, goal_of, ignore
from gtn_rl.state import State

# Names of random streams; a run's randomness is a function of (seed, stream, outer step) alone, so
# that a resumed run is the run that was never killed.
_LEARNERS, _ACTIONS, _RESET, _EVALUATION, _CRITIC = range(1, 6)
_FINAL = 9

_LENGTH = 128
"""Real steps in each environment for an update of the meta-gradient."""

_BOLD, _TIMID = 0.8, 0.1
"""Standard deviations of the first population, of the presentation alone or of networks too."""

_NEAR = 0.03
"""Learners count as good as the policy that they are taught within this share of what it gains over
random agents."""


class TeachLearners:
    """Learners of a teacher, scored by their real return.

    Args:
        teach: How a teacher trains learners, if not by the inner loop in a synthetic environment.
        learners: How many learners a teacher trains, where the settings do not say so.
        epochs: Updates of the meta-gradient by one batch of real experience.
        averaging: Decay of the average that the meta-gradient keeps of the teacher.
    """

    end = ignore

    def __init__(
        self, target: Any, task: Target, config: TrainConfig, teach: Teach | None = None,
        learners: int = 0, *, epochs: int = 1, averaging: float = 0.9,
    ) -> None:  # fmt: skip
        self.name, self.every, self.competes = "teaching learners", config.outer.every, True
        self.scored = "fresh learners"
        self._target, self._task, self._config = target, task, config
        self._own, self._count = teach, learners or config.num_learners
        self._epochs, self._averaging = epochs, averaging
        self._best, self._since = -math.inf, 0
        self._actions = make_actions(task.action_space, config.noise)
        # Bandits are judged by stock-like agents whatever the learners are: it is those that are to
        # be taught. Other learners of the kinds that are trained tell of the other teachers.
        self._judged = teach is None and config.horizon == 1
        examined = config
        if self._judged:
            examined = config.stock_like(task.action_space, config.learners.judges)
        self._examine = teach or partial(in_synthetic, config=examined)
        self._teach = teach or partial(in_synthetic, config=config)
        judges = examined.num_learners if self._judged else self._count
        self._judges = judges if not config.stock else len(config.stock)

    def begin(self, state: State) -> None:
        self.begin_judging(state)
        self.estimator: Estimator = self._estimator(state)

    @property
    def steady(self) -> bool:
        return self._real is None

    def begin_judging(self, state: State) -> None:
        """Take what it needs to judge a teacher, but no estimator and no workers."""
        config = self._config
        self._teacher = state.teacher
        self._random = state.returns.get("random", math.nan)
        self._goal = self._wanted(state)
        told = episodes_of(self._task.horizon or state.length)
        self._copies = config.outer.copies or told
        self._episodes = config.learners.episodes or max(told, 2)
        self._exam = RealEnvs(self._task, self._actions, self._judges, self._episodes)
        self._real: RealEnvs | None = None
        self._executor: Executor | None = None
        self._reached = False

    def reserve(self, state: State) -> int:
        """Real steps of the first evaluation, if episodes are as long as they may be."""
        if self._best > -math.inf:
            return 0
        length = self._task.horizon or state.length
        episodes = self._config.learners.episodes or max(episodes_of(length), 2)
        return round(self._judges * episodes * length)

    def _wanted(self, state: State) -> float | None:
        """The return that is enough: near to the optimal policy's, or else what solves the task."""
        optimal = state.returns.get("optimal", math.nan)
        if self._judged and math.isfinite(optimal):
            return optimal - _NEAR * abs(optimal - self._random)
        return goal_of(self._task, self._config)

    def _estimator(self, state: State) -> Estimator:
        config, teacher, outer = self._config, state.teacher, self._config.outer
        if config.estimator == "meta-gradient":
            size = self._task.observation_space.shape[0]
            self._critic = state.critic or Critic(
                torch.zeros(size), torch.ones(size), generator=generator(config.seed, _CRITIC)
            )
            self._real = RealEnvs(self._task, self._actions, self._count, max(self._copies, 4))
            return MetaGradient(
                teacher.requires_grad_(True), self._rate, epochs=self._epochs,
                averaging=self._averaging, again=self.train,
            )  # fmt: skip
        like = cast(Callable[[int], nn.Module], teacher.like)
        fitness = Fitness(self._task, config, like, self._copies, self._own)
        self._executor = make_executor(self._target, config, fitness, teacher, self._copies)
        moving = outer.moving
        if not moving and self._judged:
            moving = ("presentation",)
        # A few numbers in units of their own, or all the weights of networks.
        few = tuple(moving) == ("presentation",)
        strategy = make_strategy(
            outer.strategy or ("cma-es" if few else "snes"), outer.population,
            outer.deviation or (_BOLD if few else _TIMID), outer.learning_rate,
        )  # fmt: skip
        names = [f"{part}_parameters" for part in moving]
        return Evolution(teacher.requires_grad_(False), strategy, config.seed, moving=names)

    def _rate(self, step: int) -> float:
        """Linear decay to 0, in steps: in seconds a run would depend on the machine's load."""
        outer = self._config.outer
        return outer.learning_rate * max(1 - step / max(outer.steps, 1), 0.0)

    def reset(self, step: int) -> None:
        if self._real is not None:
            self._real.reset(derive(self._config.seed, _RESET, step) % 2**31)

    def train(self, teachers: Any, step: int) -> Any:
        """Fresh learners; those of a population train where they are scored, by the executor."""
        if isinstance(teachers, Generation):
            return teachers
        stream = generator(self._config.seed, _LEARNERS, step)
        return self._teach(teachers, stream, create_graph=True)

    def objective(self, trained: Any, step: int) -> Any:
        """Returns of a population, or the surrogate of return from acting in the target."""
        if isinstance(trained, Generation):
            assert self._executor is not None
            return self._executor.fitness(trained)
        return self._surrogate(trained, step)

    def _surrogate(
        self, learners: Sequence[Student], step: int
    ) -> tuple[Objective, dict[str, float]]:
        config, real = self._config, self._real
        assert real is not None
        source = generator(config.seed, _ACTIONS, step)
        sure = self._sureness(learners, source)

        def play(trained: Sequence[Student], observation: Tensor) -> Tensor:
            return sure * act(trained, observation)

        experience = collect(
            partial(play, learners), real, self._actions, self._critic, config, source, _LENGTH
        )
        error = self._critic.fit(
            *experience.values(), generator(config.seed, _CRITIC, step), epochs=4
        )
        gain = partial(surrogate, experience=experience, actions=self._actions, clip=config.clip)
        row = {"critic_error": error}
        finished = real.finished()
        if finished is not None:
            row["return"] = finished
        return (lambda trained: gain(partial(play, trained))), row

    def _sureness(self, learners: Sequence[Student], source: torch.Generator) -> Tensor | float:
        """What logits are multiplied by, that the return of sampled actions is that of greedy ones.

        A hundred steps of sampled experience leave learners so unsure that it is another return.
        """
        env = self._teacher
        if isinstance(self._task.action_space, spaces.Box):
            return 1.0
        if isinstance(env, RewardNetwork):
            noise = torch.randn(self._count, 256, len(env.mean), generator=source)
            states = env.mean + env.std * noise
        elif isinstance(env, SyntheticEnv) and env.horizon > 1:
            noise = torch.randn(1, 256, env.noise_size, generator=source)
            states = env.initial(noise).detach().expand(self._count, -1, -1)
        else:
            return 1.0
        return sharpness(act(learners, states))

    def evaluate(self, step: int, *, last: bool) -> dict[str, float]:
        """Greedy real returns of fresh learners: of each kind, and the mean of the kinds.

        A kind that is better than it need be does not make up for one that is worse.

        Raises:
            TrainingDivergedError: The returns are not finite.
        """
        stream = derive(self._config.seed, _EVALUATION, step)
        row = self.judge(self.estimator.teacher, stream)
        kinds = [value for name, value in row.items() if name.startswith("evaluation_of_")]
        if self._goal is not None and self._judged:
            self._reached = min(kinds) >= self._goal
            kinds = [min(value, self._goal) for value in kinds]
        else:
            self._reached = False
        row["evaluation"] = sum(kinds) / len(kinds)
        better = row["evaluation"] > self._best
        self._best = max(self._best, row["evaluation"])
        self._since = 0 if better else self._since + 1
        return row

    def judge(self, teacher: nn.Module, seed: int) -> dict[str, float]:
        if self._config.stock:
            assert isinstance(teacher, SyntheticEnv)
            seeds = [derive(seed, copy) % 2**31 for copy in range(self._episodes)]
            array = stock_returns(
                teacher, self._config.stock, self._task, self._config.steps, seeds
            )
            returns, names = torch.as_tensor(array).mean(1), list(self._config.stock)
        else:
            learners = self._examine(teacher, generator(seed, 1), create_graph=False)
            with torch.no_grad():
                returns = self._exam.evaluate(partial(act, learners), seed % 2**31).mean(1)
            names = algorithms(learners)
        return by_kind(returns, names, lambda own: float(interquartile_mean(own.numpy())))

    def shares(self, step: int) -> Mapping[str, float]:
        outer = self._config.outer
        return {"outer steps": step / outer.steps if outer.steps else 1.0}

    def converged(self, step: int) -> bool:
        """Whether learners are as good as what they are taught, or do not become better."""
        stalled = self._since >= self._config.outer.patience
        if self._goal is not None and not self._judged:
            return stalled and self._best >= self._goal
        return self._reached or stalled

    def close(self) -> None:
        for envs in (self._exam, self._real, self._executor):
            if envs is not None:
                envs.close()

    def state_dict(self) -> dict[str, Any]:
        state: dict[str, Any] = {"numbers": [self._best, self._since, self._reached]}
        if self._real is not None:
            state["critic"] = self._critic.state_dict()
            state["critic_optimizer"] = self._critic.optimizer.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._best, self._since, self._reached = state["numbers"]
        if self._real is not None:
            self._critic.load_state_dict(state["critic"])
            self._critic.optimizer.load_state_dict(state["critic_optimizer"])


def judging(teaching: TeachLearners, task: Target, seed: int) -> Once:
    """The last stage: fresh learners of the finished teacher, by which nothing was chosen.

    Random agents too, by more episodes than the search needs, as long as the budget has them.
    """

    def random(state: State) -> int:
        return random_steps(task.horizon or state.length)

    def act(state: State) -> dict[str, float]:
        teaching.begin_judging(state)
        try:
            scores = teaching.judge(state.teacher, derive(seed, _FINAL))
        finally:
            teaching.close()
        if random(state) <= left():
            state.returns["random"] = random_return(task)
        kinds = [value for name, value in scores.items() if "_of_" in name]
        return scores | {"evaluation": sum(kinds) / len(kinds)}

    def reserve(state: State) -> int:
        return teaching.reserve(state) + random(state)

    return Once("judging the result", act, reserve=reserve, scored="fresh learners")
