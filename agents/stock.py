"""Stable-Baselines3's PPO, A2C and DQN as it sets them by default, K side by side.

What a stock agent learns in a synthetic environment is not what a learner of a hundred exact steps
learns: it takes hundreds or thousands of small steps from sampled actions, with a baseline that is
learned on the way. These do as it does, step for step, but in one batch of stacked parameters, so
that a generation of evolution or an examination can ask them, and differentiably, so that the
meta-gradient can. Which actions it samples is held fixed there: what is differentiated is what it
learned from them. They are for environments of one step, where observations do not depend on the
agent. `tests/test_stock.py` holds them to the originals.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self

import torch
from gymnasium import spaces
from torch import Tensor
from torch.nn import functional as F

from gtn_rl.agents.networks import MLP, orthogonal, uniform, widen
from gtn_rl.agents.optim import Adam, Optimizer, OptimizerState, RMSprop
from gtn_rl.agents.replay import replay
from gtn_rl.envs.spaces import action_size, halves
from gtn_rl.envs.synthetic import SyntheticEnv
from gtn_rl.gradients import even_out_data

Play = Callable[[Tensor, Tensor], Tensor]
"""Rewards `[R, N]` of actions, for the lessons `[R, N, L]` of their episodes."""

_SHARPNESS = 2.0
"""Root mean square of trained agents' centred logits: they will act greedily, and how sure they are
of an action after a few steps says more of the algorithm than of what they learned."""

_RECENT = 256
"""Last observations of a training, on which that is measured."""

_SEGMENT = 100
"""Updates whose graph is kept at a time where training is differentiated."""


_EPS_ROOT = 1e-16
"""Too small to tell from none, but the root's derivative is finite where a gradient is zero."""


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
    optimizer: Optimizer = Adam(eps_root=_EPS_ROOT)
    max_norm: float = 0.5


