"""The environment that the outer loop starts from: found, warmed up, shown, listened to."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from gtn_rl.artifact import from_pretrained, total_costs
from gtn_rl.config import TrainConfig
from gtn_rl.coverage import baffle, cover, enclose, introduce, widen
from gtn_rl.critic import Critic
from gtn_rl.envs.actions import Actions
from gtn_rl.envs.introduction import stretched
from gtn_rl.envs.synthetic import SyntheticEnv
from gtn_rl.envs.targets import Target
from gtn_rl.errors import UsageError
from gtn_rl.listening import fit_best_actions, listen
from gtn_rl.outer.strategies import summed_ranks
from gtn_rl.perfect import warm_up
from gtn_rl.seeding import derive, generator
from gtn_rl.simple import hush, set_gap
from gtn_rl.start import search, untrained
from gtn_rl.world_model import fit_dynamics

# Names of random streams, beside those of the outer loop.
START, CRITIC, WARM_UP, WORLD_MODEL, COVERAGE, LISTENING = 0, 5, 6, 7, 8, 9

VISITED = 2048
"""States kept of those that agents between perfect and random met, and of those learners meet."""

Say = Callable[[str], None]

Judge = Callable[[SyntheticEnv], tuple[Tensor, int]]
"""Real returns `[P, K]` of what P environments teach, by kind of learner, and real steps taken."""


class Prepared(NamedTuple):
    """A start of the outer loop.

    Args:
        env: One environment.
        critic: Values of the target, as far as the warm-up has fitted them.
        visited: States `[M, O]` that agents between perfect and random met; none without warm-up.
        real_steps: What it took.
        before: What the given environment cost, if one was given.
    """

    env: SyntheticEnv
    critic: Critic
    visited: Tensor
    real_steps: int
    before: dict[str, float]


def prepare(
    task: Target, config: TrainConfig, actions: Actions, judge: Judge, say: Say
) -> Prepared:
    """The environment to start from: a given one, or the best of many; warmed up.

    Args:
        task: The target.
        config: Settings, with learners for the target's action space.
        actions: How learners act in the target.
        judge: Tells which of several environments teaches best.
        say: Told what goes on.

    Raises:
        ArtifactError: `init` is no environment for the target.
        UsageError: Its networks are not those that the settings want.
    """
    before: dict[str, float] = {}
    total = 0
    dynamic = False
    if config.init:
        env = _given(config.init, task, config)
        before = total_costs(config.init)
        dynamic = env.horizon > 1
        if dynamic and config.persistence:
            raise UsageError(
                f"{config.init} has dynamics already: persistence is for those yet to be fitted"
            )
        if not dynamic and config.horizon > 1:
            env = _with_dynamics(env, config.horizon)
    else:
        say("searching a start")
        env, total = search(task, actions, config, START)
    critic = fresh_critic(config, env.mean, env.std)
    visited = torch.zeros(0, env.noise_size)
    if config.warmup:
        states, steps = warm_up(
            env, task, actions, critic, config, WARM_UP,
            lambda score, share: say(f"warm-up {share:.0%}, return {score:.1f}"),
        )  # fmt: skip
        total += steps
    if not config.init:
        # The perfect learner of the warm-up does not heed it.
        _show(env, scale=config.reward_scale, width=config.width, excess=config.excess)
    if config.warmup:
        source = generator(config.seed, COVERAGE)
        if config.introduction:
            introduce(env, states, config.introduction, config.introduction_share)
            baffle(env, config.introduction_linear, source)
        if env.even:
            enclose(env, states)
        elif config.coverage:
            shown = widen(states, config.wide, source)
            total += _cover(env, shown, task, config, judge, source, say)
        if not config.init:
            hush(env, config.rare, source)
            set_gap(env, config.score_gap, source)
        if config.listen:
            total += _listen(env, task, config, actions, source, say)
            _show_heard(env, config)
        visited = states[torch.randint(len(states), (VISITED,), generator=source)]
    if config.horizon > 1 and config.world_model and not dynamic:
        say("fitting dynamics")
        _, steps = fit_dynamics(env, task, actions, config, WORLD_MODEL)
        total += steps
    return Prepared(env, critic, visited, total, before)


def fresh_critic(config: TrainConfig, mean: Tensor, std: Tensor) -> Critic:
    """A critic of the target that knows nothing, for observations of this scale `[O]`."""
    source = generator(config.seed, START, CRITIC)
    return Critic(mean, std, config.critic_learning_rate, source)


def _cover(
    env: SyntheticEnv, states: Tensor, task: Target, config: TrainConfig, judge: Judge,
    source: torch.Generator, say: Say,
) -> int:  # fmt: skip
    """Fit initial states to real ones; of several fits take the one that teaches best."""
    cover(env, states, source)
    if config.fits == 1:
        return 0
    fits = env.select(torch.zeros(config.fits, dtype=torch.long))
    for index in range(1, config.fits):
        say(f"fitting initial states, {index + 1} of {config.fits}")
        other = env.select(torch.tensor([0]))
        fresh = untrained(task, config, generator=source)
        other.initial_parameters.data.copy_(fresh.initial_parameters)
        cover(other, states, source)
        _replace_member(fits, index, other)
    return _take_best(env, fits, judge)


def _listen(
    env: SyntheticEnv, task: Target, config: TrainConfig, actions: Actions,
    source: torch.Generator, say: Say,
) -> int:  # fmt: skip
    """Let learners change the lesson, several times; each time they learn what came of the last."""
    total = 0
    for index in range(config.listen):
        say(f"listening to learners, {index + 1} of {config.listen}")
        seed = derive(config.seed, LISTENING, index) % 2**31
        heard = listen(env, task, actions, config.examined, source, seed)
        total += heard.real_steps
        fit_best_actions(env, heard.states, heard.policy(heard.states), source)
        if config.introduction:
            baffle(env, config.introduction_linear, source)
    return total


def _take_best(env: SyntheticEnv, tries: SyntheticEnv, judge: Judge) -> int:
    """Make it the one of several whose learners do best, by rank for each algorithm."""
    returns, steps = judge(tries)
    best = summed_ranks(returns).argmax().view(1)
    env.load_state_dict(tries.select(best).state_dict())
    return steps


def _show(env: SyntheticEnv, **numbers: tuple[float, ...]) -> None:
    """Set scale, width and excess of rewards, as far as they are given and their form has them."""
    for name, given in numbers.items():
        parameters = getattr(env, f"{name}_parameters", None)
        if given and parameters is not None:
            parameters.data[:] = torch.tensor(given).log()


def _show_heard(env: SyntheticEnv, config: TrainConfig) -> None:
    """Show the lesson that listening left, heard or the expert's, as the settings say to."""
    _show(env, scale=config.heard_scale, width=config.heard_width, excess=config.heard_excess)
    if env.introduction:
        parameters = env.introduction_parameters.data
        parameters[:] = stretched(
            parameters, env.noise_size, config.heard_spread, config.heard_share
        )


