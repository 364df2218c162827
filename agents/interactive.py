"""K learners that gather their own experience: what they do decides what they see next.

In a one-step environment a learner's data does not depend on it, and `bandit.train` is all there
is. With dynamics it does: experience is gathered by the policy of the moment, step by step, and the
learner is updated from it. The loop stays differentiable. A state is cut from the graph before the
next one follows from it, so the gradient does not run along an episode, where it explodes; the
environment's dynamics are learned through one step ahead, by the value of where it leads.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from gtn_rl.agents.learners import Acts, Learners, Networks
from gtn_rl.agents.optim import Optimizer
from gtn_rl.agents.unroll import Weights, descend, unroll

Columns = tuple[Tensor, ...]


class Place(NamedTuple):
    """Where R x N episodes stand: observations `[R, N, O]` and steps taken `[R, N]`."""

    observation: Tensor
    age: Tensor


class Segment(NamedTuple):
    """L steps of N episodes of R learners.

    `observation` and `following` (before a reset) are `[R, L, N, O]`, `action` `[R, L, N]` or, in
    the units of the action space, `[R, L, N, A]`; `over` says where an episode ended, `last` where
    it did because of the horizon, `[R, L, N]` both.
    """

    observation: Tensor
    action: Tensor
    following: Tensor
    over: Tensor
    last: Tensor


class Judged(NamedTuple):
    """What a segment was worth, as differentiable functions of the world's parameters.

    `reward` and `going`, the probability that the episode went on, are `[R, L, N]`, `following`
    `[R, L, N, O]`; with one more axis A after N where all actions are judged.
    """

    reward: Tensor
    following: Tensor
    going: Tensor


class World(Protocol):
    """R x N episodes; rows are learners.

    `parameters` are what the gradient of a training is wanted for. `forget` drops what was computed
    ahead; `enter` makes it what it is at a share, 0 to 1, of the learners' training. `step` gives
    the place after it and its resets, then `following`, `over` and `last`. `judge` is of the
    actions that were taken, `judge_all` of all discrete ones. `uniform` are numbers `[R, N, *size]`
    that members of a population share.
    """

    @property
    def parameters(self) -> list[Tensor]: ...
    def forget(self) -> None: ...
    def enter(self, progress: float) -> None: ...
    def reset(self, source: torch.Generator) -> Place: ...
    def step(
        self, place: Place, action: Tensor, source: torch.Generator
    ) -> tuple[Place, Tensor, Tensor, Tensor]: ...
    def judge(self, segment: Segment) -> Judged: ...
    def judge_all(self, segment: Segment) -> Judged: ...
    def uniform(self, source: torch.Generator, *size: int) -> Tensor: ...


class Interactive(Acts, Protocol):
    """How a learner acts, what it makes of a segment, and the loss that it descends.

    A segment has `length` steps and is followed by `updates` optimizer steps along gradients that
    are shortened to `max_norm`; `critic` is whether there are state values. `initial` makes fresh
    rows `[count, D]`. `choose` gives actions for outputs `[R, N, A]`, by uniform numbers
    `[R, N, A + 1]`. `prepare` gives what updates need, columns `[R, M, ...]`: `memory` is what it
    gave for the segment before, empty at first, and `start` the parameters before training.
    `batches` are as many batches of the columns as `updates`, and `loss` is `[R]`.
    """

    @property
    def optimizer(self) -> Optimizer: ...
    @property
    def length(self) -> int: ...
    @property
    def updates(self) -> int: ...
    @property
    def critic(self) -> bool: ...
    @property
    def max_norm(self) -> float: ...
    def initial(
        self, networks: Networks, count: int, generator: torch.Generator, dtype: torch.dtype
    ) -> Tensor: ...
    def choose(self, outputs: Tensor, chance: Tensor, progress: float) -> Tensor: ...
    def prepare(
        self, networks: Networks, parameters: Tensor, memory: Columns, start: Tensor, world: World,
        segment: Segment,
    ) -> Columns: ...  # fmt: skip
    def batches(self, columns: Columns, source: torch.Generator) -> list[Columns]: ...
    def loss(
        self, networks: Any, parameters: Tensor, batch: Columns, entropy: Tensor | None
    ) -> Tensor: ...


def train(
    learners: Learners[Interactive], world: World, steps: int, seed: int, *,
    create_graph: bool = False, last: int = 0, segments: int = 0,
) -> Learners[Interactive]:  # fmt: skip
    """The learners after optimizer steps on experience that they gather in a world.

    Args:
        steps: T, optimizer steps; rounded up to whole segments.
        create_graph: Whether the result is to be differentiated w.r.t. the world's parameters.
        last: Differentiate through this many last steps only (truncation); all if 0.
        segments: Keep the graph of so many segments at a time and run them again when it is needed
            (gradient checkpointing); of all at once if 0.
    """
    algorithm, networks = learners.algorithm, learners.networks
    start = learners.parameters.detach().requires_grad_()
    total = -(-steps // algorithm.updates)

    def run(state: Any, begin: int, stop: int, graph: bool) -> Any:
        weights, place, memory = state
        # What was computed ahead belongs to another graph.
        world.forget()
        for number in range(begin, stop):
            source = torch.Generator().manual_seed(seed + number)
            progress = number / max(total - 1, 1)
            world.enter(progress)
            place, segment = _gather(learners, weights[0], world, place, progress, source)
            with torch.set_grad_enabled(graph):
                memory = algorithm.prepare(networks, weights[0], memory, start, world, segment)
            for batch in algorithm.batches(memory, source):
                weights = update(
                    algorithm, networks, weights, batch, learners.learning_rate, graph,
                    learners.entropy,
                )  # fmt: skip
        return weights, place, memory

    world.enter(0.0)
    place = world.reset(torch.Generator().manual_seed(seed))
    state = ((start, algorithm.optimizer.initial(start)), place, ())
    (weights, _, _) = unroll(
        run, state, total, create_graph=create_graph, last=-(-last // algorithm.updates),
        segment=segments, parameters=world.parameters,
    )  # fmt: skip
    return learners.with_parameters(weights[0])


def update(
    algorithm: Interactive, networks: Any, weights: Weights, batch: Columns, rate: Tensor,
    graph: bool, entropy: Tensor | None = None,
) -> Weights:  # fmt: skip
    """Parameters and optimizer after one step on a batch."""

    def gradient(here: Tensor) -> Tensor:
        loss = algorithm.loss(networks, here, batch, entropy).sum()
        return torch.autograd.grad(loss, here, create_graph=graph)[0]

    return descend(weights, gradient, algorithm.optimizer, rate, graph, algorithm.max_norm)


def _gather(
    learners: Learners[Interactive], parameters: Tensor, world: World, place: Place,
    progress: float, source: torch.Generator,
) -> tuple[Place, Segment]:  # fmt: skip
    algorithm, networks = learners.algorithm, learners.networks
    rows: list[Columns] = []
    fixed = parameters.detach()
    actions = networks.shapes[0].sizes[-1]
    for _ in range(algorithm.length):
        with torch.no_grad():
            outputs = networks.outputs(fixed, place.observation)
            action = algorithm.choose(outputs, world.uniform(source, actions + 1), progress)
        before = place.observation
        place, following, over, last = world.step(place, action, source)
        rows.append((before, action, following, over, last))
    return place, Segment(*(torch.stack(column, 1) for column in zip(*rows, strict=True)))
