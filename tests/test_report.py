import numpy as np
import pytest

from gtn_rl.errors import UsageError
from gtn_rl.evaluation.compare import Cell, Comparison
from gtn_rl.evaluation.report import _draw_log, caption, figure, table
from gtn_rl.evaluation.stats import interquartile_mean, summarize
from gtn_rl.evaluation.verdict import verdict


@pytest.fixture
def comparison():
    def cell(algorithm, kind, returns):
        return Cell(algorithm, kind, 2048, np.asarray(returns), np.full(len(returns), 1.5))

    return Comparison(
        "gtn_rl/CartPole-v1", "CartPole-v1", {"real_steps": 1_000_000, "seconds": 40.0}, [
            # Equal scores: rounding must not turn the interval inside out.
            cell("ppo", "synthetic", np.full((10, 3), 499.9)),
            cell("ppo", "real", [[100.0, 200.0], [300.0, 400.0]] * 5),
        ],
        {"random": 20.0, "optimal": 500.0},
    )  # fmt: skip


def test_table_and_caption_say_what_was_measured(comparison):
    assert "| PPO | gtn_rl/CartPole-v1 | 2,048 | 500 | 500 |" in table(comparison)
    assert "10 seeds, final agents, deterministic, 3 episodes" in caption(comparison)
    assert "1,000,000 real steps, 40 s" in caption(comparison)


def test_saved_scores_are_read_back(comparison, tmp_path):
    comparison.save(tmp_path / "scores.json")
    again = Comparison.load(tmp_path / "scores.json")
    assert table(again) == table(comparison)
    assert again.training == comparison.training


def test_the_verdict_names_random_agents_the_policy_and_real_training(comparison):
    said = comparison.verdict()
    assert said.startswith("It teaches well.")
    assert "random agents (20.0)" in said
    assert "PPO 100%" in said
    assert "in the real one has less: 250" in said


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        ({"random": -200.0, "optimal": -100.0, "ppo": -195.0}, "It taught nothing."),
        ({"random": -200.0, "optimal": -100.0, "ppo": -160.0}, "It taught little."),
        ({"random": 0.0, "optimal": 1.0, "stock-ppo": 1.0, "stock-dqn": 0.2}, "not teach DQN."),
        ({"random": 0.0, "optimal": 1.0, "ppo": 0.8}, "It teaches."),
        ({"random": -180.0, "optimal": -170.0, "ppo": -170.0}, "hardly better than random agents"),
        ({"random": 0.0, "optimal": -1.0, "ppo": 0.0}, "No policy was found"),
        ({"random": 0.0, "optimal": 1.0}, "No agents were trained"),
        ({"ppo": 3.0}, "Agents trained in it have PPO 3.00"),
    ],
)
def test_a_verdict_says_what_came_of_it(scores, said):
    assert said in verdict("Task-v0", scores)


def test_a_verdict_says_where_no_return_differs_from_another():
    rows = [
        {"stage": 0, "return": 0.0, "return_best": 0.0},
        {"stage": 1, "return": 0.0, "evaluation": 0.0, "evaluation_min": 0.0},
    ]
    for scores in ({"random": 0.0}, {"random": 0.0, "optimal": 0.0, "ppo": 0.0}):
        assert "are the same (0.000)" in verdict("Task-v0", scores, rows=rows)
        assert "are the same" not in verdict("Task-v0", scores | {"ppo": 0.1}, rows=rows)
    rows[1]["return"] = 0.1
    assert "are the same" not in verdict("Task-v0", {"random": 0.0}, rows=rows)
    assert "are the same" not in verdict("Task-v0", {}, rows=rows)


@pytest.mark.parametrize(("points", "marker"), [(1, "o"), (3, "")])
def test_a_learning_curve_of_one_point_shows_the_point(points, marker):
    from matplotlib.figure import Figure

    ax = Figure().subplots()
    rows = [{"real_steps": 1e5 * i, "evaluation": 9.0} for i in range(points)]
    _draw_log(ax, rows, "CartPole-v1")
    assert ax.lines[0].get_marker() == marker


@pytest.mark.parametrize(
    "log", [None, [{"real_steps": 1e5, "evaluation": 9.0, "evaluation_min": 8}]]
)
@pytest.mark.parametrize("kind", ["png", "svg"])
def test_figure_is_drawn(comparison, tmp_path, log, kind):
    path = figure(comparison, tmp_path / f"x.{kind}", log)
    assert path.stat().st_size > 5_000


def test_the_interquartile_mean_counts_scores_at_the_quartiles_in_part():
    # Of eight it is the trimmed mean; of ten scores the middle half is five: 0.5 + 4 + 0.5.
    assert interquartile_mean([100, 2, 1, 3, 4, 5, 6, -50]) == pytest.approx((2 + 3 + 4 + 5) / 4)
    scores = np.arange(10.0)
    assert interquartile_mean(scores) == pytest.approx((0.5 * 2 + 3 + 4 + 5 + 6 + 0.5 * 7) / 5)
    assert interquartile_mean([7.0]) == 7.0
    assert interquartile_mean(np.arange(16.0).reshape(2, 8), axis=1).tolist() == [3.5, 11.5]
    assert summarize(np.full((5, 3), 500.0)) == (500.0, 500.0, 500.0, 500.0, 500.0)
    # Episodes are averaged before seeds.
    summary = summarize([[0.0, 10.0], [5.0, 5.0]])
    assert (summary.min, summary.mean) == (5.0, 5.0)


def test_interval_covers_the_mean_of_a_normal_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(200):
        s = summarize(rng.normal(size=40), resamples=500, seed=trial)
        hits += s.low <= 0 <= s.high
    assert 0.87 <= hits / 200 <= 0.99


def test_the_interval_is_as_wide_as_that_of_a_normal():
    scores = np.random.default_rng(0).normal(size=400)
    again = np.random.default_rng(1).choice(scores, (2_000, 400))
    s = summarize(scores)
    wide = 2 * 1.96 * interquartile_mean(again, axis=1).std()
    assert s.high - s.low == pytest.approx(wide, rel=0.06)


@pytest.mark.parametrize("bad", [[], [1.0, np.nan]])
def test_bad_scores(bad):
    with pytest.raises(UsageError):
        summarize(bad)
