"""Worlds in which learners gather experience: synthetic, or real with a learned reward."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from gtn_rl.agents.interactive import Judged, Place, Segment
from gtn_rl.envs.actions import Actions
from gtn_rl.envs.allowance import take
from gtn_rl.envs.reward import RewardNetwork
from gtn_rl.envs.synthetic import SyntheticEnv
from gtn_rl.envs.targets import Target
from gtn_rl.errors import UsageError
from gtn_rl.spaces import to_unit

_STARTS = 512
"""First observations drawn ahead; episodes start from them at random."""


class SyntheticWorld:
    """P synthetic environments with K learners each and N episodes for each learner; R = P K.

    Gradients run along episodes, through all states, or through one step. The learners of all
    members see the same random numbers where these are `shared`.
    """

    def __init__(
        self, env: SyntheticEnv, learners: int, episodes: int, seed: int, *, through: bool = False,
        shared: bool = True,
    ) -> None:  # fmt: skip
        self._env, self._through = env, through
        self._shape = (learners, episodes)
        self._rows = env.members * learners
        self._progress = -1.0
        source = torch.Generator().manual_seed(seed)
        dtype = env.reward_parameters.dtype
        self._noise = torch.randn(_STARTS, env.noise_size, generator=source, dtype=dtype)
        self._starts = torch.empty(0)
        self.uniform = _uniform(env.members, (learners, episodes), shared, dtype)

    @property
    def parameters(self) -> list[Tensor]:
        return list(self._env.parameters())

    def forget(self) -> None:
        self._starts = torch.empty(0)

    def enter(self, progress: float) -> None:
        self._progress = progress
        if len(self._starts) and not self._env.timed:
            return
        noise = self._noise.expand(self._env.members, -1, -1)
        with torch.enable_grad():
            self._starts = self._env.initial(noise, progress)

    def reset(self, source: torch.Generator) -> Place:
        observation = self._fresh(source)
        return Place(observation, torch.zeros(observation.shape[:2], dtype=torch.long))

    def step(
        self, place: Place, action: Tensor, source: torch.Generator
    ) -> tuple[Place, Tensor, Tensor, Tensor]:
        with torch.set_grad_enabled(self._through):
            flat = self._flat(place.observation)
            outcome = self._env.outcome(flat, self._taken(action))
            following = outcome.observation.reshape(place.observation.shape)
        age = place.age + 1
        last = age >= self._env.horizon
        chance = self.uniform(source)
        over = last | (chance < outcome.termination.detach().view(chance.shape))
        observation = torch.where(over.unsqueeze(-1), self._fresh(source), following)
        return Place(observation, torch.where(over, 0, age)), following, over, last

    def judge(self, segment: Segment) -> Judged:
        flat, action = self._flat(segment.observation), self._taken(segment.action)
        outcome = self._env.outcome(flat, action)
        reward = self._env.reward(self._env.lesson(flat, self._progress), action)
        return Judged(
            reward.reshape(segment.last.shape),
            outcome.observation.reshape(segment.observation.shape),
            (1 - outcome.termination).reshape(segment.last.shape) * ~segment.last,
        )

    def judge_all(self, segment: Segment) -> Judged:
        flat, shape = self._flat(segment.observation), segment.last.shape
        outcome = self._env.outcomes(flat)
        size = segment.observation.shape[-1]
        return Judged(
            self._env.lesson(flat, self._progress).reshape(*shape, -1),
            outcome.observation.reshape(*shape, -1, size),
            (1 - outcome.termination).reshape(*shape, -1) * ~segment.last.unsqueeze(-1),
        )

    def _fresh(self, source: torch.Generator) -> Tensor:
        chance = self.uniform(source).view(self._env.members, -1)
        index = (_STARTS * chance).long().clamp(max=_STARTS - 1)
        where = index.unsqueeze(-1).expand(*index.shape, self._starts.shape[-1])
        return self._starts.gather(1, where).view(self._rows, self._shape[1], -1)

    def _flat(self, observation: Tensor) -> Tensor:
        """Observations `[R, ..., O]` as `[P, rest, O]`, for the environments."""
        return observation.reshape(self._env.members, -1, observation.shape[-1])

    def _taken(self, action: Tensor) -> Tensor:
        """Actions of the learners as the environments have them, `[P, rest]` or `[P, rest, A]`."""
        unit = to_unit(self._env.action_space, action)
        if unit.is_floating_point():
            return self._flat(unit)
        return unit.reshape(self._env.members, -1)


class RewardedWorld:
    """P rewards with K learners each and N real episodes for each learner; R = P K.

    Unlike a synthetic world it cannot be run twice from one place: no gradient checkpointing.
    The real episodes of all members start alike; random numbers are shared as in a synthetic one.
    """

    def __init__(
        self, task: Target, reward: RewardNetwork, actions: Actions, learners: int, episodes: int,
        seed: int, *, shared: bool = True,
    ) -> None:  # fmt: skip
        self._reward, self._actions = reward, actions
        self._shape = (reward.members * learners, episodes)
        self._envs = task.vector(self._shape[0] * episodes)
        rows = learners if shared else self._shape[0]
        seeds = [(seed + index) % 2**31 for index in range(rows * episodes)]
        self._seeds = seeds * (self._shape[0] // rows)
        self._real: list[Tensor] = []
        self.uniform = _uniform(reward.members, (learners, episodes), shared, torch.float32)

    def close(self) -> None:
        self._envs.close()

    @property
    def parameters(self) -> list[Tensor]:
        return list(self._reward.parameters())

    def forget(self) -> None:
        """Nothing is computed ahead."""

    def enter(self, progress: float) -> None:
        self._real.clear()

    def reset(self, source: torch.Generator) -> Place:
        observation, _ = self._envs.reset(seed=self._seeds)  # type: ignore[arg-type]
        return Place(self._tensor(observation), torch.zeros(self._shape, dtype=torch.long))

    def step(
        self, place: Place, action: Tensor, source: torch.Generator
    ) -> tuple[Place, Tensor, Tensor, Tensor]:
        take(self._envs.num_envs)
        array, reward, terminated, truncated, _ = self._envs.step(
            self._actions.to_numpy(action.flatten(0, 1))
        )
        following = self._tensor(array)
        over = terminated | truncated
        if over.any():
            array, _ = self._envs.reset(options={"reset_mask": over})
        self._real.append(torch.as_tensor(reward.astype(np.float32)).view(self._shape))
        done, last = (torch.as_tensor(x).view(self._shape) for x in (over, terminated))
        after = Place(self._tensor(array), torch.where(done, 0, place.age + 1))
        return after, following, done, last

    def judge(self, segment: Segment) -> Judged:
        action = to_unit(self._reward.action_space, segment.action)

        def flat(rows: Tensor, axes: int) -> Tensor:
            return rows.reshape(self._reward.members, -1, *rows.shape[rows.dim() - axes :])

        reward = self._reward(
            flat(segment.observation, 1),
            flat(action, int(action.is_floating_point())),
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

    def _tensor(self, array: np.typing.NDArray[np.floating]) -> Tensor:
        return torch.as_tensor(array.astype(np.float32)).view(*self._shape, -1)


def _uniform(
    members: int, shape: tuple[int, int], shared: bool, dtype: torch.dtype
) -> Callable[..., Tensor]:
    """Draws numbers `[R, N, *size]`, R = P K, the same for each of P members where shared."""
    rows = shape[0] if shared else shape[0] * members

    def draw(source: torch.Generator, *size: int) -> Tensor:
        drawn = torch.rand(rows, shape[1], *size, generator=source, dtype=dtype)
        return drawn.expand(members, *drawn.shape).flatten(0, 1) if shared else drawn

    return draw
