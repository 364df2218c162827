import numpy as np
import pytest

from gtn_rl.errors import UsageError
from gtn_rl.evaluation.stats import interquartile_mean, summarize


def test_multiples_of_four_are_a_trimmed_mean():
    assert interquartile_mean([100, 2, 1, 3, 4, 5, 6, -50]) == pytest.approx((2 + 3 + 4 + 5) / 4)


def test_other_numbers_count_in_part():
    # Of ten scores the middle half is five: 0.5 + 4 + 0.5.
    scores = np.arange(10.0)
    assert interquartile_mean(scores) == pytest.approx((0.5 * 2 + 3 + 4 + 5 + 6 + 0.5 * 7) / 5)
    assert interquartile_mean([7.0]) == 7.0


def test_axis():
    scores = np.arange(16.0).reshape(2, 8)
    assert interquartile_mean(scores, axis=1).tolist() == [3.5, 11.5]


def test_summary_of_constant_scores():
    assert summarize(np.full((5, 3), 500.0)) == (500.0, 500.0, 500.0, 500.0, 500.0)


def test_episodes_are_averaged_before_seeds():
    summary = summarize([[0.0, 10.0], [5.0, 5.0]])
    assert (summary.min, summary.mean) == (5.0, 5.0)


def test_interval_covers_the_mean_of_a_normal_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(200):
        s = summarize(rng.normal(size=40), resamples=500, seed=trial)
        hits += s.low <= 0 <= s.high
    assert 0.87 <= hits / 200 <= 0.99


def test_bootstrap_is_seeded():
    scores = np.random.default_rng(1).normal(size=10)
    assert summarize(scores, seed=3) == summarize(scores, seed=3)


@pytest.mark.parametrize("bad", [[], [1.0, np.nan]])
def test_bad_scores(bad):
    with pytest.raises(UsageError):
        summarize(bad)
