"""Teachers of classifiers at equal steps: curricula, distillation, real data; and transfer.

Every teacher is meta-trained with the same settings for each seed, then judged once on the test set
by 16 fresh learners of the kind it was trained with, along their training, and by learners of other
shapes. "Real" is real data whose learning rate and momentum of each step are found by the same
meta-gradient. Results are kept after every run, a run that was killed goes on. Usage:

    python benchmarks/supervised.py --tasks digits:16 digits:4
    python benchmarks/supervised.py --tasks mnist:8 mnist:32 cifar10:32 --data-folder FOLDER

FOLDER holds `MNIST` (its four files) and `cifar10-jpeg.zip` (class folders) or
`cifar-10-batches-py`.
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from common import FILES, RESULTS, keep, measured, read, table

from gtn_rl.evaluation.stats import summarize
from gtn_rl.seeding import generator
from gtn_rl.supervised import Data, SupervisedConfig, final_accuracies, train
from gtn_rl.supervised.evaluate import accuracy, taught
from gtn_rl.supervised.search import RealTraining, real_scores

FILE = RESULTS / "supervised.json"
TEACHERS = (
    "curriculum", "distillation", "real", "shuffled-batches", "all-shuffled", "no-curriculum",
    "balanced-noise",
)  # fmt: skip
# All else of images is the library's default.
IMAGES = {"exams": 2, "evaluate_every": 100}
SETTINGS: dict[str, dict[str, Any]] = {
    "digits": {},
    # MNIST-1D is harder to teach: more outer steps, more learners in each.
    "mnist1d": {"outer_steps": 1500, "learners": ("8xmlp@relu:64-64",)},
    "mnist": IMAGES,
    "cifar10": IMAGES,
}
# Ordinary training on real data, at constant rates of which each point has its best one.
RATES, POINTS = (0.02, 0.05, 0.1), (8, 16, 32, 64, 128, 256)
UNSEEN = ("mlp@relu:32-32", "mlp@tanh:64-64", "mlp@relu:128-128-128", "cnn3@relu:8-16")
UNSEEN_IMAGES = (
    "mlp@relu:128-128", "cnn3@relu:16-32", "cnn5+in@relu:16-32", "cnn3+gn+pool@relu:16*3"
)  # fmt: skip


def run(task: str, data: Data, config: SupervisedConfig, folder: Path) -> dict[str, Any]:
    """Meta-train a teacher, or go on with it, and judge it."""
    steps, teacher, start = config.inner_steps, config.teacher, time.process_time()
    result = train(
        data, folder, config, progress_bar=False, resume=folder.exists(),
        command=f"python benchmarks/supervised.py --tasks {task}:{steps} --teachers {teacher}",
    )  # fmt: skip
    seconds = time.process_time() - start
    points = {2**power for power in range(10) if 2**power < steps}
    along = taught(result.teacher, data, config, generator(config.seed, 9), keep=points, count=4)
    transfer = {
        text: final_accuracies(
            result.teacher, data, config, config.seed, learners=(text,), count=4
        ).mean()
        for text in (UNSEEN_IMAGES if task in FILES else UNSEEN)
    }
    return {
        "task": task, "steps": steps, "teacher": teacher, "seed": config.seed,
        "cpu_seconds": round(seconds, 1), "wall_seconds": round(result.seconds, 1),
        "outer_steps": config.outer_steps, "learners": config.learners[0],
        "stopped": result.stopped,
        **{name: round(result.scores[name], 2) for name in ("validation", "test")},
        "at": [*sorted(points), steps],
        "curve": [round(float(accuracy(stack, data.test).mean()), 2) for stack in along],
        "transfer": {text: round(float(score), 2) for text, score in transfer.items()},
    }  # fmt: skip


def ordinary(data: Data) -> dict[str, Any]:
    """Test accuracies after more steps of real data, the rate chosen on validation examples."""
    config = SupervisedConfig().suited(data.shape)

    def scores(rate: float, on: str) -> list[float]:
        training = RealTraining(POINTS[-1], rate=rate, batch=config.batch_size, cosine=False)
        return [float(x) for x in real_scores(
            data, config.learners[:1], training, keep=POINTS[:-1], on=on, count=1)[0]]  # fmt: skip

    validation = {rate: scores(rate, "validation") for rate in RATES}
    best = [max(RATES, key=lambda rate: validation[rate][i]) for i in range(len(POINTS))]
    test = {rate: scores(rate, "test") for rate in set(best)}
    found = [round(test[rate][index], 2) for index, rate in enumerate(best)]
    start = time.process_time()
    real_scores(data, config.learners[:1], RealTraining(64, batch=config.batch_size), count=1)
    seconds = (time.process_time() - start) / 64
    return {"steps": POINTS, "test": found, "rates": best, "seconds_a_step": round(seconds, 4)}


def summary(rows: dict[str, Any]) -> str:
    """Test accuracies over outer seeds of each teacher, and of networks that it never saw."""
    cells: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows.values():
        if "teacher" in row:
            cell = row["task"], row["steps"], row["teacher"], row["learners"], row["outer_steps"]
            cells.setdefault(cell, []).append(row)
    lines = []
    for cell, own in cells.items():
        s, seconds = summarize([row["test"] for row in own]), [row["cpu_seconds"] for row in own]
        mean = {x: np.mean([row["transfer"][x] for row in own]) for x in own[0]["transfer"]}
        unseen = ", ".join(f"{text} {score:.1f}" for text, score in mean.items())
        numbers = f"{s.mean:.1f}", f"{s.iqm:.1f}", f"[{s.low:.1f}, {s.high:.1f}]", f"{s.min:.1f}"
        lines.append((*cell, len(own), *numbers, f"{np.mean(seconds):.0f}", unseen))
    head = "task|steps:|teacher|learners|outer steps:|seeds:|mean:|IQM:|95 % interval:|min:|CPU s:"
    return table(f"{head}|networks it never saw", lines)


def main(
    *, seeds: int = 1, first_seed: int = 100, tasks: tuple[str, ...] = ("digits:16", "digits:4"),
    teachers: tuple[str, ...] = TEACHERS[:3], outer_steps: int = 0, learners: str = "",
    data_folder: Path = Path(), out: Path = Path("runs/supervised"),
) -> None:  # fmt: skip
    """Outer seeds; tasks with their inner steps; a teacher's updates and learners, if not usual."""
    torch.set_num_threads(1)  # The tensors are small.
    for task, _, steps in (text.partition(":") for text in tasks):
        data = read(task, data_folder)
        for teacher in teachers:
            own = SETTINGS[task] | ({"outer_steps": outer_steps} if outer_steps else {})
            # Real data has nothing to learn but two numbers a step.
            own |= {"outer_steps": 60} if teacher == "real" else {}
            own |= {"learners": (learners,)} if learners else {}
            for seed in range(first_seed, first_seed + seeds):
                config = SupervisedConfig(
                    seed=seed, teacher=teacher, inner_steps=int(steps), max_minutes=60, **own
                ).suited(data.shape)
                key = f"{task} {steps} {teacher} {seed} {config.learners[0]} {config.outer_steps}"
                if key not in measured(FILE):
                    folder = out / re.sub(r"[^\w.]+", "-", key)
                    keep(FILE, key, run(task, data, config, folder))
        if task in FILES and (key := f"{task}, ordinary training") not in measured(FILE):
            keep(FILE, key, ordinary(data))
    print(summary(measured(FILE)))


if __name__ == "__main__":
    tyro.cli(main)
