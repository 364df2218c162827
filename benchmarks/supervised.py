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

import json
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro

from gtn_rl.evaluation.stats import summarize
from gtn_rl.seeding import generator
from gtn_rl.supervised import Data, SupervisedConfig, final_accuracies, load, train
from gtn_rl.supervised.evaluate import accuracy, taught
from gtn_rl.supervised.search import RealTraining, real_scores

RESULTS = Path(__file__).parent / "results" / "supervised.json"
TEACHERS = (
    "curriculum", "distillation", "real", "shuffled-batches", "all-shuffled", "no-curriculum",
    "balanced-noise",
)  # fmt: skip
FILES = {"mnist": ("MNIST",), "cifar10": ("cifar10-jpeg.zip", "cifar-10-batches-py")}
# All else of images is the library's default.
IMAGES = {"exams": 2, "evaluate_every": 100}
SETTINGS: dict[str, dict[str, Any]] = {
    "digits": {},
    # MNIST-1D is harder to teach: more outer steps, more learners in each.
    "mnist1d": {"outer_steps": 1500, "learners": ("8xmlp@relu:64-64",)},
    "mnist": IMAGES,
    "cifar10": IMAGES,
}
# Real data has nothing to learn but two numbers a step.
REAL = {"outer_steps": 60}
# Ordinary training on real data, at constant rates of which each point has its best one.
RATES, POINTS = (0.02, 0.05, 0.1), (8, 16, 32, 64, 128, 256)
UNSEEN = {
    "digits": ("mlp@relu:32-32", "mlp@tanh:64-64", "mlp@relu:128-128-128", "cnn3@relu:8-16"),
    "mnist": (
        "mlp@relu:128-128", "cnn3@relu:16-32", "cnn5+in@relu:16-32", "cnn3+gn+pool@relu:16*3"
    ),
}  # fmt: skip


@dataclass
class Arguments:
    """Teachers of classifiers at equal steps."""

    seeds: int = 1
    """Outer seeds."""
    first_seed: int = 100
    """The first of them."""
    tasks: tuple[str, ...] = ("digits:16", "digits:4")
    """Task and inner steps."""
    teachers: tuple[str, ...] = TEACHERS[:3]
    """Which teachers."""
    outer_steps: int = 0
    """Updates of a teacher; as the settings of a task have it if 0."""
    data_folder: Path = Path()
    """Folder of MNIST and CIFAR-10."""
    out: Path = Path("runs/supervised")
    """Folder for the runs."""


def read(task: str, folder: Path) -> Data:
    """The data of a task, from its package or from files."""
    if task not in FILES:
        return load(task)
    places = [folder / name for name in FILES[task]]
    return load(next((place for place in places if place.exists()), places[0]))


def settings(
    task: str, steps: int, teacher: str, seed: int, outer_steps: int = 0
) -> SupervisedConfig:
    own = dict(SETTINGS[task])
    if teacher == "real":
        own |= REAL
    if outer_steps:
        own["outer_steps"] = outer_steps
    return SupervisedConfig(seed=seed, teacher=teacher, inner_steps=steps, max_minutes=60, **own)


def run(task: str, data: Data, config: SupervisedConfig, out: Path) -> dict[str, Any]:
    config = config.suited(data.shape)
    steps, teacher, seed = config.inner_steps, config.teacher, config.seed
    start, folder = time.process_time(), out / f"{task}-{steps}-{teacher}-{seed}"
    result = train(
        data, folder, config, progress_bar=False, resume=folder.exists(),
        command=f"python benchmarks/supervised.py --tasks {task}:{steps} --teachers {teacher}",
    )  # fmt: skip
    seconds = time.process_time() - start
    keep = {2**power for power in range(10) if 2**power < steps}
    along = taught(result.teacher, data, config, generator(seed, 9), keep=keep, count=4)
    unseen = UNSEEN["mnist" if task in FILES else "digits"]
    return {
        "task": task, "steps": steps, "teacher": teacher, "seed": seed,
        "cpu_seconds": round(seconds, 1), "wall_seconds": round(result.seconds, 1),
        "outer_steps": config.outer_steps, "stopped": result.stopped,
        "validation": round(result.scores["validation"], 2),
        "test": round(result.scores["test"], 2),
        "at": [*sorted(keep), steps],
        "curve": [round(float(accuracy(stack, data.test).mean()), 2) for stack in along],
        "transfer": {
            text: round(
                float(
                    final_accuracies(
                        result.teacher, data, config, seed, learners=(text,), count=4
                    ).mean()
                ),
                2,
            )
            for text in unseen
        },
    }  # fmt: skip


def longer(data: Data) -> dict[str, Any]:
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


def cells(rows: list[dict[str, Any]]) -> dict[tuple[Any, ...], list[dict[str, Any]]]:
    """Rows of each task, number of steps and teacher."""
    found: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault((row["task"], row["steps"], row["teacher"]), []).append(row)
    return found


def table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| task | steps | teacher | seeds | mean | IQM | 95 % interval | min | CPU s |",
        "| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for cell, own in cells(rows).items():
        s = summarize([row["test"] for row in own])
        seconds = sum(row["cpu_seconds"] for row in own) / len(own)
        lines.append(
            f"| {cell[0]} | {cell[1]} | {cell[2]} | {len(own)} | {s.mean:.1f} | {s.iqm:.1f} | "
            f"[{s.low:.1f}, {s.high:.1f}] | {s.min:.1f} | {seconds:.0f} |"
        )
    return "\n".join(lines)


def transfer(rows: list[dict[str, Any]]) -> str:
    lines = ["| task | steps | teacher | networks it never saw, % |", "| --- | ---: | --- | --- |"]
    for cell, own in cells(rows).items():
        means = {
            text: sum(row["transfer"][text] for row in own) / len(own)
            for text in own[0]["transfer"]
        }
        said = ", ".join(f"{text} {mean:.1f}" for text, mean in means.items())
        lines.append(f"| {' | '.join(map(str, cell))} | {said} |")
    return "\n".join(lines)


def main(arguments: Arguments) -> None:
    # One thread: the tensors are small.
    torch.set_num_threads(1)
    content: dict[str, Any] = {"machine": "", "torch": torch.__version__, "runs": []}
    if RESULTS.is_file():
        content = json.loads(RESULTS.read_text())
    content["machine"] = f"{platform.machine()}, 2 cores, one thread, shared with other work"
    done = {(r["task"], r["steps"], r["teacher"], r["seed"]) for r in content["runs"]}
    known: dict[str, Data] = {}
    for task in arguments.tasks:
        name, _, steps = task.partition(":")
        for teacher in arguments.teachers:
            for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
                if (name, int(steps), teacher, seed) in done:
                    continue
                if name not in known:
                    known = {name: read(name, arguments.data_folder)}
                config = settings(name, int(steps), teacher, seed, arguments.outer_steps)
                row = run(name, known[name], config, arguments.out)
                content["runs"].append(row)
                RESULTS.write_text(json.dumps(content, indent=1) + "\n")
                print(json.dumps(row), flush=True)
        if name in FILES and name not in content.setdefault("longer", {}):
            known = known if name in known else {name: read(name, arguments.data_folder)}
            content["longer"][name] = longer(known[name])
            RESULTS.write_text(json.dumps(content, indent=1) + "\n")
    print(table(content["runs"]))
    print(transfer(content["runs"]))


if __name__ == "__main__":
    main(tyro.cli(Arguments))
