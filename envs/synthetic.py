"""The batched, differentiable synthetic environment that a GTN parameterizes."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor, nn

from gtn_rl.agents.networks import MLP, uniform
from gtn_rl.envs.heads import BOUNDED, HEADS, PLAIN, Showing, outputs, to_lesson, to_reward
from gtn_rl.envs.introduction import draw, introduction_size, lasts
from gtn_rl.envs.schedule import fading
from gtn_rl.envs.spaces import action_size, check_spaces
from gtn_rl.errors import UsageError

_REACH = 10.0
"""Deviations from the mean that dynamics can lead to: what they make stays finite for ever."""

_RARE = 4.0
"""Taken from the logit of termination, so that untrained episodes last some fifty steps."""

SHOWING = (
    "scale_parameters", "width_parameters", "excess_parameters", "shift_parameters",
    "spread_parameters", "introduction_parameters",
)  # fmt: skip
"""Parameters of how a lesson is shown: how large rewards are and of which shape, and where initial
states lie and how far apart. What they are is no part of which action is best."""


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
    bandit: a learned initial state and a learned reward (Liesen et al. 2024, arXiv 2406.12589).
    With a longer one, actions also lead to a next state and may end the episode, both learned
    (Ferreira et al. 2022, arXiv 2202.02790).

    Observations are `mean + std * n` with n a network's output, so that the scales of the target's
    observations need not be learned, and are clipped to the target's space.

    Actions are indices of a `Discrete` space, or vectors `[A]` in [-1, 1], a bounded `Box` scaled.

    The reward of an action follows from a *lesson*, L numbers for each observation:

    - `scores` (discrete, L = A): `d = score(a) - max score`. This advantage form leaves out what
      depends on the state alone. That has no part in which action is right, but a learner without
      it needs no baseline, and a Q-network that starts near 0 is optimistic about every action that
      it has not tried.
    - `bounded-scores`: `c d / (1 - d)`, between -c and 0. The best action is the same, but no state
      and no action matters so much more than the others that a learner hears of nothing else. At
      first it may be centred, less its mean over all actions: the best one's is 0 in all states
      otherwise, and the others' have a kink where another becomes the best, which a Q-network that
      moves its weights by a tenth does not learn.
    - `quadratic` (continuous, L = 2A): `-sum w (a - m)^2` with w > 0. It has one maximum wherever
      the learner stands, where an unrestricted reward drives untrained policies to the bounds.
    - `bounded-quadratic`: the same with m between -1.25 and 1.25, and w between 0 and 2c.
    - `welsch` (L = 3A): as that near m, with w = c in all states, but bad actions are nearly alike
      (Welsch's loss, `-sum c k^2 (1 - exp(-(a - m)^2 / k^2))` with one width k, and a tenth of the
      quadratic one). A warm-up by perfect learners, who do not heed it, leaves a w of each state to
      chance. The clipped ratio bounds how far a rollout of PPO moves a mean; where most actions are
      equally bad, those that are not clipped move it farther than where reward rises all the way to
      m. For the same reason an m beyond the action space lies an *excess* of times as far beyond
      it, so that reward still rises at the bound.
    - `mlp` (continuous): a network of observation and action, minus `0.1 sum a^2` against that.

    Args:
        observation_space: Flat `Box` of the target, O numbers.
        action_space: `Discrete` of the target, A actions, or bounded flat `Box`, A numbers.
        target: Gymnasium id of the real environment it stands for.
        horizon: Steps after which an episode is over at the latest.
        curriculum: Whether all of this depends on how far the agent's training has got
            (Such et al. 2020, section 3.3).
        introduction: Whether agents first meet states of another distribution, a normal one with
            learned mean and covariance, until a learned share of their training is over. What is
            said of those is part of the same lesson; how it is shown, c and the width and the
            excess of form `welsch`, are numbers of its own.
        centred: Share of an agent's training, from its beginning, in which rewards of form
            `bounded-scores` are centred. They have a scale of their own then, the introduction's if
            there is one.
        fade: Share of an agent's training, at its end, in which rewards fade: optimizers that
            divide by what gradients were take smaller and smaller steps then.
        even: Whether initial states begin as a uniform distribution, not as a normal one.
        budget: Steps that an agent's training is taken for where nobody says how long it is, for
            what depends on how far it has got; the end from the first step on if 0.
        hidden: Units of the hidden layers of both networks.
        head: Form of the reward; the action space's default if not given.
        mean: Mean of the target's observations, `[O]`; zeros if not given.
        std: Standard deviation of the target's observations, `[O]`; ones if not given.
        members: P.
        gain: How far the initial rewards reach, `[P]` or a number; ones if not given.
        generator: Source of the initial parameters; a fixed seed if not given.

    Raises:
        UnsupportedSpaceError: The spaces are not supported.
        UsageError: A head that the action space does not have, a horizon below 1, or shares that
            the head has no use for.
    """

    mean: Tensor
    std: Tensor
    low: Tensor
    high: Tensor
    step_size: Tensor

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        *,
        target: str = "",
        horizon: int = 1,
        curriculum: bool = False,
        introduction: bool = False,
        centred: float = 0.0,
        fade: float = 0.0,
        even: bool = False,
        budget: int = 0,
        hidden: tuple[int, ...] = (32,),
        head: str = "",
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
        self.observation_space, self.action_space = check_spaces(observation_space, action_space)
        heads = HEADS[type(self.action_space)]
        self.head = head or heads[0]
        if self.head not in heads:
            raise UsageError(
                f"head {self.head!r} does not fit {self.action_space}: use {' or '.join(heads)}"
            )
        if centred and self.head != "bounded-scores":
            raise UsageError(f"rewards of form {self.head} cannot be centred: set centred to 0")
        if fade and self.head not in BOUNDED:
            raise UsageError(f"rewards of form {self.head} cannot fade: set fade to 0")
        self.target = target
        self.horizon = horizon
        self.curriculum = curriculum
        self.introduction = introduction
        self.centred = centred
        self.fade = fade
        self.even = even
        self.budget = budget
        self.hidden = tuple(hidden)
        self.members = members
        size = self.observation_space.shape[0]
        self.noise_size = size
        actions = action_size(self.action_space)
        seen = size + curriculum
        self.initial_network = MLP((seen, *self.hidden, size), "tanh")
        shape = (seen + actions, *self.hidden, 1)
        if self.head != "mlp":
            shape = (seen, *self.hidden, outputs(self.head, actions))
        self.reward_network = MLP(shape, "tanh")
        # Logarithms; a second column is for the beginning, if that is shown otherwise.
        ones = torch.zeros(members, 1 + (introduction or centred > 0))
        if self.head in BOUNDED:
            self.scale_parameters = nn.Parameter(ones)
        if self.head == "welsch":
            self.width_parameters = nn.Parameter(torch.full_like(ones, math.log(PLAIN.width)))
            self.excess_parameters = nn.Parameter(ones.clone())
        self._discrete = isinstance(self.action_space, spaces.Discrete)
        taken = (seen, actions) if self._discrete else (seen + actions, 1)
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
        generator = generator or torch.Generator().manual_seed(0)
        self.initial_parameters = nn.Parameter(
            uniform(self.initial_network, members, generator=generator)
        )
        self.reward_parameters = nn.Parameter(
            uniform(self.reward_network, members, generator=generator)
        )
        # Where first states lie, in units of the observations' deviation, and how far apart.
        self.shift_parameters = nn.Parameter(torch.zeros(members, size))
        self.spread_parameters = nn.Parameter(torch.zeros(members, size))
        if introduction:
            start = torch.zeros(members, introduction_size(size))
            self.introduction_parameters = nn.Parameter(start)
        if horizon > 1:
            # In units of the observations' deviation; a world model knows better.
            self.register_buffer("step_size", torch.full((size,), 0.3))
            self.dynamics_parameters = nn.Parameter(
                uniform(self.dynamics_network, members, generator=generator)
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
        weight, bias = self.reward_network.layers(self.reward_parameters)[-1]
        average = self.output(self.initial(noise)).mean(1, keepdim=True)
        factor = torch.as_tensor(gain).view(-1, 1, 1)
        bias.sub_(average).mul_(factor)
        weight.mul_(factor)

    def select(self, members: Tensor) -> SyntheticEnv:
        """Some of the P environments, by their indices, with parameters of their own."""
        chosen = self.like(len(members))
        with torch.no_grad():
            for own, rows in zip(chosen.parameters(), self.parameters(), strict=True):
                own.copy_(rows[members])
        return chosen

    def like(self, members: int, horizon: int | None = None) -> SyntheticEnv:
        """Untrained environments of this shape, scales included, of another horizon if given."""
        other = SyntheticEnv(
            self.observation_space, self.action_space, target=self.target, hidden=self.hidden,
            head=self.head, horizon=self.horizon if horizon is None else horizon,
            curriculum=self.curriculum, introduction=self.introduction, centred=self.centred,
            fade=self.fade, even=self.even, budget=self.budget, members=members,
        )  # fmt: skip
        for name, buffer in self.named_buffers():
            if name in dict(other.named_buffers()):
                other.get_buffer(name).copy_(buffer)
        return other

    @property
    def timed(self) -> bool:
        """Whether anything depends on how far an agent's training has got."""
        return self.curriculum or self.introduction or self.centred > 0 or self.fade > 0

    def initial(self, noise: Tensor, progress: Tensor | float = 1.0) -> Tensor:
        """First observations `[P, N, O]` of episodes, for noise `[P, N, noise_size]` ~ N(0, I).

        Args:
            noise: Where in the distribution.
            progress: How far the agent's training has got, from 0 to 1; a number, or one for each
                of the N (`[N]` or `[P, N]`). Only a curriculum and an introduction heed it here.
        """
        states = self.settled(noise, progress)
        if not self.introduction:
            return states
        parameters = self.introduction_parameters
        normal = draw(parameters, noise)
        early = torch.clamp(self.mean + self.std * normal, self.low, self.high)
        return torch.where(lasts(parameters, progress).unsqueeze(-1), early, states)

    def settled(self, noise: Tensor, progress: Tensor | float = 1.0) -> Tensor:
        """First observations `[P, N, O]` once the introduction, if there is one, is over."""
        seen = self._see(noise, progress)
        normal = noise + self.initial_network(self.initial_parameters, seen)
        if self.even:
            normal = math.sqrt(12) * (torch.special.ndtr(normal) - 0.5)
        spread = self.spread_parameters.exp().unsqueeze(1)
        states = self.mean + self.std * (self.shift_parameters.unsqueeze(1) + spread * normal)
        return torch.clamp(states, self.low, self.high)

    def lesson(self, observation: Tensor, progress: Tensor | float = 1.0) -> Tensor:
        """What the rewards of all actions at observations `[P, N, O]` follow from: `[P, N, L]`."""
        if self.head == "mlp":
            return self._see((observation - self.mean) / self.std, progress)
        return to_lesson(self.head, self.output(observation, progress), self.showing(progress))

    def output(self, observation: Tensor, progress: Tensor | float = 1.0) -> Tensor:
        """What the reward network says at `[P, N, O]`, before it is shown; not of head `mlp`."""
        seen = self._see((observation - self.mean) / self.std, progress)
        return self.reward_network(self.reward_parameters, seen)

    def showing(self, progress: Tensor | float = 1.0) -> Showing:
        """How lessons are shown, numbers or `[P, 1 or N, 1]` each."""
        if self.head not in BOUNDED:
            return PLAIN
        shape: list[Tensor] = [self.scale_parameters]
        if self.head == "welsch":
            shape += [self.width_parameters, self.excess_parameters]
        logarithms = torch.stack(shape)
        now = logarithms[..., :1]
        clock = torch.as_tensor(progress, dtype=now.dtype)
        first = clock < self.centred
        if logarithms.shape[-1] > 1:
            own = self.introduction
            early = lasts(self.introduction_parameters, progress) if own else first
            now = torch.where(early, logarithms[..., 1:], now)
        scale, *others = now.exp().unsqueeze(-1)
        if self.fade:
            scale = scale * fading(clock, self.fade).unsqueeze(-1)
        centred = first.to(now.dtype).unsqueeze(-1) if self.centred else None
        return Showing(scale, *others)._replace(centred=centred)

    def outcomes(self, observation: Tensor, progress: Tensor | float = 1.0) -> Outcome:
        """What each of A discrete actions leads to at `[P, N, O]`: `[P, N, A, O]`, `[P, N, A]`."""
        normal = (observation - self.mean) / self.std
        output = self.dynamics_network(self.dynamics_parameters, self._see(normal, progress))
        actions = action_size(self.action_space)
        return self._outcome(normal.unsqueeze(-2), output.view(*output.shape[:-1], actions, -1))

    def outcome(
        self, observation: Tensor, action: Tensor, progress: Tensor | float = 1.0
    ) -> Outcome:
        """What actions `[P, N]` or `[P, N, A]`, as `reward` has them, lead to at `[P, N, O]`."""
        if self._discrete:
            following, termination = self.outcomes(observation, progress)
            index = action.unsqueeze(-1)
            where = index.unsqueeze(-1).expand(*index.shape, following.shape[-1])
            return Outcome(
                following.gather(-2, where).squeeze(-2), termination.gather(-1, index).squeeze(-1)
            )
        normal = (observation - self.mean) / self.std
        inputs = torch.cat([self._see(normal, progress), action], -1)
        return self._outcome(normal, self.dynamics_network(self.dynamics_parameters, inputs))

    def _outcome(self, normal: Tensor, output: Tensor) -> Outcome:
        following = (normal + self.step_size * output[..., :-1]).clamp(-_REACH, _REACH)
        observation = torch.clamp(self.mean + self.std * following, self.low, self.high)
        return Outcome(observation, torch.sigmoid(output[..., -1] - _RARE))

    def _see(self, inputs: Tensor, progress: Tensor | float) -> Tensor:
        if not self.curriculum:
            return inputs
        column = 2 * torch.as_tensor(progress, dtype=inputs.dtype) - 1
        return torch.cat([inputs, column.broadcast_to(inputs.shape[:-1]).unsqueeze(-1)], -1)

    def reward(self, lesson: Tensor, action: Tensor) -> Tensor:
        """Rewards `[R, N]` of actions where the lesson is `[R, N, L]`.

        Args:
            lesson: From `lesson`; R is P or a multiple of it, the rows of a member side by side.
            action: Indices `[R, N]`, or vectors `[R, N, A]` in [-1, 1].
        """
        if self.head != "mlp":
            return to_reward(self.head, lesson, action)
        inputs = torch.cat([lesson, action], -1)
        rows = inputs.reshape(self.members, -1, inputs.shape[-1])
        score = self.reward_network(self.reward_parameters, rows).view(action.shape[:-1])
        return score - 0.1 * action.square().sum(-1)

    def reset(self, noise: Tensor) -> State:
        """Start N episodes in each of P members, for noise `[P, N, noise_size]` ~ N(0, I)."""
        observation = self.initial(noise)
        return State(observation, observation.new_zeros(observation.shape[:2]))

    def step(
        self,
        state: State,
        action: Tensor,
        chance: Tensor | None = None,
        progress: Tensor | float = 1.0,
    ) -> tuple[State, Tensor, Tensor]:
        """Take actions: next state, rewards `[P, N]`, terminated `[P, N]`.

        Episodes end with `terminated`, never `truncated`: the horizon is part of the synthetic
        task, and a learner must not bootstrap a value beyond it.

        Args:
            state: Where the episodes stand.
            action: Indices `[P, N]`, or vectors `[P, N, A]` in [-1, 1].
            chance: Uniform numbers `[P, N]`; an episode ends early where its probability of that is
                above. Not needed with horizon 1.
            progress: As for `initial`.

        Raises:
            UsageError: `chance` is missing.
        """
        reward = self.reward(self.lesson(state.observation, progress), action)
        age = state.age + 1
        if self.horizon == 1:
            return State(state.observation, age), reward, age >= 1
        if chance is None:
            raise UsageError("a horizon above 1 needs chance: uniform numbers of the episodes")
        following, termination = self.outcome(state.observation, action, progress)
        return State(following, age), reward, (age >= self.horizon) | (chance < termination)
