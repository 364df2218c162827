"""Stable-Baselines3's PPO, A2C and DQN as it sets them by default, K side by side.

What a stock agent learns in a synthetic environment is not what a learner of a hundred exact steps
learns: it takes hundreds or thousands of small steps from sampled actions, with a baseline that is
learned on the way. These do as it does, step for step, but in one batch of stacked parameters, so
that a generation of evolution or an evaluation can ask them, and differentiably, so that the
meta-gradient can. Which of the discrete actions is sampled is held fixed there, and what is learned
from it differentiated; continuous ones move with the policy. They are for environments of one step,
where observations do not depend on the agent. `tests/test_stock.py` holds them to the originals.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from gtn_rl.agents.interactive import update
from gtn_rl.agents.interactive_algorithms import DQN, ActorCritic
from gtn_rl.agents.learners import Acts, Learners, Networks, Part
from gtn_rl.agents.losses import sharpness
from gtn_rl.agents.optim import Adam, RMSprop
from gtn_rl.agents.unroll import EPS_ROOT, unroll
from gtn_rl.networks import MLP, actor, orthogonal, uniform, widen

Reward = Callable[[Tensor, Tensor], Tensor]
"""Rewards `[R, N]` of lessons `[R, N, L]` and actions, indices or vectors in units of the space."""

Run = Callable[[Any, int, int, bool], Any]
"""A part of a training, as `unroll` wants it."""

_SEGMENT = 100
"""Updates whose graph is kept at a time where training is differentiated."""

_RECENT = 256
"""Last observations of a training, on which it is measured how sure agents are."""


LEARNING_STARTS = 200
"""Random steps of DQN before it learns; of a few thousand in all, that is what it can spare."""

ON_POLICY = {
    "stock-ppo": ActorCritic(
        Adam(eps_root=EPS_ROOT), length=2_048, epochs=10, minibatches=32, clip=0.2, normalize=True
    ),
    "stock-a2c": ActorCritic(RMSprop(eps=1e-5, eps_root=EPS_ROOT), length=5),
}
LEARNING_RATE = {"stock-ppo": 3e-4, "stock-a2c": 7e-4, "stock-dqn": 1e-4}
REPLAY = {"stock-dqn": DQN(Adam(eps=1e-8, eps_root=EPS_ROOT), batch_size=32, temperature=1.0)}


@dataclass(frozen=True)
class Twins:
    """Policies, state values and log-deviations of continuous actions, in one row of parameters.

    The network of the values has the shape of the policy's, of whose outputs the first counts, so
    that one batched product serves both.
    """

    network: MLP
    deviations: int

    def initial(self, count: int, generator: torch.Generator, dtype: torch.dtype) -> Tensor:
        value = MLP((*self.network.sizes[:-1], 1), self.network.activation)
        policies = actor(self.network, count, generator=generator, dtype=dtype)
        values = orthogonal(value, count, output_gain=1.0, generator=generator, dtype=dtype)
        deviations = torch.zeros(count, self.deviations, dtype=dtype)
        return torch.cat([policies, widen(values, value, self.network), deviations], 1)

    def forward(self, parameters: Tensor, observation: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Policy outputs `[R, N, A]`, log-deviations `[R, 1, A or 0]`, values `[R, N]`."""
        size = self.network.num_parameters
        both = parameters[:, : 2 * size].reshape(-1, size)
        shape = (len(parameters), 2, *observation.shape[1:])
        seen = observation.unsqueeze(1).expand(shape).reshape(-1, *shape[2:])
        outputs = self.network(both, seen).view(*shape[:3], -1)
        policy, value = outputs.unbind(1)
        return policy, parameters[:, 2 * size :].unsqueeze(1), value[..., 0]


def train_stock_like(
    name: str, network: MLP, count: int, data: Tensor, reward: Reward, generator: torch.Generator,
    *, continuous: bool, create_graph: bool = False, last: int = 0,
) -> Learners[Acts]:  # fmt: skip
    """Fresh agents, trained on episodes of one step.

    Args:
        count: K, agents that each of P members trains; all train the same ones.
        data: Observations and lessons of T steps, `[P K, T, O + L]`; whole rollouts.
        create_graph: Whether the agents are to be differentiated w.r.t. the data: through all that
            they learned from the actions that they took.
        last: Through so many last updates only, rounded down to whole parts of a training, but at
            least one; through all if 0. What an agent learned early it has mostly learned anew
            since, and the derivative of that is noise.

    Returns:
        The agents, member by member.
    """
    dtype, members, rate = data.dtype, len(data) // count, LEARNING_RATE[name]
    algorithm: ActorCritic | DQN
    if name in ON_POLICY:
        algorithm = replace(ON_POLICY[name], continuous=continuous)
        twins = Twins(network, network.sizes[-1] if continuous else 0)
        rows = twins.initial(count, generator, dtype).repeat(members, 1)
        run, total, segment = _on_policy(algorithm, twins, data.shape[1], reward, rate, generator)
        state: tuple[Any, ...] = ()
        updates = algorithm.updates
    else:
        algorithm, updates, segment = REPLAY[name], 1, _SEGMENT
        rows = uniform(network, count, generator=generator, dtype=dtype).repeat(members, 1)
        run, total = _off_policy(algorithm, network, data.shape[1], reward, rate, generator)
        state = (torch.zeros(data.shape[:2], dtype=torch.long),)
    if last:
        starts = range(0, total, segment)
        first = next((b for b in starts if (total - b) * updates <= last), starts[-1])
        last = total - first
    # The data, too, is cut from its graph, which is gone through once, at the end.
    weights = (rows, algorithm.optimizer.initial(rows))
    _, weights, *_ = unroll(
        run, (data, weights, *state), total, create_graph=create_graph, last=last, segment=segment
    )
    part = Part(name, algorithm, len(rows))
    none = rows.new_zeros(len(rows), 1)
    agents: Learners[Acts] = Learners(Networks((network,)), (part,), weights[0], none, none)
    if continuous:
        return agents
    with torch.no_grad():
        logits = agents.outputs(data[:, -_RECENT:, : network.sizes[0]])
    return replace(agents, scale=sharpness(logits))


