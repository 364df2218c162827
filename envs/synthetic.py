"""The batched, differentiable synthetic environment that a GTN parameterizes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor, nn

from gtn_rl.agents.networks import MLP, uniform
from gtn_rl.envs.spaces import check_spaces
from gtn_rl.errors import UsageError


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

    Args:
        observation_space: Flat `Box` of the target, O numbers.
        action_space: `Discrete` of the target, A actions.
        target: Gymnasium id of the real environment it stands for.
        horizon: Steps of an episode.
        hidden: Units of the hidden layers of both networks.
        mean: Mean of the target's observations, `[O]`; zeros if not given.
        std: Standard deviation of the target's observations, `[O]`; ones if not given.
        members: P.
        generator: Source of the initial parameters; a fixed seed if not given.

    Raises:
        UnsupportedSpaceError: The spaces are not a flat `Box` and a `Discrete`.
        UsageError: A horizon other than 1 (learned dynamics are not there yet).
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
        mean: NDArray[np.floating[Any]] | None = None,
        std: NDArray[np.floating[Any]] | None = None,
        members: int = 1,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if horizon != 1:
            raise UsageError(
                f"horizon must be 1, got {horizon}: longer episodes need learned dynamics, "
                "which this version does not have"
            )
        self.observation_space, self.action_space = check_spaces(observation_space, action_space)
        self.target = target
        self.horizon = horizon
        self.hidden = tuple(hidden)
        self.members = members
        size = self.observation_space.shape[0]
        self.noise_size = size
        self.initial_network = MLP((size, *self.hidden, size), "tanh")
        self.reward_network = MLP((size, *self.hidden, int(self.action_space.n)), "tanh")
        generator = generator or torch.Generator().manual_seed(0)
        self.initial_parameters = nn.Parameter(
            uniform(self.initial_network, members, generator=generator)
        )
        self.reward_parameters = nn.Parameter(
            uniform(self.reward_network, members, generator=generator)
        )
        for name, value in (
            ("mean", np.zeros(size) if mean is None else mean),
            ("std", np.ones(size) if std is None else std),
            ("low", self.observation_space.low),
            ("high", self.observation_space.high),
        ):
            # The bounds belong to the space, which an artifact keeps exactly.
            tensor = torch.tensor(np.asarray(value, np.float32))
            self.register_buffer(name, tensor, persistent=name in ("mean", "std"))

    def initial(self, noise: Tensor) -> Tensor:
        """First observations `[P, N, O]` of episodes, for noise `[P, N, noise_size]` ~ N(0, I)."""
        normal = noise + self.initial_network(self.initial_parameters, noise)
        return torch.clamp(self.mean + self.std * normal, self.low, self.high)

    def rewards(self, observation: Tensor) -> Tensor:
        """Rewards `[P, N, A]` of every action at observations `[P, N, O]`: 0 is the best.

        This advantage form leaves out what depends on the state alone. That has no part in which
        action is right, but a learner without it needs no baseline, and a Q-network that starts
        near 0 is optimistic about every action that it has not tried.
        """
        normal = (observation - self.mean) / self.std
        score = self.reward_network(self.reward_parameters, normal)
        return score - score.amax(-1, keepdim=True)

    def reset(self, noise: Tensor) -> State:
        """Start N episodes in each of P members, for noise `[P, N, noise_size]` ~ N(0, I)."""
        observation = self.initial(noise)
        return State(observation, observation.new_zeros(observation.shape[:2]))

    def step(self, state: State, action: Tensor) -> tuple[State, Tensor, Tensor]:
        """Take actions `[P, N]` (indices): next state, rewards `[P, N]`, terminated `[P, N]`.

        Episodes end with `terminated`, never `truncated`: the horizon is part of the synthetic
        task, and a learner must not bootstrap a value beyond it.
        """
        reward = self.rewards(state.observation).gather(-1, action.unsqueeze(-1)).squeeze(-1)
        age = state.age + 1
        return State(state.observation, age), reward, age >= self.horizon
