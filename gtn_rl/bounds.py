"""Types of settings, with bounds, and what refuses those that have not their type."""

from __future__ import annotations

import reprlib
from dataclasses import dataclass, is_dataclass
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from gtn_rl.errors import UsageError


@dataclass(frozen=True)
class Bounds:
    """What a number may be, from `low` to `high`, as metadata of its type."""

    low: float
    high: float

    def __str__(self) -> str:
        """In words."""
        return f"from {self.low:,} to {self.high:,}"


# They refuse what is no number, would take all memory, or would never end.
Seed = Annotated[int, Bounds(0, 2**63 - 1)]
Small = Annotated[int, Bounds(0, 2**32 - 1)]
Whole = Annotated[int, Bounds(0, 10**9)]
Count = Annotated[int, Bounds(1, 10**9)]
Length = Annotated[int, Bounds(1, 10**6)]
Units = Annotated[int, Bounds(1, 2**16)]
Pixels = Annotated[int, Bounds(1, 1024)]
Layers = Annotated[int, Bounds(1, 100)]
Many = Annotated[int, Bounds(1, 10_000)]
Few = Annotated[int, Bounds(0, 10_000)]
Steps = Annotated[int, Bounds(1, 10**15)]
Large = Annotated[int, Bounds(0, 10**18)]
Seconds = Annotated[float, Bounds(0, 10**18)]
Minutes = Annotated[float, Bounds(1e-9, 10**9)]
Positive = Annotated[float, Bounds(1e-12, 10**6)]
Deviation = Annotated[float, Bounds(0, 10**6)]
Share = Annotated[float, Bounds(0, 0.9999999)]
Return = Annotated[float, Bounds(-1e30, 1e30)]


def check(config: Any, where: str = "") -> None:
    """Nothing, if every field of a dataclass of settings, and of its groups, can be meant.

    Raises:
        UsageError: The first field that has not its type, or is beyond its bounds.
    """
    types, bounded = (get_type_hints(type(config), include_extras=extra) for extra in (False, True))
    for name, wanted in types.items():
        value = getattr(config, name)
        if not _is(value, wanted):
            text = str(wanted) if get_args(wanted) else wanted.__name__
            raise UsageError(f"{where}{name} must be of type {text}, got {_said(value)}")
        _hold(f"{where}{name}", value, bounded[name])
        if is_dataclass(value):
            check(value, f"{where}{name}.")


def within(name: str, value: object, kind: Any) -> None:
    """Nothing, if a value is of a type with bounds, such as `Count`.

    Raises:
        UsageError: It is not.
    """
    if not _is(value, get_args(kind)[0]):
        raise UsageError(f"{name} must be of type {get_args(kind)[0].__name__}, got {_said(value)}")
    _hold(name, value, kind)


def _said(value: object) -> str:
    return " ".join(reprlib.repr(value).split())


def _hold(name: str, value: Any, kind: Any) -> None:
    """Refuse numbers that are beyond the bounds of their types."""
    options = get_args(kind)
    if get_origin(kind) is Annotated:
        if not options[1].low <= value <= options[1].high:
            raise UsageError(f"{name} must be {options[1]}, got {_said(value)}")
    elif get_origin(kind) is tuple:
        of = options[:1] * len(value) if options[1] is ... else options
        for entry, own in zip(value, of, strict=True):
            _hold(name, entry, own)
    elif value is not None and get_origin(kind) not in (list, dict):
        for option in options:
            _hold(name, value, option)


def _is(value: object, wanted: Any) -> bool:
    """Whether a value has a type as settings use them; whole numbers are floats too."""
    options = get_args(wanted)
    if get_origin(wanted) in (list, dict):
        return isinstance(value, get_origin(wanted))
    if get_origin(wanted) is tuple:
        of = options[:1] * len(value) if isinstance(value, tuple) and options[1] is ... else options
        return isinstance(value, tuple) and len(value) == len(of) and all(map(_is, value, of))
    if options:
        return any(_is(value, option) for option in options)
    if wanted in (int, float):
        kinds: tuple[type, ...] = (int,) if wanted is int else (int, float)
        return isinstance(value, kinds) and not isinstance(value, bool)
    return isinstance(value, wanted)
