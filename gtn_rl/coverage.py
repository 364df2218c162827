"""Where synthetic episodes start: in states like those that agents of the real task meet.

A bandit teaches what to do in the states that it shows. Those of an untrained environment have the
right scale and nothing else of the task: angles whose sine and cosine do not belong together,
velocities that do not go with positions. So before learners are trained, the initial states are
fitted to real ones.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gtn_rl.envs.introduction import independent
from gtn_rl.envs.synthetic import SyntheticEnv
from gtn_rl.errors import UsageError
from gtn_rl.perfect import wanted_actions

_STEPS, _BATCH, _LEARNING_RATE = 600, 256, 5e-3

_BAFFLE_STEPS, _BAFFLE_BATCH, _BAFFLE_RATE, _PULL = 300, 4096, 2e-2, 2e-2
"""Of the fit that keeps linear policies from learning the introduction; the last is what a squared
unit of its parameters' way costs."""


def energy_distance(made: Tensor, real: Tensor) -> Tensor:
    """Energy distance of two samples `[M, O]`, but for what does not depend on `made`.

    It is least where both have one distribution (Székely and Rizzo 2013, equation 2). Pairs of a
    point with itself are left out, so that the estimate has no bias.
    """
    apart = torch.cdist(made, made).sum() / (len(made) * (len(made) - 1))
    distance: Tensor = 2 * torch.cdist(made, real).mean() - apart
    return distance


def widen(states: Tensor, share: float, source: torch.Generator) -> Tensor:
    """States of which a share are made up: anywhere within the bounds of the real ones.

    What is small where agents mostly are, as a velocity is, and which action depends on all the
    same, is learned in a few thousand steps only if they are shown it large as well.

    Args:
        states: Real ones, `[M, O]`.
        share: Of those that are made up, each observation by itself, uniformly.
        source: Of all randomness.
    """
    count = round(share * len(states))
    if not count:
        return states
    low, high = states.amin(0), states.amax(0)
    made = low + (high - low) * torch.rand(count, states.shape[1], generator=source)
    kept = states[torch.randperm(len(states), generator=source)[count:]]
    return torch.cat([kept, made])


@torch.no_grad()
def enclose(env: SyntheticEnv, states: Tensor) -> None:
    """Spread the initial states of an `even` environment over the bounds of real ones.

    Args:
        env: One environment, changed in place.
        states: Real states `[M, O]`.
    """
    low, high = ((bound - env.mean) / env.std for bound in (states.amin(0), states.amax(0)))
    env.shift_parameters[:] = (low + high) / 2
    # A uniform distribution of deviation 1 is so wide.
    env.spread_parameters[:] = ((high - low).clamp_min(1e-6) / 12**0.5).log()
    for last in env.initial_network.layers(env.initial_parameters)[-1]:
        last.zero_()


def cover(env: SyntheticEnv, states: Tensor, source: torch.Generator) -> float:
    """Fit the initial states of an environment to real ones, in units of their deviation.

    Args:
        env: One environment, changed in place.
        states: Real states `[M, O]`.
        source: Of all randomness.

    Returns:
        The energy distance of the last steps, on average.
    """
    optimizer = torch.optim.Adam([env.initial_parameters], _LEARNING_RATE)
    real = (states - env.mean) / env.std
    late: list[float] = []
    for step in range(_STEPS):
        optimizer.param_groups[0]["lr"] = _LEARNING_RATE * (1 - step / _STEPS)
        noise = torch.randn(1, _BATCH, env.noise_size, generator=source)
        # Any time of an agent's training: a curriculum begins alike everywhere.
        progress = torch.rand(_BATCH, generator=source)
        made = (env.settled(noise, progress)[0] - env.mean) / env.std
        index = torch.randint(len(real), (_BATCH,), generator=source)
        loss = energy_distance(made, real[index])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if step >= _STEPS - 50:
            own = energy_distance(real[index], real[index.roll(1)])
            late.append(float(loss.detach() - own))
    return sum(late) / len(late)


@torch.no_grad()
def introduce(env: SyntheticEnv, states: Tensor, spread: tuple[float, ...], share: float) -> None:
    """Begin an environment's introduction about real states, its observations independent.

    Args:
        env: One environment with an introduction, changed in place.
        states: Real states `[M, O]`.
        spread: How many times as far apart, one number for all observations or O numbers.
        share: Of an agent's training that it takes.

    Raises:
        UsageError: Another number of numbers.
    """
    size = env.noise_size
    if len(spread) not in (1, size):
        raise UsageError(
            f"introduction takes 1 number or {size}, one for each observation, got {len(spread)}"
        )
    deviation, mean = torch.std_mean(states, 0)
    reach = deviation / env.std * torch.tensor(spread)
    env.introduction_parameters[0] = independent((mean - env.mean) / env.std, reach, share)


def linear_share(env: SyntheticEnv, noise: Tensor) -> Tensor:
    """R^2 of the best linear policy for what is wanted in an introduction: how much it knows.

    Args:
        env: One environment with an introduction.
        noise: Of its states, `[1, N, noise_size]`.
    """
    states = env.initial(noise, 0.0)[0]
    wanted = wanted_actions(env, states.unsqueeze(0))[0]
    known = states - states.mean(0)
    wanted = wanted - wanted.mean(0)
    known = known / known.std(0).clamp_min(1e-6)
    # Keeps an observation that does not move from an infinite coefficient.
    ridge = 1e-3 * torch.eye(known.shape[1], dtype=known.dtype)
    covariance = known.T @ wanted / len(known)
    fitted = torch.linalg.solve(known.T @ known / len(known) + ridge, covariance)
    # Where all states want the same there is nothing to know.
    share: Tensor = (covariance * fitted).sum() / wanted.square().mean(0).sum().clamp_min(1e-12)
    return share


def baffle(env: SyntheticEnv, bound: float, source: torch.Generator) -> None:
    """Move an introduction, no farther than need be, until linear policies know little of it.

    What a linear policy knows agents of small batches learn first, and may never leave again.

    Args:
        env: One environment with an introduction, changed in place; its share stays.
        bound: R^2 that is let be.
        source: Of all randomness.
    """
    if bound >= 1:
        return
    parameters = env.introduction_parameters
    start = parameters.detach().clone()
    optimizer = torch.optim.Adam([parameters], _BAFFLE_RATE)
    for step in range(_BAFFLE_STEPS):
        optimizer.param_groups[0]["lr"] = _BAFFLE_RATE * (1 - step / _BAFFLE_STEPS)
        noise = torch.randn(1, _BAFFLE_BATCH, env.noise_size, generator=source)
        away = (parameters - start).square().sum()
        loss = (linear_share(env, noise) - bound).clamp_min(0) + _PULL * away
        optimizer.zero_grad()
        (gradient,) = torch.autograd.grad(loss, [parameters])
        gradient[:, -1] = 0
        parameters.grad = gradient
        optimizer.step()
    parameters.grad = None
