"""Teachers of classifiers: the whole meta-gradient, runs, artifacts, the command line."""

import gzip
import json
import os
import pickle
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from probes import assert_slopes

from gtn_rl import supervised
from gtn_rl.errors import ArtifactError, MissingExtraError, UsageError
from gtn_rl.outer.meta_gradient import meta_gradient
from gtn_rl.seeding import generator
from gtn_rl.supervised import SupervisedConfig, from_arrays, from_torch, load, load_teacher, train
from gtn_rl.supervised.augment import augmented
from gtn_rl.supervised.evaluate import accuracy, taught
from gtn_rl.supervised.problem import Classification
from gtn_rl.supervised.stage import Scheduled
from gtn_rl.supervised.teachers import TEACHERS, make_teacher

TINY = SupervisedConfig(
    teacher="curriculum", learners=("2xmlp@relu:8-6", "1xmlp@tanh:4..9"), inner_steps=3,
    batch_size=6, real_batch=16, noise=5, hidden=8, outer_steps=6, first_rate=0.2,
    first_momentum=0.5, outer_learning_rate=1e-2, reconstruct=0, evaluate_every=2, exams=1,
)  # fmt: skip


@pytest.fixture(scope="module")
def blobs():
    """Three classes whose means are far apart."""
    source = np.random.default_rng(0)
    labels = source.integers(0, 3, 300)
    centres = source.normal(size=(3, 10)) * 3
    return from_arrays("blobs", centres[labels] + source.normal(size=(300, 10)), labels)


@pytest.fixture(scope="module")
def pictures():
    """The same as images of 6 by 5 pixels."""
    source = np.random.default_rng(0)
    labels = source.integers(0, 3, 200)
    centres = source.normal(size=(3, 2, 6, 5))
    return from_arrays("pictures", centres[labels] + source.normal(size=(200, 2, 6, 5)), labels)


CNN = {"learners": ("1xcnn3+in@tanh:3..4*1..2",)}


@pytest.mark.parametrize(
    "settings",
    [
        *({"teacher": name} for name in TEACHERS),
        {"intermediate": 3},
        {"soft_labels": True},
        {"teacher": "distillation", "soft_labels": True, "flip": True, "crop": 1} | CNN,
        {"teacher": "all-shuffled", "generator": "conv", "soft_labels": True} | CNN,
    ],
)
def test_meta_gradient_equals_finite_differences(settings, blobs, pictures):
    config = replace(TINY, **{"learners": ("2xmlp@tanh:6-5",)} | settings)
    data = pictures if config.learners == CNN["learners"] else blobs
    problem = Classification(data, config)
    module = make_teacher(data, config, torch.Generator().manual_seed(0)).double()
    learners = problem.train(module, 3)
    assert len(learners) == config.intermediate
    score, _ = problem.objective(learners, 3)
    parameters = list(module.parameters())
    _, gradients = meta_gradient(learners, score, parameters)
    assert_slopes(lambda: score(problem.train(module, 3)), parameters, gradients, rel=1e-4)


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
    untaught = make_teacher(blobs, config, torch.Generator().manual_seed(0))
    before = taught(untaught, blobs, config, torch.Generator().manual_seed(0))
    assert result.stopped == "done"
    assert float(torch.cat([accuracy(stack, blobs.test) for stack in before]).mean()) < 60
    assert result.scores["test"] > 97
    # Steps, learners, real examples for each.
    assert result.real_steps == 150 * 4 * 16
    # The last teacher is kept, whatever the evaluations before it.
    assert result.score == pytest.approx(result.rows[-1]["evaluation"], abs=1e-6)


@pytest.mark.parametrize("settings", [{}, {"teacher": "distillation", "soft_labels": True}])
def test_samples_become_real_examples_of_their_classes(settings, blobs):
    config = replace(TINY, reconstruct=600, hidden=64, outer_steps=1, **settings)
    result = train(blobs, None, config, progress_bar=False)
    inputs, targets = result.teacher.samples()
    distance, index = torch.cdist(inputs.flatten(0, 2), blobs.train.inputs).min(1)
    assert distance.mean() < 0.1 * blobs.train.inputs.norm(dim=1).mean()
    assert torch.equal(blobs.train.labels[index], targets.flatten(0, 2).argmax(-1))


