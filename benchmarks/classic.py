"""Classic control by the command of today: scores over outer seeds, normalised, and what they cost.

For every target and outer seed: `gtn-rl train TARGET --seed S`, then stock SB3 agents of every
algorithm in the result (final, greedy, 20 real episodes each). A normalised score is 0 for random
agents and 100 for the best tuned real agent of `side_by_side.py`. Rows go, as they come, to
`benchmarks/results/classic.json`; a script that is stopped goes on. Usage:

    python benchmarks/classic.py [--tasks CartPole-v1 ...] [--seeds 100 101] [--agents 10] [--table]
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from common import OFF_POLICY, PLAN, commit, measured

from gtn_rl import compare, from_pretrained, save_pretrained, zoo
from gtn_rl.evaluation.stats import summarize
from gtn_rl.io.artifact import read_config
from gtn_rl.io.files import write_text

RESULTS = Path(__file__).parent / "results"

# Mean returns of agents that act at random (100 episodes), and the best IQM of tuned real agents
# (benchmarks/results/side_by_side.json).
SCALE: dict[str, tuple[float, float]] = {
    "CartPole-v1": (22.0, 500.0),
    "Acrobot-v1": (-499.0, -71.0),
    "MountainCar-v0": (-200.0, -109.4),
    "MountainCarContinuous-v0": (-33.0, 94.5),
    "Pendulum-v1": (-1231.0, -131.9),
}


@dataclass
class Arguments:
    """Scores over outer seeds."""

    tasks: tuple[str, ...] = tuple(SCALE)
    """Targets."""
    seeds: tuple[int, ...] = (100, 101, 102, 103, 104)
    """Outer seeds."""
    agents: int = 10
    """Stock agents of each on-policy algorithm and of DQN for each result."""
    slow_agents: int = 3
    """Of SAC, TD3 and DDPG; none if 0."""
    jobs: int = 1
    """Processes that train agents."""
    defaults: bool = False
    """Leave out what `gtn_rl.targets` says of the target."""
    out: Path = Path("runs/classic")
    """Folder for the runs."""
    name: str = "classic"
    """Of the file of results."""
    table: bool = False
    """Print the table of what was measured, and measure nothing."""
    ship: int | None = None
    """Make the results of this outer seed the shipped environments, with what was measured of
    them, and measure nothing."""


def main(arguments: Arguments) -> None:
    results = RESULTS / f"{arguments.name}.json"
    if arguments.ship is not None:
        for task in arguments.tasks:
            ship(arguments, task, arguments.ship, measured(results))
        return
    if not arguments.table:
        for seed in arguments.seeds:
            for task in arguments.tasks:
                measure(arguments, task, seed, results)
    print(table(measured(results)))


def measure(arguments: Arguments, task: str, seed: int, results: Path) -> None:
    """One outer seed of one target, as far as it is not measured yet."""
    folder = arguments.out / task / f"seed{seed}"
    key = f"{task} seed {seed}"
    row = measured(results).get(key, {})
    if "seconds" not in row:
        train(folder, task, seed, defaults=arguments.defaults)
        config = read_config(folder)
        training = config["training"]
        row |= {
            "task": task, "seed": seed, "seconds": training["seconds"],
            "real_steps": training["real_steps"], "returns": config["results"]["returns"],
            "commit": commit(), "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "command": f"gtn-rl train {task} --seed {seed}",
        }  # fmt: skip
    for text in PLAN[task]:
        name = text.split(":")[0]
        count = arguments.slow_agents if name in OFF_POLICY else arguments.agents
        if not count or len(row.get(name, [])) >= count:
            continue
        (cell,) = compare(
            folder, algos=(text,), seeds=count, real=False, jobs=arguments.jobs, progress_bar=False
        ).cells
        row[name] = [round(float(x), 2) for x in cell.returns.mean(1)]
        # Read anew: another run of this script may have written in between.
        write_text(results, json.dumps(measured(results) | {key: row}, indent=1) + "\n")
    print(key, json.dumps(row), flush=True)


def train(folder: Path, task: str, seed: int, *, defaults: bool) -> None:
    """Run `gtn-rl train`, or go on with it."""
    command = [
        str(Path(sys.executable).parent / "gtn-rl"), "train", task,
        "--out", str(folder), "--seed", str(seed), "--no-progress",
    ]  # fmt: skip
    if defaults:
        command += ["--steps", "5000"]
    if folder.exists():
        command.append("--resume")
    subprocess.run(command, check=True)


def ship(arguments: Arguments, task: str, seed: int, rows: dict[str, Any]) -> None:
    """Copy a result into the zoo, its card saying what stock agents reach in it."""
    folder, row = arguments.out / task / f"seed{seed}", rows[f"{task} seed {seed}"]
    config, compared = read_config(folder), []
    for text in PLAN[task]:
        name, steps = text.split(":")
        if row.get(name):
            s = summarize(row[name])
            compared.append(
                {
                    "algorithm": name,
                    "steps": int(steps),
                    "seeds": len(row[name]),
                    **{key: round(value, 2) for key, value in s._asdict().items()},
                }
            )
    training = config["training"] | {
        "command": f"gtn-rl train {task} --out runs/{task} --seed {seed}",
        "commit": row["commit"],
    }
    results = config["results"] | {
        "compare": compared,
        "episodes": 20,
        "command": f"python benchmarks/classic.py --tasks {task} --seeds {seed}",
    }
    save_pretrained(
        from_pretrained(folder), Path(zoo.__file__).parent / task, training=training,
        results=results, name=f"gtn_rl/{task}",
    )  # fmt: skip


def normalised(task: str, returns: list[float]) -> np.ndarray[Any, Any]:
    """Scores from 0 (random) to 100 (tuned)."""
    low, high = SCALE[task]
    return 100 * (np.array(returns) - low) / (high - low)


def table(rows: dict[str, Any]) -> str:
    """A line for each target: what agents reach from ours, the peer's and the real one; costs."""
    names = ("ppo", "a2c", "dqn")
    beside = measured(RESULTS / "side_by_side.json")
    lines = [
        "| task | outer seeds | gtn_rl | peer | real, as many steps | tuned real PPO (steps) | "
        "real steps | seconds | pays from |",
        "| --- | ---: | --- | --- | --- | ---: | ---: | ---: | ---: |",
    ]
    cells, agents = [], []
    for task in SCALE:
        own = [row for row in rows.values() if row["task"] == task]
        if not own:
            continue
        returns = {name: [x for row in own for x in row.get(name, [])] for name in names}
        for name, values in returns.items():
            agents += normalised(task, values).tolist()
            cells += [summarize(normalised(task, row[name])).iqm for row in own if row.get(name)]
        ours = [
            f"{s.iqm:.1f} ({s.min:.1f})" for s in map(summarize, filter(None, returns.values()))
        ]
        others = {
            kind: " / ".join(f"{iqm(beside[key]):.1f}" for key in keys(beside, task, names, kind))
            for kind in ("peer", "real")
        }
        (tuned,) = keys(beside, task, ("ppo",), "tuned")
        steps = int(np.median([row["real_steps"] for row in own]))
        needed = beside[tuned]["steps"]
        lines.append(
            f"| {task} | {len(own)} | {' / '.join(ours)} | {others['peer']} | {others['real']} | "
            f"{iqm(beside[tuned]):.1f} ({needed:,}) | {steps:,} | "
            f"{np.median([row['seconds'] for row in own]):.0f} | {-(-steps // needed)} |"
        )
    s = summarize(cells)
    below = 100 * float(np.mean(np.array(agents) < 50))
    lines += [
        "",
        f"Where random agents have 0 and the best tuned real agents 100: IQM over all {len(cells)} "
        f"cells {s.iqm:.1f} [{s.low:.1f}, {s.high:.1f}], worst {s.min:.1f}; {below:.1f} % of "
        "agents have less than 50.",
    ]
    return "\n".join(lines)


def keys(beside: dict[str, Any], task: str, names: tuple[str, ...], kind: str) -> list[str]:
    """Of the rows of those algorithms, in their order."""
    return [
        key for name in names for key, row in beside.items()
        if (row["task"], row["algorithm"], row["kind"]) == (task, name, kind)
    ]  # fmt: skip


def iqm(row: dict[str, Any]) -> float:
    """Of a row's agents."""
    return summarize([float(np.mean(agent["returns"])) for agent in row["agents"].values()]).iqm


if __name__ == "__main__":
    main(tyro.cli(Arguments))