PPO = OnPolicy()
A2C = OnPolicy(
    length=5, epochs=1, batch_size=5, clip=math.inf, normalize=False, learning_rate=7e-4,
    optimizer=RMSprop(eps=1e-5, eps_root=_EPS_ROOT),
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
    size = env.noise_size
    network = MLP((size, *hidden, action_size(env.action_space)), activation)
    dtype = env.initial_parameters.dtype
    noise = torch.randn(count * steps, size, generator=generator, dtype=dtype)
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

        taught = _Taught(data, size, play, tuple(env.parameters()), create_graph, last)
        if isinstance(algorithm, OffPolicy):
            rows = uniform(network, count, generator=generator, dtype=dtype)
            rows = _off_policy(algorithm, network, rows.repeat(env.members, 1), taught, generator)
        else:
            deviations = network.sizes[-1] if isinstance(env.action_space, spaces.Box) else 0
            actor_critic = _ActorCritic(network, deviations)
            rows = actor_critic.initial(count, generator, dtype).repeat(env.members, 1)
            rows = _on_policy(algorithm, actor_critic, rows, taught, generator)
        agents = Stock(name, network, rows)
        if isinstance(env.action_space, spaces.Box):
            return agents
        with torch.no_grad():
            logits = agents.outputs(taught.observation[:, -_RECENT:])
            centred = logits - logits.mean(-1, keepdim=True)
            square = centred.square().mean((1, 2), keepdim=True)
        return replace(agents, sharpness=_SHARPNESS * (square + 1e-20).rsqrt())


@dataclass(frozen=True)
class _Taught:
    """All that agents are taught: T episodes of one step for each of R.

    Args:
        data: Observations and lessons, `[R, T, O + L]`.
        size: O.
        play: Gives rewards.
        parameters: What rewards may depend on besides.
        differentiate: Whether agents are to be differentiated w.r.t. all of this.
        last: Through how many last updates, if not all.
    """

    data: Tensor
    size: int
    play: Play
    parameters: tuple[Tensor, ...]
    differentiate: bool
    last: int

    @property
    def observation(self) -> Tensor:
        """Observations `[R, T, O]`."""
        return self.data[..., : self.size]

    def split(self, index: Tensor | slice) -> tuple[Tensor, Tensor]:
        """Observations and lessons of some episodes."""
        observation, lesson = self.data[:, index].tensor_split([self.size], -1)
        return observation, lesson

    def through(self, run: Part, state: Any, left: int, final: bool) -> Any:
        """The state after a part of a training, its graph made when its gradient is wanted.

        Args:
            run: The part.
            state: Before it.
            left: Updates from its beginning to the training's end.
            final: Whether it is the last part.
        """
        if not self.differentiate or (self.last and left > self.last and not final):
            with torch.no_grad():
                return run(self, state, False)

        def again(everything: Any, create_graph: bool) -> Any:
            # The data, too, is cut from its graph, which is gone through once, at the end.
            data, state = everything
            return run(replace(self, data=data), state, create_graph)

        return replay(again, (self.data, state), self.parameters)


Part = Callable[[_Taught, Any, bool], Any]
"""A part of a training: what is taught, a state, whether to keep a graph; gives the next state."""


@dataclass(frozen=True)
class _ActorCritic:
    """Policies, state values and log-deviations of continuous actions, in one row of parameters.

    The network of the values has the shape of the policy's, of whose outputs the first counts, so
    that one batched product serves both.
    """

    network: MLP
    deviations: int

    def initial(self, count: int, generator: torch.Generator, dtype: torch.dtype) -> Tensor:
        """Fresh rows."""
        value = MLP((*self.network.sizes[:-1], 1), self.network.activation)
        policies = orthogonal(
            self.network, count, output_gain=0.01, generator=generator, dtype=dtype
        )
        values = orthogonal(value, count, output_gain=1.0, generator=generator, dtype=dtype)
        deviations = torch.zeros(count, self.deviations, dtype=dtype)
        return torch.cat([policies, widen(values, value, self.network), deviations], 1)

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
    algorithm: OnPolicy, networks: _ActorCritic, rows: Tensor, taught: _Taught,
    generator: torch.Generator,
) -> Tensor:  # fmt: skip
    """The rows after training on all episodes, their losses `policy + error / 2` descended."""
    length, steps = algorithm.length, taught.data.shape[1]
    updates = algorithm.epochs * -(-length // algorithm.batch_size)
    together = length * max(_SEGMENT // updates, 1)
    rate = rows.new_full((len(rows), 1), algorithm.learning_rate)
    state = (rows, algorithm.optimizer.initial(rows))
    for first in range(0, steps, together):
        seed = int(torch.randint(2**62, (1,), generator=generator))

        def part(
            taught: _Taught, state: Any, create_graph: bool, first: int = first, seed: int = seed
        ) -> tuple[Tensor, OptimizerState]:
            rows, moments = state
            source = torch.Generator().manual_seed(seed)
            for begin in range(first, min(first + together, steps), length):
                rows, moments = _rollout(
                    algorithm, networks, rows, moments, rate, taught, begin, source, create_graph
                )
            return rows, moments

        left = -(-(steps - first) // length) * updates
        state = taught.through(part, state, left, first + together >= steps)
    return state[0]


def _rollout(
    algorithm: OnPolicy, networks: _ActorCritic, rows: Tensor, state: OptimizerState, rate: Tensor,
    taught: _Taught, begin: int, source: torch.Generator, create_graph: bool,
) -> tuple[Tensor, OptimizerState]:  # fmt: skip
    """Rows and optimizer after a rollout and what is learned from it."""
    length = algorithm.length
    observation, lesson = taught.split(slice(begin, begin + length))
    chance = torch.rand(1, length, networks.network.sizes[-1], generator=source)
    with torch.set_grad_enabled(create_graph):
        outputs, log_std, value = networks(rows, observation)
        action = networks.act(outputs, log_std, chance.to(rows.dtype))
        reward = taught.play(action, lesson)
        # An episode is one step: its return is the reward.
        columns = (
            observation, action, reward, reward - value,
            networks.log_probability(outputs, log_std, action),
        )  # fmt: skip
        for _ in range(algorithm.epochs):
            order = torch.arange(length)
            if algorithm.epochs > 1:
                order = torch.randperm(length, generator=source)
            shuffled = [
                torch.split(column[:, order], algorithm.batch_size, dim=1) for column in columns
            ]
            for batch in zip(*shuffled, strict=True):
                gradient = _gradient(algorithm, networks, rows, *batch, create_graph=create_graph)
                rows, state = algorithm.optimizer.step(
                    rows, shorten(gradient, algorithm.max_norm), state, rate
                )
    return rows, state


def _gradient(
    algorithm: OnPolicy, networks: _ActorCritic, rows: Tensor, observation: Tensor,
    action: Tensor, reward: Tensor, advantage: Tensor, old: Tensor, *, create_graph: bool,
) -> Tensor:  # fmt: skip
    with torch.enable_grad():
        here = differentiable(rows, create_graph)
        outputs, log_std, value = networks(here, observation)
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
        return torch.autograd.grad(loss, here, create_graph=create_graph)[0]


def _off_policy(
    algorithm: OffPolicy, network: MLP, rows: Tensor, taught: _Taught, generator: torch.Generator
) -> Tensor:
    """The rows after training on all episodes, remembered from the first one on."""
    agents, steps = taught.data.shape[:2]
    interval, actions = algorithm.interval, network.sizes[-1]
    optimizer = Adam(eps=1e-8, eps_root=_EPS_ROOT)
    rate = rows.new_full((agents, 1), algorithm.learning_rate)
    number = torch.arange(1, steps + 1)
    share = 1 - (1 - algorithm.random) * number / (algorithm.explore * steps)
    share = share.clamp_min(algorithm.random)
    share[: algorithm.learning_starts] = 1.0
    at_random = torch.rand(steps, generator=generator) < share
    any_action = torch.randint(actions, (steps,), generator=generator)
    begins = range(0, steps - interval + 1, interval)
    index = torch.stack(
        [
            torch.randint(begin + interval, (algorithm.batch_size,), generator=generator)
            for begin in begins
        ]
    )
    taken = torch.zeros(agents, steps, dtype=torch.long)
    state = (rows, optimizer.initial(rows), taken)

    def part(taught: _Taught, state: Any, create_graph: bool, begins: range) -> Any:
        rows, moments, taken = state
        taken = taken.clone()
        chosen = index[begins[0] // interval :][: len(begins)]
        with torch.set_grad_enabled(create_graph):
            remembered = [
                torch.split(column, algorithm.batch_size, 1)
                for column in taught.split(chosen.flatten())
            ]
        for begin, batch, observation, lesson in zip(begins, chosen, *remembered, strict=True):
            stop = begin + interval
            with torch.no_grad():
                greedy = network(rows, taught.observation[:, begin:stop]).argmax(-1)
            taken[:, begin:stop] = torch.where(
                at_random[begin:stop], any_action[begin:stop], greedy
            )
            if stop <= algorithm.learning_starts:
                continue
            action = taken[:, batch]
            with torch.enable_grad():
                here = differentiable(rows, create_graph)
                value = network(here, observation).gather(-1, action.unsqueeze(-1)).squeeze(-1)
                error = F.smooth_l1_loss(value, taught.play(action, lesson), reduction="none")
                loss = error.mean(1).sum()
                gradient = torch.autograd.grad(loss, here, create_graph=create_graph)[0]
            with torch.set_grad_enabled(create_graph):
                rows, moments = optimizer.step(
                    rows, shorten(gradient, algorithm.max_norm), moments, rate
                )
        return rows, moments, taken

    for first in range(0, len(begins), _SEGMENT):
        own = begins[first : first + _SEGMENT]
        left = len(begins) - first
        state = taught.through(partial(part, begins=own), state, left, left <= _SEGMENT)
    return state[0]


def differentiable(rows: Tensor, create_graph: bool) -> Tensor:
    """Rows w.r.t. which a loss can be differentiated: a view in a graph, else a leaf."""
    return rows.view_as(rows) if create_graph else rows.detach().requires_grad_()


def shorten(gradient: Tensor, norm: float) -> Tensor:
    """Rows `[R, D]` that are no longer than a norm, as `torch.nn.utils.clip_grad_norm_` does."""
    length = (gradient.square().sum(1, keepdim=True) + _EPS_ROOT).sqrt()
    return gradient * (norm / (length + 1e-6)).clamp(max=1)
