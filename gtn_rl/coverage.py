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

_STEPS, _BATCH, _LEARNING_RATE = 600, 256, 5e-3


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