def test_the_last_teacher_is_kept_and_not_the_one_with_the_best_evaluation(
    blobs, tmp_path, monkeypatch
):
    monkeypatch.setattr(
        Scheduled, "evaluate", lambda self, step, *, last: {"evaluation": 100.0 - step}
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
    config = replace(TINY, reconstruct=3)
    whole = train(blobs, tmp_path / "whole", config, progress_bar=False)
    step, calls = Classification.objective, []

    def killed(self, learners, number):
        calls.append(number)
        if number == 4 and calls.count(4) == 1:
            raise KeyboardInterrupt
        return step(self, learners, number)

    monkeypatch.setattr(Classification, "objective", killed)
    assert train(blobs, tmp_path / "cut", config, progress_bar=False).stopped == "interrupted"
    again = train(blobs, tmp_path / "cut", config, progress_bar=False, resume=True)
    assert again.scores == whole.scores
    for name, tensor in whole.teacher.state_dict().items():
        assert torch.equal(tensor, again.teacher.state_dict()[name])
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in again.rows]
    assert rows == [{k: v for k, v in row.items() if k != "seconds"} for row in whole.rows]
    teacher, loaded = load_teacher(tmp_path / "cut")
    assert loaded == config
    for name, tensor in whole.teacher.state_dict().items():
        assert torch.equal(tensor, teacher.state_dict()[name])
    with pytest.raises(UsageError, match="real_batch"):
        train(blobs, tmp_path / "cut", replace(config, real_batch=8), resume=True)


