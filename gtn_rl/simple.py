"""What makes a lesson of discrete actions simpler, and leaves which action is best as it was.

A warm-up heeds nothing but which action is best. How far apart scores lie, and what those of
actions say that are hardly ever best, is left to chance by it, and learned by whoever is taught.
"""

from __future__ import annotations

import torch
from gymnasium import spaces
from torch import Tensor

from gtn_rl.envs.synthetic import SyntheticEnv

_SHOWN = 8192


@torch.no_grad()
def hush(env: SyntheticEnv, share: float, source: torch.Generator) -> list[int]:
    """Let actions that are hardly ever best score the mean of the others.

    That such an action is bad is the first that a policy would learn, in all states alike, and
    what it learns of the others suffers. Now nothing is to be learned of it.

    Args:
        env: One environment, changed in place; of continuous actions nothing is.
        share: Of the states that it shows, below which an action's is.
        source: Of these states.

    Returns:
        Those actions. None if all but one are.
    """
    scores = _scores(env, source)
    if scores is None or not share:
        return []
    best = scores.argmax(-1).bincount(minlength=scores.shape[-1]) / len(scores)
    rare = best < share
    if (~rare).sum() < 2:
        return []
    for last in env.reward_network.layers(env.reward_parameters)[-1]:
        last[..., rare] = last[..., ~rare].mean(-1, keepdim=True)
    return rare.nonzero()[:, 0].tolist()


@torch.no_grad()
def set_gap(env: SyntheticEnv, gap: float, source: torch.Generator) -> None:
    """Stretch scores until best and worst are so far apart, on average over the states it shows.

    Bounded rewards tell small differences from others; of scores that lie tens apart they only say
    which action is best.

    Args:
        env: One environment, changed in place; of continuous actions nothing is.
        gap: How far; as they are if 0.
        source: Of these states.
    """
    scores = _scores(env, source)
    if scores is None or not gap:
        return
    now = (scores.amax(-1) - scores.amin(-1)).mean().clamp_min(1e-6)
    for last in env.reward_network.layers(env.reward_parameters)[-1]:
        last.mul_(gap / now)


def _scores(env: SyntheticEnv, source: torch.Generator) -> Tensor | None:
    """Outputs of the reward network in states that are shown, `[N, A]`."""
    if not isinstance(env.action_space, spaces.Discrete):
        return None
    noise = torch.randn(1, _SHOWN, env.noise_size, generator=source)
    return env.output(env.settled(noise))[0]
