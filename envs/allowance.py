"""What a run may still take of the real environment: steps, and time."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


class SpentError(Exception):
    """A budget is used up, which the message names; what was begun is to be left."""


@dataclass
class Allowance:
    """What is left of the budgets of a run.

    Args:
        steps: Real steps that may still be taken.
        until: When (`time.perf_counter`) the last of them may be taken.
        taken: Those that were.
    """

    steps: float = math.inf
    until: float = math.inf
    taken: int = 0


_current: ContextVar[Allowance | None] = ContextVar("allowance", default=None)


@contextmanager
def within(allowance: Allowance) -> Iterator[None]:
    """Have all real environments of this thread keep within an allowance."""
    token = _current.set(allowance)
    try:
        yield
    finally:
        _current.reset(token)


def left() -> float:
    """Real steps that may still be taken."""
    own = _current.get() or Allowance()
    return own.steps - own.taken if time.perf_counter() <= own.until else 0


def take(steps: int) -> None:
    """Count real steps that are about to be taken.

    Raises:
        SpentError: There are not so many left, or it is too late; none is to be taken.
    """
    left = _current.get()
    if left is None:
        return
    if left.taken + steps > left.steps:
        raise SpentError("real steps")
    if time.perf_counter() > left.until:
        raise SpentError("minutes")
    left.taken += steps


def count(steps: int) -> None:
    """Count real steps, or real examples, that were taken already, maybe in another process."""
    left = _current.get()
    if left is not None:
        left.taken += steps
