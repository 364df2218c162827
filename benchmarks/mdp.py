"""Environments with dynamics: stock agents, the world-model baseline, gradient norms, memory.

`python benchmarks/mdp.py agents FOLDER...` judges artifacts by stock SB3 agents and says how long
synthetic episodes last while PPO trains in them. `world-model` fits dynamics and termination to
random real transitions, without any meta-training, and judges stock agents trained in that.
`gradients` compares the meta-gradient's norm along episodes with that of one step ahead.
`memory` measures the peak memory of one meta-gradient against the number of inner steps.
`curves` meta-trains CartPole with dynamics by the meta-gradient in several ways, and draws
docs/mdp.png.
"""

from __future__ import annotations

import csv
import json
import resource
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
import tyro
from matplotlib.figure import Figure
from stable_baselines3.common.monitor import Monitor

from gtn_rl.agents.sb3 import train_stock
from gtn_rl.compare import compare
from gtn_rl.envs.actions import make_actions
from gtn_rl.envs.gym import SyntheticGymEnv
from gtn_rl.envs.synthetic import SyntheticEnv
from gtn_rl.envs.targets import describe
from gtn_rl.interaction import interact
from gtn_rl.seeding import generator
from gtn_rl.settings import settings_for
from gtn_rl.stats import summarize
from gtn_rl.world_model import fit_dynamics

RESULTS = Path(__file__).parent / "results" / "mdp.json"
FIGURE = Path(__file__).parents[1] / "docs" / "mdp.png"
ALGORITHMS = ("ppo", "a2c", "dqn")
_RETURN = ("--init", "gtn_rl/CartPole-v1", "--warmup", "0", "--imitation", "0")
VARIANTS: dict[str, tuple[str, ...]] = {
    "agreement, one step ahead": (),
    "agreement, along episodes": ("--through-dynamics",),
    "agreement, along episodes, not evened out": ("--through-dynamics", "--no-even-out"),
    "return, one step ahead": _RETURN,
    "return, along episodes": (*_RETURN, "--through-dynamics"),
    "return, along episodes, not evened out": (*_RETURN, "--through-dynamics", "--no-even-out"),
}
"""A2C learners, who need the teaching: policy gradient and DQN start out near the best return."""


@dataclass(frozen=True)
class Arguments:
    """What to measure."""

    what: tyro.conf.Positional[str]
    """agents, world-model, gradients, memory, curves, or one-memory (used by memory)."""

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

    outer_steps: int = 60
    """For curves."""

    out: Path = Path("runs/mdp-curves")
    """Folder of the runs of curves."""


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
    from gtn_rl.agents.sb3 import greedy_returns

    rows = []
    for target in arguments.names:
        task = describe(target)
        env = SyntheticEnv(task.observation_space, task.action_space, target=target, horizon=500)
        with torch.no_grad():
            env.reward_parameters.zero_()  # Perfect learners of no reward act at random.
        config = replace(settings_for(target), world_model=50_000)
        actions = make_actions(task.action_space, config.outer_noise)
        errors, steps = fit_dynamics(env, task, actions, config, 0)
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


def gradients(arguments: Arguments) -> list[dict[str, Any]]:
    """Norms of each learner's gradient, along episodes and one step ahead."""
    task = describe("CartPole-v1")
    rows = []
    for through in (False, True):
        for horizon in (5, 20, 100):
            config = replace(
                settings_for(task.id), horizon=horizon, through_dynamics=through, even_out=False,
                inner_steps=arguments.inner_steps, learners=("8xpg@tanh:64-64",),
            )  # fmt: skip
            norms = []
            for seed in range(5):
                env = SyntheticEnv(
                    task.observation_space, task.action_space, horizon=horizon,
                    std=np.array([0.5, 0.6, 0.1, 0.8]), generator=generator(seed),
                )  # fmt: skip
                (stack,) = interact(env, config, generator(seed), create_graph=True)
                weight = torch.randn(stack.parameters.shape, generator=generator(seed))
                total = (stack.parameters * weight).sum()
                parts = torch.autograd.grad(total, list(env.parameters()))
                norms.append(float(torch.cat([part.flatten() for part in parts]).norm()))
            row = {
                "kind": "gradients", "along episodes": through, "horizon": horizon,
                "norms": [float(f"{norm:.3g}") for norm in norms],
            }  # fmt: skip
            rows.append(row)
            print(json.dumps(row), flush=True)
    return rows


