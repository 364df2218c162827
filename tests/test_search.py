"""The search space, proxies of accuracy, and the search itself."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from gtn_rl.agents.cells import connected
from gtn_rl.agents.classifier import Lesson, draw, fit, sgd
from gtn_rl.agents.spec import parse_group
from gtn_rl.errors import UsageError
from gtn_rl.seeding import generator
from gtn_rl.supervised import SupervisedConfig, from_arrays
from gtn_rl.supervised import search as searching
from gtn_rl.supervised.search import (
    Found,
    RealTraining,
    naswot_scores,
    proxy_scores,
    real_scores,
    search,
)
from gtn_rl.supervised.space import Limits, candidates, parameters_of
from gtn_rl.supervised.teachers import make_teacher


@pytest.fixture(scope="module")
def waves():
    """Which of two frequencies a noisy wave has."""
    source = np.random.default_rng(0)
    labels = source.integers(0, 2, 300)
    phase = np.linspace(0, 2 * np.pi, 12)[None] * (1 + 2 * labels[:, None])
    inputs = np.sin(phase) + 0.3 * source.normal(size=(300, 12))
    return from_arrays("waves", inputs[:, None], labels)


def test_candidates_are_different_known_and_the_same_for_a_seed(waves):
    found = candidates(80, 3, waves.shape)
    assert len(set(found)) == 80
    assert found == candidates(80, 3, waves.shape)
    assert found != candidates(80, 4, waves.shape)
    assert min(parameters_of(text, waves) for text in found) > 0
    assert {parse_group(text).kernel for text in found} == {0, 3, 5, 7}
    with pytest.raises(UsageError, match="from 1 to 500"):
        candidates(0, 0, waves.shape)


def test_parameters_are_counted(waves):
    assert parameters_of("mlp@relu:8-4", waves) == 13 * 8 + 9 * 4 + 5 * 2
    assert parameters_of("cnn3@relu:4", waves) == (3 + 1) * 4 + (4 * 6 + 1) * 2


def test_limits_admit_what_is_within_them(waves):
    small, large = "mlp@relu:4", "mlp@relu:128-128"
    sizes = [parameters_of(text, waves) for text in (small, large)]
    assert Limits().admit(large, waves)
    for limits in (Limits(params=sizes[0]), Limits(memory_kb=sizes[0] * 4 / 1024)):
        assert limits.admit(small, waves)
        assert not limits.admit(large, waves)
    assert not Limits(latency_us=1e-3).admit(small, waves)
    assert Limits(latency_us=1e9).admit(large, waves)


def test_real_training_decays_its_rate_and_learns(waves):
    source = torch.Generator().manual_seed(0)
    lesson = RealTraining(4, 0.2).lesson(waves.train, 2, 3, source, 0, 4)
    assert isinstance(lesson, Lesson)
    torch.testing.assert_close(
        lesson.learning_rate, torch.tensor([0.2, 0.17071068, 0.1, 0.02928932])
    )
    assert lesson.inputs.shape == (4, 3, 64, 12)
    scores = real_scores(
        waves, ["mlp@relu:16", "cnn3@relu:8"], RealTraining(100), keep=[1, 60], on="test"
    )
    assert scores.shape == (2, 3)
    assert (scores[:, 2] > 95).all()


def test_real_training_in_pieces_is_one_training(waves):
    """Velocity and rates go on where a piece of fifty steps ends."""
    training, source = RealTraining(120), torch.Generator().manual_seed(0)
    stack = draw(parse_group("mlp@tanh:5"), waves.shape, 2, generator=source)
    whole = training.lesson(waves.train, 2, 1, source, 0, 120)
    state = (stack.parameters, torch.zeros_like(stack.parameters))
    for start, end in ((0, 50), (50, 100), (100, 120)):
        state = sgd(stack, state, Lesson(*(field[start:end] for field in whole)))
    torch.testing.assert_close(state[0], fit(stack, whole)[0].parameters)


def test_images_are_searched_among_cells():
    found = candidates(30, 0, (3, 16, 16))
    assert all(connected(parse_group(text).cell) for text in found)
    assert len({parse_group(text).units for text in found}) > 4


def test_naswot_counts_units_that_two_examples_share():
    data = from_arrays("two", [[1.0, 0], [0, 1.0]] * 10, [0, 1] * 10)
    (score,) = naswot_scores(data, ["mlp@relu:64"], batch=6, seed=1)
    source = generator(1, 11)
    stack = draw(parse_group("mlp@relu:64"), (2,), 2, generator=source)
    inputs = data.train.inputs[torch.randint(len(data.train), (6,), generator=source)]
    weight, bias = stack.network.layers(stack.parameters)[0]
    on = (inputs @ weight[0] + bias[0] > 0).double()
    shared = torch.tensor([[float((a == b).sum()) for a in on] for b in on])
    assert score == pytest.approx(float(torch.linalg.slogdet(shared.double())[1]))


def test_the_front_holds_what_nothing_smaller_beats():
    found = Found(["a", "b", "c", "d"], [90.0, 80.0, 80.0, 50.0], [100, 10, 20, 200])
    assert found.front() == [1, 0]


def test_a_search_finds_small_candidates_only(waves):
    pytest.importorskip("optuna")
    config = SupervisedConfig(inner_steps=4, batch_size=8, learners=("mlp@relu:8",), hidden=8)
    teacher = make_teacher(waves, replace(config, teacher="real"), torch.Generator().manual_seed(0))
    found = search(teacher, waves, config, trials=8, limits=Limits(params=800), seed=1)
    assert found.texts
    assert max(found.sizes) <= 800
    assert found.scores == sorted(found.scores, reverse=True)
    again = proxy_scores(teacher, waves, config, found.texts[:1], seed=1)
    assert float(again[0]) == pytest.approx(found.scores[0])
    with pytest.raises(UsageError, match="within the limits"):
        search(teacher, waves, config, trials=2, limits=Limits(params=3))


def test_a_search_that_was_interrupted_goes_on_to_the_same_candidates(waves, tmp_path, monkeypatch):
    pytest.importorskip("optuna")
    config = SupervisedConfig(inner_steps=2, batch_size=8, learners=("mlp@relu:8",), hidden=8)
    teacher = make_teacher(waves, replace(config, teacher="real"), torch.Generator().manual_seed(0))
    out, scores = tmp_path / "search.json", searching.proxy_scores
    whole = search(teacher, waves, config, trials=8, seed=1)
    left = [3]

    def stopping(*args, **settings):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return scores(*args, **settings)

    monkeypatch.setattr(searching, "proxy_scores", stopping)
    part = search(teacher, waves, config, trials=8, seed=1, out=out)
    assert part.stopped == "interrupted after 3 of 8 trials"
    assert len(part.texts) == 3
    left[0] = len(whole.texts) - 3
    assert search(teacher, waves, config, trials=8, seed=1, out=out, resume=True) == whole
    with pytest.raises(UsageError, match="exists: --resume goes on with it"):
        search(teacher, waves, config, trials=8, seed=1, out=out)
    with pytest.raises(UsageError, match="of another teacher, data or seed"):
        search(teacher, waves, config, trials=8, seed=2, out=out, resume=True)


def test_the_command_prints_the_front(call, tmp_path):
    pytest.importorskip("optuna")
    from gtn_rl.supervised import load, save_teacher

    data = load("digits")
    config = SupervisedConfig(inner_steps=2, batch_size=8, learners=("mlp@relu:8",), hidden=8)
    teacher = make_teacher(data, config, torch.Generator().manual_seed(0))
    folder = save_teacher(teacher, tmp_path / "teacher", data, config)
    command = ["search", folder, "--trials", "3", "--real-steps", "5", "--figure"]
    code, _, error = call(*command, "front")
    assert code == 2
    assert "ends in .png" in error
    code, printed, _ = call(*command, tmp_path / "front.png")
    assert code == 0
    assert "| network | parameters |" in printed
    assert (tmp_path / "front.png").read_bytes().startswith(b"\x89PNG")
    code, _, error = call("search", tmp_path / "nothing")
    assert (code, error.count("\n")) == (2, 1)
