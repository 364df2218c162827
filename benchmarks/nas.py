"""Do data that a teacher generates rank networks of cells as long real training does? CIFAR-10.

Candidates are drawn from the space of `gtn_rl.supervised.space`; the truth of each is its test
accuracy after long training on real data. It is trained in pieces: every candidate's numbers are
kept as soon as they are there, and the next call goes on with the next one. Usage:

    python benchmarks/nas.py --data-folder FOLDER [--teacher runs/cifar10] [--minutes 30]
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

from gtn_rl.supervised import Data, load, load_teacher
from gtn_rl.supervised.search import (
    RealTraining,
    kendall,
    naswot_scores,
    proxy_scores,
    real_scores,
    spearman,
)
from gtn_rl.supervised.space import candidates, latency_us, parameters_of

Scores = np.ndarray[Any, Any]
RESULTS = Path(__file__).parent / "results" / "nas.json"


RATES, POINTS = (0.1,), (8, 16, 32)


@dataclass
class Arguments:
    """Ranking networks of cells by proxy."""

    data_folder: Path
    """Folder with cifar10-jpeg.zip or cifar-10-batches-py."""
    teacher: Path | None = None
    """Folder of a teacher of CIFAR-10; its data is one proxy more."""
    candidates: int = 60
    """Networks."""
    truth_steps: int = 400
    """Steps of the long real training, of 128 examples each."""
    minutes: float = 30.0
    """Stop after the candidate with which this is over."""


def measures(data: Data, arguments: Arguments) -> dict[str, Callable[[str], Scores]]:
    """What is measured of a candidate, by name; short real trainings at `POINTS`."""
    long = RealTraining(arguments.truth_steps, rate=0.1, batch=128)
    found: dict[str, Callable[[str], Scores]] = {
        "naswot": lambda text: naswot_scores(data, [text]),
        "latency_us": lambda text: np.array(latency_us(text, data)),
        "truth": lambda text: real_scores(data, [text], long, on="test", count=1),
    }
    for rate in RATES:
        short = RealTraining(POINTS[-1], rate=rate, batch=128, cosine=False)
        found[f"real, rate {rate}"] = partial(
            lambda text, short: real_scores(data, [text], short, keep=POINTS[:-1], count=1)[0],
            short=short,
        )
    if arguments.teacher is not None:
        teacher, config = load_teacher(arguments.teacher, data)
        found["generated"] = lambda text: proxy_scores(teacher, data, config, [text], count=1)
    return found


def columns(rows: list[dict[str, Any]]) -> dict[str, tuple[Scores, Scores]]:
    """Scores of each proxy and the CPU seconds of each network, where all networks have them."""
    found = {"parameters": (np.array([row["parameters"] for row in rows]), np.zeros(len(rows)))}
    for name in dict.fromkeys(name for row in rows for name in row):
        if f"{name}, seconds" not in rows[0] or name in ("truth", "latency_us"):
            continue
        own = [row for row in rows if name in row]
        if len(own) < len(rows):
            continue
        scores = np.array([row[name] for row in rows])
        seconds = np.array([row[f"{name}, seconds"] for row in rows])
        if scores.ndim == 1:
            found[name] = scores, seconds
        else:
            for index, steps in enumerate(POINTS):
                found[f"{name}, {steps} steps"] = scores[:, index], seconds * steps / POINTS[-1]
    return found


def table(rows: list[dict[str, Any]]) -> str:
    """Rank correlations of each proxy with the truth."""
    truth = np.array([row["truth"] for row in rows])
    half, best = truth >= np.median(truth), np.argsort(-truth)[:1]
    lines = [
        "| proxy | Spearman | Kendall | Spearman, better half | truth of its best 3 | CPU s each |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, (scores, seconds) in columns(rows).items():
        top = truth[np.argsort(-scores)[:3]].max()
        lines.append(
            f"| {name} | {spearman(scores, truth):.2f} | {kendall(scores, truth):.2f} "
            f"| {spearman(scores[half], truth[half]):.2f} | {top:.1f} | {seconds.mean():.2f} |"
        )
    spread = (
        f"{len(rows)} networks, truth {truth.min():.1f} to {truth.max():.1f} %, deviation "
        f"{truth.std():.1f}; the best: {rows[int(best[0])]['network']}"
    )
    return "\n".join([*lines, "", spread])


def searches(rows: list[dict[str, Any]], budgets: tuple[int, ...] = (120, 240, 480)) -> str:
    """What a search of so many CPU seconds finds on average: as many networks as it can rank.

    The three best by the proxy are trained as the truth is, which is paid for; the meta-training of
    a teacher is not.
    """
    truth = np.array([row["truth"] for row in rows])
    long, source = (
        np.array([row["truth, seconds"] for row in rows]).mean(),
        np.random.default_rng(0),
    )
    lines = ["| proxy | " + " | ".join(f"{budget} s" for budget in budgets) + " |",
             "| --- |" + " ---: |" * len(budgets)]  # fmt: skip
    known = columns(rows) | {"none: networks at random": (np.zeros(len(rows)), np.zeros(len(rows)))}
    for name, (scores, seconds) in known.items():
        found = []
        for budget in budgets:
            short = max(float(seconds.mean()), 1e-3)
            tops, ranked = 3, int(min((budget - 3 * long) / short, len(rows)))
            if name.startswith("none"):
                tops = ranked = min(int(budget / long), len(rows))
            best = []
            for _ in range(2000 if ranked >= tops > 0 else 0):
                drawn = source.choice(len(rows), ranked, replace=False)
                best.append(truth[drawn[np.argsort(-scores[drawn], kind="stable")[:tops]]].max())
            found.append(f"{np.mean(best):.1f}" if best else "")
        lines.append(f"| {name} | {' | '.join(found)} |")
    return "\n".join(lines)


def main(arguments: Arguments) -> None:
    # One thread: the tensors are small.
    torch.set_num_threads(1)
    places = [arguments.data_folder / name for name in ("cifar10-jpeg.zip", "cifar-10-batches-py")]
    data, start = load(next((p for p in places if p.exists()), places[0])), time.monotonic()
    content: dict[str, Any] = {"truth_steps": arguments.truth_steps, "candidates": []}
    if RESULTS.is_file():
        content = json.loads(RESULTS.read_text())
    if content["truth_steps"] != arguments.truth_steps:
        raise SystemExit(f"{RESULTS} has {content['truth_steps']} steps: move it away, or ask so")
    known = {row["network"]: row for row in content["candidates"]}
    for text in candidates(arguments.candidates, 0, data.shape):
        known.setdefault(text, {"network": text, "parameters": parameters_of(text, data)})
    content["candidates"] = list(known.values())
    wanted = measures(data, arguments)
    for text, row in known.items():
        for name, measure in wanted.items():
            if name in row or time.monotonic() - start > 60 * arguments.minutes:
                continue
            before, scores = time.process_time(), measure(text)
            row[f"{name}, seconds"] = round(time.process_time() - before, 2)
            row[name] = np.squeeze(scores).round(2).tolist()
            RESULTS.write_text(json.dumps(content, indent=1) + "\n")
            print(text, name, row[name], flush=True)
    done = [row for row in known.values() if set(wanted) <= set(row)]
    if len(done) > 3:
        print(table(done), searches(done), sep="\n\n")


if __name__ == "__main__":
    main(tyro.cli(Arguments))