@pytest.mark.parametrize(
    "learners", [("4xmlp@relu:" + "-".join(["64"] * 99),), ("mlp@relu:8",) * 201]
)
def test_learners_that_are_too_long_for_an_artifact_are_an_error(learners, tmp_path, blobs):
    config = supervised.SupervisedConfig(learners=learners, hidden=4, inner_steps=2)
    teacher = supervised.teachers.make_teacher(blobs, config, torch.Generator().manual_seed(0))
    with pytest.raises(ArtifactError, match="more than 200 entries, or characters") as error:
        supervised.save_teacher(teacher, tmp_path / "long", blobs, config)
    assert len(str(error.value)) < 300
    assert not (tmp_path / "long").exists()


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
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes() + array.tobytes()


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_idx_files_are_read(ending, tmp_path):
    folder, source = tmp_path / "MNIST" / "raw", np.random.default_rng(0)
    folder.mkdir(parents=True)
    write = gzip.open if ending else open
    for part, count in (("train", 30), ("t10k", 10)):
        images = source.integers(0, 256, (count, 5, 4), np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        for name, array in (("images-idx3", images), ("labels-idx1", labels)):
            with write(folder / f"{part}-{name}-ubyte{ending}", "wb") as file:
                file.write(idx(array))
    data = load(tmp_path)
    assert data.shape == (1, 5, 4)
    assert [len(p) for p in (data.train, data.validation, data.test)] == [27, 3, 10]
    first = data.test.inputs[0]
    want = torch.tensor(images[0].flatten(), dtype=torch.float32)
    first, want = ((image - image.mean()) / image.std() for image in (first, want))
    torch.testing.assert_close(first, want)
    (folder / f"t10k-labels-idx1-ubyte{ending}").write_bytes(b"torn")
    with pytest.raises(UsageError, match="no whole IDX file"):
        load(tmp_path)
    (folder / f"t10k-labels-idx1-ubyte{ending}").unlink()
    with pytest.raises(UsageError, match="all four files"):
        load(tmp_path)


def test_cifars_batches_are_read_and_run_nothing(tmp_path):
    for number, name in enumerate([*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]):
        images = np.zeros((4, 3, 1024), np.uint8)
        images[:, 1] = 10 * number + np.arange(4)[:, None]
        content = {b"data": images.reshape(4, -1), b"labels": [0, 1, 2, 3]}
        (tmp_path / name).write_bytes(pickle.dumps(content))
    data = load(tmp_path)
    assert data.shape == (3, 32, 32)
    assert [len(p) for p in (data.train, data.validation, data.test)] == [18, 2, 4]
    green = data.test.inputs.view(4, 3, -1)[:, 1]
    assert torch.equal(green.mean(1).argsort(), data.test.labels)
    (tmp_path / "test_batch").write_bytes(pickle.dumps({b"data": print}))
    with pytest.raises(UsageError, match="no batch of CIFAR-10"):
        load(tmp_path)


def draw_images(folder, *, mode="L", sizes=((6, 4),), split=("train", "test"), count=10):
    image = pytest.importorskip("PIL.Image")
    for part in split:
        for number, label in enumerate(("cat", "dog")):
            (folder / part / label).mkdir(parents=True)
            for index in range(count):
                colour = 50 + 100 * number if mode == "L" else (0, 50 + 100 * number, 0)
                size = sizes[index % len(sizes)]
                image.new(mode, size, colour).save(folder / part / label / f"{index}.png")


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("zipped", [False, True])
def test_folders_of_classes_are_read(mode, zipped, tmp_path):
    draw_images(tmp_path / "pets", mode=mode)
    (tmp_path / "pets" / "README.txt").write_text("what these are")
    source = tmp_path / "pets"
    if zipped:
        source = Path(shutil.make_archive(str(tmp_path / "pets"), "zip", tmp_path, "pets"))
    else:
        os.mkfifo(source / "train" / "dog" / "pipe.png")  # To read it would take for ever.
    data = load(source)
    assert (data.name, data.shape, data.classes) == ("pets", (1 if mode == "L" else 3, 4, 6), 2)
    assert [len(p) for p in (data.train, data.validation, data.test)] == [18, 2, 20]
    assert torch.equal(data.test.inputs.mean(1) > data.test.inputs.mean(), data.test.labels == 1)


def test_images_are_scaled_and_a_test_set_is_split_off(tmp_path):
    draw_images(tmp_path, sizes=((6, 4), (9, 9)), split=("",))
    with pytest.raises(UsageError, match=r"6x4 and .*9x9: give the size"):
        load(tmp_path)
    data = load(tmp_path, 5)
    assert data.shape == (1, 5, 5)
    assert [len(p) for p in (data.train, data.validation, data.test)] == [14, 2, 4]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "train" / "dog" / "0.png").write_bytes(b"no"), "0.png is no image"),
        (lambda f: shutil.rmtree(f / "train" / "dog"), "holds too few classes"),
        (lambda f: (f / "train" / "cow").mkdir(), "cow holds no image"),
        (lambda f: shutil.copytree(f / "test" / "dog", f / "test" / "cow"), "none to train"),
        (lambda f: shutil.copy(f / "test" / "dog" / "0.png", f / "train"), "in no folder"),
        (lambda f: draw_images(f / "more", mode="RGB"), "is grey and .* in colour"),
        (shutil.rmtree, "no data set"),
    ],
)
def test_what_is_wrong_with_images_is_one_line(spoil, message, tmp_path, call):
    draw_images(tmp_path / "pets")
    spoil(tmp_path / "pets")
    code, _, error = call("supervised", tmp_path / "pets", "--out", tmp_path / "out")
    assert code == 2
    assert re.search(message, error)
    assert error.count("\n") == 1


def test_an_unknown_folder_is_taught_in_one_command(tmp_path, call):
    draw_images(tmp_path / "pets")
    code, printed, _ = call(
        "supervised", tmp_path / "pets", "--size", "8", "--out", tmp_path / "out",
        *SHORT.split(), "--generator", "conv", "--flip", "--crop", "1", "--window", "1",
    )  # fmt: skip
    assert code == 0
    assert "of the test set right" in printed