def _on_policy(
    algorithm: ActorCritic, twins: Twins, steps: int, reward: Reward, rate: float,
    generator: torch.Generator,
) -> tuple[Run, int, int]:  # fmt: skip
    """Rollouts and what is learned from them, how many there are, and how many in a part."""
    length, size = algorithm.length, twins.network.sizes[0]
    total, segment = steps // length, max(_SEGMENT // algorithm.updates, 1)
    seeds = [int(torch.randint(2**62, (1,), generator=generator)) for _ in range(0, total, segment)]

    def run(state: Any, begin: int, stop: int, graph: bool) -> Any:
        data, weights = state
        rates = data.new_full((len(data), 1), rate)
        source = torch.Generator()
        for rollout in range(begin, stop):
            if rollout % segment == 0:
                source.manual_seed(seeds[rollout // segment])
            episodes = data[:, rollout * length : (rollout + 1) * length]
            observation, lesson = episodes.tensor_split([size], -1)
            chance = torch.rand(1, length, twins.network.sizes[-1], generator=source)
            with torch.set_grad_enabled(graph):
                outputs, log_std, value = twins.forward(weights[0], observation)
                action = _sample(outputs, log_std, chance.to(data.dtype), algorithm.continuous)
                gained = reward(lesson, action)
                old = algorithm.log_probability(outputs, log_std, action)
                # An episode is one step: its return is the reward.
                columns = (observation, action, old, gained - value, gained)
                for batch in algorithm.batches(columns, source):
                    weights = update(algorithm, twins, weights, batch, rates, graph)
        return data, weights

    return run, total, segment


def _sample(outputs: Tensor, log_std: Tensor, chance: Tensor, continuous: bool) -> Tensor:
    """Indices `[R, N]` or vectors `[R, N, A]`, for uniform numbers `[R or 1, N, A]`."""
    if continuous:
        noise: Tensor = torch.special.ndtri(chance.clamp(1e-7, 1 - 1e-7))
        return outputs + log_std.exp() * noise
    return (outputs - (-chance.clamp_min(1e-20).log()).log()).argmax(-1)


def _off_policy(
    algorithm: DQN, network: MLP, steps: int, reward: Reward, rate: float,
    generator: torch.Generator,
) -> tuple[Run, int]:  # fmt: skip
    """Updates from all episodes, remembered from the first one on, and how many there are."""
    networks, interval, size = Networks((network,)), algorithm.length, network.sizes[0]
    total = steps // interval
    step = torch.arange(1, steps + 1)
    share = 1 - (1 - algorithm.random) * step / (algorithm.explore * steps)
    share = share.clamp_min(algorithm.random)
    share[:LEARNING_STARTS] = 1.0
    at_random = torch.rand(steps, generator=generator) < share
    any_action = torch.randint(network.sizes[-1], (steps,), generator=generator)
    stops, shape = range(interval, total * interval + 1, interval), (algorithm.batch_size,)
    index = torch.stack([torch.randint(stop, shape, generator=generator) for stop in stops])

    def run(state: Any, begin: int, stop: int, graph: bool) -> Any:
        data, weights, taken = state
        taken = taken.clone()
        rates = data.new_full((len(data), 1), rate)
        with torch.set_grad_enabled(graph):
            remembered = data[:, index[begin:stop].flatten()].split(algorithm.batch_size, 1)
        for number, episodes in zip(range(begin, stop), remembered, strict=True):
            new = slice(number * interval, (number + 1) * interval)
            with torch.no_grad():
                greedy = network(weights[0], data[:, new, :size]).argmax(-1)
            taken[:, new] = torch.where(at_random[new], any_action[new], greedy)
            if new.stop > LEARNING_STARTS:
                action = taken[:, index[number]]
                observation, lesson = episodes.tensor_split([size], -1)
                with torch.set_grad_enabled(graph):
                    target = reward(lesson, action)
                batch = (observation, action, target)
                weights = update(algorithm, networks, weights, batch, rates, graph)
        return data, weights, taken

    return run, total
