"""Classic control by the command of today: scores over outer seeds, normalised, and what they cost.

For every target and outer seed: `gtn-rl train TARGET --seed S`, then stock SB3 agents of every
algorithm in the result (final, greedy, 20 real episodes each). A normalised score is 0 for random
agents and 100 for the best tuned real agent of `side_by_side.py`. Rows go, as they come, to
`benchmarks/results/classic.json`; a script that is stopped goes on. Usage:

    python benchmarks/classic.py [--tasks CartPole-v1 ...] [--seeds 100 101] [--agents 10] [--table]
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from common import OFF_POLICY, PLAN, RESULTS, keep, measured, table

from gtn_rl import compare, from_pretrained, save_pretrained, zoo
from gtn_rl.evaluation.stats import summarize
from gtn_rl.io.artifact import read_config

# Mean returns of agents that act at random (100 episodes), and the best IQM of tuned real agents
# (benchmarks/results/side_by_side.json).
SCALE: dict[str, tuple[float, float]] = {
    "CartPole-v1": (22.0, 500.0),
    "Acrobot-v1": (-499.0, -71.0),
    "MountainCar-v0": (-200.0, -109.4),
    "MountainCarContinuous-v0": (-33.0, 94.5),
    "Pendulum-v1": (-1231.0, -131.9),
}
NAMES = ("ppo", "a2c", "dqn")


def measure(
    task: str,
    seed: int,
    folder: Path,
    file: Path,
    counts: dict[str, int],
    jobs: int,
    more: list[str],
) -> None:
    """One outer seed of one target, as far as it is not measured yet."""
    key = f"{task} seed {seed}"
    row = measured(file).get(key, {})
    if "seconds" not in row:
        command = ["train", task, "--seed", str(seed)]
        options = ["--out", str(folder), "--no-progress", *(["--resume"] * folder.exists())]
        words = [sys.executable, "-m", "gtn_rl", *command, *options, *more]
        subprocess.run(words, check=True)
        config = read_config(folder)
        row = {
            "task": task, "seed": seed, "seconds": config["training"]["seconds"],
            "real_steps": config["training"]["real_steps"],
            "returns": config["results"]["returns"], "command": " ".join(["gtn-rl", *command]),
        }  # fmt: skip
        keep(file, key, row)
    for text in PLAN[task]:
        name, row = text.split(":")[0], measured(file)[key]
        if counts[name] > len(row.get(name, [])):
            scores = compare(
                folder, algos=(text,), seeds=counts[name], real=False, jobs=jobs, progress_bar=False
            )
            returns = scores.cells[0].returns.mean(1)
            keep(file, key, row | {name: [round(float(x), 2) for x in returns]})


def publish(task: str, seed: int, folder: Path, row: dict[str, Any]) -> None:
    """Copy a result into the zoo, its card saying what stock agents reach in it."""
    config, compared = read_config(folder), []
    for name, steps in (text.split(":") for text in PLAN[task]):
        if row.get(name):
            known = {"algorithm": name, "steps": int(steps), "seeds": len(row[name])}
            scores = summarize(row[name])._asdict()
            compared.append(known | {key: round(value, 2) for key, value in scores.items()})
    command = f"gtn-rl train {task} --out runs/{task} --seed {seed}"
    training = config["training"] | {"command": command, "commit": row["commit"]}
    results = config["results"] | {
        "compare": compared, "episodes": 20,
        "command": f"python benchmarks/classic.py --tasks {task} --seeds {seed}",
    }  # fmt: skip
    save_pretrained(
        from_pretrained(folder), Path(zoo.__file__).parent / task, training=training,
        results=results, name=f"gtn_rl/{task}",
    )  # fmt: skip


def normalised(task: str, returns: list[float]) -> np.ndarray[Any, Any]:
    """Scores from 0 (random) to 100 (tuned)."""
    low, high = SCALE[task]
    return 100 * (np.array(returns) - low) / (high - low)


def summary(rows: dict[str, Any]) -> str:
    """A line for each target: what agents reach from ours, the peer's and the real one; costs."""
    beside = {
        (row["task"], row["kind"], row["algorithm"]): row
        for row in measured(RESULTS / "side_by_side.json").values()
    }

    def iqm(*key: str) -> float:
        agents = beside[key]["agents"].values()
        return summarize([float(np.mean(agent["returns"])) for agent in agents]).iqm

    lines, cells, agents = [], [], []
    for task in SCALE:
        own = [row for row in rows.values() if row["task"] == task]
        returns = {name: [x for row in own for x in row.get(name, [])] for name in NAMES}
        for name, values in returns.items():
            agents += normalised(task, values).tolist()
            cells += [summarize(normalised(task, row[name])).iqm for row in own if row.get(name)]
        if not own:
            continue
        ours = map(summarize, filter(None, returns.values()))
        others = [
            " / ".join(f"{iqm(task, kind, x):.1f}" for x in NAMES if (task, kind, x) in beside)
            for kind in ("peer", "real")
        ]
        needed = beside[task, "tuned", "ppo"]["steps"]
        steps, seconds = (np.median([row[key] for row in own]) for key in ("real_steps", "seconds"))
        lines.append(
            (
                task, len(own), " / ".join(f"{s.iqm:.1f} ({s.min:.1f})" for s in ours), *others,
                f"{iqm(task, 'tuned', 'ppo'):.1f} ({needed:,})", f"{int(steps):,}",
                f"{seconds:.0f}", -(-int(steps) // needed),
            )
        )  # fmt: skip
    s, below = summarize(cells), 100 * float(np.mean(np.array(agents) < 50))
    head = "task|outer seeds:|gtn_rl|peer|real, as many steps|tuned real PPO (steps):"
    return (
        f"{table(f'{head}|real steps:|seconds:|pays from:', lines)}\n\nWhere random agents have 0 "
        f"and the best tuned real agents 100: IQM over all {len(cells)} cells {s.iqm:.1f} "
        f"[{s.low:.1f}, {s.high:.1f}], worst {s.min:.1f}; {below:.1f} % of agents have less than "
        "50."
    )


def main(
    *, tasks: tuple[str, ...] = tuple(SCALE), seeds: tuple[int, ...] = (100, 101, 102, 103, 104),
    agents: int = 10, slow_agents: int = 3, jobs: int = 1, defaults: bool = False,
    out: Path = Path("runs/classic"), name: str = "classic", table: bool = False,
    ship: int | None = None,
) -> None:  # fmt: skip
    """Scores over outer seeds.

    Args:
        tasks: Targets.
        seeds: Outer seeds.
        agents: Stock agents of each on-policy algorithm and of DQN for each result.
        slow_agents: Of SAC, TD3 and DDPG; none if 0.
        jobs: Processes that train agents.
        defaults: Leave out what `gtn_rl.targets` says of the target.
        out: Folder for the runs.
        name: Of the file of results.
        table: Print the table of what was measured, and measure nothing.
        ship: Make the results of this outer seed the shipped environments, with what was measured
            of them, and measure nothing.
    """
    file = RESULTS / f"{name}.json"
    counts = dict.fromkeys(NAMES, agents) | dict.fromkeys(OFF_POLICY, slow_agents)
    for seed in () if table else seeds if ship is None else (ship,):
        for task in tasks:
            folder = out / task / f"seed{seed}"
            if ship is not None:
                publish(task, seed, folder, measured(file)[f"{task} seed {seed}"])
            else:
                more = ["--steps", "5000"] if defaults else []
                measure(task, seed, folder, file, counts, jobs, more)
    print(summary(measured(file)))


if __name__ == "__main__":
    tyro.cli(main)
