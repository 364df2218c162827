"""Settings of a training run; the text under each field is the command line's help."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from gtn_rl import bounds
from gtn_rl.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from gymnasium import spaces

    from gtn_rl.agents.spec import Spec

# No torch here, which takes a second to import: the command line's help and errors do without it.

ESTIMATORS = ("evolution", "meta-gradient")
EXECUTORS = ("batch", "processes", "ray")
STRATEGIES = ("snes", "openai-es", "cma-es")
PARTS = ("presentation", "reward", "shift", "spread", "dynamics")

STOCK = "sb3:"
"""What the name of a stock learner of Stable-Baselines3 itself begins with."""

_WEIGHTS = 2**24
"""Weights between hidden layers at most: an artifact holds 2**26 numbers."""

_STEPS = {True: 5_000, False: 10_000}
"""Steps of agents, by whether actions are discrete: a mean of continuous ones moves by little in
each rollout, and what balances needs it where it belongs."""

_DQN_STEPS = 5_000
"""Steps that a deep Q-network takes at least: with fewer it moves its weights by too little."""

# By: dynamics, evolution, discrete actions; stock-like learners where there is none.
_DEFAULT: dict[tuple[bool, bool, bool], tuple[str, ...]] = {
    (False, False, True): ("8xpg@tanh:64-64", "4xdqn@relu:64-64", "4xdqn-greedy@relu:64-64"),
    (False, False, False): ("4xpg@tanh:64-64", "8xppo@tanh:64-64", "2xa2c@tanh:64-64"),
    (True, False, True): (
        "4xpg@tanh:64-64", "4xppo@tanh:64-64", "4xa2c@tanh:64-64", "4xdqn@relu:64-64",
    ),
    (True, False, False): ("8xppo@tanh:64-64", "8xa2c@tanh:64-64"),
    (True, True, True): ("1xppo@tanh:64-64", "1xa2c@tanh:64-64", "2xdqn@relu:64-64"),
    (True, True, False): ("2xppo@tanh:64-64", "2xa2c@tanh:64-64"),
}  # fmt: skip


def check_hidden(hidden: Collection[int]) -> None:
    """Nothing, if networks with these hidden units are ones that an artifact can hold.

    Raises:
        UsageError: There are none, too many, or they have too many weights.
    """
    if not 1 <= len(hidden) <= 16:
        raise UsageError(f"hidden must be 1 to 16 layers, got {len(hidden)}")
    weights = sum(a * b for a, b in pairwise(hidden))
    if weights > _WEIGHTS:
        raise UsageError(f"hidden must have at most {_WEIGHTS:,} weights, these have {weights:,}")


def expect(config: object, kind: type) -> None:
    """Nothing, if a trainer was given settings of its own kind.

    Raises:
        UsageError: It was not.
    """
    if not isinstance(config, kind):
        raise UsageError(
            f"config must be a {kind.__name__}, got a {type(config).__name__}: "
            f"write {kind.__name__}(seed=1, ...)"
        )


def one_of(name: str, value: str, known: Collection[str]) -> None:
    """Nothing, if a value is one of those that are known.

    Raises:
        UsageError: It is not.
    """
    if value not in known:
        raise UsageError(
            f"unknown {name} {value!r}: use one of {', '.join(known)}.{did_you_mean(value, known)}"
        )


@dataclass(frozen=True)
class Search:
    """Untrained environments that are tried before anything is trained."""

    candidates: bounds.Many = 32
    """Environments in each generation, of one real episode each."""

    generations: bounds.Many = 20
    """At most, while all of them have the same return."""


@dataclass(frozen=True)
class Pretrain:
    """Policy gradient of the policy that does what an environment rewards most."""

    real_steps: bounds.Whole = 400_000
    """Real steps at most; none if 0."""

    patience: bounds.Count = 50_000
    """Real steps without a better return after which it ends, once the target return is reached or
    where none is known; a third of what it has taken, if that is more."""

    copies: bounds.Many = 16
    """Real environments side by side; 128 steps in each make up a batch of experience."""

    learning_rate: bounds.Positive = 3e-3
    """Adam's first step size; it falls linearly to a tenth."""


@dataclass(frozen=True)
class Learners:
    """Agents that are trained in the environment while it is trained."""

    kinds: tuple[str, ...] = ()
    """Count x algorithm @ activation : hidden units, as 8xpg@tanh:64-64 4xdqn@relu:64-64; a mix for
    the kind of action space if not given. stock-ppo, stock-a2c and stock-dqn train as
    Stable-Baselines3's do, for as many steps as `steps` says, in one batch; 1xoptimal is the policy
    that has learned all there is. With evolution also any agent of Stable-Baselines3 or sb3-contrib
    itself, such as sb3:ppo."""

    judges: bounds.Many = 8
    """Stock-like agents of each algorithm by which the environment is evaluated."""

    episodes: bounds.Few = 0
    """Real episodes of each of these; two, or more of short ones, if 0."""

    inner_steps: bounds.Length = 64
    """Optimizer steps of a learner that is not stock-like."""

    batch_size: bounds.Length = 64
    """Synthetic observations in each of those steps."""

    learning_rate: tuple[bounds.Positive, bounds.Positive] = (1e-3, 1e-2)
    """Bounds of those learners' learning rates, drawn log-uniformly."""


