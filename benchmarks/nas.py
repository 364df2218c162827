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

RESULTS = Path(__file__).parent / "results" / "nas.json"


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
    proxy_steps: int = 32
    """Steps of the short real training."""
    minutes: float = 30.0
    """Stop after the candidate with which this is over."""


def measured(text: str, data: Data, arguments: Arguments) -> dict[str, Any]:
    """The truth and the proxies of one candidate, with the CPU seconds of each."""
    row: dict[str, Any] = {"network": text, "parameters": parameters_of(text, data)}

    def add(name: str, score: Callable[[], np.ndarray[Any, Any]]) -> None:
        start = time.process_time()
        row[name] = round(float(score().flat[-1]), 3)
        row[f"{name}_seconds"] = round(time.process_time() - start, 2)

    long, short = (
        RealTraining(steps, rate=0.05, batch=128)
        for steps in (arguments.truth_steps, arguments.proxy_steps)
    )
    add("naswot", lambda: naswot_scores(data, [text]))
    add("real", lambda: real_scores(data, [text], short, count=1))
    if arguments.teacher is not None:
        teacher, config = load_teacher(arguments.teacher, data)
        add("generated", lambda: proxy_scores(teacher, data, config, [text], count=1))
    row["latency_us"] = round(latency_us(text, data), 1)
    add("truth", lambda: real_scores(data, [text], long, on="test", count=1))
    return row


def table(rows: list[dict[str, Any]]) -> str:
    """Rank correlations of each proxy with the truth, over those that have both."""
    lines = [
        "| proxy | networks | Spearman | Kendall | Spearman, better half | CPU s each |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name in ("generated", "real", "naswot", "parameters"):
        own = [row for row in rows if name in row]
        if len(own) < 4:
            continue
        scores, truth = (np.array([row[key] for row in own]) for key in (name, "truth"))
        half = truth >= np.median(truth)
        seconds = np.mean([row.get(f"{name}_seconds", 0.0) for row in own])
        lines.append(
            f"| {name} | {len(own)} | {spearman(scores, truth):.2f} | {kendall(scores, truth):.2f} "
            f"| {spearman(scores[half], truth[half]):.2f} | {seconds:.1f} |"
        )
    truth = np.array([row["truth"] for row in rows])
    spread = f"truth: {truth.min():.1f} to {truth.max():.1f} %, deviation {truth.std():.1f}"
    return "\n".join([*lines, "", spread])


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
    done = {row["network"] for row in content["candidates"]}
    for text in candidates(arguments.candidates, 0, data.shape):
        if time.monotonic() - start > 60 * arguments.minutes:
            break
        if text not in done:
            content["candidates"].append(measured(text, data, arguments))
            RESULTS.write_text(json.dumps(content, indent=1) + "\n")
            print(json.dumps(content["candidates"][-1]), flush=True)
    print(table(content["candidates"]))


if __name__ == "__main__":
    main(tyro.cli(Arguments))
