"""Comparisons and training logs as tables and figures."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gtn_rl.errors import MissingExtraError, UsageError
from gtn_rl.evaluation.compare import REAL, SYNTHETIC, Comparison
from gtn_rl.evaluation.verdict import digits
from gtn_rl.io.files import replacing

_COLORS = {SYNTHETIC: "#1f77b4", REAL: "#b0b0b0"}


def table(comparison: Comparison) -> str:
    """The comparison as a Markdown table: a row for each algorithm and kind of environment."""
    lines = [
        "| agent | trained in | steps | mean | IQM | 95 % interval | min | seconds |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    own = comparison.artifact
    if own == comparison.target:
        own = f"gtn_rl/{own}"
    for cell in comparison.cells:
        s = cell.summary()
        where = own if cell.environment == SYNTHETIC else comparison.target
        mean, iqm, low, high, worst = (digits(value) for value in s)
        lines.append(
            f"| {cell.algorithm.upper()} | {where} | {cell.steps:,} | {mean} | {iqm} | "
            f"[{low}, {high}] | {worst} | {cell.seconds.mean():.1f} |"
        )
    return "\n".join(lines)


def caption(comparison: Comparison) -> str:
    """What was measured, and what meta-training cost."""
    seeds = max(len(cell.returns) for cell in comparison.cells)
    episodes = comparison.cells[0].returns.shape[1]
    text = (
        f"Stock Stable-Baselines3 agents, {seeds} seeds, final agents, deterministic, "
        f"{episodes} episodes of the real {comparison.target} each."
    )
    training = comparison.training
    if "real_steps" in training:
        text += (
            f" Meta-training, paid once: {training['real_steps']:,} real steps, "
            f"{training['seconds']:.0f} s."
        )
    return text


def read_log(path: Path) -> list[dict[str, Any]]:
    """Rows of a run's `log.csv`, empty cells left out; no rows if there is no file."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]


def check_figure(path: Path, *, asked: bool) -> bool:
    """Whether a figure can be drawn there.

    Raises:
        UsageError: Its name does not end in png, svg or pdf.
        MissingExtraError: It is asked for, and Matplotlib is not installed.
    """
    if path.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise UsageError(f"{path}: a figure's name ends in .png, .svg or .pdf")
    there = find_spec("matplotlib") is not None
    if asked and not there:
        raise MissingExtraError("figures need matplotlib: pip install 'gtn_rl[plots]'")
    return there


def figure(
    comparison: Comparison, path: str | Path, log: Sequence[dict[str, Any]] | None = None
) -> Path:
    """Draw the scores of every agent, and the meta-training that made the environment.

    Args:
        comparison: What `compare` measured.
        path: PNG, SVG or PDF.
        log: Rows of the training log, drawn beside the scores if given.

    Raises:
        MissingExtraError: Matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("figures need matplotlib: pip install 'gtn_rl[plots]'") from error
    panels = 1 if not log else 2
    drawing = Figure(figsize=(5.2 * panels, 3.6), layout="constrained")
    axes = drawing.subplots(1, panels, squeeze=False)[0]
    if log:
        _draw_log(axes[0], log, comparison.target)
    _draw_scores(axes[-1], comparison)
    path = Path(path)
    with replacing(path) as temporary:
        drawing.savefig(temporary, format=path.suffix.lstrip(".").lower() or "png", dpi=160)
    return path


def _draw_log(ax: Any, log: Sequence[dict[str, Any]], target: str) -> None:
    rows = [row for row in log if "evaluation" in row]
    millions = [row["real_steps"] / 1e6 for row in rows]
    # A line through one point is none.
    look = {"color": _COLORS[SYNTHETIC], "marker": "o" if len(rows) == 1 else ""}
    ax.plot(millions, [row["evaluation"] for row in rows], label="mean", **look)
    worst = [row.get("evaluation_min", float("nan")) for row in rows]
    ax.plot(millions, worst, ls=":", label="worst learner", **look)
    ax.set(
        title="meta-training", xlabel="real steps (millions)",
        ylabel=f"return on {target}\nof fresh learners",
    )  # fmt: skip
    ax.legend(frameon=False, loc="best")
    ax.spines[["top", "right"]].set_visible(False)


def _draw_scores(ax: Any, comparison: Comparison) -> None:
    names = list(dict.fromkeys((cell.algorithm, cell.steps) for cell in comparison.cells))
    kinds = list(dict.fromkeys(cell.environment for cell in comparison.cells))
    for cell in comparison.cells:
        s = cell.summary()
        offset = (kinds.index(cell.environment) - (len(kinds) - 1) / 2) * 0.4
        x = names.index((cell.algorithm, cell.steps)) + offset
        ax.bar(
            x, s.iqm, 0.36, color=_COLORS[cell.environment], alpha=0.85,
            # Rounding can put equal scores outside of their interval.
            yerr=[[max(s.iqm - s.low, 0)], [max(s.high - s.iqm, 0)]],
            error_kw={"capsize": 3, "lw": 1},
            label=cell.environment if cell.algorithm == names[0][0] else None,
        )  # fmt: skip
        each = cell.returns.mean(1)
        spread = [x + 0.24 * ((i + 0.5) / len(each) - 0.5) for i in range(len(each))]
        ax.plot(spread, each, ".", color="black", ms=3, alpha=0.6)
    ax.set_xticks(range(len(names)), [f"{name.upper()}\n{steps:,} steps" for name, steps in names])
    ax.set(title="stock SB3 agents, trained in", ylabel=f"return on {comparison.target} (IQM)")
    ax.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)
    ax.spines[["top", "right"]].set_visible(False)
