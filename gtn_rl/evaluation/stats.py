"""Aggregate scores over seeds (Agarwal et al. 2021, arXiv 2108.13264)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gtn_rl.errors import UsageError


class Summary(NamedTuple):
    """Mean, interquartile mean with its 95 % interval, and worst score over seeds."""

    mean: float
    iqm: float
    low: float
    high: float
    min: float


def interquartile_mean(scores: ArrayLike, axis: int | None = None) -> NDArray[np.floating[Any]]:
    """Mean of the middle half; values at the quartiles count in part, as weights 1/4 and 3/4 ask.

    For a multiple of four scores it is `scipy.stats.trim_mean(scores, 0.25)`; for other numbers
    nothing is rounded away.

    Args:
        scores: Scores of any shape.
        axis: Axis to average over; all if not given.
    """
    array = np.sort(np.asarray(scores, np.float64), axis=axis if axis is not None else None)
    along = 0 if axis is None else axis
    n = array.shape[along]
    edges = np.arange(n + 1) / n
    weight = np.clip(np.minimum(edges[1:], 0.75) - np.maximum(edges[:-1], 0.25), 0, None)
    weight = weight / weight.sum()
    result: NDArray[np.floating[Any]] = np.tensordot(array, weight, ([along], [0]))
    return result


def summarize(
    scores: ArrayLike, *, resamples: int = 10_000, seed: int = 0, level: float = 0.95
) -> Summary:
    """Aggregate the scores of one group of agents.

    The interval is the percentile bootstrap over seeds. One algorithm on one task is one stratum,
    so resampling its seeds is the stratified bootstrap of Agarwal et al. 2021, section 4.

    Args:
        scores: One score per seed, `[S]`, or `[S, E]` with E episodes each, averaged first.
        resamples: Bootstrap resamples.
        seed: Of the bootstrap.
        level: Coverage of the interval.

    Raises:
        UsageError: No scores, or some not finite.
    """
    array = np.asarray(scores, np.float64)
    if array.size == 0 or not np.isfinite(array).all():
        raise UsageError("scores must be one or more finite numbers")
    each = array.reshape(array.shape[0], -1).mean(1)
    index = np.random.default_rng(seed).integers(0, len(each), (resamples, len(each)))
    means = interquartile_mean(each[index], axis=1)
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Summary(
        float(each.mean()), float(interquartile_mean(each)), float(low), float(high),
        float(each.min()),
    )  # fmt: skip
