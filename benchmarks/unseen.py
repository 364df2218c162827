"""Tasks that nobody tuned for, with default settings: does the environment teach stock agents?

For each task `gtn-rl train`'s defaults (at most a million real steps and ten minutes), then stock
SB3 PPO, A2C and DQN in the result (final, greedy, 20 real episodes each). Rows go, as they come, to
`benchmarks/results/unseen.json`. Some tasks need the extras `mujoco` and `box2d` and
`pip install flappy-bird-gymnasium minigrid`; those that cannot be made are passed over. Usage:

    python benchmarks/unseen.py [--tasks LunarLander-v3 ...] [--seeds 100] [--agents 5] [--table]
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import tyro
import unseen_tasks  # noqa: F401 - registers ids
from common import RESULTS, keep, measured
from common import table as markdown

import gtn_rl
from gtn_rl.envs.targets import describe
from gtn_rl.errors import UsageError
from gtn_rl.io.artifact import read_config
from gtn_rl.targets import config_for

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
FILE = RESULTS / "unseen.json"
# What tuned agents reach, where somebody published it or it is the most there is; of Boat and
# Thermostat what a controller reaches that knows the dynamics (`unseen_tasks.py`).
TUNED: dict[str, float | None] = {
    "FlatFrozenLake-v1": 1.0,
    "FlatBlackjack-v1": -0.05,
    "InvertedPendulum-v5": 1_000.0,
    "InvertedDoublePendulum-v5": 9_350.0,
    "LunarLander-v3": 250.0,
    "Swimmer-v5": 340.0,
    "my_env:Boat-v0": -5.8,
    "my_env:Thermostat-v0": -7.5,
    "my_env:Catch-v0": 1.0,
    "Flappy-v0": None,
    "MiniGrid-v0": 0.96,
}
NAMES = ("ppo", "a2c", "dqn")


def measure(task: str, seed: int, folder: Path, agents: int) -> dict[str, Any]:
    """One outer seed of one task."""
    gtn_rl.train(
        task, folder, replace(config_for(task), seed=seed), resume=folder.exists(),
        progress_bar=False,
    )  # fmt: skip
    algos = NAMES if hasattr(describe(task).action_space, "n") else NAMES[:2]
    compared = gtn_rl.compare(
        folder, task, algos=algos, seeds=agents, real=False, progress_bar=False
    )
    training = read_config(folder)["training"]
    row = {"task": task, "seed": seed, "verdict": compared.verdict(), **compared.returns}
    row |= {key: training[key] for key in ("seconds", "real_steps")}
    for cell in compared.cells:
        row[cell.algorithm] = [round(float(x), 3) for x in cell.returns.mean(1)]
        row[f"{cell.algorithm}_iqm"] = round(cell.summary().iqm, 3)
    return row


def main(
    *, tasks: tuple[str, ...] = tuple(TUNED), seeds: tuple[int, ...] = (100,), agents: int = 5,
    out: Path = Path("runs/unseen"), table: bool = False,
) -> None:  # fmt: skip
    """Ids, outer seeds, agents of each algorithm, folder of the runs; or the table of it alone."""
    torch.set_num_threads(1)
    for seed in () if table else seeds:
        for task in tasks:
            key, folder = f"{task} seed {seed}", out / task.replace(":", "-") / f"seed{seed}"
            try:
                describe(task)
            except UsageError as error:
                print(f"{task}: passed over ({error})", flush=True)
                continue
            if key not in measured(FILE):
                keep(FILE, key, measure(task, seed, folder, agents))
    lines = []
    for row in measured(FILE).values():
        tuned = TUNED.get(row["task"])
        shown = [f"{row.get(key, float('nan')):.2f}" for key in ("random", "optimal")]
        shown.append("" if tuned is None else f"{tuned:g}")
        shown += [f"{row[f'{x}_iqm']:.2f}" if f"{x}_iqm" in row else "" for x in NAMES]
        lines.append((row["task"], *shown, f"{row['real_steps']:,}", f"{row['seconds']:.0f}"))
    head = "task|random:|optimal policy:|tuned:|PPO:|A2C:|DQN:|real steps:|seconds:"
    print(markdown(head, lines))


if __name__ == "__main__":
    tyro.cli(main)
