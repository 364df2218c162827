import numpy as np
import pytest

from gtn_rl.evaluation.compare import Cell, Comparison
from gtn_rl.evaluation.report import _draw_log, caption, figure, table
from gtn_rl.evaluation.verdict import verdict


@pytest.fixture
def comparison():
    def cell(algorithm, kind, returns):
        return Cell(algorithm, kind, 2048, np.asarray(returns), np.full(len(returns), 1.5))

    return Comparison(
        "gtn_rl/CartPole-v1",
        "CartPole-v1",
        {"real_steps": 1_000_000, "seconds": 40.0},
        [
            # Equal scores: rounding must not turn the interval inside out.
            cell("ppo", "synthetic", np.full((10, 3), 499.9)),
            cell("ppo", "real", [[100.0, 200.0], [300.0, 400.0]] * 5),
        ],
        {"random": 20.0, "optimal": 500.0},
    )


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
