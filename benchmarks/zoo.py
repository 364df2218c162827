"""The zoo's table: stock agents in every shipped environment.

Trains stock agents (final, deterministic, 20 real episodes each) in the shipped environments and
writes the scores, as they come, to `benchmarks/results/zoo.json`; a run that is stopped goes on.

    python benchmarks/zoo.py [--seeds 20] [--tasks CartPole-v1 ...]
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from gtn_rl import compare
from gtn_rl.io.artifact import locate
from gtn_rl.io.files import write_text

RESULTS = Path(__file__).parent / "results" / "zoo.json"
ON_POLICY, OFF_POLICY = ("ppo", "a2c"), ("sac", "td3", "ddpg")
PLAN: dict[str, tuple[str, ...]] = {
    "CartPole-v1": ("ppo:2048", "a2c:2048", "dqn:5000"),
    "Acrobot-v1": ("ppo:2048", "a2c:2048", "dqn:5000"),
    "MountainCar-v0": ("ppo:5000", "a2c:5000", "dqn:5000"),
    "MountainCarContinuous-v0": (
        "ppo:10000", "a2c:10000", "sac:5000", "td3:5000", "ddpg:5000",
    ),
    "Pendulum-v1": ("ppo:10000", "a2c:10000", "sac:5000", "td3:5000", "ddpg:5000"),
}  # fmt: skip


@dataclass
class Arguments:
    """Stock agents in every shipped environment."""

    seeds: int = 20
    """Agents of each on-policy algorithm and of DQN."""
    slow_seeds: int | None = None
    """Agents of SAC, TD3 and DDPG, which take a minute each; as many if not given."""
    tasks: tuple[str, ...] = tuple(PLAN)
    """Shipped environments."""
    algos: tuple[str, ...] = ()
    """Only these algorithms, if given."""
    jobs: int = 2
    """Processes."""


def main(arguments: Arguments) -> None:
    rows = measured(RESULTS)
    for task in arguments.tasks:
        for text in PLAN[task]:
            algorithm = text.split(":")[0]
            if arguments.algos and algorithm not in arguments.algos:
                continue
            seeds = arguments.seeds
            if algorithm in OFF_POLICY and arguments.slow_seeds is not None:
                seeds = arguments.slow_seeds
            key = f"{task} {text} x{seeds}"
            if key in rows and rows[key]["sha"] == fingerprint(task):
                continue
            (cell,) = compare(
                f"gtn_rl/{task}", algos=(text,), seeds=seeds, real=False, jobs=arguments.jobs,
                progress_bar=False,
            ).cells  # fmt: skip
            row = {
                "task": task,
                "algorithm": algorithm,
                "steps": cell.steps,
                "seeds": seeds,
                **cell.summary()._asdict(),
                "returns": cell.returns.tolist(),
                "seconds": float(cell.seconds.mean()),
                "sha": fingerprint(task),
                "cores": os.cpu_count(),
            }
            print(key, {k: round(v, 1) for k, v in cell.summary()._asdict().items()}, flush=True)
            # Read anew: another run of this script may have written in between.
            rows = measured(RESULTS) | {key: row}
            write_text(RESULTS, json.dumps(rows, indent=1) + "\n")
    # Of several measurements the one with the most agents.
    most: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows.values():
        kind = (row["task"], row["algorithm"])
        if row["sha"] == fingerprint(row["task"]) and row["seeds"] >= most.get(kind, row)["seeds"]:
            most[kind] = row
    planned = [(task, text.split(":")[0]) for task in PLAN for text in PLAN[task]]
    current = [most[kind] for kind in planned if kind in most]
    print(table(current))
    print(grid(current))


def measured(results: Path) -> dict[str, Any]:
    """Rows of a file of results: what was measured so far."""
    return json.loads(results.read_text()) if results.is_file() else {}


def fingerprint(task: str) -> str:
    """Which weights a score belongs to."""
    import hashlib

    weights = locate(f"gtn_rl/{task}") / "model.safetensors"
    return hashlib.sha256(weights.read_bytes()).hexdigest()[:12]


def table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| task | agent | steps | seeds | IQM | 95 % interval | mean | min | seconds |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        lines.append(
            f"| {row['task']} | {row['algorithm'].upper()} | {row['steps']:,} | {row['seeds']} | "
            f"{row['iqm']:.1f} | [{row['low']:.1f}, {row['high']:.1f}] | {row['mean']:.1f} | "
            f"{row['min']:.1f} | {row['seconds']:.1f} |"
        )
    return "\n".join(lines)


def grid(rows: list[dict[str, Any]]) -> str:
    """One line for each task: IQM (worst agent) of each algorithm."""
    names = ["ppo", "a2c", "dqn", "sac", "td3", "ddpg"]
    lines = [
        "| task | " + " | ".join(name.upper() for name in names) + " |",
        "| --- |" + " ---: |" * 6,
    ]
    for task in PLAN:
        cells = []
        for name in names:
            own = [row for row in rows if row["task"] == task and row["algorithm"] == name]
            cells += [f"**{row['iqm']:.1f}** ({row['min']:.1f})" for row in own] or [""]
        lines.append(f"| {task} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main(tyro.cli(Arguments))
