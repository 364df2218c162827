"""Fresh stacks of the learners that specs name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import torch
from gymnasium import spaces
from torch import Tensor

from gtn_rl.agents.bandit import Bandit
from gtn_rl.agents.bandit_algorithms import (
    ActorCriticBandit,
    BanditDQN,
    DiscreteSAC,
    PolicyGradient,
)
from gtn_rl.agents.interactive import Interactive
from gtn_rl.agents.interactive_algorithms import DQN, ActorCritic
from gtn_rl.agents.learners import Learners, Networks, Part
from gtn_rl.agents.optim import RMSprop
from gtn_rl.agents.spec import WHOLE, Spec
from gtn_rl.errors import UsageError
from gtn_rl.networks import MLP, widen
from gtn_rl.seeding import log_uniform
from gtn_rl.spaces import action_size, halves

# Slower at first than Stable-Baselines3's A2C, whose mean square starts at 0 (`stock-a2c` has that)
# and whose first steps so are ten times its learning rate, whatever the gradient: their derivative
# is noise. Eps inside the root is also what a differentiated loop needs.
RMSPROP = RMSprop(decay=0.85, eps=0.0, eps_root=1e-5, initial_square=1.0)

# 16 episodes of 64 steps make half of Stable-Baselines3's 2,048; they are gone through in 32
# updates, there in 320 that are as much smaller as their learning rate is.
_PPO = ActorCritic(length=64, epochs=4, minibatches=8, clip=0.2, normalize=True, trace=0.95)

A = TypeVar("A", bound=Bandit)

ENTROPY = (1e-4, 3e-2)
"""Bounds of learners' entropy weights, drawn log-uniformly."""

# By whether actions are discrete: learners of environments of one step, and of longer ones.
BANDITS: dict[bool, dict[str, Bandit]] = {
    True: {
        "pg": PolicyGradient(),
        "a2c": PolicyGradient(RMSPROP, normalize=False),
        "ppo": PolicyGradient(clip=0.2, reuse=16, epochs=4),
        "ppo-10x10": PolicyGradient(clip=0.2, reuse=100, epochs=10),
        "dqn": BanditDQN(),
        "dqn-greedy": BanditDQN(epsilon=0.1),
        "sac": DiscreteSAC(),
    },
    False: {
        "pg": PolicyGradient(continuous=True),
        "a2c": PolicyGradient(RMSPROP, continuous=True),
        "ppo": PolicyGradient(clip=0.2, reuse=16, epochs=4, continuous=True),
        "ppo-10x10": PolicyGradient(clip=0.2, reuse=100, epochs=10, continuous=True),
        "ddpg": ActorCriticBandit(),
        "td3": ActorCriticBandit(),
        "sac": ActorCriticBandit(random=0.1, alpha=0.3),
    },
}
INTERACTIVE: dict[bool, dict[str, Interactive]] = {
    True: {
        "pg": ActorCritic(ahead=True), "a2c": ActorCritic(RMSPROP), "ppo": _PPO, "dqn": DQN(),
    },
    False: {
        "a2c": ActorCritic(RMSPROP, continuous=True), "ppo": replace(_PPO, continuous=True),
    },
}  # fmt: skip


def check_learners(spec: Spec, space: spaces.Discrete | spaces.Box, horizon: int) -> None:
    """Nothing, if an algorithm learns with an action space in episodes of so many steps at most.

    Raises:
        UsageError: It does not; the message says which do.
    """
    discrete, what = isinstance(space, spaces.Discrete), f"handle {space}"
    if horizon > 1:
        fit, what = {*INTERACTIVE[discrete]}, f"learn with a horizon above 1 and {space}"
    else:
        fit = {*BANDITS[discrete], *WHOLE} - (set() if discrete else {"stock-dqn"})
    if spec.algorithm not in fit:
        raise UsageError(
            f"learner {spec.algorithm!r} does not {what}: use {', '.join(sorted(fit))}"
        )


