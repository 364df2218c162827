"""The batched, differentiable synthetic environment that a GTN parameterizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor, nn

from gtn_rl.envs import lessons
from gtn_rl.envs.presentation import FIELDS, Phase, Shown, at, encode
from gtn_rl.errors import UsageError
from gtn_rl.networks import MLP, uniform
from gtn_rl.spaces import action_size, as_space, check_spaces

_REACH = 10.0
"""Deviations from the mean that dynamics can lead to: what they make stays finite for ever."""

_RARE = 4.0
"""Taken from the logit of termination, so that untrained episodes last some fifty steps."""

_JITTER = 0.1
"""Noise of the states that were met, in their deviations; none where observations are integers."""


class State(NamedTuple):
    """Where P x N synthetic episodes stand: observations `[P, N, O]` and steps taken `[P, N]`."""

    observation: Tensor
    age: Tensor


class Outcome(NamedTuple):
    """What actions lead to: next observations `[..., O]` and how probably they end, `[...]`."""

    observation: Tensor
    termination: Tensor


class SyntheticEnv(nn.Module):
    """P synthetic environments over the spaces of one target, as differentiable functions.

    All tensors carry a leading population axis P: members of a population in evolution, or 1 when
    one environment teaches many learners. With horizon 1 an episode is one step, a contextual
    bandit: an initial state and a learned reward (Liesen et al. 2024, arXiv 2406.12589). With a
    longer one, actions also lead to a next state and may end the episode, both learned (Ferreira et
    al. 2022, arXiv 2202.02790).

    Initial states are a mixture of states that agents met in the target (`states`) and of made-up
    ones, in which each observation is drawn by itself from a normal distribution with a learned
    mean and deviation. Which share of each, and how large rewards are, depends on the phase of the
    agent's training (`presentation`). Observations are what the target's space can hold: clipped to
    its bounds, whole numbers where it has them.

    Actions are indices of a `Discrete` space, or vectors `[A]` in [-1, 1], a bounded `Box` scaled.
    The reward is near 0 on average over actions in every state (`gtn_rl.envs.lessons`).

    Args:
        observation_space: Flat `Box` of the target, O numbers.
        action_space: `Discrete` of the target, A actions, or bounded flat `Box`, A numbers.
        target: Gymnasium id of the real environment it stands for.
        horizon: Steps after which an episode is over at the latest.
        phases: How it is presented at first.
        states: States met in the target, `[B, O]`; none if not given.
        budget: Steps that an agent's training is taken for where nobody says how long it is; the
            last phase from the first step on if 0.
        hidden: Units of the hidden layers of all networks.
        mean: Of the target's observations, `[O]`; zeros if not given.
        std: Of the target's observations, `[O]`; ones if not given.
        members: P.
        gain: How far the initial rewards reach, `[P]` or a number.
        generator: Source of the initial parameters; a fixed seed if not given.

    Raises:
        UnsupportedSpaceError: The spaces are not supported.
        UsageError: A horizon or number of phases below 1, or a negative budget.
    """

    mean: Tensor
    std: Tensor
    low: Tensor
    high: Tensor
    states: Tensor
    step_size: Tensor

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        *,
        target: str = "",
        horizon: int = 1,
        phases: Sequence[Phase] = (Phase(),),
        states: Tensor | None = None,
        budget: int = 0,
        hidden: tuple[int, ...] = (32,),
        mean: NDArray[np.floating[Any]] | None = None,
        std: NDArray[np.floating[Any]] | None = None,
        members: int = 1,
        gain: Tensor | float = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if horizon < 1:
            raise UsageError(f"horizon must be at least 1, got {horizon}")
        if budget < 0:
            raise UsageError(f"budget must not be negative, got {budget}")
        if not phases:
            raise UsageError("phases must be one or more")
        self.observation_space, self.action_space = check_spaces(observation_space, action_space)
        self.target, self.horizon, self.budget = target, horizon, budget
        self.hidden = tuple(hidden)
        size = self.observation_space.shape[0]
        self.observation_size = size
        self.noise_size = size + 2
        actions = action_size(self.action_space)
        self._discrete = isinstance(self.action_space, spaces.Discrete)
        self._whole = np.issubdtype(self.observation_space.dtype, np.integer)
        self._probes = lessons.probes(self.action_space)
        self.reward_network = MLP((size, *self.hidden, actions), "tanh")
        taken = (size, actions) if self._discrete else (size + actions, 1)
        self.dynamics_network = MLP((taken[0], *self.hidden, taken[1] * (size + 1)), "tanh")
        for name, value in (
            ("mean", np.zeros(size) if mean is None else mean),
            ("std", np.ones(size) if std is None else std),
            ("low", self.observation_space.low),
            ("high", self.observation_space.high),
        ):
            # The bounds belong to the space, which an artifact keeps exactly.
            tensor = torch.tensor(np.asarray(value, np.float32))
            self.register_buffer(name, tensor, persistent=name in ("mean", "std"))
        none = torch.zeros(0, size, dtype=torch.float32)
        self.register_buffer(
            "states", none if states is None else states.to(torch.float32, copy=True)
        )
        generator = generator or torch.Generator().manual_seed(0)
        self.reward_parameters = nn.Parameter(
            uniform(self.reward_network, members, generator=generator)
        )
        # Where made-up states lie, in units of the observations' deviation, and how far apart.
        self.shift_parameters = nn.Parameter(torch.zeros(members, size, dtype=torch.float32))
        self.spread_parameters = nn.Parameter(torch.zeros(members, size, dtype=torch.float32))
        self.presentation_parameters = nn.Parameter(encode(phases).flatten().repeat(members, 1))
        if horizon > 1:
            # In units of the observations' deviation; a world model knows better.
            self.register_buffer("step_size", torch.full((size,), 0.3, dtype=torch.float32))
            self.dynamics_parameters = nn.Parameter(
                uniform(self.dynamics_network, members, generator=generator)
            )
        self._center(gain, generator)

    @torch.no_grad()
    def _center(self, gain: Tensor | float, generator: torch.Generator) -> None:
        """Make each output of the reward network 0 on average over initial states.

        Then each action is the best one somewhere, and agents trained by an untrained environment
        explore: without it most of them do the same thing everywhere, and tasks whose return is
        flat until a goal is met once (MountainCar) give nothing to learn from.
        """
        size = (self.members, 256, self.noise_size)
        noise = torch.randn(size, generator=generator, dtype=torch.float32)
        weight, bias = self.reward_network.layers(self.reward_parameters)[-1]
        average = self.output(self.initial(noise)).mean(1, keepdim=True)
        factor = torch.as_tensor(gain, dtype=torch.float32).view(-1, 1, 1)
        bias.sub_(average).mul_(factor)
        weight.mul_(factor)

    def select(self, members: Tensor) -> SyntheticEnv:
        """Some of the P environments, by their indices, with parameters of their own."""
        chosen = self.like(len(members))
        with torch.no_grad():
            for own, rows in zip(chosen.parameters(), self.parameters(), strict=True):
                own.copy_(rows[members])
        return chosen

    def like(self, members: int, **settings: Any) -> SyntheticEnv:
        """Untrained environments of this shape and scale, but for the given settings."""
        own: dict[str, Any] = {
            "target": self.target, "hidden": self.hidden, "horizon": self.horizon,
            "states": self.states, "phases": [Phase()] * self.num_phases, "budget": self.budget,
        }  # fmt: skip
        other = SyntheticEnv(
            self.observation_space, self.action_space, members=members, **(own | settings)
        )
        other.mean, other.std = self.mean.clone(), self.std.clone()
        if min(self.horizon, other.horizon) > 1:
            other.step_size = self.step_size.clone()
        return other

    @property
    def members(self) -> int:
        """P."""
        return len(self.reward_parameters)

    @property
    def num_phases(self) -> int:
        """F."""
        return self.presentation_parameters.shape[1] // len(FIELDS)

    @property
    def presentation(self) -> Tensor:
        """Parameters `[P, F, 6]` of the phases, as `gtn_rl.envs.presentation` has them."""
        rows = self.presentation_parameters
        return rows.view(len(rows), -1, len(FIELDS))

    @property
    def timed(self) -> bool:
        """Whether anything depends on how far an agent's training has got."""
        return self.num_phases > 1

    def shown(self, progress: Tensor | float = 1.0) -> Shown:
        """The phase that is on, its fields `[P, 1 or N, 1]` each."""
        return at(self.presentation, progress)

    def initial(self, noise: Tensor, progress: Tensor | float = 1.0) -> Tensor:
        """First observations `[P, N, O]` of episodes, for noise `[P, N, noise_size]` ~ N(0, I).

        Of the noise O numbers are for the state, one for whether it is made up, one for which of
        those that were met it is. Progress is how far the agent's training has got, from 0 to 1; a
        number, or one for each of the N (`[N]` or `[P, N]`).
        """
        size = self.observation_size
        normal, chance = noise[..., :size], torch.special.ndtr(noise[..., size:])
        shown = self.shown(progress)
        spread = shown.spread * self.spread_parameters.exp().unsqueeze(1)
        made = self.mean + self.std * (self.shift_parameters.unsqueeze(1) + spread * normal)
        if len(self.states):
            index = (len(self.states) * chance[..., 1]).long().clamp(max=len(self.states) - 1)
            met = self.states[index]
            if not self._whole:
                deviation = self.std * self.spread_parameters.exp().unsqueeze(1)
                met = met + _JITTER * deviation * normal
            made = torch.where(chance[..., :1] < shown.wide, made, met)
        return as_space(self.observation_space, torch.clamp(made, self.low, self.high))

    def lesson(self, observation: Tensor, progress: Tensor | float = 1.0) -> Tensor:
        """What the rewards of all actions at observations `[P, N, O]` follow from: `[P, N, L]`."""
        shown = self.shown(progress)
        return lessons.to_lesson(self.output(observation), shown, self._probes)

    def output(self, observation: Tensor) -> Tensor:
        """Scores of discrete actions, or best continuous ones, `[P, N, A]` at `[P, N, O]`."""
        normal = (observation - self.mean) / self.std
        output = self.reward_network(self.reward_parameters, normal)
        return output if self._discrete else lessons.to_action(output)

    def outcomes(self, observation: Tensor) -> Outcome:
        """What each of A discrete actions leads to at `[P, N, O]`: `[P, N, A, O]`, `[P, N, A]`."""
        normal = (observation - self.mean) / self.std
        output = self.dynamics_network(self.dynamics_parameters, normal)
        actions = action_size(self.action_space)
        return self._outcome(normal.unsqueeze(-2), output.view(*output.shape[:-1], actions, -1))

    def outcome(self, observation: Tensor, action: Tensor) -> Outcome:
        """What actions `[P, N]` or `[P, N, A]`, as `reward` has them, lead to at `[P, N, O]`."""
        if self._discrete:
            following, termination = self.outcomes(observation)
            index = action.unsqueeze(-1)
            where = index.unsqueeze(-1).expand(*index.shape, following.shape[-1])
            return Outcome(
                following.gather(-2, where).squeeze(-2), termination.gather(-1, index).squeeze(-1)
            )
        normal = (observation - self.mean) / self.std
        inputs = torch.cat([normal, action], -1)
        return self._outcome(normal, self.dynamics_network(self.dynamics_parameters, inputs))

    def _outcome(self, normal: Tensor, output: Tensor) -> Outcome:
        following = (normal + self.step_size * output[..., :-1]).clamp(-_REACH, _REACH)
        observation = torch.clamp(self.mean + self.std * following, self.low, self.high)
        return Outcome(
            as_space(self.observation_space, observation), torch.sigmoid(output[..., -1] - _RARE)
        )

    def reward(self, lesson: Tensor, action: Tensor) -> Tensor:
        """Rewards `[R, N]` of actions, indices or vectors in [-1, 1], by lessons `[R, N, L]`."""
        return lessons.to_reward(lesson, action)

    def reset(self, noise: Tensor) -> State:
        """Start N episodes in each of P members, for noise `[P, N, noise_size]` ~ N(0, I)."""
        observation = self.initial(noise)
        return State(observation, observation.new_zeros(observation.shape[:2]))

    def step(
        self, state: State, action: Tensor, chance: Tensor | None = None,
        progress: Tensor | float = 1.0,
    ) -> tuple[State, Tensor, Tensor]:  # fmt: skip
        """Take actions: next state, rewards `[P, N]`, terminated `[P, N]`.

        Episodes end with `terminated`, never `truncated`: the horizon is part of the synthetic
        task, and a learner must not bootstrap a value beyond it.

        Args:
            action: Indices `[P, N]`, or vectors `[P, N, A]` in [-1, 1].
            chance: Uniform numbers `[P, N]`; an episode ends early where its probability of that is
                above. Not needed with horizon 1.

        Raises:
            UsageError: `chance` is missing.
        """
        reward = self.reward(self.lesson(state.observation, progress), action)
        age = state.age + 1
        if self.horizon == 1:
            return State(state.observation, age), reward, age >= 1
        if chance is None:
            raise UsageError("a horizon above 1 needs chance: uniform numbers of the episodes")
        following, termination = self.outcome(state.observation, action)
        return State(following, age), reward, (age >= self.horizon) | (chance < termination)
