"""Settings of a training run; the text under each field is the command line's help."""

from __future__ import annotations

from dataclasses import dataclass, replace

from gymnasium import spaces

from gtn_rl.agents.draw import STOCK as STOCK_ALIKE
from gtn_rl.agents.draw import WHOLE, Group, check_group, parse_group
from gtn_rl.agents.draw_interactive import check_interactive
from gtn_rl.checks import check
from gtn_rl.errors import UsageError

DISCRETE = ("8xpg@tanh:64-64", "4xdqn@relu:64-64", "4xdqn-greedy@relu:64-64")
CONTINUOUS = ("4xpg@tanh:64-64", "8xppo@tanh:64-64", "2xa2c@tanh:64-64")
EVOLVED_DISCRETE = (
    "1xpg@tanh:64-64", "1xa2c@tanh:64-64", "1xdqn@relu:64-64", "1xdqn-greedy@relu:64-64",
)  # fmt: skip
JUDGES_DISCRETE = (
    "4xstock-ppo@tanh:64-64", "4xstock-a2c@tanh:64-64", "4xstock-dqn@relu:64-64/5000",
)  # fmt: skip
# Five rollouts of PPO: how far it is bound to go in each is what is hard for it.
JUDGES_CONTINUOUS = ("4xstock-ppo@tanh:64-64/10000", "4xstock-a2c@tanh:64-64/10000")
LONG_DISCRETE = ("4xpg@tanh:64-64", "4xppo@tanh:64-64", "4xa2c@tanh:64-64", "4xdqn@relu:64-64")
LONG_CONTINUOUS = ("8xppo@tanh:64-64", "8xa2c@tanh:64-64")
LONG_EVOLVED_DISCRETE = ("1xppo@tanh:64-64", "1xa2c@tanh:64-64", "2xdqn@relu:64-64")
LONG_EVOLVED_CONTINUOUS = ("2xppo@tanh:64-64", "2xa2c@tanh:64-64")
EVOLVED_CONTINUOUS = ("1xpg@tanh:64-64", "2xppo@tanh:64-64", "1xa2c@tanh:64-64")

# By: dynamics, evolution, discrete actions.
_DEFAULT: dict[tuple[bool, bool, bool], tuple[str, ...]] = {
    (False, False, True): DISCRETE,
    (False, False, False): CONTINUOUS,
    (False, True, True): EVOLVED_DISCRETE,
    (False, True, False): EVOLVED_CONTINUOUS,
    (True, False, True): LONG_DISCRETE,
    (True, False, False): LONG_CONTINUOUS,
    (True, True, True): LONG_EVOLVED_DISCRETE,
    (True, True, False): LONG_EVOLVED_CONTINUOUS,
}

STOCK = "sb3:"
"""What the name of a stock learner begins with."""


