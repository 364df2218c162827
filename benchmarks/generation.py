"""Seconds of one generation of evolution on CartPole-v1: population 128, 50 real episodes a member.

The learners are those of the strongest peer's experiments: PPO with 10,000 synthetic steps (five
rollouts, 10 epochs of 10 minibatches) and DQN with 10,000 synthetic steps (1,000 updates on batches
of 100). The population is the first one of a run, and one in which learners hold the pole for long,
found by a minute of evolution: real episodes are then up to 500 steps. Usage:

    python benchmarks/generation.py [--repeats 3] [--threads 2] [--profile]
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import torch
import tyro
from torch.nn.utils import parameters_to_vector

from gtn_rl import from_pretrained
from gtn_rl.config import TrainConfig
from gtn_rl.envs.targets import describe
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


def populations(config: TrainConfig, count: int) -> dict[str, tuple[torch.Tensor, RealReturn]]:
    """Populations around an untrained environment and around the shipped one."""
    task = describe("CartPole-v1")
    shipped = from_pretrained("gtn_rl/CartPole-v1")
    problem = RealReturn(task, config)
    problem.scales = shipped.mean, shipped.std
    mean = parameters_to_vector(shipped.parameters())
    noise = torch.randn(count, len(mean), generator=torch.Generator().manual_seed(0))
    return {
        "untrained": (0.3 * noise, problem),
        "trained": (mean + 0.02 * noise, problem),
    }


def main(arguments: Arguments) -> None:
    torch.set_num_threads(arguments.threads)
    rows = []
    for name, learners in LEARNERS.items():
        config = replace(
            settings_for("CartPole-v1", "evolution"), copies=50, exam_copies=1, **learners
        )
        for kind, (population, problem) in populations(config, arguments.population).items():
            if arguments.profile:
                with torch.profiler.profile() as profile:
                    problem.fitness(population, 0)
                table = profile.key_averages().table("self_cpu_time_total", row_limit=14)
                print(name, kind, table)
                continue
            seconds, fitness, steps = [], torch.zeros(1), 0
            for step in range(arguments.repeats):
                start = time.perf_counter()
                fitness, steps = problem.fitness(population, step)
                seconds.append(time.perf_counter() - start)
            row = {
                "learner": name,
                "population": kind,
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