def test_shifts_and_flips_move_whole_images(generator):
    images, shape = torch.zeros(400, 12), (1, 3, 4)
    images[:, 5] = 1
    moved = augmented(images, shape, flip=True, crop=1, generator=generator)
    assert (moved.sum(1) == 1).all()
    rows, columns = moved.argmax(1) // 4, moved.argmax(1) % 4
    assert set(rows.tolist()) == {0, 1, 2}
    assert set(columns.tolist()) == {0, 1, 2, 3}
    mirrored = augmented(images, shape, flip=True, crop=0, generator=generator)
    assert set(mirrored.argmax(1).tolist()) == {5, 6}


def test_a_window_is_at_another_place_each_outer_step(blobs):
    config = replace(TINY, inner_steps=6, window=2, learners=("1xmlp@relu:6",))
    problem, ends = Classification(blobs, config), set()
    module = make_teacher(blobs, config, torch.Generator().manual_seed(0))
    for step in range(40):
        (learner,) = problem.train(module, step)
        (noise,) = torch.autograd.grad(learner.parameters.sum(), [module.noise])
        used = noise.flatten(1).any(1).nonzero().flatten().tolist()
        assert used == [used[0], used[0] + 1]
        ends.add(used[1])
    assert ends == {1, 2, 3, 4, 5}


def test_a_missing_extra_is_named(monkeypatch, tmp_path):
    import sys

    draw_images(tmp_path)
    for package, name, extra in [
        ("sklearn.datasets", "digits", "supervised"),
        ("mnist1d.data", "mnist1d", "supervised"),
        ("PIL", tmp_path, "images"),
    ]:
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(MissingExtraError, match=rf"gtn_rl\[{extra}\]"):
            load(name)


SHORT = (
    "--no-progress --learners 2xmlp@relu:8 --inner-steps 2 --outer-steps 4 --evaluate-every 2 "
    "--exams 1 --reconstruct 0"
)


def test_the_command_trains_saves_and_refuses_to_overwrite(call, tmp_path):
    out = tmp_path / "run"
    command = ["supervised", "digits", "--out", out, *SHORT.split()]
    code, printed, _ = call(*command)
    assert code == 0
    assert "% of the test set right after 2 steps, who always guesses the commonest" in printed
    assert "--teacher real, with another --out" in printed
    content = json.loads((out / "config.json").read_text())
    assert content["training"]["outer_steps"] == 4
    assert 0 <= content["results"]["test"] <= 100
    assert "# Teacher of digits" in (out / "README.md").read_text()
    header = (out / "log.csv").read_text().splitlines()[0]
    assert header.startswith("step,real_steps,seconds,surrogate")
    code, _, error = call(*command)
    assert code == 2
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["digit"], "Did you mean 'digits'"),
        (["digits", "--teacher", "curiculum"], "Did you mean 'curriculum'"),
        (["digits", "--learners", "2xmlp"], "not of the form"),
        (["digits", "--inner-steps", "0"], "inner_steps must be from 1"),
        (["digits", "--teacher", "real", "--soft-labels"], "samples that stay the same"),
        (["digits", "--generator", "gan"], "mlp or conv"),
        (["digits", "--window", "2", "--intermediate", "3"], "nor the window"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(call, tmp_path, arguments, message):
    code, _, error = call("supervised", *arguments, "--out", tmp_path / "x")
    assert code == 2
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_what_is_not_given_is_chosen_by_whether_inputs_are_images(blobs):
    rows, images = (SupervisedConfig().suited(shape) for shape in ((10,), (3, 16, 17)))
    assert (rows.teacher, rows.batch_size, rows.learners[0][:5]) == ("curriculum", 32, "4xmlp")
    assert (images.teacher, images.batch_size, images.learners[0][:5]) == (
        "distillation", 128, "1xcnn",
    )  # fmt: skip
    assert replace(TINY, seed=3).suited((3, 32, 32)) == replace(TINY, seed=3)
    # The same wherever settings are used before a run has filled them in.
    plain = SupervisedConfig(inner_steps=2)
    teacher = make_teacher(blobs, plain, torch.Generator().manual_seed(0))
    assert taught(teacher, blobs, plain, torch.Generator())[0].parameters.shape[0] == 4
