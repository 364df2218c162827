"""What can be learned of a lesson: its best actions become what learners made of them.

A policy that plays well has details that no agent learns in a few thousand steps. What agents do
learn of it they play too timidly, for a clipped ratio bounds how far a rollout moves their means.
What most of them learned, played as boldly as serves it best, is nearly as good as the policy that
taught them, and it is something that agents of their kind learn. So it is taught from then on. No
training is differentiated: the environment is moved to where learners got.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from gtn_rl.agents.learners import Student
from gtn_rl.config import TrainConfig
from gtn_rl.envs.actions import Actions
from gtn_rl.envs.synthetic import SyntheticEnv
from gtn_rl.envs.targets import RealEnvs, Target
from gtn_rl.inner import inner_loop
from gtn_rl.perfect import middle_and_half, perfect_learner, plain

_GAINS = (1.0, 1.25, 1.5, 2.0)
"""How many times as boldly as they were learned actions are tried."""

_BOLDEST = 1.2
"""How far beyond the middle an action may be wanted, in half ranges: what lies at the reach of a
bounded reward takes an infinite output."""

_EPISODES = 32
"""Real episodes for each of these."""

_SHOWN = 8192
"""States that the environment shows, as many of an introduction and of the rest."""

_STEPS, _BATCH, _LEARNING_RATE = 1_500, 512, 3e-3


class Heard(NamedTuple):
    """What learners of some kinds, in the middle, made of a lesson: `policy`, and where it was met.

    `policy` maps observations `[N, O]` to actions `[N, A]` in half ranges from the space's middle,
    `states` are `[M, O]`, and `real_steps` is what it took to find how boldly to play it.
    """

    policy: Callable[[Tensor], Tensor]
    states: Tensor
    real_steps: int


@torch.no_grad()
def listen(
    env: SyntheticEnv, task: Target, actions: Actions, config: TrainConfig,
    source: torch.Generator, seed: int,
) -> Heard:  # fmt: skip
    """Train learners in an environment, and hear what they made of it.

    Each algorithm has an equal say.

    Args:
        env: One environment of continuous actions.
        task: The target.
        actions: How learners act in it.
        config: With the learners to listen to.
        source: Of the learners' training and the states that the environment shows.
        seed: Of the real episodes.
    """
    learners = inner_loop(env, config, source, create_graph=False)
    played = [_as_played(env, stack, task, actions, seed) for stack in learners]
    noise = torch.randn(1, _SHOWN, env.noise_size, generator=source)
    shown = [env.settled(noise)[0]]
    if env.introduction:
        shown.append(env.initial(noise, 0.0)[0])
    middle, half = middle_and_half(env)

    @torch.no_grad()
    def policy(observation: Tensor) -> Tensor:
        wanted = [
            (gain * (consensus(stack, observation) - middle) / half).clamp(-_BOLDEST, _BOLDEST)
            for stack, (gain, _, _) in zip(learners, played, strict=True)
        ]
        return torch.stack(wanted).mean(0)

    states = torch.cat([*shown, *(met for _, met, _ in played)])
    return Heard(policy, states, sum(steps for *_, steps in played))


def consensus(learners: Student, observation: Tensor) -> Tensor:
    """Medians `[N, A]` of what learners of one kind would do at observations `[N, O]`.

    Not means: one that learned nothing has no say.
    """
    seen = observation.expand(len(learners.parameters), *observation.shape)
    return learners.outputs(seen).median(0).values


def _as_played(
    env: SyntheticEnv, learners: Student, task: Target, actions: Actions, seed: int
) -> tuple[float, Tensor, int]:  # fmt: skip
    """The gain with which their consensus has the best return, states met so, and real steps."""
    gains = torch.tensor(_GAINS).view(-1, 1, 1)
    middle, _ = middle_and_half(env)
    met: list[Tensor] = []

    def policy(observation: Tensor) -> Tensor:
        flat = observation.flatten(0, 1)
        met.append(flat)
        timid = consensus(learners, flat).view(*observation.shape[:2], -1) - middle
        return middle + gains * timid

    with RealEnvs(task, actions, len(gains), _EPISODES) as real:
        returns = real.evaluate(policy, [seed + index for index in range(_EPISODES)])
        best = int(returns.mean(1).argmax())
        return _GAINS[best], torch.cat(met), real.steps


def fit_best_actions(
    env: SyntheticEnv, states: Tensor, wanted: Tensor, source: torch.Generator
) -> float:
    """Fit the best actions of an environment by regression, before any excess.

    Args:
        env: One environment, changed in place.
        states: `[N, O]`.
        wanted: Best actions there, `[N, A]`, in half ranges from the space's middle.
        source: Of the batches.

    Returns:
        Mean squared error over all states.
    """
    bare, rows = plain(env)
    middle, half = middle_and_half(env)

    def error(index: Tensor) -> Tensor:
        best = (perfect_learner(bare, states[index].unsqueeze(0))[0] - middle) / half
        return (best - wanted[index]).square().mean()

    optimizer = torch.optim.Adam([rows], _LEARNING_RATE)
    for step in range(_STEPS):
        optimizer.param_groups[0]["lr"] = _LEARNING_RATE * (1 - step / _STEPS)
        loss = error(torch.randint(len(states), (_BATCH,), generator=source))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    with torch.no_grad():
        env.reward_parameters.copy_(rows)
        return float(error(torch.arange(len(states))))
