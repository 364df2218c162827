"""The real environment with a learned reward, as a world in which learners gather experience."""

from __future__ import annotations

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from gtn_rl.agents.interactive import Judged, Place, Segment
from gtn_rl.envs.actions import Actions
from gtn_rl.envs.reward import RewardNetwork
from gtn_rl.envs.spaces import halves
from gtn_rl.envs.targets import Target
from gtn_rl.errors import UsageError


class RewardedWorld:
    """P rewards with K learners each and N real episodes for each learner; R = P K.

    Unlike a synthetic world it cannot be run twice from one place: no gradient checkpointing.

    Args:
        task: The target.
        reward: What learners are given for their steps.
        actions: How learners act.
        learners: K.
        episodes: N.
        seed: Of the real episodes; those of all members start alike.
        shared: Whether the learners of all members see the same random numbers.
    """

    def __init__(
        self, task: Target, reward: RewardNetwork, actions: Actions, learners: int, episodes: int,
        seed: int, *, shared: bool = True,
    ) -> None:  # fmt: skip
        self._reward, self._actions, self._shared = reward, actions, shared
        self._rows, self._learners, self._episodes = reward.members * learners, learners, episodes
        self._envs = task.vector(self._rows * episodes)
        rows = learners if shared else self._rows
        seeds = [(seed + index) % 2**31 for index in range(rows * episodes)]
        self._seeds = seeds * (self._rows // rows)
        self._real: list[Tensor] = []
        box = task.action_space
        self._scale = halves(box) if isinstance(box, spaces.Box) else None
        self.steps = 0

    def close(self) -> None:
        """Free the environments."""
        self._envs.close()

    @property
    def parameters(self) -> list[Tensor]:
        """Those of the rewards."""
        return list(self._reward.parameters())

    def forget(self) -> None:
        """Nothing is computed ahead."""

    def enter(self, progress: float) -> None:
        """Begin a segment; the real environment does not change."""
        self._real.clear()

    def reset(self, source: torch.Generator) -> Place:
        """Start episodes everywhere."""
        observation, _ = self._envs.reset(seed=self._seeds)  # type: ignore[arg-type]
        shape = (self._rows, self._episodes)
        return Place(self._tensor(observation), torch.zeros(shape, dtype=torch.long))

    def step(
        self, place: Place, action: Tensor, source: torch.Generator
    ) -> tuple[Place, Tensor, Tensor, Tensor]:
        """Take real steps: place after it and its resets, then `following`, `over`, `last`."""
        array, reward, terminated, truncated, _ = self._envs.step(
            self._actions.to_numpy(action.flatten(0, 1))
        )
        self.steps += len(reward)
        following = self._tensor(array)
        over = terminated | truncated
        if over.any():
            array, _ = self._envs.reset(options={"reset_mask": over})
        shape = (self._rows, self._episodes)
        self._real.append(torch.as_tensor(reward.astype(np.float32)).view(shape))
        done, last = (torch.as_tensor(x).view(shape) for x in (over, terminated))
        return (
            Place(self._tensor(array), torch.where(done, 0, place.age + 1)),
            following,
            done,
            last,
        )

    def judge(self, segment: Segment) -> Judged:
        """Learned rewards of the actions that were taken."""
        action = segment.action
        if self._scale is not None:
            middle, half = self._scale
            action = ((action - middle) / half).clamp(-1, 1)

        def flat(rows: Tensor, axes: int) -> Tensor:
            return rows.reshape(self._reward.members, -1, *rows.shape[rows.dim() - axes :])

        reward = self._reward(
            flat(segment.observation, 1),
            flat(action, 0 if self._scale is None else 1),
            flat(segment.following, 1),
            flat(torch.stack(self._real, 1), 0),
            flat(segment.last, 0),
        )
        return Judged(
            reward.reshape(segment.last.shape), segment.following, (~segment.last).to(reward.dtype)
        )

    def judge_all(self, segment: Segment) -> Judged:
        """Not known of real actions that were not taken.

        Raises:
            UsageError: Always.
        """
        raise UsageError("learner 'pg' needs all actions' outcomes: use a2c, ppo or dqn")

    def uniform(self, source: torch.Generator, *size: int) -> Tensor:
        """Uniform numbers `[R, N, *size]` that members of a population share."""
        if not self._shared:
            return torch.rand(
                self._rows, self._episodes, *size, generator=source, dtype=torch.float32
            )
        drawn = torch.rand(
            self._learners, self._episodes, *size, generator=source, dtype=torch.float32
        )
        return drawn.expand(self._reward.members, *drawn.shape).flatten(0, 1)

    def _tensor(self, array: np.typing.NDArray[np.floating]) -> Tensor:
        return torch.as_tensor(array.astype(np.float32)).view(self._rows, self._episodes, -1)
