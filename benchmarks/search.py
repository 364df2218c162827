"""Does a short training by a teacher rank networks as long real training does?

A teacher of MNIST-1D is meta-trained with learners from all over the search space. Then candidates
are trained for its few steps, and on real data, for as few and for many more. Truth is the test
accuracy after long real training. Real data has its best constant learning rate at every number of
steps, chosen by the very correlation that is reported. Usage:

    python benchmarks/search.py [--networks 60]
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from common import RESULTS, keep, measured

from gtn_rl.supervised import SupervisedConfig, load, train
from gtn_rl.supervised.search import RealTraining, kendall, proxy_scores, real_scores, spearman
from gtn_rl.supervised.space import candidates, parameters_of

FILE = RESULTS / "search.json"
# The large ones of the space: rates that suit small networks make large ones diverge, which then
# rank behind them.
POOL = (
    "2xmlp@relu:64..128", "2xcnn3@relu:16..32-16..32", "2xcnn5@tanh:16..32-16..32",
    "2xcnn7@relu:16..32-16..32", "2xcnn7@tanh:16..32", "2xcnn5@relu:16..32-16..32-16..32",
)  # fmt: skip


def correlations(scores: np.ndarray[Any, Any], truth: np.ndarray[Any, Any]) -> dict[str, float]:
    half = truth >= np.median(truth)
    return {
        "spearman": round(spearman(scores, truth), 3),
        "kendall": round(kendall(scores, truth), 3),
        "spearman_top_half": round(spearman(scores[half], truth[half]), 3),
        # What a search would end with: the truth of the five it likes best.
        "truth_of_top_5": round(float(truth[scores.argsort()[-5:]].mean()), 1),
    }


def main(
    *, networks: int = 60, truth_steps: int = 1_000, inner_steps: int = 16,
    outer_steps: int = 1_000, teachers: tuple[str, ...] = ("curriculum", "distillation", "real"),
    out: Path = Path("runs/search"),
) -> None:  # fmt: skip
    """Steps of the long real training, of the teachers, and updates of those."""
    torch.set_num_threads(1)
    data, steps = load("mnist1d"), inner_steps
    texts = candidates(networks, 0, data.shape)
    known = measured(FILE).get("truth", {}).get("candidates", {})
    if set(known) != set(texts):
        scores = real_scores(data, texts, RealTraining(truth_steps), on="test")[:, -1]
        known = {
            text: {"parameters": parameters_of(text, data), "truth": round(float(score), 2)}
            for text, score in zip(texts, scores, strict=True)
        }
        keep(FILE, "truth", {"steps": truth_steps, "candidates": known})
    truth = np.array([known[text]["truth"] for text in texts])
    at = [times * steps for times in (1, 2, 4, 9)]
    if not all(f"real data, {number} steps" in measured(FILE) for number in at):
        rates = [RealTraining(at[-1], rate, batch=32, cosine=False) for rate in (0.02, 0.1)]
        by_rate = [real_scores(data, texts, rate, keep=at[:-1]) for rate in rates]
        for column, number in enumerate(at):
            every = [correlations(scores[:, column], truth) for scores in by_rate]
            best = max(every, key=lambda row: row["spearman"])
            keep(FILE, f"real data, {number} steps", best)
    for name in teachers:
        # Real data has two numbers a step to learn, which takes a tenth of the outer steps.
        config = SupervisedConfig(
            teacher=name, inner_steps=steps, learners=POOL, draw=2, max_minutes=60,
            outer_steps=outer_steps // (10 if name == "real" else 1), first_rate=0.05,
            weight_norm=True,
        )  # fmt: skip
        start = time.process_time()
        result = train(data, out / f"{name}-{steps}", config, progress_bar=False)
        row = {"meta_cpu_seconds": round(time.process_time() - start, 1)}
        scores = proxy_scores(result.teacher, data, config, texts)
        row |= correlations(scores, truth) | {"mean": round(float(scores.mean()), 1)}
        keep(FILE, f"{'real data, learned rates' if name == 'real' else name}, {steps} steps", row)


if __name__ == "__main__":
    tyro.cli(main)
