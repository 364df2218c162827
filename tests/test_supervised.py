"""Teachers of classifiers: the whole meta-gradient, runs, artifacts, the command line."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from gtn_rl import supervised
from gtn_rl.cli import main
from gtn_rl.errors import ArtifactError, MissingExtraError, UsageError
from gtn_rl.outer.meta_gradient import meta_gradient
from gtn_rl.seeding import generator
from gtn_rl.supervised import SupervisedConfig, from_arrays, from_torch, load, load_teacher, train
from gtn_rl.supervised.data import DATASETS
from gtn_rl.supervised.evaluate import accuracy, taught
from gtn_rl.supervised.problem import Classification
from gtn_rl.supervised.teachers import TEACHERS, make_teacher

TINY = SupervisedConfig(
    learners=("2xmlp@relu:8-6", "1xmlp@tanh:4..9"),
    inner_steps=3,
    batch_size=6,
    real_batch=16,
    noise=5,
    hidden=8,
    outer_steps=6,
    evaluate_every=2,
    exams=1,
)


@pytest.fixture(scope="module")
def blobs():
    """Three classes whose means are far apart."""
    source = np.random.default_rng(0)
    labels = source.integers(0, 3, 300)
    centres = source.normal(size=(3, 10)) * 3
    return from_arrays("blobs", centres[labels] + source.normal(size=(300, 10)), labels)


@pytest.mark.parametrize("teacher", list(TEACHERS))
@pytest.mark.parametrize("intermediate", [1, 3])
def test_meta_gradient_equals_finite_differences(teacher, intermediate, blobs):
    config = replace(TINY, teacher=teacher, intermediate=intermediate, learners=("2xmlp@tanh:6-5",))
    problem = Classification(blobs, config)
    module = make_teacher(blobs, config, torch.Generator().manual_seed(0)).double()
    learners = problem.train(module, 3)
    assert len(learners) == intermediate
    score, _ = problem.objective(learners, 3)
    parameters = list(module.parameters())
    _, gradients = meta_gradient(learners, score, parameters)
    step = 1e-6
    for parameter, gradient in zip(parameters, gradients, strict=True):
        for index in np.linspace(0, parameter.numel() - 1, 3).astype(int):
            values = []
            for sign in (1, -1):
                with torch.no_grad():
                    parameter.view(-1)[index] += sign * step
                values.append(score(problem.train(module, 3)).item())
                with torch.no_grad():
                    parameter.view(-1)[index] -= sign * step
            finite = (values[0] - values[1]) / (2 * step)
            assert float(gradient.reshape(-1)[index]) == pytest.approx(finite, rel=1e-4, abs=1e-8)


@pytest.mark.parametrize("name", ["shuffled-batches", "all-shuffled"])
def test_shuffling_moves_samples_and_keeps_their_labels(name, blobs):
    source = torch.Generator().manual_seed(0)
    ordered = make_teacher(blobs, TINY, torch.Generator().manual_seed(1)).lesson(2, source)
    config = replace(TINY, teacher=name)
    shuffled = make_teacher(blobs, config, torch.Generator().manual_seed(1)).lesson(2, source)
    assert shuffled.inputs.shape == (3, 2, 6, 10)
    want = torch.cat([ordered.inputs[:, 0], ordered.targets[:, 0]], -1)
    for learner in range(2):
        got = torch.cat([shuffled.inputs[:, learner], shuffled.targets[:, learner]], -1)
        rows, wanted = got.flatten(0, 1), want.flatten(0, 1)
        nearest = torch.cdist(rows, wanted).argmin(1)
        assert sorted(nearest.tolist()) == list(range(18))
        torch.testing.assert_close(rows, wanted[nearest])
        together = (nearest.view(3, 6) // 6).float().std(1)
        assert (together.max() == 0) == (name == "shuffled-batches")


def test_fresh_noise_and_real_data_differ_between_learners(blobs):
    for name in ("no-curriculum", "balanced-noise", "real"):
        teacher = make_teacher(blobs, replace(TINY, teacher=name), torch.Generator().manual_seed(1))
        inputs = teacher.lesson(2, torch.Generator().manual_seed(0)).inputs
        assert not torch.equal(inputs[:, 0], inputs[:, 1])


def test_a_teacher_learns_to_teach(blobs):
    config = replace(
        TINY, outer_steps=150, evaluate_every=50, learners=("4xmlp@relu:16",), batch_size=12,
        outer_learning_rate=3e-2, averaging=0.9,
    )  # fmt: skip
    result = train(blobs, None, config, progress_bar=False)
    before = taught(
        make_teacher(blobs, config, torch.Generator().manual_seed(0)),
        blobs,
        config,
        torch.Generator().manual_seed(0),
    )
    assert result.stopped == "done"
    assert float(torch.cat([accuracy(stack, blobs.test) for stack in before]).mean()) < 60
    assert result.scores["test"] > 97
    # Steps, learners, real examples for each.
    assert result.real_steps == 150 * 4 * 16
    # The last teacher is kept, whatever the evaluations before it.
    assert result.score == pytest.approx(result.rows[-1]["evaluation"], abs=1e-6)


def test_the_last_teacher_is_kept_and_not_the_one_with_the_best_evaluation(
    blobs, tmp_path, monkeypatch
):
    monkeypatch.setattr(
        Classification, "evaluate", lambda self, step, *, last: {"evaluation": 100.0 - step}
    )
    result = train(blobs, tmp_path / "run", TINY, progress_bar=False)
    assert [row["evaluation"] for row in result.rows if "evaluation" in row] == [100, 98, 96, 94]
    assert result.score == 94
    first = make_teacher(blobs, TINY, generator(TINY.seed, 3))
    shorter = train(blobs, None, replace(TINY, outer_steps=2), progress_bar=False)
    rates = [teacher.rates.log_rate for teacher in (first, shorter.teacher, result.teacher)]
    assert not torch.allclose(rates[0], rates[2])
    assert not torch.allclose(rates[1], rates[2])
    content = json.loads((tmp_path / "run" / "config.json").read_text())
    assert content["results"] == result.scores
    assert content["training"]["real_examples"] == result.real_steps == 6 * 3 * 16


def test_a_resumed_run_is_the_run_that_was_never_killed(blobs, tmp_path, monkeypatch):
    whole = train(blobs, tmp_path / "whole", TINY, progress_bar=False)
    step, calls = Classification.objective, []

    def killed(self, learners, number):
        calls.append(number)
        if number == 4 and calls.count(4) == 1:
            raise KeyboardInterrupt
        return step(self, learners, number)

    monkeypatch.setattr(Classification, "objective", killed)
    assert train(blobs, tmp_path / "cut", TINY, progress_bar=False).stopped == "interrupted"
    again = train(blobs, tmp_path / "cut", TINY, progress_bar=False, resume=True)
    assert again.scores == whole.scores
    for name, tensor in whole.teacher.state_dict().items():
        assert torch.equal(tensor, again.teacher.state_dict()[name])
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in again.rows]
    assert rows == [{k: v for k, v in row.items() if k != "seconds"} for row in whole.rows]
    teacher, config = load_teacher(tmp_path / "cut")
    assert config == TINY
    for name, tensor in whole.teacher.state_dict().items():
        assert torch.equal(tensor, teacher.state_dict()[name])
    with pytest.raises(UsageError, match="real_batch"):
        train(blobs, tmp_path / "cut", replace(TINY, real_batch=8), resume=True)


def test_what_is_no_teacher_is_said(tmp_path, blobs, env):
    import gtn_rl

    with pytest.raises(ArtifactError, match=r"config\.json is missing"):
        load_teacher(tmp_path)
    with pytest.raises(ArtifactError, match="no teacher"):
        load_teacher(gtn_rl.save_pretrained(env, tmp_path / "env"))
    real = replace(TINY, teacher="real")
    teacher = make_teacher(blobs, real, torch.Generator())
    folder = supervised.save_teacher(teacher, tmp_path / "real", blobs, real)
    with pytest.raises(ArtifactError, match="give it as `data`"):
        load_teacher(folder)
    assert load_teacher(folder, blobs)[1] == real
    (folder / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(ArtifactError, match="corrupt"):
        load_teacher(folder, blobs)


def test_the_three_parts_hold_every_example_once():
    data = from_arrays("count", np.arange(100.0)[:, None] * np.ones(2), np.arange(100) % 4)
    parts = [data.train, data.validation, data.test]
    assert [len(part) for part in parts] == [70, 10, 20]
    values = torch.cat([part.inputs[:, 0] for part in parts])
    assert len(values.unique()) == 100
    assert float(data.train.inputs.mean()) == pytest.approx(0, abs=1e-6)
    assert float(data.train.inputs.std()) == pytest.approx(1, abs=1e-6)


def test_known_tasks_load_and_leave_global_randomness_alone():
    before = torch.random.get_rng_state()
    digits = load("digits")
    assert digits.shape == (1, 8, 8)
    assert digits.classes == 10
    assert len(digits.train) + len(digits.validation) + len(digits.test) == 1797
    waves = load("mnist1d")
    assert waves.shape == (1, 40)
    assert [len(p) for p in (waves.train, waves.validation, waves.test)] == [3600, 400, 1000]
    assert torch.equal(before, torch.random.get_rng_state())


def test_torch_datasets_are_read():
    inputs, labels = torch.arange(40.0).view(20, 1, 2), torch.arange(20) % 2
    data = from_torch("own", torch.utils.data.TensorDataset(inputs, labels))
    assert data.shape == (1, 2)
    assert len(data.train) + len(data.validation) + len(data.test) == 20
    with pytest.raises(UsageError, match=r"\(input, class\) pairs"):
        from_torch("own", torch.utils.data.TensorDataset(inputs))


@pytest.mark.parametrize(
    ("inputs", "labels", "message"),
    [
        (np.zeros((5, 2)), np.zeros(4, int), "labels"),
        (np.zeros((5, 2)), np.zeros(5), "whole numbers"),
        (np.full((5, 2), np.nan), np.zeros(5, int), "not finite"),
        (np.zeros((2, 2)), np.zeros(2, int), "part empty"),
        ([["a"]], [0], "arrays of numbers"),
    ],
)
def test_arrays_that_cannot_work_are_refused(inputs, labels, message):
    with pytest.raises(UsageError, match=message):
        from_arrays("bad", inputs, labels)


def idx(array):
    kind = {np.uint8: 8}[array.dtype.type]
    head = bytes([0, 0, kind, array.ndim])
    return head + np.array(array.shape, ">i4").tobytes() + array.tobytes()


@pytest.mark.parametrize(
    ("name", "folder"), [("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST")]
)
def test_local_idx_files_are_read(name, folder, tmp_path):
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError):
        pytest.skip("torchvision is not installed")
    raw = tmp_path / folder / "raw"
    raw.mkdir(parents=True)
    source = np.random.default_rng(0)
    for part, count in (("train", 30), ("t10k", 10)):
        images = source.integers(0, 256, (count, 28, 28), np.uint8)
        (raw / f"{part}-images-idx3-ubyte").write_bytes(idx(images))
        labels = (np.arange(count) % 10).astype(np.uint8)
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(idx(labels))
    data = load(name, tmp_path)
    assert data.shape == (1, 28, 28)
    assert [len(p) for p in (data.train, data.validation, data.test)] == [27, 3, 10]
    with pytest.raises(UsageError, match="does not hold"):
        load(name, tmp_path / "nowhere")


def test_cifars_channels_come_first_and_nothing_is_downloaded(monkeypatch, tmp_path):
    """With a stand-in for torchvision, whose own reader accepts the whole files only."""
    import sys
    import types

    class CIFAR10:
        def __init__(self, root, train, download):
            assert not download
            if root.name == "nowhere":
                raise RuntimeError("Dataset not found or corrupted.")
            count = 20 if train else 5
            self.data = np.zeros((count, 32, 32, 3), np.uint8)
            self.data[..., 1] = np.arange(count)[:, None, None]
            self.targets = [index % 10 for index in range(count)]

    stand_in = types.SimpleNamespace(datasets=types.SimpleNamespace(CIFAR10=CIFAR10))
    monkeypatch.setitem(sys.modules, "torchvision", stand_in)
    data = load("cifar10", tmp_path)
    assert data.shape == (3, 32, 32)
    green = data.test.inputs.view(5, 3, 32, 32)[:, 1]
    assert torch.equal(green.mean((1, 2)).argsort(), torch.arange(5))
    assert len(data.test.inputs[0].view(3, -1)[0].unique()) == 1
    with pytest.raises(UsageError, match="does not hold"):
        load("cifar10", tmp_path / "nowhere")


def test_a_missing_extra_is_named(monkeypatch, tmp_path):
    import sys

    for package, name, extra in [
        ("sklearn.datasets", "digits", "supervised"),
        ("mnist1d.data", "mnist1d", "supervised"),
        ("torchvision", "cifar10", "vision"),
    ]:
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(MissingExtraError, match=rf"gtn_rl\[{extra}\]"):
            load(name, tmp_path)


def call(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    output = capsys.readouterr()
    return stop.value.code, output.out, output.err


SHORT = (
    "--no-progress --learners 2xmlp@relu:8 --inner-steps 2 --outer-steps 4 --evaluate-every 2 "
    "--exams 1"
)


def test_the_command_trains_saves_and_refuses_to_overwrite(capsys, tmp_path):
    out = tmp_path / "run"
    command = ["supervised", "digits", "--out", out, *SHORT.split()]
    code, printed, _ = call(capsys, *command)
    assert code == 0
    assert "of the test set right" in printed
    content = json.loads((out / "config.json").read_text())
    assert content["training"]["outer_steps"] == 4
    assert 0 <= content["results"]["test"] <= 100
    assert "# Teacher of digits" in (out / "README.md").read_text()
    header = (out / "log.csv").read_text().splitlines()[0]
    assert header.startswith("step,real_steps,seconds,loss")
    code, _, error = call(capsys, *command)
    assert code == 2
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["digit"], "Did you mean 'digits'"),
        (["digits", "--teacher", "curiculum"], "Did you mean 'curriculum'"),
        (["digits", "--learners", "2xmlp"], "not of the form"),
        (["digits", "--inner-steps", "0"], "inner_steps must be positive"),
        (["cifar10"], "--data-folder"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(capsys, tmp_path, arguments, message, monkeypatch):
    import sys
    import types

    monkeypatch.setitem(sys.modules, "torchvision", types.SimpleNamespace(datasets=None))
    code, _, error = call(capsys, "supervised", *arguments, "--out", tmp_path / "x")
    assert code == 2
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_every_known_task_has_a_loader():
    assert set(DATASETS) == {"digits", "mnist1d", "mnist", "fashion-mnist", "cifar10"}