def draw(
    specs: Sequence[Spec], observation_size: int, action_space: spaces.Discrete | spaces.Box, *,
    members: int = 1, learning_rate: tuple[float, float], generator: torch.Generator,
    dtype: torch.dtype = torch.float32,
) -> list[Learners[Bandit]]:  # fmt: skip
    """Fresh learners, each with its own initial weights, learning rate and entropy weight.

    Those that differ only in width, activation or loss share a stack. All members of a population
    get the same learners, so that their results differ by what the members teach alone.
    Each part of a stack holds its rows member by member.

    Raises:
        UsageError: An algorithm that does not handle the action space.
    """
    discrete, size = isinstance(action_space, spaces.Discrete), action_size(action_space)
    known = BANDITS[discrete]
    stacks: dict[object, list[Spec]] = {}
    for spec in specs:
        check_learners(spec, action_space, 1)
        algorithm = known[spec.algorithm]
        alone = len(algorithm.shapes(observation_size, size)) > 1 and (discrete or members > 1)
        key = (
            algorithm.optimizer, algorithm.reuse, algorithm.epochs, len(spec.hidden),
            len(algorithm.shapes(observation_size, size)), alone and spec,
        )  # fmt: skip
        stacks.setdefault(key, []).append(spec)

    drawn = []
    for stack in stacks.values():
        algorithms = [known[spec.algorithm] for spec in stack]
        networks, parts, rows = fresh(
            stack, algorithms, observation_size, size, members, generator, dtype
        )
        counts = [spec.count for spec in stack]
        rates = []
        for bounds in (learning_rate, ENTROPY)[: 3 - len(networks.shapes)]:
            own = log_uniform(bounds, sum(counts), 1, generator=generator, dtype=dtype)
            rates.append(torch.cat([r.repeat(members, 1) for r in torch.split(own, counts)]))
        learners = Learners(networks, parts, rows, rates[0], rates[-1])
        if len(networks.shapes) > 1 and isinstance(action_space, spaces.Box):
            middle, half = halves(action_space, dtype)
            learners = replace(learners, shift=middle, scale=half)
        drawn.append(learners)
    return drawn


def fresh(
    specs: Sequence[Spec], algorithms: Sequence[A], inputs: int, outputs: int, members: int,
    generator: torch.Generator, dtype: torch.dtype,
) -> tuple[Networks, tuple[Part[A], ...], Tensor]:  # fmt: skip
    """Networks, parts and rows of a stack of one depth, its narrow networks widened."""
    counts = [spec.count * members for spec in specs]
    hidden = [max(units) for units in zip(*(spec.hidden for spec in specs), strict=True)]
    kinds = tuple((spec.activation, count) for spec, count in zip(specs, counts, strict=True))
    activation = kinds if len(dict(kinds)) > 1 else specs[0].activation
    networks = Networks(
        tuple(MLP((i, *hidden, o), activation) for i, o in algorithms[0].shapes(inputs, outputs))
    )
    rows = []
    for spec, algorithm in zip(specs, algorithms, strict=True):
        own = []
        for wide in networks.shapes:
            narrow = MLP((wide.sizes[0], *spec.hidden, wide.sizes[-1]), spec.activation)
            start = algorithm.initial(narrow, spec.count, generator=generator, dtype=dtype)
            own.append(widen(start, narrow, wide))
        rows.append(torch.cat(own, 1).repeat(members, 1))
    parts = tuple(map(Part, (spec.name for spec in specs), algorithms, counts))
    return networks, parts, torch.cat(rows)


def draw_interactive(
    spec: Spec, observation_size: int, action_space: spaces.Discrete | spaces.Box, *,
    members: int = 1, learning_rate: tuple[float, float], generator: torch.Generator,
    dtype: torch.dtype = torch.float32,
) -> Learners[Interactive]:  # fmt: skip
    """Fresh learners of one spec that gather their own experience; arguments as those of `draw`.

    Raises:
        UsageError: An algorithm that does not learn in environments with dynamics.
    """
    check_learners(spec, action_space, 2)
    algorithm = INTERACTIVE[isinstance(action_space, spaces.Discrete)][spec.algorithm]
    rates = [
        log_uniform(bounds, spec.count, 1, generator=generator, dtype=dtype).repeat(members, 1)
        for bounds in (learning_rate, ENTROPY)
    ]
    size = action_size(action_space)
    shapes = [
        MLP((observation_size, *spec.hidden, units), spec.activation)
        for units in ((size, 1) if algorithm.critic else (size,))
    ]
    networks = Networks(tuple(shapes))
    rows = algorithm.initial(networks, spec.count, generator, dtype).repeat(members, 1)
    part = Part(spec.algorithm, algorithm, len(rows))
    return Learners(networks, (part,), rows, *rates)
