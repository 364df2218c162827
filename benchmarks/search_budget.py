"""Does a search by a teacher end in a better network than one by real data of the same budget?

Every search is Optuna's TPE with as many trials, each a training of as many steps; only the data
differ. Its three best networks are then trained on real data for long, the best of them by
validation accuracy is what it ends with, and its test accuracy counts. Usage:

    python benchmarks/search_budget.py [--seeds 5]
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from search import teacher_settings
from torch import nn

from gtn_rl.files import write_text
from gtn_rl.search import RealTraining, real_scores, search
from gtn_rl.seeding import generator
from gtn_rl.space import Limits, candidates, parameters_of
from gtn_rl.stats import summarize
from gtn_rl.supervised import SupervisedConfig, load, load_teacher, train
from gtn_rl.supervised.data import Data
from gtn_rl.supervised.teachers import make_teacher

RESULTS = Path(__file__).parent / "results" / "search_budget.json"


@dataclass
class Arguments:
    """Searches of one budget."""

    seeds: int = 5
    """Searches by each proxy."""
    trials: int = 60
    """Trainings of each search."""
    inner_steps: int = 32
    """Steps of each of them."""
    outer_steps: int = 1_000
    """Updates of the teacher that generates data."""
    truth_steps: int = 1_000
    """Steps of the long real training."""
    max_params: int = 5_000
    """Networks may not be larger; no limit if 0."""
    task: str = "mnist1d"
    """Data."""
    out: Path = Path("runs/search")
    """Folder for the teachers."""


def teachers(data: Data, arguments: Arguments) -> dict[str, tuple[nn.Module, SupervisedConfig]]:
    """Generated data, and real data with and without learned rates."""
    steps = arguments.inner_steps
    learned = {
        name: teacher_settings(teacher, steps, arguments.outer_steps)
        for name, teacher in (
            ("generated data", "curriculum"), ("real data, learned rates", "real"),
        )
    }  # fmt: skip
    made: dict[str, tuple[nn.Module, SupervisedConfig]] = {}
    for name, config in learned.items():
        folder = arguments.out / f"budget-{config.teacher}-{steps}-{config.outer_steps}"
        if not folder.exists():
            train(data, folder, config, progress_bar=False)
        made[name] = load_teacher(folder, data)
    # The constant rate by which real data ranks best (benchmarks/search.py).
    plain = replace(
        learned["real data, learned rates"], first_rate=0.02, first_momentum=0.9, weight_norm=False
    )
    made["real data, constant rate"] = make_teacher(data, plain, generator(0)), plain
    nine = replace(plain, inner_steps=9 * steps)
    made["real data, constant rate, nine times the steps"] = (
        make_teacher(data, nine, generator(0)), nine,
    )  # fmt: skip
    return made


def main(arguments: Arguments) -> None:
    torch.set_num_threads(1)
    data = load(arguments.task)
    limits = Limits(params=arguments.max_params or None)
    made = teachers(data, arguments)
    long = RealTraining(arguments.truth_steps)
    rows: list[dict[str, Any]] = json.loads(RESULTS.read_text()) if RESULTS.is_file() else []
    for name in (*made, "chance"):
        for seed in range(arguments.seeds):
            if any((row["proxy"], row["seed"]) == (name, seed) for row in rows):
                continue
            clock = time.process_time()
            if name == "chance":
                drawn = candidates(arguments.trials, seed)
                texts = [text for text in drawn if limits.admit(text, data)][:3]
            else:
                teacher, config = made[name]
                found = search(
                    teacher, data, config, trials=arguments.trials, limits=limits, seed=seed
                )
                texts = found.texts[:3]
            seconds = time.process_time() - clock
            by_validation = real_scores(data, texts, long, on="validation", seed=seed)[:, -1]
            best = texts[int(np.argmax(by_validation))]
            test = float(real_scores(data, [best], long, on="test", seed=seed)[0, -1])
            rows.append(
                {
                    "proxy": name, "seed": seed, "networks": texts, "best": best,
                    "parameters": parameters_of(best, data), "test": round(test, 2),
                    "cpu_seconds": round(seconds, 1),
                }
            )  # fmt: skip
            write_text(RESULTS, json.dumps(rows, indent=1) + "\n")
            print(json.dumps(rows[-1]), flush=True)
        own = [row for row in rows if row["proxy"] == name]
        print(name, summarize(np.array([[row["test"]] for row in own])), flush=True)


if __name__ == "__main__":
    main(tyro.cli(Arguments))
