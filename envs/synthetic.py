"""The batched, differentiable synthetic environment that a GTN parameterizes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from gtn_rl.agents.networks import MLP, uniform
from gtn_rl.envs.spaces import check_spaces
from gtn_rl.errors import UsageError

HEADS = {spaces.Discrete: ("scores",), spaces.Box: ("quadratic", "mlp")}
"""Forms of the reward for each kind of action space, the first is the default."""


class State(NamedTuple):
    """Where P x N synthetic episodes stand: observations `[P, N, O]` and steps taken `[P, N]`."""

    observation: Tensor
    age: Tensor


class SyntheticEnv(nn.Module):
    """P synthetic environments over the spaces of one target, as differentiable functions.

    All tensors carry a leading population axis P: members of a population in evolution, or 1 when
    one environment teaches many learners. With horizon 1 an episode is one step, a contextual
    bandit: a learned initial state and a learned reward (Liesen et al. 2024, arXiv 2406.12589).

    Observations are `mean + std * n` with n a network's output, so that the scales of the target's
    observations need not be learned, and are clipped to the target's space.

    Actions are indices of a `Discrete` space, or vectors `[A]` in [-1, 1], a bounded `Box` scaled.

    The reward of an action follows from a *lesson*, L numbers for each observation:

    - `scores` (discrete, L = A): `score(a) - max score`. This advantage form leaves out what
      depends on the state alone. That has no part in which action is right, but a learner without
      it needs no baseline, and a Q-network that starts near 0 is optimistic about every action that
      it has not tried.
    - `quadratic` (continuous, L = 2A): `-sum w (a - m)^2` with w > 0. It has one maximum wherever
      the learner stands, where an unrestricted reward drives untrained policies to the bounds.
    - `mlp` (continuous): a network of observation and action, minus `0.1 sum a^2` against that.

    Args:
        observation_space: Flat `Box` of the target, O numbers.
        action_space: `Discrete` of the target, A actions, or bounded flat `Box`, A numbers.
        target: Gymnasium id of the real environment it stands for.
        horizon: Steps of an episode.
        hidden: Units of the hidden layers of both networks.
        head: Form of the reward; the action space's default if not given.
        mean: Mean of the target's observations, `[O]`; zeros if not given.
        std: Standard deviation of the target's observations, `[O]`; ones if not given.
        members: P.
        gain: How far the initial rewards reach, `[P]` or a number; ones if not given.
        generator: Source of the initial parameters; a fixed seed if not given.

    Raises:
        UnsupportedSpaceError: The spaces are not supported.
        UsageError: A head that the action space does not have, or a horizon other than 1 (learned
            dynamics are not there yet).
    """

    mean: Tensor
    std: Tensor
    low: Tensor
    high: Tensor

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        *,
        target: str = "",
        horizon: int = 1,
        hidden: tuple[int, ...] = (32,),
        head: str = "",
        mean: NDArray[np.floating[Any]] | None = None,
        std: NDArray[np.floating[Any]] | None = None,
        members: int = 1,
        gain: Tensor | float = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if horizon != 1:
            raise UsageError(
                f"horizon must be 1, got {horizon}: longer episodes need learned dynamics, "
                "which this version does not have"
            )
        self.observation_space, self.action_space = check_spaces(observation_space, action_space)
        heads = HEADS[type(self.action_space)]
        self.head = head or heads[0]
        if self.head not in heads:
            raise UsageError(
                f"head {self.head!r} does not fit {self.action_space}: use {' or '.join(heads)}"
            )
        self.target = target
        self.horizon = horizon
        self.hidden = tuple(hidden)
        self.members = members
        size = self.observation_space.shape[0]
        self.noise_size = size
        actions = action_size(self.action_space)
        self.initial_network = MLP((size, *self.hidden, size), "tanh")
        shape = {
            "scores": (size, *self.hidden, actions),
            "quadratic": (size, *self.hidden, 2 * actions),
            "mlp": (size + actions, *self.hidden, 1),
        }
        self.reward_network = MLP(shape[self.head], "tanh")
        for name, value in (
            ("mean", np.zeros(size) if mean is None else mean),
            ("std", np.ones(size) if std is None else std),
            ("low", self.observation_space.low),
            ("high", self.observation_space.high),
        ):
            # The bounds belong to the space, which an artifact keeps exactly.
            tensor = torch.tensor(np.asarray(value, np.float32))
            self.register_buffer(name, tensor, persistent=name in ("mean", "std"))
        generator = generator or torch.Generator().manual_seed(0)
        self.initial_parameters = nn.Parameter(
            uniform(self.initial_network, members, generator=generator)
        )
        self.reward_parameters = nn.Parameter(
            uniform(self.reward_network, members, generator=generator)
        )
        if self.head != "mlp":
            self._center(gain, generator)

    @torch.no_grad()
    def _center(self, gain: Tensor | float, generator: torch.Generator) -> None:
        """Make each output of the reward network 0 on average over initial states.

        Then each action is the best one somewhere, and agents trained by an untrained environment
        explore: without it most of them do the same thing everywhere, and tasks whose return is
        flat until a goal is met once (MountainCar) give nothing to learn from.
        """
        noise = torch.randn(self.members, 256, self.noise_size, generator=generator)
        normal = (self.initial(noise) - self.mean) / self.std
        weight, bias = self.reward_network.layers(self.reward_parameters)[-1]
        average = self.reward_network(self.reward_parameters, normal).mean(1, keepdim=True)
        factor = torch.as_tensor(gain).view(-1, 1, 1)
        bias.sub_(average).mul_(factor)
        weight.mul_(factor)

    def select(self, members: Tensor) -> SyntheticEnv:
        """Some of the P environments, by their indices, with parameters of their own."""
        chosen = SyntheticEnv(
            self.observation_space, self.action_space, target=self.target, hidden=self.hidden,
            head=self.head, mean=self.mean.numpy(), std=self.std.numpy(), members=len(members),
        )  # fmt: skip
        with torch.no_grad():
            for own, rows in zip(chosen.parameters(), self.parameters(), strict=True):
                own.copy_(rows[members])
        return chosen

    def initial(self, noise: Tensor) -> Tensor:
        """First observations `[P, N, O]` of episodes, for noise `[P, N, noise_size]` ~ N(0, I)."""
        normal = noise + self.initial_network(self.initial_parameters, noise)
        return torch.clamp(self.mean + self.std * normal, self.low, self.high)

    def lesson(self, observation: Tensor) -> Tensor:
        """What the rewards of all actions at observations `[P, N, O]` follow from: `[P, N, L]`."""
        normal = (observation - self.mean) / self.std
        if self.head == "mlp":
            return normal
        output = self.reward_network(self.reward_parameters, normal)
        if self.head == "scores":
            return output - output.amax(-1, keepdim=True)
        weight, best = output.chunk(2, -1)
        return torch.cat([F.softplus(weight), best], -1)

    def reward(self, lesson: Tensor, action: Tensor) -> Tensor:
        """Rewards `[R, N]` of actions where the lesson is `[R, N, L]`.

        Args:
            lesson: From `lesson`; R is P or a multiple of it, the rows of a member side by side.
            action: Indices `[R, N]`, or vectors `[R, N, A]` in [-1, 1].
        """
        if self.head == "scores":
            return lesson.gather(-1, action.unsqueeze(-1)).squeeze(-1)
        if self.head == "quadratic":
            weight, best = lesson.chunk(2, -1)
            return -(weight * (action - best).square()).sum(-1)
        inputs = torch.cat([lesson, action], -1)
        rows = inputs.reshape(self.members, -1, inputs.shape[-1])
        score = self.reward_network(self.reward_parameters, rows).view(action.shape[:-1])
        return score - 0.1 * action.square().sum(-1)

    def reset(self, noise: Tensor) -> State:
        """Start N episodes in each of P members, for noise `[P, N, noise_size]` ~ N(0, I)."""
        observation = self.initial(noise)
        return State(observation, observation.new_zeros(observation.shape[:2]))

    def step(self, state: State, action: Tensor) -> tuple[State, Tensor, Tensor]:
        """Take actions: next state, rewards `[P, N]`, terminated `[P, N]`.

        Episodes end with `terminated`, never `truncated`: the horizon is part of the synthetic
        task, and a learner must not bootstrap a value beyond it.

        Args:
            state: Where the episodes stand.
            action: Indices `[P, N]`, or vectors `[P, N, A]` in [-1, 1].
        """
        reward = self.reward(self.lesson(state.observation), action)
        age = state.age + 1
        return State(state.observation, age), reward, age >= self.horizon


def action_size(space: spaces.Discrete | spaces.Box) -> int:
    """A: how many actions a `Discrete` space has, or how many numbers an action of a `Box`."""
    return int(space.n) if isinstance(space, spaces.Discrete) else space.shape[0]
