"""Kills in all stages of all long commands: each is resumed, and must end as if not killed.

Usage: python benchmarks/kills.py [--kills 5] [--commands train compare] [--results FILE]

Each command is run once to its end, then killed so many times (SIGKILL, SIGTERM, SIGINT in turn),
each time when its log has got a little further, and resumed. Exits with 1 if a result is another.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shlex
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import optuna
import sklearn
import stable_baselines3
import tyro
from torch.utils import tensorboard

import gtn_rl.cli
import gtn_rl.modes.train
import gtn_rl.supervised.commands

LOADED = optuna, sklearn, stable_baselines3, tensorboard
TINY = "CartPole-v1 --hidden 8 --pretrain.real-steps 12000 --pretrain.copies 4 --outer.every 1"
SHORT = "--steps 64 --search.candidates 8 --learners.judges 1 --learners.episodes 1"
COMMANDS = {
    "train": f"train {TINY} {SHORT} --outer.steps 2 --outer.population 4 "
    "--learners.kinds 1xstock-a2c@tanh:8/64 --out {out} --no-progress",
    "reward": f"reward {TINY} {SHORT} --outer.steps 3 --learners.kinds 1xppo@tanh:8 "
    "--learners.inner-steps 8 --out {out} --no-progress",
    "distill": f"distill {TINY} --networks 2xtanh:8 --steps 4 --imitation 4 --outer.steps 4 "
    "--outer.copies 1 --out {out} --no-progress",
    "supervised": "supervised digits --outer-steps 24 --evaluate-every 2 --inner-steps 4 "
    "--hidden 16 --learners 2xmlp@relu:8 --reconstruct 4 --out {out} --no-progress",
    "compare": "compare gtn_rl/CartPole-v1 --algos a2c --steps 128 --seeds 4 --episodes 1 "
    "--json {out}/scores.json --no-progress",
    "search": "search {teacher} --trials 12 --real-steps 8 --json {out}/scores.json",
}
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


def start(command: str, out: Path, teacher: Path, *more: str) -> multiprocessing.Process:
    """Run a command in a process of its own, which need not import torch again."""
    words = shlex.split(COMMANDS[command].format(out=out, teacher=teacher))

    def run() -> None:
        with out.with_suffix(".said").open("w") as file:
            sys.stdout = sys.stderr = file
            gtn_rl.cli.main([*words, *more])

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    return process


def progress(out: Path) -> int:
    """Rows of the log, or results that are kept so far."""
    if (out / "log.csv").exists():
        return len((out / "log.csv").read_text().splitlines()) - 1
    return (out / "scores.json").read_text().count(".") if (out / "scores.json").exists() else 0


def outcome(out: Path) -> Any:
    """All that a command leaves, but for what depends on the clock."""
    if (out / "scores.json").exists():
        content = json.loads((out / "scores.json").read_text())
        return content.get("tried") or [cell["returns"] for cell in content["cells"]]
    config = json.loads((out / "config.json").read_text())
    known = {name: config["training"].get(name) for name in ("outer_steps", "stopped")}
    return [(out / "model.safetensors").read_bytes().hex(), config["results"], known]


def main(
    *, kills: int = 5, commands: tuple[str, ...] = tuple(COMMANDS),
    results: Path = Path(__file__).parent / "results" / "kills.json",
) -> int:  # fmt: skip
    """Kills of each command."""
    rows, home = [], Path(tempfile.mkdtemp())
    teacher = home / "supervised"
    for command in commands:
        whole = home / command
        if command == "search" and not teacher.exists():
            start("supervised", teacher, teacher).join()
        whole.mkdir(exist_ok=True)
        start(command, whole, teacher).join()
        steps, wanted = progress(whole), outcome(whole)
        for number in range(kills):
            out = home / f"{command}-{number}"
            out.mkdir()
            at, name = 1 + number * (steps - 1) // kills, SIGNALS[len(rows) % 3]
            process = start(command, out, teacher)
            while process.is_alive() and progress(out) < at:
                time.sleep(0.01)
            process.join(random.Random(f"{command}-{number}").uniform(0, 0.3))
            if process.pid is not None and process.is_alive():
                os.kill(process.pid, name)
            process.join()
            found = progress(out)
            kept = found or (out / "log.csv").exists()
            resumed = start(command, out, teacher, *(["--resume"] if kept else []))
            resumed.join()
            same = resumed.exitcode == 0 and outcome(out) == wanted
            row = {"command": command, "signal": name.name, "row": found, "of": steps, "same": same}
            rows.append(row | {"code": process.exitcode})
            print(json.dumps(rows[-1]), flush=True)
            if not same:
                print(out.with_suffix(".said").read_text()[-2000:], flush=True)
            results.write_text(json.dumps(rows, indent=1) + "\n")
    shutil.rmtree(home)
    return sum(not row["same"] for row in rows)


if __name__ == "__main__":
    sys.exit(min(tyro.cli(main), 1))
