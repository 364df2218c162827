"""Teachers of classifiers at equal steps: curricula, distillation, real data; and transfer.

Every teacher is meta-trained with the same settings for each seed, then judged once on the test set
by 32 fresh learners of the kind it was trained with, along their training, and by learners of other
shapes. "Real" is real data whose learning rate and momentum of each step are found by the same
meta-gradient. Results are kept after every run; a second call goes on. Usage:

    python benchmarks/supervised.py [--seeds 5] [--tasks digits:16 digits:4 mnist1d:16]
"""

from __future__ import annotations

import json
import platform
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import tyro

from gtn_rl.evaluation.stats import summarize
from gtn_rl.seeding import generator
from gtn_rl.supervised import SupervisedConfig, final_accuracies, load, train
from gtn_rl.supervised.evaluate import accuracy, taught

RESULTS = Path(__file__).parent / "results" / "supervised.json"
UNSEEN = ("mlp@relu:32-32", "mlp@tanh:64-64", "mlp@relu:128-128-128", "cnn3@relu:8-16")
TEACHERS = (
    "curriculum", "distillation", "real", "shuffled-batches", "all-shuffled", "no-curriculum",
    "balanced-noise",
)  # fmt: skip
# MNIST-1D is harder to teach: more outer steps, more learners in each.
SETTINGS = {"digits": {}, "mnist1d": {"outer_steps": 1500, "learners": ("8xmlp@relu:64-64",)}}
# Real data has nothing to learn but two numbers a step.
REAL_OUTER = 150


@dataclass
class Arguments:
    """Teachers of classifiers at equal steps."""

    seeds: int = 5
    """Outer seeds."""
    tasks: tuple[str, ...] = ("digits:16", "digits:4", "mnist1d:16")
    """Task and inner steps."""
    teachers: tuple[str, ...] = TEACHERS
    """Which teachers."""
    out: Path = Path("runs/supervised")
    """Folder for the runs."""


def settings(task: str, steps: int, teacher: str, seed: int) -> SupervisedConfig:
    own = dict(SETTINGS[task])
    if teacher == "real":
        own["outer_steps"] = REAL_OUTER
    return SupervisedConfig(seed=seed, teacher=teacher, inner_steps=steps, max_minutes=60, **own)


def run(task: str, steps: int, teacher: str, seed: int, out: Path) -> dict[str, object]:
    data, config = load(task), settings(task, steps, teacher, seed)
    start = time.process_time()
    result = train(
        data, out / f"{task}-{steps}-{teacher}-{seed}", config, progress_bar=False,
        command=f"python benchmarks/supervised.py --tasks {task}:{steps} --teachers {teacher}",
    )  # fmt: skip
    seconds = time.process_time() - start
    keep = set(range(1, steps))
    (kind,) = config.learners
    along = taught(
        result.teacher, data, replace(config, learners=(kind,)), generator(seed, 9), keep=keep,
        count=16,
    )  # fmt: skip
    return {
        "task": task,
        "steps": steps,
        "teacher": teacher,
        "seed": seed,
        "cpu_seconds": round(seconds, 1),
        "validation": round(result.scores["validation"], 2),
        "test": round(result.scores["test"], 2),
        "curve": [round(float(accuracy(stack, data.test).mean()), 2) for stack in along],
        "transfer": {
            text: round(
                float(
                    final_accuracies(
                        result.teacher, data, config, seed, learners=(text,), count=8
                    ).mean()
                ),
                2,
            )
            for text in UNSEEN
        },
    }


def table(rows: list[dict[str, object]]) -> str:
    lines = [
        "| task | steps | teacher | seeds | mean | IQM | 95 % interval | min | CPU s |",
        "| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    cells = dict.fromkeys((row["task"], row["steps"], row["teacher"]) for row in rows)
    for cell in cells:
        own = [row for row in rows if (row["task"], row["steps"], row["teacher"]) == cell]
        s = summarize([row["test"] for row in own])
        seconds = sum(row["cpu_seconds"] for row in own) / len(own)
        lines.append(
            f"| {cell[0]} | {cell[1]} | {cell[2]} | {len(own)} | {s.mean:.1f} | {s.iqm:.1f} | "
            f"[{s.low:.1f}, {s.high:.1f}] | {s.min:.1f} | {seconds:.0f} |"
        )
    return "\n".join(lines)


def transfer(rows: list[dict[str, object]]) -> str:
    lines = [
        f"| task | steps | teacher | {' | '.join(UNSEEN)} |",
        "| --- " * (3 + len(UNSEEN)) + "|",
    ]
    for cell in dict.fromkeys((row["task"], row["steps"], row["teacher"]) for row in rows):
        own = [row for row in rows if (row["task"], row["steps"], row["teacher"]) == cell]
        means = [sum(row["transfer"][text] for row in own) / len(own) for text in UNSEEN]
        lines.append(f"| {' | '.join(map(str, cell))} | {' | '.join(f'{m:.1f}' for m in means)} |")
    return "\n".join(lines)


def main(arguments: Arguments) -> None:
    # One thread: the tensors are small.
    torch.set_num_threads(1)
    content = {"machine": "", "torch": torch.__version__, "runs": []}
    if RESULTS.is_file():
        content = json.loads(RESULTS.read_text())
    content["machine"] = f"{platform.machine()}, 2 cores, one thread, shared with other work"
    done = {(r["task"], r["steps"], r["teacher"], r["seed"]) for r in content["runs"]}
    for task in arguments.tasks:
        name, _, steps = task.partition(":")
        for teacher in arguments.teachers:
            for seed in range(arguments.seeds):
                if (name, int(steps), teacher, seed) in done:
                    continue
                row = run(name, int(steps), teacher, seed, arguments.out)
                content["runs"].append(row)
                RESULTS.write_text(json.dumps(content, indent=1) + "\n")
                print(json.dumps({k: v for k, v in row.items() if k != "curve"}), flush=True)
    print(table(content["runs"]))
    print(transfer(content["runs"]))


if __name__ == "__main__":
    main(tyro.cli(Arguments))
