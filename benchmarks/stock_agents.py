"""The README's table and figure: stock agents in the shipped environment against the real one.

Usage:

    python benchmarks/stock_agents.py [--seeds 10] [--redraw]
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from gtn_rl import compare
from gtn_rl.evaluation.compare import Comparison
from gtn_rl.evaluation.report import caption, figure, read_log, table

HERE = Path(__file__).parent
NAME = "gtn_rl/CartPole-v1"
ALGOS = ("ppo:2048", "a2c:2048", "dqn:5000")


@dataclass
class Arguments:
    """Stock agents in the shipped environment against the real one."""

    seeds: int = 10
    """Agents of each algorithm in each environment."""
    first_seed: int = 0
    """Seed of the first agent."""
    redraw: bool = False
    """Take the saved scores instead of training agents."""


def main(arguments: Arguments) -> None:
    saved = HERE / "results" / "stock_agents.json"
    if arguments.redraw:
        scores = Comparison.load(saved)
    else:
        scores = compare(
            NAME, algos=ALGOS, seeds=arguments.seeds, jobs=2, first_seed=arguments.first_seed
        )
        saved.parent.mkdir(exist_ok=True)
        scores.save(saved)
    log = read_log(HERE / "results" / "cartpole_log.csv")
    figure(scores, HERE.parent / "docs" / "cartpole.png", log)
    print(table(scores), caption(scores), sep="\n\n")


if __name__ == "__main__":
    main(tyro.cli(Arguments))
