"""What `config.json` of each kind of artifact may say, with bounds.

A check takes a value and its name, and raises `ValueError` where the value is not what it must be.
"""

from __future__ import annotations

import math
import reprlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

Check = Callable[[Any, str], None]

_DEPTH = 32
_LARGEST = 1e30
_DTYPES = (
    *("float16", "float32", "float64", "int8", "int16", "int32", "int64"),
    *("uint8", "uint16", "uint32", "uint64"),
)
WIDEST = 2**16
"""Largest product of members and numbers in an observation, a layer or a list of actions."""


def whole(low: int, high: int) -> Check:
    """Whole numbers from `low` to `high`."""

    def check(value: Any, name: str) -> None:
        if type(value) is not int or not low <= value <= high:
            _refuse(value, name, f"a whole number from {low} to {high}")

    return check


def real(low: float = -_LARGEST, high: float = _LARGEST) -> Check:
    """Numbers from `low` to `high`."""

    def check(value: Any, name: str) -> None:
        if type(value) not in (int, float) or not low <= value <= high:
            _refuse(value, name, f"a number from {low:g} to {high:g}")

    return check


def instance(kind: type, what: str) -> Check:
    """Values of a Python type."""

    def check(value: Any, name: str) -> None:
        if not isinstance(value, kind):
            _refuse(value, name, what)

    return check


def text(value: Any, name: str) -> None:
    """A line of at most 300 characters."""
    if not isinstance(value, str) or len(value) > 300 or not value.isprintable():
        _refuse(value, name, "a line of text")


def optional(of: Check) -> Check:
    """What another check lets through, or null."""
    return lambda value, name: None if value is None else of(value, name)


def items(of: Check, least: int, most: int) -> Check:
    """Lists of `least` to `most` values."""

    def check(value: Any, name: str) -> None:
        if not isinstance(value, list) or not least <= len(value) <= most:
            _refuse(value, name, f"a list of {least} to {most} values")
        for entry in value:
            of(entry, f"values of {name}")

    return check


def table(of: Check) -> Check:
    """Objects, all of whose values pass a check."""

    def check(value: Any, name: str) -> None:
        _object(value, name)
        for entry in value.values():
            of(entry, f"values of {name}")

    return check


def record(needed: Mapping[str, Check], known: Mapping[str, Check] | None = None) -> Check:
    """Objects with all of the `needed` fields; of others, the `known` ones are checked."""

    def check(value: Any, name: str) -> None:
        _object(value, name)
        for field in needed:
            if field not in value:
                raise ValueError(f"{field} is missing")
        for field, of in {**needed, **(known or {})}.items():
            if field in value:
                of(value[field], field)

    return check


def box(value: Any, name: str) -> None:
    """A flat `Box`, as `artifact.encode_space` writes it."""
    bounds = items(_bound, 1, WIDEST)
    record({"low": bounds, "high": bounds, "dtype": text})(value, name)
    if value["dtype"] not in _DTYPES:
        _refuse(value["dtype"], f"dtype of {name}", f"one of {', '.join(_DTYPES)}")
    low, high = ([float(x) for x in value[side]] for side in ("low", "high"))
    if len(low) != len(high) or any(a > b for a, b in zip(low, high, strict=True)):
        raise ValueError(f"{name} has a lower bound above its upper one, or without one")
    if "float" not in value["dtype"] and not all(map(math.isfinite, low + high)):
        raise ValueError(f"{name} has bounds that {value['dtype']} cannot have")


def actions(value: Any, name: str) -> None:
    """A `Discrete` space or a bounded flat `Box`."""
    _object(value, name)
    if "n" in value:
        record({"n": whole(1, WIDEST), "start": whole(-(2**53), 2**53)})(value, name)
        return
    box(value, name)
    items(real(-1e38, 1e38), 1, 2048)(value["low"] + value["high"], name)
    if any(low >= high for low, high in zip(value["low"], value["high"], strict=True)):
        raise ValueError(f"{name} has a bound that leaves no room")


