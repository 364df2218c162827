"""Stock Stable-Baselines3 agents, unmodified: the judges of a synthetic environment."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from gtn_rl.errors import MissingExtraError, UsageError, did_you_mean
from gtn_rl.spaces import counted_from_zero, first_action

ALGORITHMS: dict[str, type[BaseAlgorithm]] = {
    "ppo": PPO, "a2c": A2C, "dqn": DQN, "sac": SAC, "td3": TD3, "ddpg": DDPG,
}  # fmt: skip
CONTRIB = {"trpo": "TRPO", "qrdqn": "QRDQN", "tqc": "TQC", "ars": "ARS"}
"""Algorithms of sb3-contrib; none of them is among the learners of meta-training."""

LEARNING_STARTS = 200
"""Random steps of DQN and QR-DQN before they learn; of a few thousand in all, that is what they can
spare. The other off-policy agents start after 100 by default."""


def algorithm(name: str) -> type[BaseAlgorithm]:
    """The agent class for a lower-case name.

    Raises:
        UsageError: No such algorithm.
        MissingExtraError: An algorithm of sb3-contrib, which is not installed.
    """
    if name in ALGORITHMS:
        return ALGORITHMS[name]
    if name not in CONTRIB:
        known = [*ALGORITHMS, *CONTRIB]
        raise UsageError(
            f"unknown algorithm {name!r}: use some of {', '.join(known)}."
            f"{did_you_mean(name, known)}"
        )
    try:
        contrib = importlib.import_module("sb3_contrib")
    except ImportError as error:
        raise MissingExtraError(
            f"{name} needs sb3-contrib: pip install 'gtn_rl[contrib]'"
        ) from error
    chosen: type[BaseAlgorithm] = getattr(contrib, CONTRIB[name])
    return chosen


_CONTINUOUS = {"sac", "td3", "ddpg", "tqc"}
_DISCRETE = {"dqn", "qrdqn"}


def default_algorithms(space: spaces.Space[Any]) -> list[str]:
    """Those of Stable-Baselines3 itself that handle an action space."""
    wrong = _CONTINUOUS if isinstance(space, spaces.Discrete) else _DISCRETE
    return [name for name in ALGORITHMS if name not in wrong]


def check_action_space(name: str, space: spaces.Space[Any]) -> None:
    """Nothing, if an algorithm handles an action space.

    Raises:
        UsageError: It does not; the message says which do.
    """
    wrong = _CONTINUOUS if isinstance(space, spaces.Discrete) else _DISCRETE
    if name in wrong:
        fit = [n for n in (*ALGORITHMS, *CONTRIB) if n not in wrong]
        raise UsageError(f"{name} does not handle {space}: use some of {', '.join(fit)}")


def train_stock(
    name: str, env: gym.Env[Any, Any] | VecEnv, steps: int, seed: int,
    overrides: Mapping[str, Any] | None = None,
) -> BaseAlgorithm:  # fmt: skip
    """Train an agent on the CPU with its defaults (DQN and QR-DQN: `learning_starts=200`).

    It counts discrete actions from 0, also where the environment's space begins elsewhere.

    Args:
        steps: Environment steps; on-policy agents round up to whole rollouts.
        overrides: Hyperparameters that are not to have their default.

    Raises:
        UsageError: No such algorithm or hyperparameter.
    """
    chosen = algorithm(name)
    if isinstance(env, gym.Env) and (first := first_action(env.action_space)):
        env = gym.wrappers.TransformAction(
            env, lambda action: action + first, counted_from_zero(env.action_space)
        )
    settings: dict[str, Any] = {"seed": seed, "device": "cpu"}
    if name in ("dqn", "qrdqn"):
        settings["learning_starts"] = LEARNING_STARTS
    try:
        agent = chosen("MlpPolicy", env, **(settings | dict(overrides or {})))
    except TypeError as error:
        raise UsageError(f"{name}: {error}") from error
    return agent.learn(steps)


def greedily(
    agent: BaseAlgorithm, space: spaces.Space[Any]
) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """An agent's deterministic policy, its actions as the target's space has them."""
    first = first_action(space)

    def act(observation: NDArray[Any]) -> NDArray[Any]:
        action: NDArray[Any] = agent.predict(observation, deterministic=True)[0]
        return action + first

    return act
