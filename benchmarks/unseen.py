"""Tasks that nobody tuned for, with default settings: does the environment teach stock agents?

For each task `gtn-rl train`'s defaults (at most a million real steps and ten minutes), then stock
SB3 PPO, A2C and DQN in the result (final, greedy, 20 real episodes each). Rows go, as they come, to
`benchmarks/results/unseen.json`. Some tasks need the extras `mujoco` and `box2d` and
`pip install flappy-bird-gymnasium minigrid`; those that cannot be made are passed over. Usage:

    python benchmarks/unseen.py [--tasks LunarLander-v3 ...] [--seeds 100] [--agents 5] [--table]
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import tyro
import unseen_tasks  # noqa: F401 - registers ids
from common import commit, measured

import gtn_rl
from gtn_rl.envs.targets import describe
from gtn_rl.errors import UsageError
from gtn_rl.io.artifact import read_config
from gtn_rl.io.files import write_text
from gtn_rl.targets import config_for

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
RESULTS = Path(__file__).parent / "results" / "unseen.json"

# What tuned agents reach, where somebody published it or it is the most there is; of Boat and
# Thermostat what a controller reaches that knows the dynamics (`unseen_tasks.py`).
TUNED: dict[str, float | None] = {
    "FlatFrozenLake-v1": 1.0,
    "FlatBlackjack-v1": -0.05,
    "InvertedPendulum-v5": 1_000.0,
    "LunarLander-v3": 250.0,
    "Swimmer-v5": 340.0,
    "my_env:Boat-v0": -5.8,
    "my_env:Thermostat-v0": -7.5,
    "my_env:Catch-v0": 1.0,
    "Flappy-v0": None,
    "MiniGrid-v0": 0.96,
}


@dataclass
class Arguments:
    """Tasks that nobody tuned for."""

    tasks: tuple[str, ...] = tuple(TUNED)
    """Gymnasium ids."""
    seeds: tuple[int, ...] = (100,)
    """Outer seeds."""
    agents: int = 5
    """Stock agents of each algorithm."""
    out: Path = Path("runs/unseen")
    """Folder for the runs."""
    table: bool = False
    """Print the table of what was measured, and measure nothing."""


def main(arguments: Arguments) -> None:
    torch.set_num_threads(1)
    for seed in arguments.seeds:
        for task in () if arguments.table else arguments.tasks:
            try:
                describe(task)
            except UsageError as error:
                print(f"{task}: passed over ({error})", flush=True)
                continue
            measure(arguments, task, seed)
    print(table(measured(RESULTS)))


def measure(arguments: Arguments, task: str, seed: int) -> None:
    """One outer seed of one task, unless it is measured."""
    key = f"{task} seed {seed}"
    if key in measured(RESULTS):
        return
    folder = arguments.out / task.replace(":", "-") / f"seed{seed}"
    gtn_rl.train(
        task, folder, replace(config_for(task), seed=seed), resume=folder.exists(),
        progress_bar=False,
    )  # fmt: skip
    training = read_config(folder)["training"]
    kinds = [
        a for a in ("ppo", "a2c", "dqn") if a != "dqn" or hasattr(describe(task).action_space, "n")
    ]
    compared = gtn_rl.compare(
        folder, task, algos=kinds, seeds=arguments.agents, real=False, progress_bar=False
    )
    row: dict[str, Any] = {
        "task": task, "seed": seed, "seconds": training["seconds"],
        "real_steps": training["real_steps"], "commit": commit(), "cores": os.cpu_count(),
        **compared.returns, "verdict": compared.verdict(),
    }  # fmt: skip
    for cell in compared.cells:
        row[cell.algorithm] = [round(float(x), 3) for x in cell.returns.mean(1)]
        row[f"{cell.algorithm}_iqm"] = round(cell.summary().iqm, 3)
    print(key, json.dumps(row), flush=True)
    write_text(RESULTS, json.dumps(measured(RESULTS) | {key: row}, indent=1) + "\n")


def table(rows: dict[str, Any]) -> str:
    """A line for each task and seed."""
    lines = [
        "| task | random | optimal policy | tuned | PPO | A2C | DQN | real steps | seconds |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows.values():
        known = TUNED.get(row["task"])
        cells = [row["random"], row.get("optimal", float("nan"))]
        shown = [f"{value:.2f}" for value in cells]
        shown.append("" if known is None else f"{known:g}")
        for name in ("ppo", "a2c", "dqn"):
            shown.append(f"{row[f'{name}_iqm']:.2f}" if name in row else "")
        lines.append(
            f"| {row['task']} | " + " | ".join(shown) + f" | {row['real_steps']:,} | "
            f"{row['seconds']:.0f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main(tyro.cli(Arguments))
