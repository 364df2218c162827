"""Do data that a teacher generates rank networks of cells as long real training does? CIFAR-10.

Candidates are drawn from the space of `gtn_rl.supervised.space`; the truth of each is its test
accuracy after long training on real data. It is trained in pieces: every candidate's numbers are
kept as soon as they are there, and the next call goes on with the next one. Usage:

    python benchmarks/nas.py --data-folder FOLDER [--teacher runs/cifar10] [--minutes 30]
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from common import RESULTS, keep, measured, read, table
from scipy.stats import kendalltau, spearmanr

from gtn_rl.supervised import load_teacher
from gtn_rl.supervised.search import (
    RealTraining,
    naswot_scores,
    proxy_scores,
    real_scores,
)
from gtn_rl.supervised.space import candidates, latency_us, parameters_of

Scores = np.ndarray[Any, Any]
FILE = RESULTS / "nas.json"
RATE, POINTS = 0.1, (8, 16, 32)


def columns(rows: list[dict[str, Any]]) -> dict[str, tuple[Scores, Scores]]:
    """Scores of each proxy and the CPU seconds of each network, where all networks have them."""
    found = {"parameters": (np.array([row["parameters"] for row in rows]), np.zeros(len(rows)))}
    for name in ("naswot", f"real, rate {RATE}", "generated"):
        if not all(name in row for row in rows):
            continue
        scores = np.array([row[name] for row in rows])
        seconds = np.array([row[f"{name}, seconds"] for row in rows])
        if scores.ndim == 1:
            found[name] = scores, seconds
        else:
            for index, steps in enumerate(POINTS):
                found[f"{name}, {steps} steps"] = scores[:, index], seconds * steps / POINTS[-1]
    return found


def correlations(rows: list[dict[str, Any]]) -> str:
    """Rank correlations of each proxy with the truth."""
    truth = np.array([row["truth"] for row in rows])
    half, lines = truth >= np.median(truth), []
    for name, (scores, seconds) in columns(rows).items():
        found = spearmanr(scores, truth), kendalltau(scores, truth)
        numbers = [x.statistic for x in (*found, spearmanr(scores[half], truth[half]))]
        top = truth[np.argsort(-scores)[:3]].max()
        lines.append((name, *(f"{x:.2f}" for x in numbers), f"{top:.1f}", f"{seconds.mean():.2f}"))
    head = "proxy|Spearman:|Kendall:|Spearman, better half:|truth of its best 3:|CPU s each:"
    return (
        f"{table(head, lines)}\n\n{len(rows)} networks, truth {truth.min():.1f} to "
        f"{truth.max():.1f} %, deviation {truth.std():.1f}; the best: "
        f"{rows[int(truth.argmax())]['network']}"
    )


def searches(rows: list[dict[str, Any]], budgets: tuple[int, ...] = (60, 120, 180)) -> str:
    """What a search of so many CPU seconds finds on average: as many networks as it can rank.

    The three best by the proxy are trained as the truth is, which is paid for; the meta-training of
    a teacher is not.
    """
    truth, lines = np.array([row["truth"] for row in rows]), []
    long, source = np.mean([row["truth, seconds"] for row in rows]), np.random.default_rng(0)
    known = columns(rows) | {"none: networks at random": (np.zeros(len(rows)), np.zeros(len(rows)))}
    for name, (scores, seconds) in known.items():
        found = []
        for budget in budgets:
            tops, short = 3, max(float(seconds.mean()), 1e-3)
            ranked = int(min((budget - 3 * long) / short, len(rows)))
            if name.startswith("none"):
                tops = ranked = min(int(budget / long), len(rows))
            best = []
            for _ in range(2000 if ranked >= tops > 0 else 0):
                drawn = source.choice(len(rows), ranked, replace=False)
                best.append(truth[drawn[np.argsort(-scores[drawn], kind="stable")[:tops]]].max())
            found.append(f"{np.mean(best):.1f}" if best else "")
        lines.append((name, *found))
    return table("|".join(["proxy", *(f"{budget} s:" for budget in budgets)]), lines)


def main(
    *, data_folder: Path, teacher: Path | None = None, networks: int = 60, truth_steps: int = 300,
    minutes: float = 30.0,
) -> None:  # fmt: skip
    """Rank so many networks, and begin none after so many minutes.

    A teacher of CIFAR-10 in a folder is one proxy more; steps of truth are of 128 examples.
    """
    torch.set_num_threads(1)  # The tensors are small.
    data, start = read("cifar10", data_folder), time.monotonic()
    long = RealTraining(truth_steps, rate=RATE, batch=128)
    short = RealTraining(POINTS[-1], rate=RATE, batch=128, cosine=False)
    wanted: dict[str, Callable[[str], Scores]] = {
        "naswot": lambda text: naswot_scores(data, [text]),
        "latency_us": lambda text: np.array(latency_us(text, data)),
        "truth": lambda text: real_scores(data, [text], long, on="test", count=1),
        f"real, rate {RATE}": lambda text: real_scores(
            data, [text], short, keep=POINTS[:-1], count=1
        )[0],
    }
    if teacher is not None:
        made, config = load_teacher(teacher, data)
        wanted["generated"] = lambda text: proxy_scores(made, data, config, [text], count=1)
    drawn = candidates(networks, 0, data.shape)
    for text in dict.fromkeys([*measured(FILE), *drawn]):
        known = {"network": text, "parameters": parameters_of(text, data)}
        row = known | measured(FILE).get(text, {"truth_steps": truth_steps})
        if row.get("truth_steps", truth_steps) != truth_steps:
            raise SystemExit(f"{FILE} has {row['truth_steps']} steps: move it away, or ask so")
        for name, measure in wanted.items():
            if name in row or time.monotonic() - start > 60 * minutes:
                continue
            before, scores = time.process_time(), measure(text)
            row[f"{name}, seconds"] = round(time.process_time() - before, 2)
            row[name] = np.squeeze(scores).round(2).tolist()
            keep(FILE, text, row)
    done = [row for row in measured(FILE).values() if set(wanted) <= set(row)]
    if len(done) > 3:
        print(correlations(done), searches(done), sep="\n\n")


if __name__ == "__main__":
    tyro.cli(main)
