"""Which learners to draw, written as text, and fresh stacks of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from gymnasium import spaces
from torch import Tensor

from gtn_rl.agents.actor_critic import DDPG, SAC, ActorCritics
from gtn_rl.agents.actor_critic import Part as CriticPart
from gtn_rl.agents.learners import ActorAlgorithm, Actors, Learners, Part
from gtn_rl.agents.networks import ACTIVATIONS, MLP, uniform, widen
from gtn_rl.agents.optim import RMSprop
from gtn_rl.agents.policy_gradient import GaussianPolicyGradient, PolicyGradient
from gtn_rl.agents.ppo import PPO, GaussianPPO
from gtn_rl.agents.q_learning import DQN
from gtn_rl.agents.soft_q import SoftQ
from gtn_rl.agents.stock import ALGORITHMS as STOCK_ALGORITHMS
from gtn_rl.errors import UsageError, did_you_mean
from gtn_rl.seeding import log_uniform
from gtn_rl.spaces import halves

# Slower at first than Stable-Baselines3's A2C, whose mean square starts at 0 (`stock-a2c` has that)
# and whose first steps so are ten times its learning rate, whatever the gradient: their derivative
# is noise. Eps inside the root is also what a differentiated loop needs.
RMSPROP = RMSprop(decay=0.85, eps=0.0, eps_root=1e-5, initial_square=1.0)

DISCRETE: dict[str, ActorAlgorithm] = {
    "pg": PolicyGradient(),
    "a2c": PolicyGradient(RMSPROP, normalize=False),
    "ppo": PPO(),
    "ppo-10x10": PPO(reuse=100, epochs=10),
    "dqn": DQN(),
    "dqn-greedy": DQN(epsilon=0.1),
}
CONTINUOUS: dict[str, ActorAlgorithm] = {
    "pg": GaussianPolicyGradient(),
    "a2c": GaussianPolicyGradient(RMSPROP),
    "ppo": GaussianPPO(),
    "ppo-10x10": GaussianPPO(reuse=100, epochs=10),
}
ACTOR_CRITICS: dict[str, DDPG | SAC] = {"ddpg": DDPG(), "td3": DDPG(), "sac": SAC()}
STOCK = tuple(sorted(STOCK_ALGORITHMS))
OPTIMAL = "optimal"
ENTROPY = (1e-4, 3e-2)
"""Bounds of learners' entropy weights, drawn log-uniformly."""

WHOLE = (*STOCK, OPTIMAL)
"""Learners whose training is not differentiated step by step; for environments of one step."""

ALGORITHMS = tuple(sorted({*DISCRETE, *CONTINUOUS, *ACTOR_CRITICS, *WHOLE}))
"""Names of all learners."""


@dataclass(frozen=True)
class Group:
    """Learners of one algorithm and network shape.

    Args:
        count: How many.
        algorithm: Name.
        activation: Of the network.
        hidden: Units of its hidden layers.
        steps: Environment steps of a stock algorithm's training; as many as the settings say if 0.
    """

    count: int
    algorithm: str
    activation: str
    hidden: tuple[int, ...]
    steps: int = 0

    @property
    def whole(self) -> bool:
        """Whether it trains at once, not by `inner_steps` batches."""
        return self.algorithm in WHOLE


def parse_group(text: str) -> Group:
    """The group that e.g. `"8xdqn@relu:64-64"` names: count, algorithm, activation, hidden units.

    A stock algorithm may have environment steps of its own, `"2xstock-dqn@relu:64-64/5000"`, and
    the optimal policy has no network, `"1xoptimal"`.

    Raises:
        UsageError: Not of that form, or no algorithm of that name.
    """
    match = re.fullmatch(r"(\d+)x([\w-]+)@(\w+):(\d+(?:-\d+)*)(?:/(\d+))?", text)
    if match is None and (match := re.fullmatch(rf"([1-9]\d*)x({OPTIMAL})()()()", text)) is None:
        raise UsageError(f"learners {text!r} is not of the form 8xpg@tanh:64-64")
    if match[2] == OPTIMAL and not match[3]:
        return Group(int(match[1]), OPTIMAL, "tanh", ())
    group = Group(
        int(match[1]), match[2], match[3], tuple(int(unit) for unit in match[4].split("-")),
        int(match[5] or 0),
    )  # fmt: skip
    if group.algorithm == OPTIMAL or (group.steps and group.algorithm not in STOCK):
        raise UsageError(f"learners {text!r}: write 1x{OPTIMAL}, and /steps for stock-... only")
    if group.algorithm not in ALGORITHMS:
        raise UsageError(
            f"learners {text!r}: unknown algorithm {group.algorithm!r}: use one of "
            f"{', '.join(ALGORITHMS)}.{did_you_mean(group.algorithm, ALGORITHMS)}"
        )
    if group.activation not in ACTIVATIONS or min(group.hidden) < 1 or group.count < 1:
        raise UsageError(
            f"learners {text!r}: needs a count and units above 0, and one of the activations "
            f"{', '.join(ACTIVATIONS)}"
        )
    return group


