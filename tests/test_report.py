import numpy as np
import pytest

from gtn_rl.compare import Cell, Comparison
from gtn_rl.report import caption, figure, table


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
    )


def test_table_and_caption_say_what_was_measured(comparison):
    assert "| PPO | gtn_rl/CartPole-v1 | 2,048 | 499.9 | 499.9 |" in table(comparison)
    assert "10 seeds, final agents, deterministic, 3 episodes" in caption(comparison)
    assert "1,000,000 real steps, 40 s" in caption(comparison)


def test_saved_scores_are_read_back(comparison, tmp_path):
    comparison.save(tmp_path / "scores.json")
    again = Comparison.load(tmp_path / "scores.json")
    assert table(again) == table(comparison)
    assert again.training == comparison.training


@pytest.mark.parametrize(
    "log", [None, [{"real_steps": 1e5, "evaluation": 9.0, "evaluation_min": 8}]]
)
@pytest.mark.parametrize("kind", ["png", "svg"])
def test_figure_is_drawn(comparison, tmp_path, log, kind):
    path = figure(comparison, tmp_path / f"x.{kind}", log)
    assert path.stat().st_size > 5_000
