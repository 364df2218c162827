"""Meta-training from scratch: seconds, real steps, memory, and what stock agents then reach.

Trains a target for several outer seeds, one process after another, then judges every artifact with
stock SB3 agents (final, greedy) that take as many steps as in the zoo's table. Scores go, as they
come, to `benchmarks/results/meta_training.json`; a run that is stopped goes on. Usage:

    python benchmarks/meta_training.py [--task CartPole-v1] [--seeds 5] [--agents 10]
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from zoo import OFF_POLICY, PLAN, measured

from gtn_rl import compare
from gtn_rl.artifact import read_config, total_costs
from gtn_rl.files import write_text

RESULTS = Path(__file__).parent / "results" / "meta_training.json"


@dataclass
class Arguments:
    """Meta-training from scratch."""

    task: str = "CartPole-v1"
    """Target."""
    seeds: int = 5
    """Outer seeds."""
    agents: int = 10
    """Stock agents of each algorithm for each artifact."""
    slow_agents: int = 0
    """Of SAC, TD3 and DDPG, which take a minute each."""
    jobs: int = 2
    """Processes that train agents."""
    out: Path = Path("runs/meta_training")
    """Folder for the runs."""


def main(arguments: Arguments) -> None:
    rows = measured(RESULTS)
    for seed in range(arguments.seeds):
        folder = arguments.out / arguments.task / f"seed{seed}"
        key = f"{arguments.task} seed {seed}"
        train(folder, arguments.task, seed)
        done = rows.get(key, {})
        peak = round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
        row = costs(folder) | {"peak_mib_so_far": peak or done.get("peak_mib_so_far")}
        for text in PLAN[arguments.task]:
            name = text.split(":")[0]
            count = arguments.slow_agents if name in OFF_POLICY else arguments.agents
            kept = {k: v for k, v in done.items() if k.startswith(f"{name}_")}
            if kept.get(f"{name}_agents") == count and done["seconds"] == row["seconds"]:
                row |= kept
            elif count:
                (cell,) = compare(
                    folder, algos=(text,), seeds=count, real=False, jobs=arguments.jobs,
                    progress_bar=False,
                ).cells  # fmt: skip
                row[f"{name}_agents"] = count
                row[f"{name}_iqm"] = round(cell.summary().iqm, 1)
                row[f"{name}_min"] = round(cell.summary().min, 1)
        # Read anew: another run of this script may have written in between.
        rows = measured(RESULTS) | {key: row}
        print(key, json.dumps(row), flush=True)
        write_text(RESULTS, json.dumps(rows, indent=1) + "\n")


def train(folder: Path, task: str, seed: int) -> None:
    """Run `gtn-rl train`, or go on with it, unless it is done."""
    command = [
        str(Path(sys.executable).parent / "gtn-rl"), "train", task,
        "--out", str(folder), "--seed", str(seed), "--no-progress",
    ]  # fmt: skip
    if not folder.exists():
        subprocess.run(command, check=True)
    elif costs(folder)["stopped"] == "still running":
        subprocess.run([*command, "--resume"], check=True)


def costs(folder: Path) -> dict[str, Any]:
    """What a run took, with what it began from, and what it thinks it reached."""
    config = read_config(folder)
    row = total_costs(folder) | {"stopped": config["training"]["stopped"]}
    return row | {"meta_validation": config["results"]["meta_validation"]}


if __name__ == "__main__":
    main(tyro.cli(Arguments))