def check_group(group: Group, space: spaces.Discrete | spaces.Box) -> None:
    """Nothing, if an algorithm handles an action space.

    Raises:
        UsageError: It does not; the message says which do.
    """
    discrete = isinstance(space, spaces.Discrete)
    fit = {*DISCRETE, "sac"} if discrete else {*CONTINUOUS, *ACTOR_CRITICS}
    fit |= {*WHOLE} - (set() if discrete else {"stock-dqn"})
    if group.algorithm not in fit:
        raise UsageError(
            f"learner {group.algorithm!r} does not handle {space}: use {', '.join(sorted(fit))}"
        )


def draw(
    groups: Sequence[Group],
    observation_size: int,
    action_space: spaces.Discrete | spaces.Box,
    *,
    members: int = 1,
    learning_rate: tuple[float, float],
    entropy: tuple[float, float],
    generator: torch.Generator,
    dtype: torch.dtype = torch.float32,
) -> list[Learners]:
    """Fresh learners, each with its own initial weights, learning rate and entropy weight.

    Groups that differ only in width, activation or loss share a stack. All members of a population
    get the same learners, so that their results differ by what the members teach alone.

    Args:
        groups: What to draw, for each member.
        observation_size: O.
        action_space: Of the target.
        members: Population size P; each part of a stack holds its rows member by member.
        learning_rate: Bounds of the log-uniform learning rate.
        entropy: Bounds of the log-uniform entropy weight.
        generator: Source of all randomness.
        dtype: Of the parameters.

    Raises:
        UsageError: An algorithm that does not handle the action space.
    """
    discrete = isinstance(action_space, spaces.Discrete)
    actors = DISCRETE if discrete else CONTINUOUS
    size = action_space.shape[0] if isinstance(action_space, spaces.Box) else int(action_space.n)
    stacks: dict[object, list[Group]] = {}
    for group in groups:
        check_group(group, action_space)
        depth = len(group.hidden)
        if group.algorithm in actors:
            algorithm = actors[group.algorithm]
            key: object = (depth, algorithm.optimizer, algorithm.reuse, algorithm.epochs)
        elif not discrete and group.algorithm in ACTOR_CRITICS:
            # A reward network belongs to a member, and takes the rows of one part member by member.
            key = (depth, "actor-critic", group if members > 1 else None)
        else:
            key = group
        stacks.setdefault(key, []).append(group)

    def rates(stack: list[Group], bounds: tuple[float, float]) -> Tensor:
        sizes = [group.count for group in stack]
        drawn = log_uniform(bounds, sum(sizes), 1, generator=generator, dtype=dtype)
        return torch.cat([part.repeat(members, 1) for part in torch.split(drawn, sizes)])

    drawn: list[Learners] = []
    for stack in stacks.values():
        counts = [group.count * members for group in stack]
        hidden = tuple(map(max, *(group.hidden for group in stack), stack[0].hidden))
        activation = tuple((g.activation, n) for g, n in zip(stack, counts, strict=True))

        def shape(
            inputs: int, outputs: int, hidden: tuple[int, ...] = hidden,
            activation: tuple[tuple[str, int], ...] = activation,
        ) -> MLP:  # fmt: skip
            same = len({name for name, _ in activation}) == 1
            return MLP((inputs, *hidden, outputs), activation[0][0] if same else activation)

        def narrow(group: Group, wide: MLP) -> MLP:
            return MLP((wide.sizes[0], *group.hidden, wide.sizes[-1]), group.activation)

        if stack[0].algorithm in actors:
            network = shape(observation_size, size)
            parts = tuple(
                Part(group.algorithm, actors[group.algorithm], count)
                for group, count in zip(stack, counts, strict=True)
            )
            rows = []
            for group, part in zip(stack, parts, strict=True):
                own = narrow(group, network)
                fresh = part.algorithm.initial(own, group.count, generator, dtype)
                rows.append(widen(fresh, own, network).repeat(members, 1))
            drawn.append(
                Actors(
                    network, parts, torch.cat(rows),
                    rates(stack, learning_rate), rates(stack, entropy),
                )
            )  # fmt: skip
        elif isinstance(action_space, spaces.Box):
            actor, critic = shape(observation_size, 2 * size), shape(observation_size + size, 1)
            rows = [
                torch.cat(
                    [
                        widen(fresh, own, network)
                        for network in (actor, critic)
                        for own in [narrow(group, network)]
                        for fresh in [uniform(own, group.count, generator=generator, dtype=dtype)]
                    ],
                    1,
                ).repeat(members, 1)
                for group in stack
            ]
            critics = tuple(
                CriticPart(group.algorithm, ACTOR_CRITICS[group.algorithm], count)
                for group, count in zip(stack, counts, strict=True)
            )
            drawn.append(
                ActorCritics(
                    actor, critic, critics, torch.cat(rows), rates(stack, learning_rate),
                    halves(action_space, dtype),
                )
            )  # fmt: skip
        else:
            network = shape(observation_size, size)
            count = stack[0].count
            rows = [uniform(network, count, generator=generator, dtype=dtype) for _ in range(2)]
            both = torch.cat(rows, 1).repeat(members, 1)
            drawn.append(SoftQ(network, both, rates(stack, learning_rate)))
    return drawn
