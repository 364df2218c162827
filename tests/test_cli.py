import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import gtn_rl
from gtn_rl.cli import main

TINY = (
    "--steps 256 --hidden 8 --search.candidates 8 --pretrain.real-steps 4000 --pretrain.copies 4 "
    "--outer.steps 1 --outer.population 4 --learners.kinds 1xstock-ppo@tanh:8 --learners.judges 1 "
    "--learners.episodes 1"
)


def call(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    output = capsys.readouterr()
    return stop.value.code, output.out, output.err


def test_train_then_show_then_refuse_then_resume(capsys, tmp_path):
    out = tmp_path / "run"
    command = ["train", "CartPole-v1", "--out", out, "--no-progress", *TINY.split()]
    code, printed, error = call(capsys, *command, "--max-real-steps", "9000")
    assert code == 0
    assert f"gtn-rl compare {out}" in printed
    assert "2/4 pretraining the optimal policy" in error
    assert any(verdict in printed for verdict in ("It teaches", "It taught", "It does not", "No "))
    code, printed, _ = call(capsys, "show", out)
    assert code == 0
    assert "Synthetic CartPole-v1" in printed
    code, _, error = call(capsys, *command)
    assert code == 2
    assert error.count("\n") == 1
    before = json.loads((out / "config.json").read_text())["training"]["real_steps"]
    code, printed, _ = call(capsys, *command, "--resume", "--max-real-steps", "200000")
    assert code == 0
    after = json.loads((out / "config.json").read_text())
    assert after["training"]["real_steps"] >= before
    assert {"random", "optimal", "stock-ppo", "stock-a2c", "stock-dqn"} == set(
        after["results"]["returns"]
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "CartPol-v1", "--out", "{tmp}/x"], "Did you mean 'CartPole-v1'"),
        (
            ["train", "Pendulum-v1", "--out", "{tmp}/x", "--learners.kinds", "2xdqn@relu:8"],
            "handle Box",
        ),
        (["compare", "gtn_rl/CartPole-v1", "--algos", "sac"], "sac does not handle Discrete"),
        (
            ["train", "CartPole-v1", "--out", "{tmp}/x", "--learners.inner-steps", "0"],
            "inner_steps",
        ),
        (["compare", "gtn_rl/CartPol-v1"], "Did you mean 'gtn_rl/CartPole-v1'"),
        (["compare", "gtn_rl/CartPole-v1", "--algos", "pp"], "Did you mean 'ppo'"),
        (["compare", "gtn_rl/CartPole-v1", "--algos", "dqn:many"], "positive whole number"),
        (["compare", "gtn_rl/CartPole-v1", "--seeds", "0"], "seeds must be at least 1"),
        (["show", "{tmp}"], "config.json is missing"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(capsys, tmp_path, arguments, message):
    code, _, error = call(capsys, *[a.replace("{tmp}", str(tmp_path)) for a in arguments])
    assert code == 2
    assert message in error
    assert error.startswith("gtn-rl: error:")
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_unknown_option_is_exit_code_2(capsys):
    code, _, _ = call(capsys, "train", "CartPole-v1", "--out", "x", "--no-such-thing")
    assert code == 2


def test_compare_prints_a_table_and_saves_scores_and_figure(capsys, tmp_path):
    scores = tmp_path / "scores.json"
    code, printed, _ = call(
        capsys, "compare", "gtn_rl/CartPole-v1", "--algos", "a2c", "dqn:300", "--steps", "100",
        "--seeds", "2", "--episodes", "3", "--no-progress", "--json", scores,
    )  # fmt: skip
    assert code == 0
    assert "| A2C | gtn_rl/CartPole-v1 | 100 |" in printed
    assert "| DQN | CartPole-v1 | 300 |" in printed
    cells = json.loads(scores.read_text())["cells"]
    assert [(c["algorithm"], c["environment"]) for c in cells] == [
        ("a2c", "synthetic"), ("a2c", "real"), ("dqn", "synthetic"), ("dqn", "real"),
    ]  # fmt: skip
    assert all(len(c["returns"]) == 2 and len(c["returns"][0]) == 3 for c in cells)
    assert (tmp_path / "scores.png").read_bytes()[:4] == b"\x89PNG"


def test_a_trained_folder_is_compared_in_place(capsys, env, tmp_path):
    folder = gtn_rl.save_pretrained(env, tmp_path / "run")
    code, _, _ = call(
        capsys, "compare", folder, "--algos", "a2c", "--steps", "20", "--seeds", "1",
        "--episodes", "1", "--no-real", "--no-progress",
    )  # fmt: skip
    assert code == 0
    assert (folder / "comparison.json").is_file()
    assert (folder / "comparison.png").is_file()


def test_agents_of_a_users_environment_are_compared_where_its_module_is(tmp_path):
    """In a process of its own: nothing that another test imported may help."""
    program = str(Path(sys.executable).parent / "gtn-rl")
    examples = Path(__file__).parents[1] / "examples"

    def run(folder, *arguments):
        return subprocess.run(
            [program, *arguments], cwd=folder, capture_output=True, text=True, check=False
        )

    out = str(tmp_path / "run")
    trained = run(
        examples, "train", "my_env:Thermostat-v0", "--out", out, "--no-progress", *TINY.split()
    )
    assert trained.returncode == 0, trained.stderr
    options = ["--algos", "a2c", "--steps", "50", "--seeds", "1", "--no-progress", "--no-real"]
    compared = run(examples, "compare", out, *options)
    assert compared.returncode == 0, compared.stderr
    assert "| A2C |" in compared.stdout
    lost = run(tmp_path, "compare", out, *options)
    assert lost.returncode == 2
    assert lost.stderr.startswith("gtn-rl: error: no module 'my_env': run from the folder")


def test_a_reader_that_has_seen_enough_is_no_error():
    program = shlex.quote(str(Path(sys.executable).parent / "gtn-rl"))
    command = f"{program} zoo | true"
    run = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert run.stderr == ""
