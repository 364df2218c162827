"""Stable-Baselines3's PPO, A2C and DQN as it sets them by default, K side by side.

What a stock agent learns in a synthetic environment is not what a learner learns that must be
differentiated: it takes hundreds of small steps from sampled actions, with a baseline that is
learned on the way. These do as it does, step for step, but in one batch of stacked parameters, so
that a generation of evolution or an examination can ask them. They are for environments of one
step, where observations do not depend on the agent. `tests/test_stock.py` holds them to the
originals.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

import torch
from gymnasium import spaces
from torch import Tensor
from torch.nn import functional as F

from gtn_rl.agents.networks import MLP, orthogonal, uniform, widen
from gtn_rl.agents.optim import Adam, Optimizer, RMSprop
from gtn_rl.envs.spaces import action_size, halves
from gtn_rl.envs.synthetic import SyntheticEnv

Play = Callable[[Tensor, int, int], Tensor]
"""Rewards `[R, N]` of actions taken in the episodes from a first to before a last one."""


@dataclass(frozen=True)
class Stock:
    """Trained agents of one algorithm.

    Args:
        name: Of the algorithm.
        network: Shape of every policy or Q-network.
        parameters: One row per agent, `[R, D]`: the policy's first.
    """

    name: str
    network: MLP
    parameters: Tensor

    @property
    def names(self) -> list[tuple[str, int]]:
        """Algorithm and number of rows."""
        return [(self.name, len(self.parameters))]

    def outputs(self, observations: Tensor) -> Tensor:
        """Logits, action values or means `[R, N, A]` at observations `[R, N, O]`."""
        return self.network(self.parameters[:, : self.network.num_parameters], observations)

    def with_parameters(self, parameters: Tensor) -> Self:
        """The same agents with other parameters."""
        return replace(self, parameters=parameters)


@dataclass(frozen=True)
class OnPolicy:
    """An actor-critic's settings; the values are those of `stable_baselines3.PPO`.

    Args:
        length: Steps of a rollout.
        epochs: Passes over it.
        batch_size: Of its minibatches.
        clip: Bound on the probability ratio; none if infinite (A2C).
        normalize: Whether a minibatch's advantages are.
        learning_rate: Of the optimizer.
        optimizer: Makes the steps.
        max_norm: Gradients of an agent are shortened to this norm.
    """

    length: int = 2_048
    epochs: int = 10
    batch_size: int = 64
    clip: float = 0.2
    normalize: bool = True
    learning_rate: float = 3e-4
    optimizer: Optimizer = Adam(eps_root=0.0)
    max_norm: float = 0.5


PPO = OnPolicy()
A2C = OnPolicy(
    length=5, epochs=1, batch_size=5, clip=math.inf, normalize=False, learning_rate=7e-4,
    optimizer=RMSprop(eps=1e-5, eps_root=0.0),
)  # fmt: skip


@dataclass(frozen=True)
class OffPolicy:
    """The settings of `stable_baselines3.DQN`, but for `learning_starts`.

    Args:
        learning_starts: Random steps before it learns.
        interval: Steps between updates.
        batch_size: Remembered steps in an update.
        explore: Share of the training in which random actions go down from all to `random`.
        random: Share of random actions after that.
        learning_rate: Of Adam.
        max_norm: Gradients of an agent are shortened to this norm.
    """

    learning_starts: int = 200
    interval: int = 4
    batch_size: int = 32
    explore: float = 0.1
    random: float = 0.05
    learning_rate: float = 1e-4
    max_norm: float = 10.0


DQN = OffPolicy()

ALGORITHMS: dict[str, OnPolicy | OffPolicy] = {
    "stock-ppo": PPO, "stock-a2c": A2C, "stock-dqn": DQN,
}  # fmt: skip


@torch.no_grad()
def train_stock_agents(
    env: SyntheticEnv,
    name: str,
    hidden: tuple[int, ...],
    activation: str,
    count: int,
    steps: int,
    generator: torch.Generator,
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

    Returns:
        R = P K agents, member by member.
    """
    algorithm = ALGORITHMS[name]
    if isinstance(algorithm, OnPolicy):
        steps = -(-steps // algorithm.length) * algorithm.length
    size = env.noise_size
    noise = torch.randn(count * steps, size, generator=generator)
    progress = torch.linspace(0, 1, steps).repeat(count)
    seen = env.initial(noise.expand(env.members, -1, -1), progress)
    observation = seen.view(-1, steps, size)
    lesson = env.lesson(seen, progress).view(len(observation), steps, -1)
    network = MLP((size, *hidden, action_size(env.action_space)), activation)

    def play(action: Tensor, begin: int, stop: int) -> Tensor:
        if isinstance(env.action_space, spaces.Box):
            middle, half = halves(env.action_space, action.dtype)
            action = ((action - middle) / half).clamp(-1, 1)
        return env.reward(lesson[:, begin:stop], action)

    if isinstance(algorithm, OffPolicy):
        rows = uniform(network, count, generator=generator).repeat(env.members, 1)
        rows = _off_policy(algorithm, network, rows, observation, play, generator)
    else:
        value = MLP((size, *hidden, 1), activation)
        deviations = network.sizes[-1] if isinstance(env.action_space, spaces.Box) else 0
        fresh = [
            orthogonal(network, count, output_gain=0.01, generator=generator),
            widen(orthogonal(value, count, output_gain=1.0, generator=generator), value, network),
            torch.zeros(count, deviations),
        ]
        rows = torch.cat(fresh, 1).repeat(env.members, 1)
        actor_critic = _ActorCritic(network, deviations)
        rows = _on_policy(algorithm, actor_critic, rows, observation, play, generator)
    return Stock(name, network, rows)


@dataclass(frozen=True)
class _ActorCritic:
    """Policies, state values and log-deviations of continuous actions, in one row of parameters.

    The network of the values has the shape of the policy's, of whose outputs the first counts, so
    that one batched product serves both.
    """

    network: MLP
    deviations: int

    def __call__(self, rows: Tensor, observation: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Policy outputs `[R, N, A]`, log-deviations `[R, 1, A or 0]`, values `[R, N]`."""
        size = self.network.num_parameters
        both = rows[:, : 2 * size].reshape(-1, size)
        shape = (len(rows), 2, *observation.shape[1:])
        seen = observation.unsqueeze(1).expand(shape).reshape(-1, *shape[2:])
        outputs = self.network(both, seen).view(*shape[:3], -1)
        policy, value = outputs.unbind(1)
        return policy, rows[:, 2 * size :].unsqueeze(1), value[..., 0]

    def act(self, outputs: Tensor, log_std: Tensor, chance: Tensor) -> Tensor:
        """Indices `[R, N]` or vectors `[R, N, A]`, for uniform numbers `[R or 1, N, A]`."""
        if self.deviations:
            noise: Tensor = torch.special.ndtri(chance.clamp(1e-7, 1 - 1e-7))
            return outputs + log_std.exp() * noise
        return (outputs - (-chance.clamp_min(1e-20).log()).log()).argmax(-1)

    def log_probability(self, outputs: Tensor, log_std: Tensor, action: Tensor) -> Tensor:
        """Of actions, `[R, N]`, but for a constant."""
        if self.deviations:
            standard = (action - outputs) * (-log_std).exp()
            return -(standard.square() / 2 + log_std).sum(-1)
        return torch.log_softmax(outputs, -1).gather(-1, action.unsqueeze(-1)).squeeze(-1)


def _on_policy(
    algorithm: OnPolicy, networks: _ActorCritic, rows: Tensor, observations: Tensor, play: Play,
    generator: torch.Generator,
) -> Tensor:  # fmt: skip
    """The rows after training on all episodes, their losses `policy + error / 2` descended."""
    agents, steps, _ = observations.shape
    state = algorithm.optimizer.initial(rows)
    rate = torch.full((agents, 1), algorithm.learning_rate)
    for begin in range(0, steps, algorithm.length):
        stop = begin + algorithm.length
        observation = observations[:, begin:stop]
        chance = torch.rand(1, algorithm.length, networks.network.sizes[-1], generator=generator)
        outputs, log_std, value = networks(rows, observation)
        action = networks.act(outputs, log_std, chance)
        reward = play(action, begin, stop)
        # An episode is one step: its return is the reward.
        advantage = reward - value
        old = networks.log_probability(outputs, log_std, action)
        columns = (observation, action, reward, advantage, old)
        for _ in range(algorithm.epochs):
            order = torch.arange(algorithm.length)
            if algorithm.epochs > 1:
                order = torch.randperm(algorithm.length, generator=generator)
            for index in torch.split(order, algorithm.batch_size):
                batch = columns
                if len(index) < algorithm.length:
                    batch = tuple(column[:, index] for column in columns)  # type: ignore[assignment]
                gradient = _gradient(algorithm, networks, rows, *batch)
                rows, state = algorithm.optimizer.step(
                    rows, shorten(gradient, algorithm.max_norm), state, rate
                )
    return rows


def _gradient(
    algorithm: OnPolicy, networks: _ActorCritic, rows: Tensor, observation: Tensor,
    action: Tensor, reward: Tensor, advantage: Tensor, old: Tensor,
) -> Tensor:  # fmt: skip
    with torch.enable_grad():
        rows = rows.requires_grad_()
        outputs, log_std, value = networks(rows, observation)
        new = networks.log_probability(outputs, log_std, action)
        if algorithm.normalize:
            deviation, mean = torch.std_mean(advantage, 1, keepdim=True)
            advantage = (advantage - mean) / (deviation + 1e-8)
        if math.isinf(algorithm.clip):
            gain = new * advantage
        else:
            ratio = (new - old).exp()
            bounded = ratio.clamp(1 - algorithm.clip, 1 + algorithm.clip)
            gain = torch.minimum(ratio * advantage, bounded * advantage)
        error = (value - reward).square()
        loss = (error / 2 - gain).mean(1).sum()
        return torch.autograd.grad(loss, rows)[0]


def _off_policy(
    algorithm: OffPolicy,
    network: MLP,
    rows: Tensor,
    observations: Tensor,
    play: Play,
    generator: torch.Generator,
) -> Tensor:
    """The rows after training on all episodes, remembered from the first one on."""
    agents, steps, _ = observations.shape
    actions = network.sizes[-1]
    optimizer = Adam(eps=1e-8, eps_root=0.0)
    state = optimizer.initial(rows)
    rate = torch.full((agents, 1), algorithm.learning_rate)
    number = torch.arange(1, steps + 1)
    share = 1 - (1 - algorithm.random) * number / (algorithm.explore * steps)
    share = share.clamp_min(algorithm.random)
    share[: algorithm.learning_starts] = 1.0
    at_random = torch.rand(steps, generator=generator) < share
    any_action = torch.randint(actions, (steps,), generator=generator)
    taken = torch.zeros(agents, steps, dtype=torch.long)
    rewards = torch.zeros(agents, steps)
    for begin in range(0, steps - algorithm.interval + 1, algorithm.interval):
        stop = begin + algorithm.interval
        greedy = network(rows, observations[:, begin:stop]).argmax(-1)
        action = torch.where(at_random[begin:stop], any_action[begin:stop], greedy)
        taken[:, begin:stop] = action
        rewards[:, begin:stop] = play(action, begin, stop)
        if stop <= algorithm.learning_starts:
            continue
        index = torch.randint(stop, (algorithm.batch_size,), generator=generator)
        with torch.enable_grad():
            rows = rows.requires_grad_()
            value = network(rows, observations[:, index])
            chosen = value.gather(-1, taken[:, index].unsqueeze(-1)).squeeze(-1)
            error = F.smooth_l1_loss(chosen, rewards[:, index], reduction="none")
            (gradient,) = torch.autograd.grad(error.mean(1).sum(), rows)
        rows, state = optimizer.step(rows, shorten(gradient, algorithm.max_norm), state, rate)
    return rows


def shorten(gradient: Tensor, norm: float) -> Tensor:
    """Rows `[R, D]` that are no longer than a norm, as `torch.nn.utils.clip_grad_norm_` does."""
    length = gradient.square().sum(1, keepdim=True).sqrt()
    return gradient * (norm / (length + 1e-6)).clamp(max=1)
