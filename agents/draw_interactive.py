"""Fresh learners that gather their own experience, as text such as `4xppo@tanh:64-64` says."""

from __future__ import annotations

import torch
from gymnasium import spaces

from gtn_rl.agents.actor_critic_mdp import ActorCritic, GaussianActorCritic
from gtn_rl.agents.deep_q import DeepQ
from gtn_rl.agents.draw import RMSPROP, Group
from gtn_rl.agents.interactive import Algorithm, Interactive, Networks
from gtn_rl.agents.networks import MLP
from gtn_rl.errors import UsageError
from gtn_rl.seeding import log_uniform
from gtn_rl.spaces import action_size

# 16 episodes of 64 steps make half of Stable-Baselines3's 2,048; they are gone through in 32
# updates, there in 320 that are as much smaller as their learning rate is.
_PPO = {"length": 64, "epochs": 4, "minibatches": 8, "clip": 0.2, "normalize": True, "trace": 0.95}

DISCRETE: dict[str, Algorithm] = {
    "pg": ActorCritic(ahead=True),
    "a2c": ActorCritic(RMSPROP),
    "ppo": ActorCritic(**_PPO),  # type: ignore[arg-type]
    "dqn": DeepQ(),
}
CONTINUOUS: dict[str, Algorithm] = {
    "a2c": GaussianActorCritic(RMSPROP),
    "ppo": GaussianActorCritic(**_PPO),  # type: ignore[arg-type]
}


def check_interactive(group: Group, space: spaces.Discrete | spaces.Box) -> None:
    """Nothing, if an algorithm learns in environments with dynamics.

    Raises:
        UsageError: It does not; the message says which do.
    """
    fit = DISCRETE if isinstance(space, spaces.Discrete) else CONTINUOUS
    if group.algorithm not in fit:
        raise UsageError(
            f"learner {group.algorithm!r} does not learn with a horizon above 1 and {space}: use "
            f"{', '.join(sorted(fit))}"
        )


def draw_interactive(
    group: Group,
    observation_size: int,
    action_space: spaces.Discrete | spaces.Box,
    *,
    members: int = 1,
    learning_rate: tuple[float, float],
    entropy: tuple[float, float],
    generator: torch.Generator,
    dtype: torch.dtype = torch.float32,
) -> Interactive:
    """Fresh learners of one group, the same ones for each member of a population.

    Args:
        group: What to draw, for each member.
        observation_size: O.
        action_space: Of the target.
        members: Population size P; rows go member by member.
        learning_rate: Bounds of the log-uniform learning rate.
        entropy: Bounds of the log-uniform entropy weight.
        generator: Source of all randomness.
        dtype: Of the parameters.

    Raises:
        UsageError: An algorithm that does not learn in environments with dynamics.
    """
    check_interactive(group, action_space)
    known = DISCRETE if isinstance(action_space, spaces.Discrete) else CONTINUOUS
    algorithm = known[group.algorithm]
    hidden = (observation_size, *group.hidden)
    networks = Networks(
        MLP((*hidden, action_size(action_space)), group.activation),
        MLP((*hidden, 1), group.activation) if algorithm.critic else None,
    )
    rates = [
        log_uniform(bounds, group.count, 1, generator=generator, dtype=dtype).repeat(members, 1)
        for bounds in (learning_rate, entropy)
    ]
    fresh = algorithm.initial(networks, group.count, generator, dtype).repeat(members, 1)
    return Interactive(group.algorithm, algorithm, networks, fresh, *rates)
