"""Environments with dynamics: stock agents, the world-model baseline, gradient norms, memory.

`python benchmarks/mdp.py agents FOLDER...` judges artifacts by stock SB3 agents and says how long
synthetic episodes last while PPO trains in them. `world-model` fits dynamics and termination to
random real transitions, without any meta-training, and judges stock agents trained in that.
`memory` measures the peak memory of one meta-gradient against the number of inner steps.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
import tyro
from stable_baselines3.common.monitor import Monitor

from gtn_rl.agents.sb3 import train_stock
from gtn_rl.config import Dynamics, Learners, TrainConfig
from gtn_rl.envs.actions import make_actions
from gtn_rl.envs.gym import SyntheticGymEnv
from gtn_rl.envs.synthetic import SyntheticEnv
from gtn_rl.envs.targets import describe
from gtn_rl.evaluation.compare import compare
from gtn_rl.evaluation.stats import summarize
from gtn_rl.inner.training import inner_loop
from gtn_rl.seeding import generator
from gtn_rl.stages.dynamics import explore, fit_dynamics

RESULTS = Path(__file__).parent / "results" / "mdp.json"
ALGORITHMS = ("ppo", "a2c", "dqn")


@dataclass(frozen=True)
class Arguments:
    """What to measure."""

    what: tyro.conf.Positional[str]
    """agents, world-model, memory, or one-memory (used by memory)."""

    names: tyro.conf.Positional[tuple[str, ...]] = ()
    """Artifacts for agents, targets for world-model."""

    seeds: int = 10
    """Agents of each algorithm."""

    steps: int = 5_000
    """Environment steps of each agent."""

    jobs: int = 2
    """Processes."""

    inner_steps: int = 64
    """For one-memory."""

    checkpointing: int = 0
    """For one-memory."""


def agents(arguments: Arguments) -> list[dict[str, Any]]:
    """Stock agents of every algorithm in each artifact."""
    rows = []
    for name in arguments.names:
        scores = compare(
            name, algos=ALGORITHMS, steps=arguments.steps, seeds=arguments.seeds, real=False,
            jobs=arguments.jobs, progress_bar=False, first_seed=100,
        )  # fmt: skip
        env = Monitor(SyntheticGymEnv(name))
        train_stock("ppo", env, arguments.steps, 0)
        row: dict[str, Any] = {
            "kind": "agents",
            "artifact": Path(name).name,
            "target": scores.target,
        }
        row |= {key: scores.training.get(key) for key in ("seconds", "real_steps", "command")}
        row["episode_length"] = round(float(np.mean(env.get_episode_lengths())), 1)
        for cell in scores.cells:
            summary = cell.summary()
            row[cell.algorithm] = {"iqm": round(summary.iqm, 1), "min": round(summary.min, 1)}
        rows.append(row)
        print(json.dumps(row), flush=True)
    return rows


class WorldModel(gym.Env[Any, Any]):
    """Fitted dynamics and termination, real first states, the real reward (one number a step)."""

    def __init__(self, env: SyntheticEnv, target: str) -> None:
        self._env, self._real = env, gym.make(target)
        self.observation_space, self.action_space = env.observation_space, env.action_space
        self._limit = self._real.spec.max_episode_steps
        self._reward = 1.0 if target.startswith("CartPole") else -1.0

    def reset(  # noqa: D102
        self, *, seed: int | None = None, options: Any = None
    ) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._age = 0
        self._state, _ = self._real.reset(seed=int(self.np_random.integers(2**31)))
        return self._state, {}

    @torch.inference_mode()
    def step(  # noqa: D102
        self, action: Any
    ) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        outcome = self._env.outcome(
            torch.as_tensor(self._state)[None, None], torch.tensor([[int(action)]])
        )
        self._state, self._age = outcome.observation[0, 0].numpy(), self._age + 1
        ended = bool(self.np_random.random() < float(outcome.termination))
        return self._state, self._reward, ended, self._age >= self._limit, {}


def world_model(arguments: Arguments) -> list[dict[str, Any]]:
    """Stock agents in a plain supervised world model."""
    from gtn_rl.inner.stock import greedy_returns

    rows = []
    for target in arguments.names:
        task = describe(target)
        env = SyntheticEnv(task.observation_space, task.action_space, target=target, horizon=500)
        with torch.no_grad():
            env.reward_parameters.zero_()  # Optimal policies of no reward act at random.
        actions = make_actions(task.action_space, 0.4)
        rollout, steps = explore(env, task, actions, 50_000, 0)
        errors = fit_dynamics(env, task, rollout, 0)
        row: dict[str, Any] = {
            "kind": "world-model",
            "target": target,
            "real_steps": steps,
        } | errors
        for name in ALGORITHMS:
            returns = []
            for seed in range(arguments.seeds):
                agent = train_stock(name, WorldModel(env, target), arguments.steps, seed)
                returns.append(greedy_returns(agent, target, 20, seed))
            summary = summarize(np.stack(returns))
            row[name] = {"iqm": round(summary.iqm, 1), "min": round(summary.min, 1)}
        rows.append(row)
        print(json.dumps(row), flush=True)
    return rows


def one_memory(arguments: Arguments) -> None:
    """One meta-gradient; prints seconds and the peak beyond what importing takes, in MiB."""
    import time

    torch.set_num_threads(1)
    task = describe("CartPole-v1")
    config = TrainConfig(
        horizon=20, estimator="meta-gradient",
        learners=Learners(kinds=("8xpg@tanh:64-64",), inner_steps=arguments.inner_steps),
        dynamics=Dynamics(checkpointing=arguments.checkpointing),
    )  # fmt: skip
    env = SyntheticEnv(task.observation_space, task.action_space, horizon=20)
    inner_loop(env, config, generator(0), create_graph=False)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    (stack,) = inner_loop(env, config, generator(0), create_graph=True)
    torch.autograd.grad(stack.parameters.square().sum(), list(env.parameters()))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(json.dumps({"mib": round(peak / 1024, 1), "seconds": time.perf_counter() - start}))


def memory(arguments: Arguments) -> list[dict[str, Any]]:
    """Peak memory of one meta-gradient for more and more inner steps."""
    rows = []
    for steps in (64, 256, 1024):
        for segments in (0, round(steps**0.5)):
            command = [sys.executable, __file__, "one-memory", "--inner-steps", str(steps)]
            command += ["--checkpointing", str(segments)]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            row = {"kind": "memory", "inner_steps": steps, "checkpointing": segments}
            rows.append(row | json.loads(output))
            print(json.dumps(rows[-1]), flush=True)
    return rows


def main(arguments: Arguments) -> None:
    """Measure and keep the rows; those of the same kind and name are replaced."""
    if arguments.what == "one-memory":
        one_memory(arguments)
        return
    measures = {
        "agents": agents, "world-model": world_model, "memory": memory,
    }  # fmt: skip
    rows = measures[arguments.what](arguments)
    old = json.loads(RESULTS.read_text()) if RESULTS.exists() else []

    def key(row: dict[str, Any]) -> tuple[Any, ...]:
        return row["kind"], row.get("artifact"), row.get("target")

    replaced = {key(row) for row in rows}
    kept = [row for row in old if key(row) not in replaced]
    RESULTS.write_text(json.dumps(kept + rows, indent=1) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Arguments))