@dataclass(frozen=True)
class TrainConfig:
    """How a synthetic environment is meta-trained."""

    seed: int = 0
    """Seed of everything random; the same seed on the same machine gives the same run."""

    estimator: str = "meta-gradient"
    """How an update is found: meta-gradient (through the learners' training), or evolution (of
    whole environments by their learners' return; for learners that cannot be differentiated, and
    for clusters). Either may go on from the other's result with --init."""

    init: str = ""
    """A shipped environment or the folder of a run to start from, instead of a search."""

    horizon: int = 1
    """Steps of a synthetic episode at most. With 1 it is a bandit; with more, dynamics and
    termination are learned as well."""

    curriculum: bool = False
    """Whether the environment may depend on how far its learner's training has got."""

    introduction: tuple[float, ...] = ()
    """Agents first meet states from a normal distribution whose observations do not depend on each
    other, so many times as far apart as what agents of the target meet (a number for each
    observation, or one for all). Wide states are easy to tell apart, which algorithms of small
    batches need; evolution may then change the distribution. No such introduction if not given."""

    introduction_share: float = 0.7
    """Share of an agent's training that the introduction takes at first."""

    introduction_linear: float = 1.0
    """How much a linear policy may know of what is wanted in the introduction, R^2 from 0 to 1: it
    is moved until there is no more. What such a policy knows A2C learns first, and may not leave
    again."""

    budget: int = 0
    """Steps that an agent's training is taken for in the finished environment, unless the agent's
    user says how many there will be. Without, a curriculum or introduction is over from the start
    for those."""

    max_real_steps: int = 1_000_000
    """Stop after this many steps of the real environment, evaluations included."""

    max_minutes: float = 10.0
    """Stop after this many minutes."""

    max_outer_steps: int = 0
    """Stop after this many outer steps; no such limit if 0."""

    target_return: float | None = None
    """Mean real return of fresh learners that counts as solved; Gymnasium's reward threshold of the
    target if not given. Training goes on until `patience` more evaluations bring nothing better; it
    ends at once if that is 0."""

    evaluate_every: int = 5
    """Outer steps between evaluations; each also writes the checkpoint and the artifact."""

    patience: int = 8
    """Evaluations without a better one, once the target return is reached, before it stops."""

    learners: tuple[str, ...] = ()
    """Learners trained side by side, as count x algorithm @ activation : hidden units, such as
    8xpg@tanh:64-64 8xdqn@relu:64-64. Mixing algorithms and shapes is what makes the environment
    teach agents it never saw. A mix for the kind of action space if not given. 1xperfect is the one
    that has learned its lesson perfectly, as those do that train for long. stock-ppo, stock-a2c and
    stock-dqn train as Stable-Baselines3's do by default, for thousands of steps, in one batch.
    With evolution also any agent of Stable-Baselines3 and sb3-contrib itself, such as sb3:ppo."""

    stock_steps: int = 2_048
    """Synthetic environment steps of each stock learner (sb3:ppo, 1xstock-ppo@tanh:64-64), where
    its name does not say (1xstock-dqn@relu:64-64/5000)."""

    starts: int = 128
    """Untrained environments that are tried before training; the one whose perfect learner does
    best in the target is the start."""

    start_rounds: int = 20
    """Generations of as many tries, at most, while perfect learners all have the same return."""

    warmup: int = 300_000
    """Real steps with which the start is improved by its perfect learner's policy gradient, before
    learners are trained in it. To go on after the target return is reached pays: what has a wide
    margin is easier to teach."""

    warmup_learning_rate: float = 3e-3
    """Adam's first step size in that."""

    warmup_copies: int = 64
    """Real environments side by side in that; 128 steps in each make up a batch of experience."""

    warmup_batch: int = 1024
    """Real steps that each of its updates looks at. Tasks with contact need few environments and
    small updates."""

    effort: float = 0.0
    """What the warm-up's policy pays for the mean square of its continuous actions, in half ranges,
    where advantages have deviation 1. Gentle experts are easier to learn from than those that bang
    from bound to bound."""

    coverage: bool = True
    """Whether the initial states of synthetic episodes are fitted, after the warm-up, to those that
    agents between perfect and random meet in the target."""

    experts: int = 1
    """Starts that are searched, warmed up and fitted; the one whose learners (or judges) have the
    best return, by rank for each algorithm, is taken. How well an expert plays does not tell how
    well it can be taught. One that is given with --init is the only one."""

    fits: int = 1
    """Fits of the initial states, from random networks, that are tried; the one whose learners (or
    judges) have the best return, by rank for each algorithm, is taken. How near real states they
    are does not tell how well they teach."""

    listen: int = 0
    """How many times, after that, the best actions are made what most learners (or judges) made of
    them, as boldly as serves them best: an expert has details that nobody learns. For continuous
    actions."""

    heard_scale: tuple[float, ...] = ()
    """How large rewards are (as `reward_scale`) once learners were listened to; as before if not
    given. What teaches best is not what is listened to best."""

    heard_width: tuple[float, ...] = ()
    """Width of rewards (as `width`) once learners were listened to; as before if not given."""

    heard_excess: tuple[float, ...] = ()
    """How far beyond the space best actions lie (as `excess`) once learners were listened to; as
    before if not given."""

    heard_share: float = 0.0
    """Share of an agent's training that the introduction takes once learners were listened to; as
    before if 0."""

    heard_spread: float = 1.0
    """How many times as far apart the introduction's states lie once learners were listened to."""

    practised: tuple[int, ...] = ()
    """How many starts practise, one number for each round: the best actions of those that teach
    best so far are improved by the warm-up's policy gradient, near to what they are, and what
    comes of it is judged beside all others. For continuous actions."""

    practice: int = 250_000
    """Real steps of each practice."""

    wide: float = 0.0
    """Share of these that are made up instead, anywhere within the bounds of those that are met;
    with 1 nothing is fitted, initial states are uniform. What is small where agents mostly are is
    learned from states where it is large."""

    rare: float = 0.0
    """Discrete actions that are best in less than this share of the states shown score the mean of
    the others, after the warm-up: that they are bad is what policies would learn first."""

    score_gap: float = 0.0
    """How far apart best and worst scores of discrete actions lie on average, after the warm-up; as
    it left them if 0. Of those far apart agents hear which is best, of near ones by how much."""

    centred: float = 0.0
    """Share of an agent's training, from its beginning, in which rewards of form bounded-scores are
    less their mean over all actions, not less the best. Then no value has a kink where the best
    action changes, which deep Q-networks do not learn."""

    fade: float = 0.0
    """Share of an agent's training, at its end, in which rewards fade to a fiftieth. RMSprop's
    steps become smaller with them, so that A2C comes to rest."""

    judges: tuple[str, ...] = ()
    """Learners by whose real return a run of stock-like learners is watched; stock-ppo, stock-a2c
    and stock-dqn, as far as they handle the action space, if not given."""

    judged: bool = False
    """Evaluate by the judges whatever the learners are, so that what is kept is what stock agents
    learn best from. With a horizon of 1 only."""

    imitation: int = 50
    """Outer steps of the meta-gradient, the first ones, that raise the learners' agreement with the
    perfect learner of the warm-up instead of their real return."""

    imitation_learning_rate: float = 4e-3
    """Adam's first step size in these; it falls linearly to 0 at the last of them."""

    inner_steps: int = 64
    """Optimizer steps of a learner's training, the loop that is differentiated."""

    batch_size: int = 64
    """Synthetic observations in each of those steps."""

    learning_rate: tuple[float, float] = (1e-3, 1e-2)
    """Bounds of the learners' learning rates, drawn log-uniformly."""

    entropy: tuple[float, float] = (1e-4, 3e-2)
    """Bounds of the policies' entropy weights, drawn log-uniformly."""

    hidden: tuple[int, ...] = (32,)
    """Hidden units of the synthetic environment's networks."""

    head: str = ""
    """Form of the reward: bounded-scores or scores for discrete actions, bounded-quadratic,
    welsch, quadratic or mlp for continuous ones; the first if not given."""

    reward_scale: tuple[float, ...] = (1.0,)
    """How large rewards of a bounded form are when learners begin; a second number is for the
    introduction, or for when rewards are centred. Deep Q-networks learn small differences only,
    soft ones hear of none that is small beside their entropy. A start that is given with --init
    keeps its own."""

    width: tuple[float, ...] = (3.0,)
    """How far from the best action, in half ranges, all actions are alike to rewards of form
    welsch, when learners begin; a second number is for the introduction. PPO's means move farther
    by narrow ones; those wider than 3 are nearly quadratic. A start that is given with --init keeps
    its own."""

    excess: tuple[float, ...] = (1.0,)
    """Best actions that lie beyond the space lie so many times as far beyond it in rewards of form
    welsch, when learners begin, so that their means do not stop short of the bound; a second number
    is for the introduction. A start that is given with --init keeps its own."""

    world_model: int = 50_000
    """Real steps from which dynamics and termination are learned before the meta-training, by
    maximum likelihood; none if 0. With a horizon above 1 only."""

    persistence: float = 0.0
    """Taken from the logit of termination after that, so that synthetic episodes start out longer
    than real ones of the same agents."""

    through_dynamics: bool = False
    """Whether the meta-gradient runs along synthetic episodes instead of one step ahead; it
    explodes."""

    truncation: int = 0
    """Differentiate through so many last inner steps only, or updates of stock-like learners;
    through all if 0. With a horizon above 1, or for stock-like learners."""

    checkpointing: int = 0
    """Keep the graph of so many segments of the inner loop at a time, and run them again when it is
    needed: less memory, more time. Of all if 0. With a horizon above 1 only."""

    copies: int = 8
    """Real environments for each learner."""

    exam_copies: int = 2
    """Real episodes for each learner in an evaluation."""

    rollout_steps: int = 128
    """Steps in each real environment for each outer step."""

    outer_epochs: int = 1
    """Updates from one batch of real experience. The inner loop is run again for each but the
    first, so more of them save real steps and cost seconds."""

    outer_learning_rate: float = 1e-3
    """Adam's first step size for the synthetic environment's parameters; it falls linearly to 0 at
    `max_real_steps`."""

    strategy: str = "snes"
    """Evolution strategy: snes, openai-es, or cma-es (its cost grows with the cube of the number of
    parameters: a thousand at most)."""

    population: int = 64
    """Environments in each generation of evolution."""

    deviation: float = 0.1
    """Standard deviation of the first population's parameters."""

    executor: str = "batch"
    """Where the members of a population train their learners: batch (all together in this process),
    processes (of this machine), or ray (a cluster, extra ray). The result is the same."""

    workers: int = 2
    """Tasks that run at once, for processes and ray."""

    ray_address: str = ""
    """Address of a Ray cluster, e.g. auto; a Ray of this machine is started if not given."""

    task_timeout: float = 600.0
    """Seconds after which a generation's unfinished tasks count as hung; they are tried once more,
    then left out of the update with a warning."""

    showing_rate: float = 1.0
    """The outer step size is so many times as large for the few numbers that say how large rewards
    are, where initial states lie and how far apart."""

    equal_say: bool = False
    """Whether each stack of learners (those of one algorithm, of one depth and optimizer) has an
    equal say in the meta-gradient, however long its own is; in evolution each algorithm, by ranks
    instead of returns."""

    evolved: tuple[str, ...] = ()
    """Parts of the environment that evolution moves: initial and reward (the networks), dynamics,
    scale, width and excess (how large rewards are and of which shape), shift and spread (where
    initial states lie and how far apart), introduction; all if not given. All but the first three
    say how a lesson is shown. They are few numbers, which cma-es learns in some forty generations,
    and which action is best stays as it was."""

    max_gradient_norm: float = 1.0
    """The meta-gradient is shortened to this norm."""

    even_out: bool = True
    """Shorten each learner's share of the meta-gradient to the median of all. A few learners whose
    training is chaotic cannot drown the others then."""

    clip: float = 0.2
    """PPO's bound on how far one batch of experience may move the trained learners."""

    discount: float = 0.99
    """Gamma of the real return's advantages."""

    trace: float = 0.95
    """Lambda of generalized advantage estimation."""

    outer_noise: float = 0.4
    """Deviation of continuous actions in the real environment, relative to half their range."""

    critic_learning_rate: float = 1e-3
    """Adam's step size for the critic of the real task."""

    critic_epochs: int = 4
    """Its passes over each batch of experience."""

    averaging: float = 0.9
    """Decay of the moving average of the parameters; the average is what is evaluated and saved."""

    def __post_init__(self) -> None:
        """Reject values that cannot work before anything is spent.

        Raises:
            UsageError: The first such value.
        """
        check(self)

    def for_space(self, space: spaces.Discrete | spaces.Box) -> TrainConfig:
        """These settings with the learners that suit an action space, if none are given.

        Raises:
            UsageError: Learners are given that do not handle it, or settings for the other kind.
        """
        discrete = isinstance(space, spaces.Discrete)
        if discrete and self.listen:
            raise UsageError("listen is for continuous actions: leave it at 0")
        if discrete and self.practised:
            raise UsageError("practised is for continuous actions: leave it out")
        if not discrete and (self.rare or self.score_gap):
            raise UsageError("rare and score_gap are for discrete actions: leave both at 0")
        if self.stock:
            # Stable-Baselines3 takes a second to import.
            from gtn_rl.agents.sb3 import algorithm, check_action_space

            for name in self.stock:
                algorithm(name)
                check_action_space(name, space)
        config = self
        if not self.judges:
            config = replace(self, judges=JUDGES_DISCRETE if discrete else JUDGES_CONTINUOUS)
        for text in config.judges:
            check_group(parse_group(text), space)
        check = check_group if self.horizon == 1 else check_interactive
        for text in () if self.stock else self.learners:
            check(parse_group(text), space)
        if self.learners:
            return config
        return replace(
            config, learners=_DEFAULT[self.horizon > 1, self.estimator == "evolution", discrete]
        )

    @property
    def stock(self) -> tuple[str, ...]:
        """Algorithms of the stock learners, if there are any."""
        return tuple(text.removeprefix(STOCK) for text in self.learners if text.startswith(STOCK))

    @property
    def groups(self) -> list[Group]:
        """The learners, parsed; none of the stock ones."""
        return [] if self.stock else [parse_group(text) for text in self.learners]

    @property
    def stock_alike(self) -> bool:
        """Whether learners train as stock agents do, in the library's own batch."""
        return any(group.algorithm in STOCK_ALIKE for group in self.groups)

    @property
    def examined(self) -> TrainConfig:
        """These settings with the learners by which an environment is evaluated.

        One stock-like learner of each kind is enough to compare members by, for all are taught by
        many; it is not enough to know how good a teacher is.
        """
        return replace(self, learners=self.judges) if self.judged or self.stock_alike else self

    @property
    def num_batched(self) -> int:
        """Learners of one environment that see `batch_size` observations in every step."""
        return sum(group.count for group in self.groups if group.algorithm not in WHOLE)

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
