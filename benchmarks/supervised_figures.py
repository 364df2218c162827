"""Draw what `supervised.py` and `nas.py` measured, and what a teacher shows its learners.

    python benchmarks/supervised_figures.py [--teacher runs/supervised/mnist-8-curriculum-100]

writes docs/supervised_images.png, docs/supervised_images_samples.png and docs/nas.png.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from matplotlib.figure import Figure
from nas import POINTS, RATES, columns

from gtn_rl.supervised import load_teacher
from gtn_rl.supervised.search import spearman

ROOT = Path(__file__).parents[1]
NAMES = {"mnist": "MNIST", "cifar10": "CIFAR-10 (JPEG copy)"}
COLORS = {
    "curriculum": "#1f77b4",
    "shuffled-batches": "#2ca02c",
    "all-shuffled": "#9467bd",
    "no-curriculum": "#d62728",
    "balanced-noise": "#e377c2",
    "distillation": "#ff7f0e",
    "real": "#808080",
}


@dataclass
class Arguments:
    """Draw the figures."""

    teacher: Path = Path("runs/supervised/mnist-8-curriculum-100")
    """Folder of the teacher whose samples are shown."""


def curves(runs: list[dict[str, object]]) -> Figure:
    tasks = list(dict.fromkeys((row["task"], row["steps"]) for row in runs))
    figure = Figure(figsize=(4.2 * len(tasks), 3.6), layout="constrained")
    axes = figure.subplots(1, len(tasks), squeeze=False)[0]
    for axis, (task, steps) in zip(axes, tasks, strict=True):
        for teacher, color in COLORS.items():
            own = np.array(
                [
                    row["curve"] for row in runs
                    if (row["task"], row["steps"], row["teacher"]) == (task, steps, teacher)
                ]
            )  # fmt: skip
            if not len(own):
                continue
            x = next(
                row["at"] for row in runs
                if (row["task"], row["steps"], row["teacher"]) == (task, steps, teacher)
            )  # fmt: skip
            axis.plot(x, own.mean(0), color=color, label=teacher)
            axis.fill_between(x, own.min(0), own.max(0), color=color, alpha=0.15, lw=0)
        axis.set(title=f"{NAMES.get(task, task)}, {steps} steps", xlabel="learner's step")
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("test accuracy of fresh learners, %")
    handles = {
        label: handle
        for axis in axes
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        handles.values(), handles.keys(), loc="outside lower center", ncols=4, frameon=False
    )
    return figure


def samples(folder: Path) -> Figure:
    teacher, config = load_teacher(folder)
    with torch.no_grad():
        lesson = teacher.lesson(1, torch.Generator())
    labels = lesson.targets[:, 0].argmax(-1)
    content = json.loads((folder / "config.json").read_text())["data"]
    shape, classes = content["shape"], content["classes"]
    # Eight of the steps at most, evenly spaced.
    shown = np.unique(np.linspace(0, config.inner_steps - 1, 8).round().astype(int)).tolist()
    low, high = torch.quantile(lesson.inputs.flatten()[:100_000], torch.tensor([0.005, 0.995]))
    figure = Figure(figsize=(6.4, 6.4 * len(shown) / classes), layout="constrained")
    axes = figure.subplots(len(shown), classes, squeeze=False)
    for row, step in enumerate(shown):
        for label in range(classes):
            axis = axes[row, label]
            sample = lesson.inputs[step, 0][labels[step] == label][0]
            image = ((sample.view(*shape) - low) / (high - low)).clamp(0, 1).permute(1, 2, 0)
            axis.imshow(image.numpy(), cmap="gray")
            axis.set(xticks=[], yticks=[])
            if label == 0:
                axis.set_ylabel(f"step {step + 1}", fontsize=7)
            if row == 0:
                axis.set_title(str(label), fontsize=9)
    return figure


def networks(rows: list[dict[str, Any]]) -> Figure:
    """Truth of each network against its proxies, and against its latency with the Pareto front."""
    truth = np.array([row["truth"] for row in rows])
    panels = {name: scores for name, (scores, _) in columns(rows).items() if len(scores)}
    wanted = ("generated", f"real, rate {RATES[0]}, {POINTS[-1]} steps", "naswot", "parameters")
    panels = {name: panels[name] for name in wanted if name in panels}
    figure = Figure(figsize=(3.1 * (len(panels) + 1), 3.2), layout="constrained")
    first, *axes = figure.subplots(1, len(panels) + 1, sharey=True)
    latency = np.array([row["latency_us"] for row in rows])
    order = np.lexsort((-truth, latency))
    front = [i for i, best in zip(order, np.maximum.accumulate(truth[order]), strict=True)
             if truth[i] == best]  # fmt: skip
    first.scatter(latency, truth, s=12, color="#808080")
    first.plot(latency[front], truth[front], "o-", color="#d62728", ms=4, label="Pareto front")
    first.set(xlabel="microseconds for one image", ylabel="accuracy after long training, %")
    first.legend(frameon=False, loc="lower right")
    for axis, (name, scores) in zip(axes, panels.items(), strict=True):
        axis.scatter(scores, truth, s=12, color=COLORS["curriculum"])
        axis.set(title=f"rank correlation {spearman(scores, truth):.2f}", xlabel=name)
        if name == "parameters":
            axis.set_xscale("log")
    for axis in (first, *axes):
        axis.spines[["top", "right"]].set_visible(False)
    return figure


def main(arguments: Arguments) -> None:
    results, docs = ROOT / "benchmarks" / "results", ROOT / "docs"
    runs = json.loads((results / "supervised.json").read_text())["runs"]
    curves(runs).savefig(docs / "supervised_images.png", dpi=120)
    samples(arguments.teacher).savefig(docs / "supervised_images_samples.png", dpi=90)
    content = json.loads((results / "nas.json").read_text())["candidates"]
    whole = [row for row in content if len(row) == max(map(len, content))]
    networks(whole).savefig(docs / "nas.png", dpi=110)


if __name__ == "__main__":
    main(tyro.cli(Arguments))
