"""Stock agents trained in the synthetic and in the real environment, scored in the real one."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from gtn_rl.envs.targets import describe, play
from gtn_rl.errors import UsageError
from gtn_rl.evaluation.stats import Summary, summarize
from gtn_rl.evaluation.verdict import verdict
from gtn_rl.io.artifact import canonical, locate, read_config, target_of
from gtn_rl.io.files import write_text
from gtn_rl.io.kinds import from_pretrained
from gtn_rl.outer.pool import make_pool
from gtn_rl.seeding import derive

SYNTHETIC, REAL = "synthetic", "real"

_STEPS = 2_048
"""Steps of agents in an environment that was made for no number of them."""


@dataclass(frozen=True)
class Cell:
    """All agents of one algorithm trained in one kind of environment.

    Args:
        algorithm: Lower-case name.
        environment: `"synthetic"` or `"real"`.
        steps: Environment steps asked for.
        returns: Greedy real returns of the final agents, `[seeds, episodes]`.
        seconds: Training time of each agent, `[seeds]`.
    """

    algorithm: str
    environment: str
    steps: int
    returns: NDArray[np.float64]
    seconds: NDArray[np.float64]

    def summary(self) -> Summary:
        """Aggregate over seeds."""
        return summarize(self.returns)


@dataclass(frozen=True)
class Comparison:
    """What `compare` measured.

    Args:
        artifact: Name or folder of the synthetic environment.
        target: Gymnasium id of the real one.
        training: What meta-training cost, from the artifact.
        cells: A cell for each algorithm and kind of environment.
        returns: Mean real returns of `random` agents, and of the `optimal` policy that the
            environment teaches if the artifact knows it.
    """

    artifact: str
    target: str
    training: dict[str, Any]
    cells: list[Cell]
    returns: dict[str, float]

    def verdict(self) -> str:
        """How agents do that were trained in the synthetic environment, in words."""
        means: dict[str, dict[str, float]] = {SYNTHETIC: {}, REAL: {}}
        for cell in self.cells:
            means[cell.environment][cell.algorithm] = cell.summary().iqm
        return verdict(self.target, self.returns | means[SYNTHETIC], means[REAL])

    def to_json(self) -> dict[str, Any]:
        """Everything, raw scores included."""
        return {
            "artifact": self.artifact,
            "target": self.target,
            "training": self.training,
            "returns": self.returns,
            "cells": [
                {
                    "algorithm": cell.algorithm,
                    "environment": cell.environment,
                    "steps": cell.steps,
                    **cell.summary()._asdict(),
                    "returns": cell.returns.tolist(),
                    "seconds": cell.seconds.tolist(),
                }
                for cell in self.cells
            ],
        }

    def save(self, path: str | Path) -> None:
        """Write `to_json()` to a file."""
        write_text(Path(path), json.dumps(self.to_json(), indent=1) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> Comparison:
        """Read what `save` wrote, to draw it again."""
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        cells = [
            Cell(
                cell["algorithm"], cell["environment"], cell["steps"],
                np.array(cell["returns"]), np.array(cell["seconds"]),
            )
            for cell in content["cells"]
        ]  # fmt: skip
        return cls(
            content["artifact"], content["target"], content["training"], cells, content["returns"]
        )


def compare(
    artifact: str | Path,
    *,
    target: str = "",
    algos: Sequence[str] = (),
    steps: int | None = None,
    seeds: int = 10,
    episodes: int = 20,
    real: bool = True,
    jobs: int = 1,
    first_seed: int = 0,
    progress_bar: bool = True,
) -> Comparison:
    """Train stock agents in a synthetic environment and in its target; score them in the target.

    Every agent is scored as it is at the end, on `episodes` real episodes, with its deterministic
    policy. Both kinds of environment get the same number of steps and the same seeds.

    Args:
        artifact: Name of a shipped environment, or a folder.
        target: Gymnasium id of the real environment; only needed if it is `"module:Id"`, since an
            artifact does not decide what is imported.
        algos: Algorithms, each `"name"` or `"name:steps"`; those of Stable-Baselines3 that handle
            the action space if not given.
        steps: Environment steps where the algorithm does not say; as many as the environment was
            made for if not given.
        seeds: Agents of each algorithm in each environment.
        episodes: Real episodes for each agent.
        real: Whether to train in the real environment as well.
        jobs: Processes; each uses one thread.
        first_seed: Seed of the first agent.
        progress_bar: Whether to show a progress bar.

    Raises:
        ArtifactError: Nothing usable under that name.
        UsageError: An unknown algorithm, a number below one, or a target that cannot be found.
    """
    from gtn_rl.agents.sb3 import check_action_space, default_algorithms

    for name, value in (("seeds", seeds), ("episodes", episodes), ("jobs", jobs)):
        if value < 1:
            raise UsageError(f"{name} must be at least 1, got {value}")
    name = canonical(artifact)
    env = from_pretrained(name)
    algos = algos or default_algorithms(env.action_space)
    plan = [parse_algorithm(text, steps or env.budget or _STEPS) for text in algos]
    config = read_config(name)
    target = target_of(name, config, target)
    describe(target)  # Before anything is spent.
    for algorithm, _ in plan:
        check_action_space(algorithm, env.action_space)
    tasks = [
        _Task(algorithm, count, kind, name, target, first_seed + seed, episodes)
        for algorithm, count in plan
        for kind in ([SYNTHETIC, REAL] if real else [SYNTHETIC])
        for seed in range(seeds)
    ]
    results = _run_all(tasks, jobs, progress_bar)
    cells = []
    for start in range(0, len(tasks), seeds):
        returns, seconds = zip(*results[start : start + seeds], strict=True)
        task = tasks[start]
        cells.append(
            Cell(task.algorithm, task.kind, task.steps, np.stack(returns), np.array(seconds))
        )
    known = config["results"].get("returns", {})
    beside = {"random": random_return(target, episodes, first_seed)}
    if "optimal" in known:
        beside["optimal"] = known["optimal"]
    return Comparison(name, target, config["training"], cells, beside)


def random_return(target: str, episodes: int, seed: int) -> float:
    """Mean real return of agents that act at random."""
    import gymnasium as gym

    envs = gym.make_vec(target, num_envs=episodes)
    try:
        envs.action_space.seed(seed)
        returns, _ = play(envs, lambda _: envs.action_space.sample(), seed)
        return float(returns.mean())
    finally:
        envs.close()


def parse_algorithm(text: str, steps: int) -> tuple[str, int]:
    """Name and steps of `"dqn"` or `"dqn:5000"`.

    Raises:
        UsageError: Unknown algorithm, or steps that are not a positive number.
    """
    from gtn_rl.agents.sb3 import algorithm

    name, _, own = text.partition(":")
    algorithm(name)
    try:
        count = int(own.replace("_", "")) if own else steps
    except ValueError:
        count = 0
    if count < 1:
        raise UsageError(f"{text!r}: steps must be a positive whole number")
    return name, count


@dataclass(frozen=True)
class _Task:
    algorithm: str
    steps: int
    kind: str
    artifact: str
    target: str
    seed: int
    episodes: int


def _run_all(
    tasks: list[_Task], jobs: int, progress_bar: bool
) -> list[tuple[NDArray[np.float64], float]]:
    with tqdm(total=len(tasks), disable=not progress_bar, desc="stock agents") as bar:
        results = []
        if jobs == 1:
            for task in tasks:
                results.append(_run_one(task))
                bar.update()
            return results
        with make_pool(jobs) as pool:
            for result in pool.map(_run_one, tasks):
                results.append(result)
                bar.update()
        return results


def _run_one(task: _Task) -> tuple[NDArray[np.float64], float]:
    import gymnasium as gym

    from gtn_rl.agents.sb3 import greedy_returns, train_stock
    from gtn_rl.envs.sb3 import make_sb3_env

    env: Any = (
        make_sb3_env(locate(task.artifact), seed=task.seed, budget=task.steps)
        if task.kind == SYNTHETIC
        else gym.make(task.target)
    )
    start = time.perf_counter()
    agent = train_stock(task.algorithm, env, task.steps, task.seed)
    seconds = time.perf_counter() - start
    env.close()
    # The stream's number is any constant: scoring must not meet the initial states of training.
    return greedy_returns(agent, task.target, task.episodes, derive(task.seed, 7) >> 32), seconds
