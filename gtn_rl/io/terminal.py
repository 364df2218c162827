"""What all commands that train have in common: where the run is kept, and what is printed of it."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

if TYPE_CHECKING:
    from gtn_rl.run import Result

Flat = tyro.conf.arg(name="")
"""Of a group of settings whose options have no prefix."""


@dataclass(frozen=True)
class Place:
    """Where a run is kept."""

    out: Path
    """Folder for the artifact, the logs and the checkpoints."""

    resume: bool = False
    """Go on with the run that the folder holds."""

    progress: bool = True
    """Show a progress bar."""

    def run(self, trainer: Callable[..., Result], *what: Any, **settings: Any) -> Result:
        """What a trainer makes of it, with this command on record."""
        return trainer(
            *what, out=self.out, resume=self.resume, progress_bar=self.progress,
            command="gtn-rl " + shlex.join(sys.argv[1:]), **settings,
        )  # fmt: skip

    def report(self, result: Result, verb: str, target: object, said: str, then: str) -> int:
        """Print what came of a run; the exit code, 130 after Ctrl-C, as shells expect."""
        again = f"gtn-rl {verb} {target} --out {self.out} --resume goes on"
        code = 130 if result.stopped == "interrupted" else 0
        if not (self.out / "config.json").is_file():
            print(f"{result.stopped} before there was anything to save; {again}")
            return code
        by = "" if result.stopped in ("done", "converged") else f"stopped by {result.stopped}, "
        why = "interrupted, " if code else by
        real = "real examples" if verb == "supervised" else "real steps"
        print(f"{why}{result.real_steps:,} {real}, {result.seconds:.0f} s")
        print(f"{said}\nartifact: {self.out}")
        if then:
            print(f"next: gtn-rl {then}")
        if code:
            print(again)
        return code


def fitted(table: str) -> str:
    """A Markdown table, or a block for each of its rows on a terminal too narrow for it."""
    lines = table.splitlines()
    columns = shutil.get_terminal_size().columns
    if not sys.stdout.isatty() or max(map(len, lines)) <= columns:
        return table
    head, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    wide = max(map(len, head))
    blocks = (
        "\n".join(f"{name:{wide}}  {cell}" for name, cell in zip(head, row, strict=True))
        for row in rows
    )
    return "\n\n".join(blocks)
