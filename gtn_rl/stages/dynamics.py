"""Dynamics and termination by maximum likelihood of real transitions, before meta-training."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from gtn_rl.config import TrainConfig
from gtn_rl.envs.actions import Actions, make_actions
from gtn_rl.envs.synthetic import SyntheticEnv
from gtn_rl.envs.targets import RealEnvs, Rollout, Target
from gtn_rl.inner.optimal import optimal_policy
from gtn_rl.seeding import derive, generator
from gtn_rl.spaces import to_unit
from gtn_rl.stages.base import Once
from gtn_rl.state import State

_STREAM = 7
_COPIES, _BATCH, _LEARNING_RATE = 64, 1024, 3e-3

_STEPS_PER_UPDATE = 25
"""Real steps for each update of the fit; each is seen in 40 of them."""


def learn_dynamics(task: Target, config: TrainConfig) -> Once:
    """The stage: transitions of what the optimal policy does and of what anyone might do."""

    def act(state: State) -> dict[str, float]:
        env, seed = state.teacher, derive(config.seed, _STREAM)
        assert isinstance(env, SyntheticEnv)
        actions = make_actions(task.action_space, config.noise)
        rollout = explore(env, task, actions, config.dynamics.real_steps, seed)
        errors = fit_dynamics(env, task, rollout, derive(config.seed, _STREAM, 2))
        return {"surrogate": -sum(errors.values())}

    return Once("learning dynamics", act)


def explore(env: SyntheticEnv, task: Target, actions: Actions, steps: int, seed: int) -> Rollout:
    """About so many real transitions, from what the optimal policy does to what anyone might do.

    The first of 64 real environments is acted in at random, the last as by the optimal policy,
    those between the less at random the later. Random actions alone would not leave where episodes
    start.
    """
    share = torch.linspace(0, 1, _COPIES).view(1, -1, 1)

    def policy(observation: Tensor) -> Tensor:
        return share * optimal_policy(env, observation)

    with RealEnvs(task, actions, 1, _COPIES) as real:
        real.reset(derive(seed, 0))
        return real.rollout(policy, max(steps // _COPIES, 1), generator(seed, 1))


def fit_dynamics(env: SyntheticEnv, task: Target, rollout: Rollout, seed: int) -> dict[str, float]:
    """Fit an environment's dynamics and termination to real transitions, in place.

    Next observations are Gaussian around the dynamics' and terminations Bernoulli, so that maximum
    likelihood is least squares and cross-entropy.

    Returns:
        Errors at the end (`dynamics`: mean squared, relative to the variance of a step;
        `termination`: cross-entropy in nats).
    """
    valid = rollout.valid[0]
    before, after = rollout.observation[0][valid], rollout.next_observation[0][valid]
    action = to_unit(task.action_space, rollout.action[0][valid])
    ended = rollout.terminated[0][valid].float()
    env.step_size.copy_(((after - before) / env.std).std(0).clamp_min(1e-3))
    unit = env.std * env.step_size
    optimizer = torch.optim.Adam([env.dynamics_parameters], _LEARNING_RATE)
    source = generator(seed, 0)
    errors = torch.zeros(2)
    updates = max(len(before) // _STEPS_PER_UPDATE, 1)
    for update in range(updates):
        index = torch.randint(len(before), (_BATCH,), generator=source)
        outcome = env.outcome(before[index][None], action[index][None])
        distance = ((outcome.observation[0] - after[index]) / unit).square().mean()
        chance = outcome.termination[0].clamp(1e-6, 1 - 1e-6)
        surprise = F.binary_cross_entropy(chance, ended[index])
        optimizer.param_groups[0]["lr"] = _LEARNING_RATE * (1 - update / updates)
        optimizer.zero_grad()
        (distance + surprise).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        errors = torch.lerp(errors, torch.stack([distance, surprise]).detach(), 0.05)
    return {"dynamics": float(errors[0]), "termination": float(errors[1])}