def one_memory(arguments: Arguments) -> None:
    """One meta-gradient; prints seconds and the peak beyond what importing takes, in MiB."""
    import time

    torch.set_num_threads(1)
    task = describe("CartPole-v1")
    config = replace(
        settings_for(task.id), horizon=20, inner_steps=arguments.inner_steps,
        checkpointing=arguments.checkpointing, learners=("8xpg@tanh:64-64",),
    )  # fmt: skip
    env = SyntheticEnv(task.observation_space, task.action_space, horizon=20)
    interact(env, config, generator(0), create_graph=False)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    (stack,) = interact(env, config, generator(0), create_graph=True)
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


def curves(arguments: Arguments) -> list[dict[str, Any]]:
    """Evaluations and norms of the meta-gradient in the course of meta-training."""
    rows = []
    for name, options in VARIANTS.items():
        for seed in range(arguments.seeds):
            folder = arguments.out / f"{name.replace(' ', '-').replace(',', '')}-{seed}"
            command = [
                str(Path(sys.executable).parent / "gtn-rl"), "train", "CartPole-v1",
                "--out", str(folder), "--seed", str(seed), "--horizon", "20",
                "--learners", "16xa2c@tanh:64-64", "--imitation", str(arguments.outer_steps),
                "--outer-learning-rate", "4e-3", "--max-real-steps", "3000000",
                "--max-outer-steps", str(arguments.outer_steps), "--patience", "1000",
                "--no-progress", *options,
            ]  # fmt: skip
            if not (folder / "config.json").is_file():
                subprocess.run(command, check=True)
            with (folder / "log.csv").open() as file:
                log = list(csv.DictReader(file))
            row: dict[str, Any] = {"kind": "curves", "artifact": name, "target": f"seed {seed}"}
            for column in ("step", "evaluation", "gradient_norm"):
                row[column] = [float(entry[column]) if entry[column] else None for entry in log]
            row["seconds"] = float(log[-1]["seconds"])
            rows.append(row)
            print(name, seed, row["evaluation"][0], row["evaluation"][-1], flush=True)
    draw(rows).savefig(FIGURE, dpi=110)
    return rows


def draw(rows: list[dict[str, Any]]) -> Figure:
    """Evaluations on the left, norms on the right; a thin line for each outer seed."""
    figure = Figure(figsize=(9.5, 3.8), layout="constrained")
    axes = figure.subplots(1, 2)
    for number, name in enumerate(VARIANTS):
        for row in rows:
            if row["artifact"] != name:
                continue
            label = name if row["target"] == "seed 0" else None
            for axis, column in zip(axes, ("evaluation", "gradient_norm"), strict=True):
                points = [
                    (step, value)
                    for step, value in zip(row["step"], row[column], strict=True)
                    if value is not None
                ]
                axis.plot(*zip(*points, strict=True), color=f"C{number}", lw=1.2, label=label)
    axes[0].set(title="fresh A2C learners on the real CartPole", xlabel="outer step")
    axes[0].set(ylabel="greedy return", ylim=(0, 510))
    axes[1].set(title="norm of the meta-gradient", xlabel="outer step", yscale="log")
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    axes[1].legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def main(arguments: Arguments) -> None:
    """Measure and keep the rows; those of the same kind and name are replaced."""
    if arguments.what == "one-memory":
        one_memory(arguments)
        return
    measures = {
        "agents": agents, "world-model": world_model, "gradients": gradients, "memory": memory,
        "curves": curves,
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
