"""Stable-Baselines3's PPO, A2C and DQN as it sets them by default, K side by side.

What a stock agent learns in a synthetic environment is not what a learner of a hundred exact steps
learns: it takes hundreds or thousands of small steps from sampled actions, with a baseline that is
learned on the way. These do as it does, step for step, but in one batch of stacked parameters, so
that a generation of evolution or an examination can ask them, and differentiably, so that the
meta-gradient can. Which of the discrete actions is sampled is held fixed there, and what is learned
from it differentiated; continuous ones move with the policy. They are for environments of one step,
where observations do not depend on the agent. `tests/test_stock.py` holds them to the originals.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
from gymnasium import spaces
from torch import Tensor

from gtn_rl.agents.networks import MLP, uniform
from gtn_rl.agents.sharpness import sharpness
from gtn_rl.agents.stock_updates import (
    A2C,
    DQN,
    PPO,
    ActorCritic,
    OffPolicy,
    OnPolicy,
    Taught,
    off_policy,
    on_policy,
)
from gtn_rl.envs.synthetic import SyntheticEnv
from gtn_rl.inner.gradients import even_out_data
from gtn_rl.spaces import action_size, halves

_RECENT = 256
"""Last observations of a training, on which it is measured how sure agents are."""


@dataclass(frozen=True)
class Stock:
    """Trained agents of one algorithm.

    Args:
        name: Of the algorithm.
        network: Shape of every policy or Q-network.
        parameters: One row per agent, `[R, D]`: the policy's first.
        sharpness: What outputs are multiplied by, `[R, 1, 1]` or a number.
    """

    name: str
    network: MLP
    parameters: Tensor
    sharpness: Tensor | float = 1.0

    @property
    def names(self) -> list[tuple[str, int]]:
        """Algorithm and number of rows."""
        return [(self.name, len(self.parameters))]

    def outputs(self, observations: Tensor) -> Tensor:
        """Logits or means `[R, N, A]` at observations `[R, N, O]`."""
        rows = self.parameters[:, : self.network.num_parameters]
        return self.sharpness * self.network(rows, observations)

    def with_parameters(self, parameters: Tensor) -> Self:
        """The same agents with other parameters."""
        return replace(self, parameters=parameters)


ALGORITHMS: dict[str, OnPolicy | OffPolicy] = {
    "stock-ppo": PPO, "stock-a2c": A2C, "stock-dqn": DQN,
}  # fmt: skip


def train_stock_agents(
    env: SyntheticEnv,
    name: str,
    hidden: tuple[int, ...],
    activation: str,
    count: int,
    steps: int,
    generator: torch.Generator,
    *,
    create_graph: bool = False,
    last: int = 0,
    even: bool = False,
) -> Stock:
    """Train fresh agents in an environment of one step.

    Args:
        env: Synthetic environment of P members; all teach the same agents, with the same noise.
        name: Of `ALGORITHMS`.
        hidden: Units of the hidden layers of all networks.
        activation: Of all networks.
        count: K, agents of each member.
        steps: Environment steps of each agent; whole rollouts.
        generator: Source of all randomness.
        create_graph: Whether the trained agents are to be differentiated w.r.t. the environment:
            through all that they learned from the actions that they took.
        last: Through so many last updates only, rounded down to whole parts of a training, but at
            least one; through all if 0. What an agent learned early it has mostly learned anew
            since, and the derivative of that is noise.
        even: Whether no agent's share of that gradient may be longer than their median.

    Returns:
        R = P K agents, member by member.
    """
    algorithm = ALGORITHMS[name]
    if isinstance(algorithm, OnPolicy):
        steps = -(-steps // algorithm.length) * algorithm.length
    size = env.observation_size
    network = MLP((size, *hidden, action_size(env.action_space)), activation)
    dtype = env.reward_parameters.dtype
    noise = torch.randn(count * steps, env.noise_size, generator=generator, dtype=dtype)
    progress = torch.linspace(0, 1, steps, dtype=dtype).repeat(count)
    with torch.set_grad_enabled(create_graph):
        seen = env.initial(noise.expand(env.members, -1, -1), progress)
        data = torch.cat([seen, env.lesson(seen, progress)], -1)
        data = data.view(env.members * count, steps, -1)
        if even and env.members == 1:
            even_out_data(data, env.std)

        def play(action: Tensor, lesson: Tensor) -> Tensor:
            if isinstance(env.action_space, spaces.Box):
                middle, half = halves(env.action_space, action.dtype)
                action = ((action - middle) / half).clamp(-1, 1)
            return env.reward(lesson, action)

        taught = Taught(data, size, play, tuple(env.parameters()), create_graph, last)
        if isinstance(algorithm, OffPolicy):
            rows = uniform(network, count, generator=generator, dtype=dtype)
            rows = off_policy(algorithm, network, rows.repeat(env.members, 1), taught, generator)
        else:
            deviations = network.sizes[-1] if isinstance(env.action_space, spaces.Box) else 0
            actor_critic = ActorCritic(network, deviations)
            rows = actor_critic.initial(count, generator, dtype).repeat(env.members, 1)
            rows = on_policy(algorithm, actor_critic, rows, taught, generator)
        agents = Stock(name, network, rows)
        if isinstance(env.action_space, spaces.Box):
            return agents
        with torch.no_grad():
            logits = agents.outputs(taught.observation[:, -_RECENT:])
        return replace(agents, sharpness=sharpness(logits))
