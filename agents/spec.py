"""The language in which learners are written: `8xdqn@relu:64-64`, `4xcnn3@relu:8..16*2`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from gtn_rl import bounds
from gtn_rl.errors import UsageError, did_you_mean
from gtn_rl.networks import ACTIVATIONS

OPTIMAL = "optimal"
STOCK = ("stock-a2c", "stock-dqn", "stock-ppo")
WHOLE = (*STOCK, OPTIMAL)
"""Learners whose training is not differentiated step by step; for environments of one step."""

ALGORITHMS = (
    "a2c", "ddpg", "dqn", "dqn-greedy", OPTIMAL, "pg", "ppo", "ppo-10x10", "sac", *STOCK, "td3",
)  # fmt: skip
"""Names of all learners."""

MOST = 200
"""Characters of a learner's text at most."""

_UNITS = r"@(\w+):(\d+(?:-\d+)*)"


@dataclass(frozen=True)
class Spec:
    """Learners of one algorithm and network shape.

    Args:
        count: How many.
        algorithm: Name; none for policies that are cloned.
        activation: Of the network, after every layer but the last.
        hidden: Units of its hidden layers.
        steps: Environment steps of a stock algorithm's training; as many as the settings say if 0.
    """

    count: int
    algorithm: str
    activation: str
    hidden: tuple[int, ...]
    steps: int = 0

    @property
    def whole(self) -> bool:
        """Whether it trains at once, not by `inner_steps` batches."""
        return self.algorithm in WHOLE

    @property
    def name(self) -> str:
        """The algorithm, or the network as in the text that names it: `tanh:64-64`."""
        return self.algorithm or f"{self.activation}:{'-'.join(map(str, self.hidden))}"


def parse_learners(text: str) -> Spec:
    """The learners that e.g. `"8xdqn@relu:64-64"` names: count, algorithm, activation, units.

    A stock algorithm may have environment steps of its own, `"2xstock-dqn@relu:64-64/5000"`, and
    the optimal policy has no network, `"1xoptimal"`.

    Raises:
        UsageError: Not of that form, or no algorithm of that name.
    """
    if match := re.fullmatch(rf"([1-9]\d{{0,3}})x{OPTIMAL}", text):
        return Spec(int(match[1]), OPTIMAL, "tanh", ())
    match = re.fullmatch(rf"(\d+)x([\w-]+){_UNITS}(?:/(\d+))?", text)
    if match is None or len(text) > MOST:
        raise UsageError(f"learners {text[:MOST]!r} is not of the form 8xpg@tanh:64-64")
    if match[2] == OPTIMAL or (match[5] and match[2] not in STOCK):
        raise UsageError(f"learners {text!r}: write 1x{OPTIMAL}, and /steps for stock-... only")
    if match[2] not in ALGORITHMS:
        raise UsageError(
            f"learners {text!r}: unknown algorithm {match[2]!r}: use one of "
            f"{', '.join(ALGORITHMS)}.{did_you_mean(match[2], ALGORITHMS)}"
        )
    return _spec(f"learners {text!r}", match[1], match[2], match[3], match[4], match[5])


def parse_networks(text: str) -> Spec:
    """The networks that e.g. `"8xtanh:64-64"` names: count, activation, hidden units.

    Raises:
        UsageError: Not of that form, or no activation of that name.
    """
    match = re.fullmatch(rf"(\d+)x{_UNITS.removeprefix('@')}", text)
    if match is None or len(text) > MOST:
        raise UsageError(f"networks {text[:MOST]!r} is not of the form 8xtanh:64-64")
    return _spec(f"networks {text!r}", match[1], "", match[2], match[3], None)


def _spec(
    what: str, count: str, algorithm: str, activation: str, units: str, steps: str | None
) -> Spec:
    hidden = tuple(int(unit) for unit in units.split("-"))
    _check(what, int(count), activation, [(unit, unit, 1, 1) for unit in hidden])
    bounds.within(f"steps of {what}", int(steps or 0), bounds.Whole)
    return Spec(int(count), algorithm, activation, hidden, int(steps or 0))


@dataclass(frozen=True)
class Group:
    """Classifiers of one kind.

    Args:
        count: How many.
        kernel: Width of the convolutions; 0 for a multilayer perceptron.
        activation: Of the network.
        units: Least and most units (channels) of every hidden layer, and least and most times the
            layer is there.
        norm: As of `CNN`.
        pool: As of `CNN`.
        cell: As of `CellCNN`; none if empty.
    """

    count: int
    kernel: int
    activation: str
    units: tuple[tuple[int, int, int, int], ...]
    norm: str = ""
    pool: bool = False
    cell: str = ""


_RANGE = r"\d+(?:\.\.\d+)?"
_LAYER = rf"{_RANGE}(?:\*{_RANGE})?"
_KIND = (
    r"(?P<kind>mlp|cell\.(?P<cell>\w+)|cnn(?P<kernel>\d*)(?:\+(?P<norm>in|gn))?(?P<pool>\+pool)?)"
)
_GROUP = rf"(?:(?P<count>\d+)x)?{_KIND}@(?P<activation>\w+):(?P<units>{_LAYER}(?:-{_LAYER})*)"


def parse_group(text: str) -> Group:
    """The group that e.g. `"4xmlp@relu:64-64"` or `"2xcnn3+in+pool@relu:16..64*2..3"` names.

    Count (1 if left out), kind, activation, hidden units. `16..64` is a width drawn anew for each
    outer step, `*2..3` the number of such layers. `cnn3` has convolutions three wide with stride 2;
    `+in` and `+gn` have instance and group normalisation, `+pool` pools instead of striding.
    `cell.s13da0@relu:8*2-16*2` has cells, as `CellCNN` says.

    Raises:
        UsageError: Not of that form.
    """
    match = re.fullmatch(_GROUP, text)
    if match is None or len(text) > MOST:
        raise UsageError(
            f"learners {text[:MOST]!r} is not of the form 4xmlp@relu:64-64 or "
            "4xcnn3+in@relu:8..16*2..3"
        )

    def limits(text: str) -> tuple[int, int]:
        low, _, high = text.partition("..")
        return int(low), int(high or low)

    layers = [part.partition("*") for part in match["units"].split("-")]
    units = tuple((*limits(width), *limits(times or "1")) for width, _, times in layers)
    count, convolutional = int(match["count"] or 1), match["kind"].startswith("cnn")
    kernel = int(match["kernel"] or 3) if convolutional else 0
    _check(f"learners {text!r}", count, match["activation"], units)
    if convolutional and (kernel > 15 or kernel % 2 == 0):
        raise UsageError(f"learners {text!r}: the kernel must be an odd number of at most 15")
    return Group(
        count, kernel, match["activation"], units, match["norm"] or "", bool(match["pool"]),
        match["cell"] or "",
    )  # fmt: skip


def _check(
    what: str, count: int, activation: str, units: Sequence[tuple[int, int, int, int]]
) -> None:
    """Refuse what no network can have; units are as those of `Group`."""
    if (
        activation not in ACTIVATIONS
        or count < 1
        or any(not (0 < a <= b and 0 < c <= d) for a, b, c, d in units)
    ):
        raise UsageError(
            f"{what}: needs a count and units above 0, low..high, and one of the activations "
            f"{', '.join(ACTIVATIONS)}"
        )
    bounds.within(f"count of {what}", count, bounds.Many)
    for _, width, _, times in units:
        bounds.within(f"units of {what}", width, bounds.Units)
        bounds.within(f"layers of {what}", times, bounds.Layers)
