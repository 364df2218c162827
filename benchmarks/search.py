"""Does a short training by a teacher rank networks as long real training does?

A teacher of MNIST-1D is meta-trained with learners from all over the search space. Then candidates
are trained for its few steps, and on real data, for as few and for many more. Truth is the test
accuracy after long real training. Real data has its best constant learning rate at every number of
steps, chosen by the very correlation that is reported. Usage:

    python benchmarks/search.py [--candidates 60]
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

from gtn_rl.supervised import SupervisedConfig, load, train
from gtn_rl.supervised.search import RealTraining, kendall, proxy_scores, real_scores, spearman
from gtn_rl.supervised.space import candidates, parameters_of

RESULTS = Path(__file__).parent / "results" / "search.json"
# The large ones of the space: rates that suit small networks make large ones diverge, which then
# rank behind them.
POOL = (
    "2xmlp@relu:64..128", "2xcnn3@relu:16..32-16..32", "2xcnn5@tanh:16..32-16..32",
    "2xcnn7@relu:16..32-16..32", "2xcnn7@tanh:16..32", "2xcnn5@relu:16..32-16..32-16..32",
)  # fmt: skip
RATES = (0.02, 0.1)


@dataclass
class Arguments:
    """Ranking networks by proxy."""

    candidates: int = 60
    """Networks."""
    truth_steps: int = 1_000
    """Steps of the long real training."""
    inner_steps: int = 16
    """Steps of the teacher."""
    outer_steps: int = 1_000
    """Updates of the teacher."""
    teachers: tuple[str, ...] = ("curriculum", "distillation", "real")
    """Teachers to rank by."""
    task: str = "mnist1d"
    """Data."""
    out: Path = Path("runs/search")
    """Folder for the runs."""


def teacher_settings(name: str, inner_steps: int, outer_steps: int) -> SupervisedConfig:
    """Real data has two numbers a step to learn, which takes a tenth of the outer steps."""
    return SupervisedConfig(
        teacher=name, inner_steps=inner_steps, learners=POOL, draw=2, max_minutes=60,
        outer_steps=outer_steps // (1 if name != "real" else 10), first_rate=0.05,
        weight_norm=True,
    )  # fmt: skip


def main(arguments: Arguments) -> None:
    torch.set_num_threads(1)
    data = load(arguments.task)
    texts = candidates(arguments.candidates, 0, data.shape)
    content: dict[str, Any] = {"candidates": [], "correlations": {}, "cpu_seconds": {}}
    if RESULTS.is_file():
        content = json.loads(RESULTS.read_text())
    rows, seconds = content["correlations"], content["cpu_seconds"]
    clock = time.process_time()

    def lap(name: str) -> None:
        nonlocal clock
        seconds[name] = round(time.process_time() - clock, 1)
        clock = time.process_time()
        print(name, seconds[name], flush=True)

    known = {row["network"]: row["truth"] for row in content["candidates"]}
    if set(known) != set(texts):
        truth = real_scores(data, texts, RealTraining(arguments.truth_steps), on="test")[:, -1]
        lap("truth")
        content["truth_steps"] = arguments.truth_steps
        content["candidates"] = [
            {"network": text, "parameters": parameters_of(text, data), "truth": round(score, 2)}
            for text, score in zip(texts, truth, strict=True)
        ]
        known = {row["network"]: row["truth"] for row in content["candidates"]}
    truth = np.array([known[text] for text in texts])
    content["truth_of_best_5"] = round(float(np.sort(truth)[-5:].mean()), 1)

    def correlations(scores: np.ndarray) -> dict[str, float]:
        half = truth >= np.median(truth)
        return {
            "spearman": round(spearman(scores, truth), 3),
            "kendall": round(kendall(scores, truth), 3),
            "spearman_top_half": round(spearman(scores[half], truth[half]), 3),
            # What a search would end with: the truth of the five it likes best.
            "truth_of_top_5": round(float(truth[scores.argsort()[-5:]].mean()), 1),
        }

    steps = arguments.inner_steps
    keep = [times * steps for times in (1, 2, 4, 9)]
    if not all(f"real data, {number} steps" in rows for number in keep):
        by_rate = [
            real_scores(
                data, texts, RealTraining(keep[-1], rate, batch=32, cosine=False), keep=keep[:-1]
            )
            for rate in RATES
        ]
        lap("real, constant rates")
        for column, number in enumerate(keep):
            best = max(by_rate, key=lambda scores: spearman(scores[:, column], truth))
            rows[f"real data, {number} steps"] = correlations(best[:, column])
    for name in arguments.teachers:
        config = teacher_settings(name, steps, arguments.outer_steps)
        result = train(data, arguments.out / f"{name}-{steps}", config, progress_bar=False)
        lap(f"meta-training, {name}, {steps} steps, {config.outer_steps} outer steps")
        scores = proxy_scores(result.teacher, data, config, texts)
        lap(f"{arguments.candidates} proxies, {name}, {steps} steps")
        label = "real data, learned rates" if name == "real" else name
        rows[f"{label}, {steps} steps"] = correlations(scores) | {
            "mean": round(float(scores.mean()), 1)
        }
        RESULTS.write_text(json.dumps(content, indent=1) + "\n")
        print(json.dumps(rows, indent=1), flush=True)


if __name__ == "__main__":
    main(tyro.cli(Arguments))