def _given(name: str, task: Target, config: TrainConfig) -> SyntheticEnv:
    env = from_pretrained(name, target=task.id).requires_grad_(True)
    wanted = untrained(task, config)
    if (env.hidden, env.head) != (wanted.hidden, wanted.head):
        raise UsageError(
            f"{name} has hidden units {env.hidden} and head {env.head!r}: set hidden and head "
            "to the same"
        )
    if env.horizon not in (1, wanted.horizon) or env.curriculum != wanted.curriculum:
        raise UsageError(
            f"{name} has horizon {env.horizon} and curriculum {env.curriculum}: set them to "
            "the same, or give an environment of horizon 1"
        )
    for setting, option in (("centred", "centred"), ("fade", "fade"), ("even", "wide")):
        own, other = getattr(env, setting), getattr(wanted, setting)
        if own != other:
            raise UsageError(
                f"{name} has {setting} {own}, not {other}: set {option} to have the same"
            )
    if env.introduction != wanted.introduction:
        raise UsageError(
            f"{name} has {'an' if env.introduction else 'no'} introduction: set introduction "
            "(or leave it out) to have the same"
        )
    return env


def _replace_member(envs: SyntheticEnv, index: int, env: SyntheticEnv) -> None:
    """Make one of several environments another one."""
    with torch.no_grad():
        for rows, row in zip(envs.parameters(), env.parameters(), strict=True):
            rows[index] = row[0]


def _with_dynamics(bandit: SyntheticEnv, horizon: int) -> SyntheticEnv:
    """The same initial states and rewards, with dynamics that are yet to be learned."""
    env = bandit.like(1, horizon)
    env.load_state_dict(bandit.state_dict(), strict=False)
    return env
