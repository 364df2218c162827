"""What came of a run or a comparison, in a sentence."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

_GOOD, _POOR = 0.9, 0.5
"""Shares of the way from random agents to the optimal policy: taught well above, badly below."""

_BARELY = 0.1
"""A policy is hardly better than random agents if it gains less than this share of a return."""

_KNOWN = ("random", "optimal", "expert")


def verdict(
    target: str, scores: Mapping[str, float], real: Mapping[str, float] | None = None,
    rows: Sequence[Mapping[str, Any]] = (),
) -> str:  # fmt: skip
    """How agents trained in an environment do, beside random agents, its policy and real training.

    Args:
        target: Of the environment.
        scores: Real returns: of agents by algorithm, `random`, and `optimal` (of the policy that
            the environment teaches).
        real: Real returns of agents trained in the target for as many steps, by algorithm.
        rows: The log of a run, whose evaluations tell where a budget ended before it was judged.
    """
    agents = {name: value for name, value in scores.items() if name not in _KNOWN}
    random, optimal = (scores.get(name, math.nan) for name in ("random", "optimal"))
    if alike(scores, rows):
        return (
            f"All returns on {target} so far are the same ({digits(random)}), those of "
            "random agents too: there is nothing to learn from. Check its reward; if it is rare, "
            "give one that comes sooner in a wrapper (--wrap), or a trained agent (--expert)."
        )
    if not agents:
        return f"{unjudged(target, rows)} The same command with a larger one and --resume goes on."
    listed = listed_returns(agents)
    if not math.isfinite(optimal - random):
        text = f"Agents trained in it have {listed} on {target}."
    elif not optimal > random:
        text = (
            f"No policy was found that does better on {target} than random agents "
            f"({digits(random)}): it teaches nothing. Raise --pretrain.real-steps or "
            "--max-real-steps, or give a trained agent with --expert."
        )
    else:
        shares = {name: (value - random) / (optimal - random) for name, value in agents.items()}
        text = (
            f"{judgement(shares)} Of the way on {target} from random agents ({digits(random)}) to "
            f"the policy that it teaches ({digits(optimal)}) agents trained in it come "
            f"{listed_shares(shares)} ({listed})."
        )
        if optimal - random < _BARELY * max(abs(optimal), abs(random)):
            text = (
                f"The policy that it teaches is hardly better than random agents on {target}: "
                f"raise --pretrain.real-steps or --max-real-steps, or give an --expert. {text}"
            )
    for name, value in (real or {}).items():
        if name in agents:
            how = "more" if agents[name] < value else "less"
            how = "the same" if agents[name] == value else how
            text += f" {short(name)} with as many steps in the real one has {how}: {digits(value)}."
    return text


def alike(scores: Mapping[str, float], rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether no return of a run, random agents' among them, differs from another of its stage."""
    names = ("return", "return_best", "evaluation", "evaluation_min")
    seen = {(row["stage"], row[name]) for row in rows for name in names if name in row}
    same = len(seen) == len({stage for stage, _ in seen}) and len(set(scores.values())) == 1
    return bool(seen) and same and "random" in scores


def unjudged(target: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """What is known of an environment that a budget left unjudged, by its run's log."""
    mark = "evaluation_of_"
    for row in reversed(rows):
        seen = {name.removeprefix(mark): x for name, x in row.items() if name.startswith(mark)}
        if agents := {name: x for name, x in seen.items() if name not in _KNOWN}:
            return (
                "A budget ended before it was judged. In the last evaluation agents trained in it "
                f"had {listed_returns(agents)} on {target}."
            )
    return "No agents were trained in it: a budget ended before, so nothing is known of it."


def listed_returns(agents: Mapping[str, float]) -> str:
    """Returns, by algorithm."""
    return ", ".join(f"{short(name)} {digits(value)}" for name, value in agents.items())


def judgement(shares: Mapping[str, float]) -> str:
    """Whether it taught, by the shares of the way that agents came."""
    poor = [short(name) for name, share in shares.items() if share < _POOR]
    if len(poor) == len(shares):
        nothing = max(shares.values()) < 0.1
        return "It taught nothing." if nothing else "It taught little."
    if poor:
        return f"It does not teach {' and '.join(poor)}."
    if min(shares.values()) >= _GOOD:
        return "It teaches well."
    return "It teaches."


def listed_shares(shares: Mapping[str, float]) -> str:
    """Shares in percent, by algorithm."""
    return ", ".join(f"{short(name)} {share:.0%}" for name, share in shares.items())


def short(name: str) -> str:
    """An algorithm's name as people write it."""
    return name.removeprefix("stock-").removeprefix("sb3:").upper()


def digits(value: float) -> str:
    """A return with as many digits as tell."""
    if not math.isfinite(value):
        return str(value)
    places = max(0, 2 - math.floor(math.log10(max(abs(value), 1e-3))))
    return f"{value:.{min(places, 3)}f}"