def plain(value: Any, depth: int = _DEPTH) -> None:
    """JSON that is not nested deeply, whose texts can be printed on a terminal."""
    if not depth:
        raise ValueError(f"nested more than {_DEPTH} deep")
    if isinstance(value, str) and not "".join(value.split()).isprintable():
        _refuse(value, "a text", "printable")
    if isinstance(value, dict):
        for name in value:
            plain(name)
    if isinstance(value, dict | list):
        for entry in value.values() if isinstance(value, dict) else value:
            plain(entry, depth - 1)


def environment(value: Any, name: str) -> None:
    """Of a synthetic environment."""
    _ENVIRONMENT(value, name)
    space = value["action_space"]
    wide = (len(value["observation_space"]["low"]), *value["hidden"], space.get("n", 0))
    if value["members"] * max(wide) > WIDEST:
        raise ValueError(f"members times the widest of {wide} is more than {WIDEST}")


def _bound(value: Any, name: str) -> None:
    if value not in ("inf", "-inf"):
        real(-sys.float_info.max, sys.float_info.max)(value, name)


def _object(value: Any, name: str) -> None:
    instance(dict, "an object")(value, name)


def _refuse(value: Any, name: str, wanted: str) -> None:
    raise ValueError(f"{name} must be {wanted}, not {reprlib.repr(value)}")


_COSTS = dict.fromkeys(
    ("real_steps", "seconds", "real_steps_of_init", "seconds_of_init"), real(0, 1e18)
)
_NUMBERS = table(optional(real()))
_COMPARED = record(
    {
        "algorithm": text,
        "steps": whole(0, 10**15),
        **dict.fromkeys(("mean", "iqm", "low", "high", "min"), real()),
    }
)
_RESULTS = record({}, {"returns": _NUMBERS, "compare": items(_COMPARED, 0, 1000)})
_BASIS: dict[str, Check] = {
    "target": text,
    "observation_space": box,
    "action_space": actions,
    "training": record({}, _COSTS),
    "results": _RESULTS,
}
_HIDDEN = items(whole(1, WIDEST), 0, 16)
_PHASE = record({"until": real(0, 1), "wide": real(0, 1)})
_ENVIRONMENT = record(
    {
        **_BASIS,
        "horizon": whole(1, 10**9),
        "phases": items(_PHASE, 1, 1000),
        "budget": whole(0, 10**9),
        "hidden": _HIDDEN,
        "members": whole(1, WIDEST),
        "parameters": whole(0, 10**12),
    },
    {"name": text},
)

_STEPS = whole(1, 10**7)

KINDS: dict[str, tuple[str, str, Check]] = {
    "environment": ("synthetic environment", "gtn_rl.from_pretrained", environment),
    "reward": (
        "learned reward",
        "gtn_rl.load_reward",
        record(
            {
                **_BASIS,
                "form": text,
                "additive": instance(bool, "true or false"),
                "terms": instance(bool, "true or false"),
                "hidden": _HIDDEN,
                "discount": real(0, 1),
            }
        ),
    ),
    "pairs": (
        "set of distilled pairs",
        "gtn_rl.load_pairs",
        record(
            {
                **_BASIS,
                "pairs": _STEPS,
                "steps": _STEPS,
                "optimizer": text,
            }
        ),
    ),
    "teacher": (
        "teacher of classifiers",
        "gtn_rl.supervised.load_teacher",
        record(
            {
                "data": record(
                    {
                        "name": text,
                        "shape": items(whole(1, 10**6), 1, 4),
                        "classes": whole(1, WIDEST),
                    }
                ),
                "config": record({"teacher": text, "inner_steps": _STEPS, "batch_size": _STEPS}),
                "training": record({}, _COSTS),
                "results": _NUMBERS,
            }
        ),
    ),
}
"""Of each kind of artifact: what it is, what loads it, and the check of its `config.json`."""
