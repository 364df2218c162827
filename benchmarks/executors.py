"""What executors cost beside the batch of one process, and how a generation would scale.

Times one generation of CartPole-v1 (default learners, population 64) by each executor with two
workers of one core, worker start excluded; then what a task costs Ray beside its work, and the size
of what travels. From these it projects a generation of 1,024 members on 1 to 1,000 workers:

    seconds = ceil(1024 / workers) * seconds per member + tasks * seconds per task
              + workers * bytes / 125 MB/s

Usage:

    python benchmarks/executors.py [--repeats 3]
"""

from __future__ import annotations

import json
import math
import pickle
import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import torch
import tyro
from torch.nn.utils import parameters_to_vector

from gtn_rl import from_pretrained
from gtn_rl.config import Learners, Outer, TrainConfig, Workers
from gtn_rl.envs.targets import describe
from gtn_rl.inner.fitness import Fitness
from gtn_rl.outer.evolution import Generation, make_strategy
from gtn_rl.outer.executors import Job, make_executor

RESULTS = Path(__file__).parent / "results" / "executors.json"
BANDWIDTH = 125e6
MEMBERS = 1024
LEARNERS = (
    "1xpg@tanh:64-64", "1xa2c@tanh:64-64", "1xdqn@relu:64-64", "1xdqn-greedy@relu:64-64",
)  # fmt: skip


@dataclass
class Arguments:
    """What executors cost."""

    repeats: int = 3
    """Generations of each; the median counts."""


def main(arguments: Arguments) -> None:
    task = describe("CartPole-v1")
    shipped = from_pretrained("gtn_rl/CartPole-v1")
    base = TrainConfig(learners=Learners(kinds=LEARNERS), outer=Outer(population=64))
    strategy = make_strategy("snes", base.outer.population, 0.05, 0.0)
    state = strategy.initial(parameters_to_vector(shipped.parameters()))
    seconds: dict[str, float] = {}
    reference = None
    for name, threads in (("batch", 1), ("batch", 2), ("processes", 1), ("ray", 1)):
        torch.set_num_threads(threads)
        config = replace(base, workers=Workers(executor=name))
        fitness_of = Fitness(task, config, shipped.like, 4)
        executor = make_executor("CartPole-v1", config, fitness_of, shipped, 4)
        executor.fitness(Generation(strategy, state, 0, 0))
        times = []
        for step in range(1, 1 + arguments.repeats):
            start = time.perf_counter()
            fitness, _ = executor.fitness(Generation(strategy, state, 0, step))
            times.append(time.perf_counter() - start)
        executor.close()
        reference = fitness if reference is None else reference
        assert torch.equal(reference, fitness), "executors disagree"
        job = pickle.dumps(Job("CartPole-v1", config, pickle.dumps(shipped), 4))
        seconds[f"{name}, {threads} thread(s)"] = round(median(times), 2)
        print(name, threads, seconds, flush=True)
    message = len(job) + len(pickle.dumps(Generation(strategy, state, 0, 0)))
    member = seconds["batch, 1 thread(s)"] / base.outer.population
    overhead = ray_task()
    rows = []
    for workers in (1, 2, 10, 100, 1000):
        tasks = min(2 * workers, MEMBERS)
        work = math.ceil(MEMBERS / workers) * member
        cost = tasks * overhead + workers * message / BANDWIDTH
        rows.append(
            {
                "workers": workers,
                "seconds": round(work + cost, 2),
                "work": round(work, 2),
                "overhead": round(cost, 3),
                "speedup": round(MEMBERS * member / (work + cost), 1),
            }
        )
    result = {
        "generation": seconds,
        "seconds_per_member": round(member, 4),
        "ray_seconds_per_task": round(overhead, 5),
        "message_bytes": message,
        "projection": rows,
    }
    print(json.dumps(result, indent=1))
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")


def ray_task() -> float:
    """Seconds that Ray takes for each of 500 tasks that do nothing."""
    import ray

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    empty = ray.remote(num_cpus=1)(lambda index: index)
    ray.get([empty.remote(i) for i in range(20)])
    start = time.perf_counter()
    ray.get([empty.remote(i) for i in range(500)])
    spent = (time.perf_counter() - start) / 500
    ray.shutdown()
    return spent


if __name__ == "__main__":
    main(tyro.cli(Arguments))