@dataclass(frozen=True)
class Outer:
    """How the environment is moved by its learners' real return."""

    steps: bounds.Whole = 8
    """Outer steps at most, generations of evolution or updates of the meta-gradient."""

    every: bounds.Count = 2
    """Outer steps between evaluations."""

    patience: bounds.Count = 3
    """Evaluations without a better one after which it ends."""

    copies: bounds.Few = 0
    """Real episodes of each learner in a generation, or real environments of each learner for the
    meta-gradient; as many as have about 400 steps together if 0."""

    learning_rate: bounds.Positive = 1e-3
    """Adam's first step size, of the meta-gradient and openai-es; it falls linearly to 0."""

    moving: tuple[str, ...] = ()
    """Parts that evolution moves: presentation, reward, shift and spread (of made-up states),
    dynamics; the presentation if not given, all if there are dynamics."""

    strategy: str = ""
    """Evolution strategy: snes, openai-es, or cma-es (a thousand parameters at most); cma-es for
    the presentation and snes for the rest if not given."""

    population: bounds.Many = 16
    """Environments in each generation."""

    deviation: bounds.Deviation = 0.0
    """Standard deviation of the first population's parameters; 0.8 for the presentation and 0.1 for
    the rest if 0."""


@dataclass(frozen=True)
class Dynamics:
    """What is learned besides rewards where synthetic episodes have more than one step."""

    real_steps: bounds.Whole = 50_000
    """Real steps from which dynamics and termination are learned first, by maximum likelihood; none
    if 0."""

    truncation: bounds.Whole = 0
    """Differentiate through so many last inner steps only; through all if 0."""

    checkpointing: bounds.Whole = 0
    """Keep the graph of so many segments of the inner loop at a time, and run them again when it is
    needed: less memory, more time. Of all if 0."""


@dataclass(frozen=True)
class Workers:
    """Where the members of a population train their learners."""

    executor: str = "batch"
    """batch (all together in this process), processes (of this machine), or ray (a cluster, extra
    ray). The result is the same."""

    count: bounds.Many = 2
    """Tasks that run at once, for processes and ray."""

    ray_address: str = ""
    """Address of a Ray cluster, e.g. auto; a Ray of this machine is started if not given."""

    timeout: bounds.Positive = 600.0
    """Seconds after which a generation's unfinished tasks count as hung; they are tried once more,
    then left out of the update with a warning."""


