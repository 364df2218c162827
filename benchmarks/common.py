"""What the scripts share: which agents, files of results that grow row by row, tables."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gtn_rl.evaluation.stats import summarize
from gtn_rl.io.files import write_text

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


def measured(results: Path) -> dict[str, Any]:
    """Rows of a file of results: what was measured so far."""
    return json.loads(results.read_text()) if results.is_file() else {}


def keep(results: Path, key: str, row: dict[str, Any]) -> None:
    """Write a row, with its commit and machine, and print it."""
    row = row | {"commit": commit(), "machine": f"{platform.machine()}, {os.cpu_count()} cores"}
    # Read anew: another run of the script may have written in between.
    write_text(results, json.dumps(measured(results) | {key: row}, indent=1) + "\n")
    print(key, json.dumps(row)[:300], flush=True)


def commit() -> str:
    """The commit that is checked out."""
    words = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()


def table(head: str, rows: Iterable[Iterable[object]]) -> str:
    """Markdown; the head has names with `|` between them, numbers begin in the third column."""
    names = head.split("|")
    rule = ["---", "---", *["---:"] * len(names)][: len(names)]
    return "\n".join(f"| {' | '.join(map(str, cells))} |" for cells in (names, rule, *rows))


def interval(scores: Any) -> str:
    """IQM, its 95 % interval and the worst agent of scores `[agents, ...]`."""
    s = summarize(scores)
    return f"{s.iqm:.1f} [{s.low:.1f}, {s.high:.1f}] ({s.min:.1f})"
