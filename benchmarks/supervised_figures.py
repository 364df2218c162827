"""Draw what `supervised.py` and `nas.py` measured, and what a teacher shows its learners.

    python benchmarks/supervised_figures.py [--teacher runs/supervised/mnist-8-curriculum-100]

writes docs/supervised_images.png, docs/supervised_images_samples.png and docs/nas.png.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from common import RESULTS, measured
from matplotlib.figure import Figure
from nas import POINTS, RATE, columns
from scipy.stats import spearmanr
from supervised import TEACHERS

from gtn_rl.io.artifact import read_config
from gtn_rl.supervised import load_teacher

DOCS = Path(__file__).parents[1] / "docs"
NAMES = {"mnist": "MNIST", "cifar10": "CIFAR-10 (JPEG copy)"}


def curves(runs: list[dict[str, Any]]) -> Figure:
    tasks = list(dict.fromkeys((row["task"], row["steps"]) for row in runs))
    figure = Figure(figsize=(4.2 * len(tasks), 3.6), layout="constrained")
    axes = figure.subplots(1, len(tasks), squeeze=False)[0]
    for axis, (task, steps) in zip(axes, tasks, strict=True):
        for number, teacher in enumerate(TEACHERS):
            cell = task, steps, teacher
            own = [row for row in runs if (row["task"], row["steps"], row["teacher"]) == cell]
            usual = [row for row in own if row["learners"] == own[0]["learners"]]
            long = [row for row in own if row["outer_steps"] >= 600]
            for some, line, more in ((usual[:1], "-", ""), (long, ":", ", long meta-training")):
                if not some:
                    continue
                x, y = some[0]["at"], np.array([row["curve"] for row in some])
                axis.plot(x, y.mean(0), line, color=f"C{number}", label=teacher + more)
                axis.fill_between(x, y.min(0), y.max(0), color=f"C{number}", alpha=0.15, lw=0)
        axis.set(title=f"{NAMES.get(task, task)}, {steps} steps", xlabel="learner's step")
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("test accuracy of fresh learners, %")
    drawn = max((axis.get_legend_handles_labels() for axis in axes), key=lambda x: len(x[0]))
    figure.legend(*drawn, loc="outside lower center", ncols=4, frameon=False)
    return figure


def samples(folder: Path) -> Figure:
    """An example of each class (columns) at eight of the steps at most, evenly spaced."""
    teacher, config = load_teacher(folder)
    with torch.no_grad():
        lesson = teacher.lesson(1, torch.Generator())
    inputs, labels = lesson.inputs[:, 0], lesson.targets[:, 0].argmax(-1)
    content = read_config(folder)["data"]
    steps = np.unique(np.linspace(0, config.inner_steps - 1, 8).round().astype(int)).tolist()
    low, high = torch.quantile(inputs.flatten()[:100_000], torch.tensor([0.005, 0.995]))
    figure = Figure(figsize=(6.4, 6.4 * len(steps) / content["classes"]), layout="constrained")
    axes = figure.subplots(len(steps), content["classes"], squeeze=False)
    for row, step in zip(axes, steps, strict=True):
        for label, axis in enumerate(row):
            image = inputs[step][labels[step] == label][0].view(*content["shape"])
            image = ((image - low) / (high - low)).clamp(0, 1).permute(1, 2, 0)
            axis.imshow(image.numpy(), cmap="gray")
            axis.set(xticks=[], yticks=[])
        row[0].set_ylabel(f"step {step + 1}", fontsize=7)
    return figure


def networks(rows: list[dict[str, Any]]) -> Figure:
    """Truth of each network against its proxies, and against its latency with the Pareto front."""
    truth, latency = (np.array([row[name] for row in rows]) for name in ("truth", "latency_us"))
    known = columns(rows)
    wanted = ("generated", f"real, rate {RATE}, {POINTS[-1]} steps", "naswot", "parameters")
    panels = {name: known[name][0] for name in wanted if name in known}
    figure = Figure(figsize=(3.1 * (len(panels) + 1), 3.2), layout="constrained")
    first, *axes = figure.subplots(1, len(panels) + 1, sharey=True)
    order = np.lexsort((-truth, latency))
    front = order[truth[order] == np.maximum.accumulate(truth[order])]
    first.scatter(latency, truth, s=12, color="C7")
    first.plot(latency[front], truth[front], "o-", color="C3", ms=4, label="Pareto front")
    first.set(xlabel="microseconds for one image", ylabel="accuracy after long training, %")
    first.legend(frameon=False, loc="lower right")
    for axis, (name, scores) in zip(axes, panels.items(), strict=True):
        axis.scatter(scores, truth, s=12)
        axis.set(title=f"rank correlation {spearmanr(scores, truth).statistic:.2f}", xlabel=name)
        axis.set_xscale("log" if name == "parameters" else "linear")
    for axis in (first, *axes):
        axis.spines[["top", "right"]].set_visible(False)
    return figure


def main(*, teacher: Path = Path("runs/supervised/mnist-8-curriculum-100")) -> None:
    """Draw the figures; the folder of the teacher whose samples are shown."""
    runs = [row for row in measured(RESULTS / "supervised.json").values() if "teacher" in row]
    curves(runs).savefig(DOCS / "supervised_images.png", dpi=120)
    rows = list(measured(RESULTS / "nas.json").values())
    networks([row for row in rows if "generated" in row]).savefig(DOCS / "nas.png", dpi=110)
    samples(teacher).savefig(DOCS / "supervised_images_samples.png", dpi=90)


if __name__ == "__main__":
    tyro.cli(main)
