"""Errors a user can cause and mend; the command line prints them as one line and exits with 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_LONGEST = 1_000
"""Characters of a message."""


class GTNError(Exception):
    """Base of the library's own errors; the message says what was wrong and what to do.

    It is one line, whatever it quotes.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(one_line(message))


class UsageError(GTNError, ValueError):
    """An argument has a value that cannot work."""


class UnsupportedSpaceError(GTNError, TypeError):
    """An environment's observation or action space is not one that this library handles."""


class ArtifactError(GTNError):
    """A saved environment is missing, corrupt, or made for something else."""


class MissingExtraError(GTNError, ImportError):
    """An optional dependency is needed and not installed."""


class TargetError(GTNError, RuntimeError):
    """The real environment failed; the message names it, the step and what it did."""


class TrainingDivergedError(GTNError, FloatingPointError):
    """Meta-training met numbers that are not finite; what was learned before is kept."""


def one_line(text: object) -> str:
    """A text with each line break, and the white space around it, as one space.

    Of one that quotes too much there are the beginning and the end.
    """
    lines = (line.strip() for line in str(text).splitlines())
    line = " ".join(line for line in lines if line)
    return line if len(line) <= _LONGEST else f"{line[:700]} ... {line[-250:]}"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`" Did you mean 'X'?"` for the nearest of the known words, or an empty string."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" Did you mean {near[0]!r}?" if near else ""
