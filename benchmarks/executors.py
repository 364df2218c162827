"""What executors cost beside the batch of one process: seconds of a generation of CartPole-v1.

Four short learners a member, population 64, two workers of one core, worker start excluded; the
median of `--repeats` generations. All executors must give the same fitness.

    python benchmarks/executors.py [--repeats 3]
"""

from __future__ import annotations

import time
from dataclasses import replace
from statistics import median

import torch
import tyro
from common import RESULTS, keep
from torch.nn.utils import parameters_to_vector

from gtn_rl import from_pretrained
from gtn_rl.config import Learners, Outer, TrainConfig, Workers
from gtn_rl.envs.targets import describe
from gtn_rl.inner.fitness import Fitness
from gtn_rl.outer.evolution import Generation, make_strategy
from gtn_rl.outer.executors import make_executor

LEARNERS = (
    "1xpg@tanh:64-64", "1xa2c@tanh:64-64", "1xdqn@relu:64-64", "1xdqn-greedy@relu:64-64",
)  # fmt: skip


def main(*, repeats: int = 3) -> None:
    task, shipped = describe("CartPole-v1"), from_pretrained("gtn_rl/CartPole-v1")
    base = TrainConfig(learners=Learners(kinds=LEARNERS), outer=Outer(population=64))
    strategy = make_strategy("snes", base.outer.population, 0.05, 0.0)
    state = strategy.initial(parameters_to_vector(shipped.parameters()))
    reference = None
    for name, threads in (("batch", 1), ("batch", 2), ("processes", 1), ("ray", 1)):
        torch.set_num_threads(threads)
        config = replace(base, workers=Workers(executor=name))
        fitness_of = Fitness(task, config, shipped.like, 4)
        executor = make_executor("CartPole-v1", config, fitness_of, shipped, 4)
        times = []
        for step in range(1 + repeats):
            start = time.perf_counter()
            fitness, _ = executor.fitness(Generation(strategy, state, 0, step))
            times.append(time.perf_counter() - start)
        executor.close()
        reference = fitness if reference is None else reference
        assert torch.equal(reference, fitness), "executors disagree"
        # The first generation starts the workers.
        row = {"seconds": round(median(times[1:]), 2)}
        keep(RESULTS / "executors.json", f"{name}, {threads} thread(s)", row)


if __name__ == "__main__":
    tyro.cli(main)
