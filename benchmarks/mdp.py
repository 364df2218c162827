"""Environments with dynamics: stock agents, the world-model baseline, memory.

`python benchmarks/mdp.py agents FOLDER...` judges artifacts by stock SB3 agents and says how long
synthetic episodes last while PPO trains in them. `world-model TARGET...` fits dynamics and
termination to random real transitions, without any meta-training, and judges stock agents trained
in that. `memory` measures the peak memory of one meta-gradient against the number of inner steps.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
import tyro
from common import RESULTS, keep
from numpy.typing import ArrayLike
from stable_baselines3.common.monitor import Monitor

from gtn_rl.agents.sb3 import train_stock
from gtn_rl.config import Dynamics, Learners, TrainConfig
from gtn_rl.envs.actions import make_actions
from gtn_rl.envs.gym import SyntheticGymEnv
from gtn_rl.envs.synthetic import SyntheticEnv
from gtn_rl.envs.targets import describe
from gtn_rl.evaluation.compare import compare
from gtn_rl.evaluation.stats import summarize
from gtn_rl.inner.stock import greedy_returns
from gtn_rl.inner.training import inner_loop
from gtn_rl.seeding import generator
from gtn_rl.stages.dynamics import explore, fit_dynamics

FILE = RESULTS / "mdp.json"
ALGORITHMS = ("ppo", "a2c", "dqn")


def score(returns: ArrayLike) -> dict[str, float]:
    """What is kept of returns `[agents, episodes]`."""
    s = summarize(returns)
    return {"iqm": round(s.iqm, 1), "min": round(s.min, 1)}


def agents(
    names: tyro.conf.Positional[tuple[str, ...]], *, seeds: int = 10, steps: int = 5_000,
    jobs: int = 2,
) -> None:  # fmt: skip
    """Stock agents of every algorithm in each artifact."""
    for name in names:
        scores = compare(
            name, algos=ALGORITHMS, steps=steps, seeds=seeds, real=False,
            jobs=jobs, progress_bar=False, first_seed=100,
        )  # fmt: skip
        env = Monitor(SyntheticGymEnv(name))
        train_stock("ppo", env, steps, 0)
        row = {key: scores.training.get(key) for key in ("seconds", "real_steps", "command")}
        row |= {"target": scores.target, "episode_length": np.mean(env.get_episode_lengths())}
        row |= {cell.algorithm: score(cell.returns) for cell in scores.cells}
        keep(FILE, f"agents {Path(name).name}", row)


class WorldModel(gym.Env[Any, Any]):
    """Fitted dynamics and termination, real first states, the real reward (one number a step)."""

    def __init__(self, env: SyntheticEnv, target: str) -> None:
        self._env, self._real = env, gym.make(target)
        self.observation_space, self.action_space = env.observation_space, env.action_space
        self._reward = 1.0 if target.startswith("CartPole") else -1.0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        """Where a real episode starts."""
        super().reset(seed=seed)
        self._age = 0
        self._state, _ = self._real.reset(seed=int(self.np_random.integers(2**31)))
        return self._state, {}

    @torch.inference_mode()
    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Follow the fit."""
        state = torch.as_tensor(self._state)[None, None]
        outcome = self._env.outcome(state, torch.tensor([[int(action)]]))
        self._state, self._age = outcome.observation[0, 0].numpy(), self._age + 1
        ended = bool(self.np_random.random() < float(outcome.termination))
        late = self._age >= self._real.spec.max_episode_steps
        return self._state, self._reward, ended, late, {}


def world_model(
    names: tyro.conf.Positional[tuple[str, ...]], *, seeds: int = 10, steps: int = 5_000
) -> None:
    """Stock agents in a plain supervised world model."""
    for target in names:
        task = describe(target)
        env = SyntheticEnv(task.observation_space, task.action_space, target=target, horizon=500)
        with torch.no_grad():
            env.reward_parameters.zero_()  # Optimal policies of no reward act at random.
        rollout, taken = explore(env, task, make_actions(task.action_space, 0.4), 50_000, 0)
        row: dict[str, Any] = {"real_steps": taken} | fit_dynamics(env, task, rollout, 0)
        for name in ALGORITHMS:
            returns = []
            for seed in range(seeds):
                agent = train_stock(name, WorldModel(env, target), steps, seed)
                returns.append(greedy_returns(agent, target, 20, seed))
            row[name] = score(returns)
        keep(FILE, f"world-model {target}", row)


def one_memory(*, inner_steps: int = 64, checkpointing: int = 0) -> None:
    """One meta-gradient; prints seconds and the peak beyond what a training takes, in MiB."""
    torch.set_num_threads(1)
    task = describe("CartPole-v1")
    config = TrainConfig(
        horizon=20, estimator="meta-gradient",
        learners=Learners(kinds=("8xpg@tanh:64-64",), inner_steps=inner_steps),
        dynamics=Dynamics(checkpointing=checkpointing),
    )  # fmt: skip
    env = SyntheticEnv(task.observation_space, task.action_space, horizon=20)
    inner_loop(env, config, generator(0), create_graph=False)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    (stack,) = inner_loop(env, config, generator(0), create_graph=True)
    torch.autograd.grad(stack.parameters.square().sum(), list(env.parameters()))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(json.dumps({"mib": round(peak / 1024, 1), "seconds": time.perf_counter() - start}))


def memory() -> None:
    """Peak memory of one meta-gradient for more and more inner steps, each in a new process."""
    for steps in (64, 256, 1024):
        for segments in (0, round(steps**0.5)):
            command = [sys.executable, __file__, "one-memory", "--inner-steps", str(steps)]
            command += ["--checkpointing", str(segments)]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            keep(FILE, f"memory {steps} {segments}", json.loads(output))


if __name__ == "__main__":
    measures = {
        "agents": agents, "world-model": world_model, "memory": memory, "one-memory": one_memory,
    }  # fmt: skip
    tyro.extras.subcommand_cli_from_dict(measures)
