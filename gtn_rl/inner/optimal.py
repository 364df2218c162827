"""The limit of the inner loop: a learner that has learned its lesson perfectly.

It takes the best action of the reward, so what it does is a function of the environment's
parameters without any training between. What this leaves out, that a real learner gets there from
anywhere in a few thousand steps, is for the stages that train learners.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
from gymnasium import spaces
from torch import Tensor

from gtn_rl.agents.spec import OPTIMAL
from gtn_rl.envs.lessons import bounded
from gtn_rl.envs.synthetic import SyntheticEnv
from gtn_rl.inner.gradients import with_rows
from gtn_rl.spaces import halves

_TEMPERATURE = 0.2
"""Of the softmax over bounded scores by which optimal policies explore."""


def optimal_policy(env: SyntheticEnv, observation: Tensor) -> Tensor:
    """Logits or means `[P, N, A]` with which optimal policies of P members act at `[P, N, O]`."""
    output = env.output(observation)
    if isinstance(env.action_space, spaces.Discrete):
        return bounded(output.amax(-1, keepdim=True) - output, 1.0) / _TEMPERATURE
    middle, half = halves(env.action_space, output.dtype)
    return middle + half * output


@dataclass(frozen=True)
class Optimal:
    """Optimal policies among other learners: what agents learn that train for longer than those.

    There are `count` learners of each of P environments, all alike: their weight among the others.
    Parameters are a row `[D]` for each learner, or for each environment.
    """

    env: SyntheticEnv
    count: int
    parameters: Tensor

    @classmethod
    def of(cls, env: SyntheticEnv, count: int) -> Self:
        """Those of environments, differentiable w.r.t. their parameters."""
        rows = torch.cat(list(env.parameters()), 1)
        return cls(env, count, rows.repeat_interleave(count, 0))

    @property
    def names(self) -> list[tuple[str, int]]:
        return [(OPTIMAL, len(self.parameters))]

    def outputs(self, observations: Tensor) -> Tensor:
        return optimal_policy(with_rows(self.env, self.parameters), observations)

    def with_parameters(self, parameters: Tensor) -> Self:
        return replace(self, parameters=parameters)
