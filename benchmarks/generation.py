"""Seconds of one generation of evolution on CartPole-v1: population 128, 50 real episodes a member.

The learners are those of the strongest peer's experiments: PPO with 10,000 synthetic steps (five
rollouts, 10 epochs of 10 minibatches) and DQN with 10,000 synthetic steps (1,000 updates on batches
of 100). The population is the first one of a run, and one in which learners hold the pole for long,
that of the shipped environment: real episodes are then up to 500 steps. Each by the batch of one
process with the torch threads of `--threads`, and by so many processes of one thread and so many
workers of a local Ray, worker start excluded. Usage:

    python benchmarks/generation.py [--repeats 3] [--threads 2] [--profile]
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
import tyro
from torch.nn.utils import parameters_to_vector

from gtn_rl import from_pretrained
from gtn_rl.envs.targets import describe
from gtn_rl.executors import make_executor
from gtn_rl.outer.evolution import Executor, Generation, make_strategy
from gtn_rl.real_return import RealReturn
from gtn_rl.settings import settings_for

RESULTS = Path(__file__).parent / "results" / "generation.json"
LEARNERS = {
    "ppo": {"learners": ("1xppo-10x10@tanh:64-64",), "inner_steps": 500, "batch_size": 200},
    "dqn": {"learners": ("1xdqn-greedy@relu:64-64",), "inner_steps": 1000, "batch_size": 100},
}


@dataclass
class Arguments:
    """Seconds of one generation."""

    repeats: int = 3
    """Generations of each kind; the median counts."""
    threads: int = 2
    """Torch's threads."""
    population: int = 128
    """Members."""
    profile: bool = False
    """Print where the time goes instead."""


def generations(members: int) -> dict[str, Generation]:
    """Populations around an untrained environment and around the shipped one."""
    mean = parameters_to_vector(from_pretrained("gtn_rl/CartPole-v1").parameters())
    centers = {"untrained": (torch.zeros_like(mean), 0.3), "trained": (mean, 0.02)}
    found = {}
    for kind, (center, deviation) in centers.items():
        strategy = make_strategy("snes", members, deviation, 0.0)
        found[kind] = Generation(strategy, strategy.initial(center), 0, 0)
    return found


def cases(arguments: Arguments) -> Iterator[tuple[dict[str, Any], Executor, Generation]]:
    """What to time: its names, who trains, and what population."""
    shipped = from_pretrained("gtn_rl/CartPole-v1")
    executors = ("batch",) if arguments.profile else ("batch", "processes", "ray")
    for (name, learners), executor in itertools.product(LEARNERS.items(), executors):
        config = replace(
            settings_for("CartPole-v1", "evolution"), copies=50, exam_copies=1,
            executor=executor, workers=arguments.threads, **learners,
        )  # fmt: skip
        with RealReturn(describe("CartPole-v1"), config) as problem:
            problem.scales = shipped.mean, shipped.std
            trainer = make_executor("CartPole-v1", config, problem)
            for kind, generation in generations(arguments.population).items():
                names = {"learner": name, "executor": executor, "population": kind}
                yield names, trainer, generation
            trainer.close()


def main(arguments: Arguments) -> None:
    torch.set_num_threads(arguments.threads)
    rows = []
    for names, trainer, generation in cases(arguments):
        if arguments.profile:
            with torch.profiler.profile() as profile:
                trainer.fitness(generation)
            print(names, profile.key_averages().table("self_cpu_time_total", row_limit=14))
            continue
        trainer.fitness(generation)
        seconds, fitness, steps = [], torch.zeros(1), 0
        for step in range(1, 1 + arguments.repeats):
            start = time.perf_counter()
            fitness, steps = trainer.fitness(generation._replace(step=step))
            seconds.append(time.perf_counter() - start)
        row = names | {
            "seconds": round(median(seconds), 2),
            "mean_return": round(float(fitness.mean()), 1),
            "real_steps": steps,
            "threads": arguments.threads,
        }
        rows.append(row)
        print(json.dumps(row), flush=True)
    if rows:
        RESULTS.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Arguments))
