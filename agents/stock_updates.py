"""How Stable-Baselines3's PPO, A2C and DQN learn from episodes of one step, K side by side."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from gtn_rl.agents.networks import MLP, orthogonal, widen
from gtn_rl.agents.optim import Adam, Optimizer, OptimizerState, RMSprop
from gtn_rl.agents.policy_gain import policy_gain
from gtn_rl.agents.replay import replay

Play = Callable[[Tensor, Tensor], Tensor]
"""Rewards `[R, N]` of actions, for the lessons `[R, N, L]` of their episodes."""

_SEGMENT = 100
"""Updates whose graph is kept at a time where training is differentiated."""


_EPS_ROOT = 1e-16
"""Too small to tell from none, but the root's derivative is finite where a gradient is zero."""


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


@dataclass(frozen=True)
class Taught:
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


Part = Callable[[Taught, Any, bool], Any]
"""A part of a training: what is taught, a state, whether to keep a graph; gives the next state."""


@dataclass(frozen=True)
class ActorCritic:
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


def on_policy(
    algorithm: OnPolicy, networks: ActorCritic, rows: Tensor, taught: Taught,
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
            taught: Taught, state: Any, create_graph: bool, first: int = first, seed: int = seed
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
    algorithm: OnPolicy, networks: ActorCritic, rows: Tensor, state: OptimizerState, rate: Tensor,
    taught: Taught, begin: int, source: torch.Generator, create_graph: bool,
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
            shuffled = columns
            if algorithm.epochs > 1:
                order = torch.randperm(length, generator=source)
                shuffled = tuple(column[:, order] for column in columns)  # type: ignore[assignment]
            batches = [torch.split(column, algorithm.batch_size, dim=1) for column in shuffled]
            for batch in zip(*batches, strict=True):
                gradient = _gradient(algorithm, networks, rows, *batch, create_graph=create_graph)
                rows, state = algorithm.optimizer.step(
                    rows, shorten(gradient, algorithm.max_norm), state, rate
                )
    return rows, state


def _gradient(
    algorithm: OnPolicy, networks: ActorCritic, rows: Tensor, observation: Tensor,
    action: Tensor, reward: Tensor, advantage: Tensor, old: Tensor, *, create_graph: bool,
) -> Tensor:  # fmt: skip
    with torch.enable_grad():
        here = differentiable(rows, create_graph)
        outputs, log_std, value = networks(here, observation)
        new = networks.log_probability(outputs, log_std, action)
        gain = policy_gain(new, old, advantage, algorithm.clip, normalize=algorithm.normalize)
        error = (value - reward).square()
        loss = (error / 2 - gain).mean(1).sum()
        return torch.autograd.grad(loss, here, create_graph=create_graph)[0]


def off_policy(
    algorithm: OffPolicy, network: MLP, rows: Tensor, taught: Taught, generator: torch.Generator
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

    def part(taught: Taught, state: Any, create_graph: bool, begins: range) -> Any:
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
