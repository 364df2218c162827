"""Reward networks."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor, nn

from gtn_rl.envs import lessons
from gtn_rl.envs.presentation import Shown
from gtn_rl.envs.synthetic import SyntheticEnv
from gtn_rl.errors import UsageError, did_you_mean
from gtn_rl.networks import MLP, uniform
from gtn_rl.spaces import action_size, check_spaces

FORMS = ("action", "state", "potential")
"""Forms of a reward network."""


class RewardNetwork(nn.Module):
    """P learned rewards of real transitions (Ferreira et al. 2022, arXiv 2202.02790, section 5).

    - `action`: of observation and action, in the form that synthetic environments have
      (`gtn_rl.envs.lessons`): its mean over all actions is 0 in every state. The best action is
      rewarded most wherever the agent stands, so nothing has to be waited for.
    - `state`: a network of where the action led.
    - `potential`: `discount * phi(next) - phi(now)`, with phi = 0 where an episode terminated.
      Added to the real reward it changes no optimal policy (Ng et al. 1999).

    Args:
        observation_space: Flat `Box` of the target, O numbers.
        action_space: `Discrete`, or bounded flat `Box`, of the target.
        target: Gymnasium id of the real environment.
        form: One of `FORMS`.
        additive: Whether the learned reward is added to the real one, or (exclusive) replaces it.
        terms: Whether the network of `state` is also shown the real reward.
        hidden: Units of the hidden layers.
        mean: Of the target's observations, `[O]`; zeros if not given.
        std: Of the target's observations, `[O]`; ones if not given.
        members: P.
        discount: Gamma of `potential`.
        scale: How large rewards of `action` are, `[P, 1, 1]` or a number; as `width` and `gain` a
            fixed number of a `gtn_rl.envs.presentation.Phase`.
        width: Error at which half of the reward is lost.
        gain: What best continuous actions are multiplied by.
        generator: Source of the initial parameters; a fixed seed if not given. The last layer of
            `state` and `potential` starts at 0: an additive reward starts as the real one.

    Raises:
        UnsupportedSpaceError: The spaces are not supported.
        UsageError: No such form, or terms for another form than `state`.
    """

    mean: Tensor
    std: Tensor
    scale: Tensor
    width: Tensor
    gain: Tensor

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        *,
        target: str = "",
        form: str = "action",
        additive: bool = False,
        terms: bool = False,
        hidden: tuple[int, ...] = (32,),
        mean: NDArray[np.floating[Any]] | None = None,
        std: NDArray[np.floating[Any]] | None = None,
        members: int = 1,
        discount: float = 0.99,
        scale: Tensor | float = 1.0,
        width: Tensor | float = 1.0,
        gain: Tensor | float = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if form not in FORMS:
            raise UsageError(
                f"unknown form {form!r}: use {', '.join(FORMS)}.{did_you_mean(form, FORMS)}"
            )
        if terms and form != "state":
            raise UsageError(f"terms are for the form state, not for {form}")
        self.observation_space, self.action_space = check_spaces(observation_space, action_space)
        self.target, self.form, self.additive, self.terms = target, form, additive, terms
        self.hidden, self.discount = tuple(hidden), discount
        size = self.observation_space.shape[0]
        count = action_size(self.action_space) if form == "action" else 1
        self.network = MLP((size + terms, *self.hidden, count), "tanh")
        for name, given, plain in (("mean", mean, 0.0), ("std", std, 1.0)):
            array = np.full(size, plain) if given is None else given
            self.register_buffer(name, torch.tensor(array, dtype=torch.float32))
        for name, value in (("scale", scale), ("width", width), ("gain", gain)):
            number = torch.as_tensor(value, dtype=torch.float32)
            self.register_buffer(name, number.expand(members, 1, 1).clone())
        self._probes = lessons.probes(self.action_space)
        generator = generator or torch.Generator().manual_seed(0)
        self.network_parameters = nn.Parameter(uniform(self.network, members, generator=generator))
        if form != "action":
            with torch.no_grad():
                for last in self.network.layers(self.network_parameters)[-1]:
                    last.zero_()

    @property
    def members(self) -> int:
        """P."""
        return len(self.network_parameters)

    @classmethod
    def of(cls, env: SyntheticEnv, *, additive: bool = False) -> RewardNetwork:
        """The reward of a synthetic environment in its last phase, for the real dynamics."""
        shown = env.shown(1.0)
        network = cls(
            env.observation_space, env.action_space, target=env.target, additive=additive,
            hidden=env.hidden, mean=env.mean.numpy(), std=env.std.numpy(), members=env.members,
            scale=shown.scale.detach(), width=shown.width.detach(), gain=shown.gain.detach(),
        )  # fmt: skip
        with torch.no_grad():
            network.network_parameters.copy_(env.reward_parameters)
        return network

    def like(self, members: int) -> RewardNetwork:
        """Untrained networks of this form and scale."""
        return RewardNetwork(
            self.observation_space, self.action_space, target=self.target, form=self.form,
            additive=self.additive, terms=self.terms, hidden=self.hidden, mean=self.mean.numpy(),
            std=self.std.numpy(), members=members, discount=self.discount, scale=self.scale[:1],
            width=self.width[:1], gain=self.gain[:1],
        )  # fmt: skip

    def forward(
        self, observation: Tensor, action: Tensor, following: Tensor, real: Tensor, ended: Tensor
    ) -> Tensor:
        """Rewards `[P, N]` that an agent is given.

        Args:
            observation: `[P, N, O]`.
            action: Indices `[P, N]`, or vectors `[P, N, A]` in [-1, 1].
            following: Next observations `[P, N, O]`.
            real: Real rewards `[P, N]`.
            ended: Where the episode terminated, `[P, N]`.
        """
        if self.form == "action":
            learned = lessons.to_reward(self._lesson(observation), action)
        elif self.form == "state":
            learned = self._output(following, real if self.terms else None).squeeze(-1)
        else:
            after = self._output(following).squeeze(-1) * ~ended
            learned = self.discount * after - self._output(observation).squeeze(-1)
        return learned + real if self.additive else learned

    def _lesson(self, observation: Tensor) -> Tensor:
        output, zero = self._output(observation), torch.zeros_like(self.scale)
        if self._probes is not None:
            output = lessons.to_action(output)
        shown = Shown(zero, zero, self.scale, self.width, self.gain)
        return lessons.to_lesson(output, shown, self._probes)

    def _output(self, observation: Tensor, real: Tensor | None = None) -> Tensor:
        normal = (observation - self.mean) / self.std
        if real is not None:
            normal = torch.cat([normal, real.unsqueeze(-1)], -1)
        return self.network(self.network_parameters, normal)
