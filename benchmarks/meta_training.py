"""Meta-training from scratch: seconds, real steps, memory, and what stock agents then reach.

Trains CartPole-v1 for several outer seeds, one process after another with all cores, then judges
every artifact with stock SB3 agents (final, greedy). Usage:

    python benchmarks/meta_training.py [--seeds 5] [--agents 10] [--out runs/meta_training]
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from gtn_rl import compare, from_pretrained
from gtn_rl.artifact import read_config

RESULTS = Path(__file__).parent / "results"
ALGOS = ("ppo:2048", "a2c:2048", "dqn:5000")


@dataclass
class Arguments:
    """Meta-training from scratch."""

    seeds: int = 5
    """Outer seeds."""
    agents: int = 10
    """Stock agents of each algorithm for each artifact."""
    out: Path = Path("runs/meta_training")
    """Folder for the runs."""


def main(arguments: Arguments) -> None:
    rows = []
    for seed in range(arguments.seeds):
        folder = arguments.out / f"seed{seed}"
        command = [
            str(Path(sys.executable).parent / "gtn-rl"), "train", "CartPole-v1",
            "--out", str(folder), "--seed", str(seed), "--no-progress",
        ]  # fmt: skip
        if not folder.exists():
            subprocess.run(command, check=True)
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        training = read_config(folder)["training"]
        from_pretrained(folder)
        row = {
            "seed": seed,
            "seconds": training["seconds"],
            "real_steps": training["real_steps"],
            "stopped": training["stopped"],
            "meta_validation": read_config(folder)["results"]["meta_validation"],
            "peak_mib_so_far": round(peak),
        }
        scores = compare(
            folder, algos=ALGOS, seeds=arguments.agents, real=False, jobs=2, progress_bar=False
        )
        for cell in scores.cells:
            row[f"{cell.algorithm}_iqm"] = round(cell.summary().iqm, 1)
            row[f"{cell.algorithm}_min"] = round(cell.summary().min, 1)
        rows.append(row)
        print(json.dumps(row), flush=True)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "meta_training.json").write_text(json.dumps(rows, indent=1) + "\n")
    median = {
        key: float(np.median([row[key] for row in rows])) for key in ("seconds", "real_steps")
    }
    print("median", median)


if __name__ == "__main__":
    main(tyro.cli(Arguments))
