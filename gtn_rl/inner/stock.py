"""Stock Stable-Baselines3 agents as the learners of a synthetic environment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray

from gtn_rl.envs.synthetic import SyntheticEnv
from gtn_rl.envs.targets import Factory, Target, play
from gtn_rl.seeding import derive

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm


def stock_returns(
    env: SyntheticEnv, names: Sequence[str], task: Target, steps: int, seeds: list[int]
) -> NDArray[np.float64]:
    """Greedy real returns `[agents, episodes]` of stock agents trained in a synthetic environment.

    Args:
        names: Algorithms, one agent of each: `ppo`, or any other of `gtn_rl.agents.sb3`.
        seeds: One for each real episode; all agents start alike. The first is the agents' own too.
    """
    from gtn_rl.agents.sb3 import greedily, train_stock
    from gtn_rl.envs.sb3 import SyntheticVecEnv

    returns = []
    envs = task.vector(len(seeds))
    for index, name in enumerate(names):
        seed = derive(seeds[0], index) % 2**31
        agent = train_stock(name, SyntheticVecEnv(env, 1, seed, budget=steps), steps, seed)
        returns.append(play(envs, greedily(agent, task.action_space), seeds)[0])
    envs.close()
    return np.stack(returns)


def member_returns(
    env: SyntheticEnv, names: Sequence[str], task: Target, steps: int, seeds: list[int]
) -> torch.Tensor:
    """Mean real returns `[P]` of the stock agents of each of P members."""
    scores = []
    for member in range(env.members):
        alone = env.select(torch.tensor([member])).requires_grad_(False)
        scores.append(stock_returns(alone, names, task, steps, seeds).mean())
    return torch.tensor(np.array(scores), dtype=torch.float32)


def side_by_side(target: str | Factory, count: int) -> gym.vector.VectorEnv[Any, Any, Any]:
    """So many real environments of a Gymnasium id, or of a function that makes one."""
    if isinstance(target, str):
        return gym.make_vec(target, num_envs=count)
    return gym.vector.SyncVectorEnv([target] * count)


def greedy_returns(
    agent: BaseAlgorithm, target: str | Factory, episodes: int, seed: int
) -> NDArray[np.float64]:
    """Undiscounted returns `[episodes]` of an agent's deterministic policy in the real task."""
    from gtn_rl.agents.sb3 import greedily

    envs = side_by_side(target, episodes)
    try:
        return play(envs, greedily(agent, envs.single_action_space), seed)[0]
    finally:
        envs.close()
