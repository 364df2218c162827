"""README's figure: stock agents in the shipped CartPole against the real one, after its training.

python benchmarks/stock_agents.py [--seeds 10] [--redraw]
"""

from __future__ import annotations

import tyro
from common import PLAN, RESULTS

from gtn_rl import compare
from gtn_rl.evaluation.compare import Comparison
from gtn_rl.evaluation.report import caption, figure, read_log, table


def main(*, seeds: int = 10, redraw: bool = False) -> None:
    """So many agents of each algorithm in each environment, or the saved scores again."""
    saved = RESULTS / "stock_agents.json"
    if not redraw:
        name, algos = "gtn_rl/CartPole-v1", PLAN["CartPole-v1"]
        compare(name, algos=algos, seeds=seeds, jobs=2).save(saved)
    scores = Comparison.load(saved)
    log = read_log(RESULTS / "cartpole_log.csv")
    figure(scores, RESULTS.parents[1] / "docs" / "cartpole.png", log)
    print(table(scores), caption(scores), sep="\n\n")


if __name__ == "__main__":
    tyro.cli(main)