@dataclass(frozen=True)
class TrainConfig:
    """How a synthetic environment is meta-trained."""

    seed: bounds.Seed = 0
    """Seed of everything random; the same seed on the same machine gives the same run."""

    steps: bounds.Whole = 0
    """Steps that agents are to take in the environment; the artifact keeps them as its budget. If
    0, 5,000 where actions are discrete and 10,000 where they are continuous."""

    max_real_steps: bounds.Steps = 1_000_000
    """Stop after this many steps of the real environment, evaluations included."""

    max_minutes: bounds.Minutes = 10.0
    """Stop after this many minutes."""

    target_return: bounds.Return | None = None
    """Mean real return that counts as solved; Gymnasium's reward threshold if not given."""

    estimator: str = "evolution"
    """How an update is found: evolution (of environments by their learners' return), or
    meta-gradient (through the learners' training)."""

    init: str = ""
    """A shipped environment or the folder of a run to start from, instead of search and
    pretraining."""

    expert: str = ""
    """A trained agent of Stable-Baselines3 or sb3-contrib, as algorithm:file (ppo:agent.zip), whose
    policy is taught, instead of search and pretraining."""

    horizon: bounds.Length = 1
    """Steps of a synthetic episode at most. With 1 it is a bandit; with more, dynamics and
    termination are learned as well."""

    hidden: tuple[bounds.Units, ...] = (32,)
    """Hidden units of the synthetic environment's networks."""

    noise: bounds.Positive = 0.4
    """Deviation of continuous actions in the real environment, relative to half their range;
    pretraining starts with it and finds its own."""

    search: Search = field(default_factory=Search)
    """The start."""

    pretrain: Pretrain = field(default_factory=Pretrain)
    """The optimal policy."""

    learners: Learners = field(default_factory=Learners)
    """Who is taught."""

    outer: Outer = field(default_factory=Outer)
    """The estimator."""

    dynamics: Dynamics = field(default_factory=Dynamics)
    """Episodes of many steps."""

    workers: Workers = field(default_factory=Workers)
    """Where evolution runs."""

    def __post_init__(self) -> None:
        """Reject values that cannot work before anything is spent.

        Raises:
            UsageError: The first such value.
        """
        bounds.check(self)
        check_hidden(self.hidden)
        low, high = self.learners.learning_rate
        if low > high:
            raise UsageError(f"learners.learning_rate must be low <= high, got {low} {high}")
        if self.outer.population < 4 or self.outer.population % 2:
            raise UsageError(
                f"outer.population must be even and at least 4, got {self.outer.population}"
            )
        one_of("estimator", self.estimator, ESTIMATORS)
        one_of("executor", self.workers.executor, EXECUTORS)
        if self.outer.strategy:
            one_of("strategy", self.outer.strategy, STRATEGIES)
        for part in self.outer.moving:
            one_of("part", part, PARTS)
        if self.init and self.expert:
            raise UsageError("init and expert both say what to start from: give one of them")
        if self.stock and self.estimator != "evolution":
            raise UsageError("stock agents cannot be differentiated: use --estimator evolution")
        if self.stock and len(self.stock) != len(self.learners.kinds):
            raise UsageError("learners are either all sb3:... or none")
        if self.stock and (self.horizon > 1 or self.workers.executor != "batch"):
            raise UsageError("sb3:... learners need horizon 1 and the executor batch")
        for group in self.groups:
            if group.steps and self.horizon > 1:
                raise UsageError("stock-like learners are for horizon 1")

    @property
    def clip(self) -> float:
        """PPO's bound on how far one batch of experience may move a policy."""
        return 0.2

    @property
    def trace(self) -> float:
        """Lambda of generalized advantage estimation."""
        return 0.95

    def for_space(self, space: spaces.Discrete | spaces.Box) -> TrainConfig:
        """These settings with the steps and learners that suit an action space, if not given.

        Raises:
            UsageError: Learners are given that do not handle it.
        """
        if not self.steps:
            return replace(self, steps=_STEPS[hasattr(space, "n")]).for_space(space)
        if self.stock:
            # Stable-Baselines3 takes a second to import.
            from gtn_rl.agents.sb3 import algorithm, check_action_space

            for name in self.stock:
                algorithm(name)
                check_action_space(name, space)
            return self
        from gtn_rl.agents.draw import check_learners

        for group in self.groups:
            check_learners(group, space, self.horizon)
        if self.learners.kinds:
            return self
        kinds = _DEFAULT.get((self.horizon > 1, self.estimator == "evolution", hasattr(space, "n")))
        if kinds is None:
            return self.stock_like(space, 2)
        return replace(self, learners=replace(self.learners, kinds=kinds))

    def stock_like(self, space: spaces.Discrete | spaces.Box, count: int) -> TrainConfig:
        """These settings with learners that train as stock agents do, so many of each algorithm."""
        names = ["stock-ppo@tanh:64-64", "stock-a2c@tanh:64-64"]
        if hasattr(space, "n"):
            names.append(f"stock-dqn@relu:64-64/{max(self.steps, _DQN_STEPS)}")
        kinds = tuple(f"{count}x{name}" for name in names)
        return replace(self, learners=replace(self.learners, kinds=kinds))

    @property
    def stock(self) -> tuple[str, ...]:
        """Algorithms of Stable-Baselines3's own agents among the learners."""
        kinds = self.learners.kinds
        return tuple(text.removeprefix(STOCK) for text in kinds if text.startswith(STOCK))

    @property
    def groups(self) -> list[Spec]:
        """The other learners, parsed."""
        texts = [text for text in self.learners.kinds if not text.startswith(STOCK)]
        if not texts:
            return []
        from gtn_rl.agents.spec import parse_learners

        return [parse_learners(text) for text in texts]

    @property
    def kinds(self) -> dict[str, int]:
        """How many learners of one environment there are of each algorithm."""
        if self.stock:
            return {STOCK: len(self.stock)}
        counts: dict[str, int] = {}
        for group in self.groups:
            counts[group.algorithm] = counts.get(group.algorithm, 0) + group.count
        return counts

    @property
    def num_learners(self) -> int:
        """All learners of one environment."""
        return sum(self.kinds.values())


def reward_config() -> TrainConfig:
    """The settings with which a reward is trained if nothing else is asked for."""
    # Learners take some 30,000 real steps in an outer step, and as many for each member of a
    # population; what evolves are hundreds of weights, not the few numbers of a presentation.
    outer = Outer(steps=16, every=4, learning_rate=3e-3, strategy="snes", deviation=0.1)
    return TrainConfig(estimator="meta-gradient", outer=outer)
