"""What a run leaves on disk and on the screen while it goes on."""

from __future__ import annotations

import csv
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from gtn_rl.agents.spec import ALGORITHMS
from gtn_rl.io.files import write_text, writing
from gtn_rl.state import Progress

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


COLUMNS = {
    "stage": "number of the stage that was on, from 0",
    "step": "outer steps done, of all stages",
    "real_steps": "steps of the real environment so far, evaluations included",
    "seconds": "seconds so far",
    "return": "mean real return of the step's learners over episodes that ended in it; of evolved "
    "populations, the members' mean greedy return",
    "return_best": "of the best member of an evolved population",
    "lost_members": "members of it whose tasks failed",
    "surrogate": "PPO surrogate before the step's last update",
    "gradient_norm": "norm of the meta-gradient of the step's last update, before clipping",
    "critic_error": "critic's squared error relative to the variance of its targets",
    "evaluation": "greedy real return of the optimal policy (pretraining), or of fresh learners, "
    "the mean of the kinds",
    "evaluation_min": "the worst episode, or the worst of these learners",
    **{
        f"evaluation_of_{name}": f"interquartile mean over the {name} learners among them"
        for name in ALGORITHMS
    },
}
"""Columns of `log.csv`, each with what it means."""


class RunLog:
    """Appends a row per outer step to `log.csv` and to TensorBoard, and moves the progress bar.

    TensorBoard is written where its package is installed (extra `tensorboard`).

    Args:
        folder: The run's folder, or `None` to keep nothing on disk.
        rows: Rows to begin with, when a run is resumed.
        progress: Whether to show a bar.
        columns: Columns of `log.csv`.
        shown: Those of them that the bar shows.
    """

    def __init__(
        self,
        folder: Path | None,
        rows: list[dict[str, Any]],
        *,
        progress: bool,
        columns: Mapping[str, str] = COLUMNS,
        shown: Sequence[str] = ("return", "evaluation", "real_steps"),
    ) -> None:
        self._columns, self._shown = columns, shown
        self._last: dict[str, Any] = {}
        self._best = "best"
        self._path = None if folder is None else folder / "log.csv"
        if self._path is not None:
            lines = [",".join(columns)]
            lines += [",".join(str(row.get(name, "")) for name in columns) for row in rows]
            write_text(self._path, "\n".join(lines) + "\n")
        self._board = _summary_writer(folder)
        self._bar = tqdm(
            total=1.0,
            disable=not progress,
            bar_format="{desc} {percentage:3.0f}% |{bar:20}| {elapsed}<{remaining} {postfix}",
        )
        self._quiet = not progress and folder is not None

    def say(self, what: str, scored: str, stage: int, stages: int) -> None:
        """Show which stage of how many is on, and whom its evaluations are of."""
        self._best, self._last = f"best of {scored}", {}
        self._bar.set_description(f"{stage + 1}/{stages} {what}" if stages > 1 else what)
        if self._quiet:
            print(f"{stage + 1}/{stages} {what}", file=sys.stderr, flush=True)

    def add(self, progress: Progress, values: Mapping[str, Any], used: float) -> None:
        """Log one outer step, in `progress.rows` too.

        Args:
            progress: Where the run stands.
            values: Values for others of the columns; those that are `None` are left out.
            used: Share of the run that is done.
        """
        known = {
            "stage": progress.stage,
            "step": progress.steps,
            "real_steps": progress.real_steps,
            "seconds": round(progress.seconds, 3),
            **{k: round(v, 6) for k, v in values.items() if v is not None},
        }
        row = {name: known[name] for name in self._columns if name in known}
        progress.rows.append(row)
        if self._path is not None:
            with writing(self._path), self._path.open("a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, list(self._columns)).writerow(row)
        if self._board is not None:
            for name, value in row.items():
                if name != "step":
                    self._board.add_scalar(f"train/{name}", value, row["step"])
        self._last |= row
        # While learners are trained for agreement no episode of theirs ends.
        last = {name: self._last[name] for name in self._shown if name in self._last}
        if math.isfinite(progress.best):
            last[self._best] = progress.best
        texts = [f"{name} {_short(value)}" for name, value in last.items()]
        self._bar.set_postfix_str(", ".join(texts).replace("_", " "), refresh=False)
        self._bar.update(min(used, 1.0) - self._bar.n)

    def __enter__(self) -> RunLog:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close bar and files."""
        self._bar.close()
        if self._board is not None:
            self._board.close()


def _short(value: float) -> str:
    return f"{value / 1e6:.2f}M" if abs(value) >= 1e6 and math.isfinite(value) else f"{value:.4g}"


def _summary_writer(folder: Path | None) -> SummaryWriter | None:
    if folder is None:
        return None
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        tqdm.write("TensorBoard logs are off: pip install 'gtn_rl[tensorboard]' turns them on")
        return None
    return SummaryWriter(str(folder / "tensorboard"))
