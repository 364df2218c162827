"""Evolution from scratch: seconds, real steps, and what stock agents then reach.

Runs `gtn-rl train <target> --estimator evolution` with its default settings for outer seeds and
judges every artifact by stock SB3 agents (final, greedy). A hybrid run goes on from the evolved
environment by the meta-gradient. Usage:

    python benchmarks/evolution.py --target CartPole-v1 --algos ppo:2048 a2c:2048 dqn:5000
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from gtn_rl import compare
from gtn_rl.artifact import read_config

RESULTS = Path(__file__).parent / "results" / "evolution.json"


@dataclass
class Arguments:
    """Evolution from scratch."""

    target: str = "CartPole-v1"
    """Gymnasium id."""
    algos: tuple[str, ...] = ("ppo:2048", "a2c:2048", "dqn:5000")
    """Judges."""
    seeds: tuple[int, ...] = (0,)
    """Outer seeds."""
    agents: int = 10
    """Stock agents of each algorithm for each artifact."""
    options: str = ""
    """More options of `gtn-rl train`: --options="--strategy cma-es"."""
    out: Path = Path("runs/evolution")
    """Folder for the runs."""


def main(arguments: Arguments) -> None:
    for seed in arguments.seeds:
        name = f"{arguments.target}-{seed}{arguments.options}"
        name = re.sub(r"[^\w-]+", "_", name)
        folder = arguments.out / name
        command = ["train", arguments.target, "--out", str(folder), "--estimator", "evolution"]
        command += ["--seed", str(seed), "--no-progress"]
        command += shlex.split(arguments.options)
        if not folder.exists():
            program = str(Path(sys.executable).parent / "gtn-rl")
            subprocess.run([program, *command], check=True)
        training = read_config(folder)["training"]
        row = {
            "target": arguments.target,
            "seed": seed,
            "options": arguments.options,
            "seconds": training["seconds"],
            "real_steps": training["real_steps"],
            "generations": training["outer_steps"],
            "stopped": training["stopped"],
        }
        scores = compare(
            folder, algos=arguments.algos, seeds=arguments.agents, real=False, jobs=2,
            progress_bar=False,
        )  # fmt: skip
        for cell in scores.cells:
            row[f"{cell.algorithm}_iqm"] = round(cell.summary().iqm, 1)
            row[f"{cell.algorithm}_min"] = round(cell.summary().min, 1)
        # Read anew: another run of this script may have written in between.
        rows = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
        same = ("target", "seed", "options")
        rows = [old for old in rows if any(old[key] != row[key] for key in same)] + [row]
        print(json.dumps(row), flush=True)
        RESULTS.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Arguments))
