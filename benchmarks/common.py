"""What the scripts share: which agents, files of results that grow row by row, tables."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gtn_rl.io.files import write_text
from gtn_rl.supervised import Data, load

RESULTS = Path(__file__).parent / "results"
OFF_POLICY = ("sac", "td3", "ddpg")
# Algorithms and steps of the stock agents of each target.
PLAN: dict[str, tuple[str, ...]] = {
    "CartPole-v1": ("ppo:2048", "a2c:2048", "dqn:5000"),
    "Acrobot-v1": ("ppo:2048", "a2c:2048", "dqn:5000"),
    "MountainCar-v0": ("ppo:5000", "a2c:5000", "dqn:5000"),
    "MountainCarContinuous-v0": ("ppo:10000", "a2c:10000", "sac:5000", "td3:5000", "ddpg:5000"),
    "Pendulum-v1": ("ppo:10000", "a2c:10000", "sac:5000", "td3:5000", "ddpg:5000"),
}
# Where data that is read from files lies in a folder.
FILES = {"mnist": ("MNIST",), "cifar10": ("cifar10-jpeg.zip", "cifar-10-batches-py")}


def measured(results: Path) -> dict[str, Any]:
    """Rows of a file of results: what was measured so far."""
    return json.loads(results.read_text()) if results.is_file() else {}


def keep(results: Path, key: str, row: dict[str, Any]) -> None:
    """Write a row, with its commit and machine if it has none, and print it."""
    row = {"commit": commit(), "machine": f"{platform.machine()}, {os.cpu_count()} cores"} | row
    # Read anew: another run of the script may have written in between.
    write_text(results, json.dumps(measured(results) | {key: row}, indent=1) + "\n")
    print(key, json.dumps(row)[:300], flush=True)


def commit() -> str:
    """The commit that is checked out."""
    words = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()


def table(head: str, rows: Iterable[Iterable[object]]) -> str:
    """Markdown; the head has names with `|` between them, those of numbers end with `:`."""
    names = head.split("|")
    rule = ["---:" if name.endswith(":") else "---" for name in names]
    cells = [name.removesuffix(":") for name in names]
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in (cells, rule, *rows))


def read(task: str, folder: Path) -> Data:
    """The data of a classifiers' task, from its package or from files in a folder."""
    places = [folder / name for name in FILES.get(task, ())]
    return load(next((place for place in places if place.exists()), places[0] if places else task))
