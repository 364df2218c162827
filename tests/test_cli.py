import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import ClassVar

import gymnasium as gym
import pytest

import gtn_rl
from gtn_rl.errors import GTNError, UsageError
from gtn_rl.evaluation import compare as comparing
from gtn_rl.io.files import locked
from gtn_rl.io.terminal import fitted

TINY = (
    "--steps 256 --hidden 8 --search.candidates 8 --pretrain.real-steps 4000 --pretrain.copies 4 "
    "--outer.steps 1 --outer.population 4 --learners.kinds 1xstock-ppo@tanh:8 --learners.judges 1 "
    "--learners.episodes 1"
)

TRAIN = ("train", "CartPole-v1", "--out", "{tmp}/x")


def test_train_then_show_then_refuse_then_resume(call, tmp_path):
    out = tmp_path / "run"
    command = ["train", "CartPole-v1", "--out", out, "--no-progress", *TINY.split()]
    code, printed, error = call(*command, "--max-real-steps", "9000")
    assert code == 0
    assert f"gtn-rl compare {out}" in printed
    assert "2/4 pretraining the optimal policy" in error
    assert any(verdict in printed for verdict in ("It teaches", "It taught", "It does not", "No "))
    code, printed, _ = call("show", out)
    assert code == 0
    assert "Synthetic CartPole-v1" in printed
    weights = (out / "model.safetensors").read_bytes()
    (out / "model.safetensors").write_bytes(weights[:-1])
    code, _, error = call("show", out)
    assert (code, error.count("\n")) == (2, 1)
    assert "corrupt" in error
    (out / "model.safetensors").write_bytes(weights)
    code, _, error = call(*command)
    assert code == 2
    assert error.count("\n") == 1
    before = json.loads((out / "config.json").read_text())["training"]["real_steps"]
    code, printed, _ = call(*command, "--resume", "--max-real-steps", "200000")
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
        ([*TRAIN, "--learners.kinds", "2xtd3@relu:8"], "handle Discrete"),
        (["compare", "gtn_rl/CartPole-v1", "--algos", "sac"], "sac does not handle Discrete"),
        ([*TRAIN, "--learners.inner-steps", "0"], "inner_steps"),
        (["compare", "gtn_rl/CartPol-v1"], "Did you mean 'gtn_rl/CartPole-v1'"),
        (["compare", "gtn_rl/CartPole-v1", "--algos", "pp"], "Did you mean 'ppo'"),
        (["compare", "gtn_rl/CartPole-v1", "--algos", "dqn:many"], "positive whole number"),
        (["compare", "gtn_rl/CartPole-v1", "--seeds", "0"], "seeds must be from 1 to 10,000"),
        (["show", "{tmp}"], "config.json is missing"),
        (["compere"], "unknown command 'compere'"),
        ([*TRAIN, "--env-kwargs", "[5]"], "must be JSON such"),
        ([*TRAIN, "--env-kwargs", '{"a": 1}'], "argument 'a'"),
        ([*TRAIN, "--wrap", "json:no"], "give module:function"),
        ([*TRAIN, "--wrap", "scaled"], "such as my_env:flatten"),
        ([*TRAIN, "--target-return", "nan"], "got nan"),
        ([*TRAIN, "--hidden", "100000000"], "to 65,536"),
        (["compare", "CartPole-v1", "--steps", "-5"], "steps must be from 1"),
        (["compare", "CartPole-v1", "--algos", "ppo:9999999999"], "steps must be from 1"),
        (["compare", "CartPole-v1", "--figure", "{tmp}/x.gif"], "ends in .png, .svg or .pdf"),
        (["compare", "CartPole-v1", "--json", "{tmp}"], "is a folder"),
        (["compare", "CartPole-v1", "--json", "/dev/null/x.json"], "/dev/null"),
        (["compare", "CartPole-v1", "--json", "{tmp}/x.json", "--resume"], "no comparison"),
        (["compare", "CartPole-v1", "--wrap", "json:loads"], "leave --env-kwargs and --wrap out"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(call, tmp_path, arguments, message):
    code, _, error = call(*[a.replace("{tmp}", str(tmp_path)) for a in arguments])
    assert code == 2
    assert message in error
    assert error.startswith("gtn-rl: error:")
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_unknown_option_is_exit_code_2(call):
    code, _, _ = call("train", "CartPole-v1", "--out", "x", "--no-such-thing")
    assert code == 2


def test_compare_prints_a_table_and_saves_scores_and_figure(call, tmp_path):
    scores = tmp_path / "scores.json"
    code, printed, _ = call(
        "compare", "gtn_rl/CartPole-v1", "--algos", "a2c", "dqn:300", "--steps", "100",
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


def test_a_trained_folder_is_compared_in_place(call, env, tmp_path):
    folder = gtn_rl.save_pretrained(env, tmp_path / "run")
    code, _, _ = call(
        "compare", folder, "--algos", "a2c", "--steps", "20", "--seeds", "1",
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
    assert f"gtn-rl compare {out} --target my_env:Thermostat-v0" in trained.stdout
    options = ["--algos", "a2c", "--steps", "50", "--seeds", "1", "--no-progress", "--no-real"]
    options += ["--target", "my_env:Thermostat-v0"]
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


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ("--help", 0, "  compare     Train stock"),
        ("train --help", 0, "--pretrain.real-steps"),
        ("distill --help", 0, "--env-kwargs"),
        ("reward --help", 0, "--additive"),
        ("compare --help", 0, "--wrap"),
        ("--version", 0, gtn_rl.__version__),
        ("zoo", 0, "gtn_rl/CartPole-v1"),
        ("trane", 2, "Did you mean 'train'?"),
        ("train CartPole-v1 --out x --steps many", 2, "--steps"),
        ("train CartPole-v1 --out x --outer.population 5", 2, "population must be even"),
    ],
)
def test_help_the_zoo_and_errors_do_without_torch(arguments, code, said):
    """`python -m gtn_rl` is the same program."""
    words = [sys.executable, "-X", "importtime", "-m", "gtn_rl", *arguments.split()]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    imported = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    rest = [line for line in done.stderr.splitlines() if not line.startswith("import time:")]
    assert done.returncode == code
    assert said in done.stdout + "\n".join(rest)
    assert len(imported) > 100
    assert not [line for line in imported if line.split("|")[-1].strip() == "torch"]


@pytest.mark.parametrize("asked", [None, "2"])
def test_the_command_line_has_one_thread_unless_told_otherwise(asked):
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    environment |= {} if asked is None else {"OMP_NUM_THREADS": asked}
    code = "import os, runpy, sys; sys.argv[1:] = ['zoo']\n" + (
        "try: runpy.run_module('gtn_rl.cli', run_name='__main__')\n"
        "except SystemExit: print(os.environ['OMP_NUM_THREADS'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert "gtn_rl/CartPole-v1" in done.stdout
    assert done.stdout.splitlines()[-1] == (asked or "1")


def test_the_completion_of_shells_knows_all_commands(call):
    code, printed, _ = call("--tyro-print-completion", "bash")
    assert not code
    assert all(name in printed for name in ("supervised", "--pretrain.real-steps", "--env-kwargs"))


def test_a_table_that_is_too_wide_is_shown_in_blocks(monkeypatch):
    table = "| agent | IQM |\n| --- | ---: |\n| PPO | 9 |\n| DQN | 8 |"
    assert fitted(table) == table
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "12")
    assert fitted(table) == "agent  PPO\nIQM    9\n\nagent  DQN\nIQM    8"
    monkeypatch.setenv("COLUMNS", "80")
    assert fitted(table) == table


WRAPPERS = """
import gymnasium as gym

def shifted(env):
    "Rewards of 3 a step, so that whoever is not wrapped can be told."
    return gym.wrappers.TransformReward(env, lambda reward: 3 * reward)
"""


def test_a_real_environment_of_other_arguments_that_is_wrapped(tmp_path):
    """From training to comparison, in worker processes too, and recorded for who comes later."""
    (tmp_path / "mine.py").write_text(WRAPPERS)
    options = ["--env-kwargs", '{"sutton_barto_reward": true}', "--wrap", "mine:shifted"]

    def run(*arguments):
        words = [sys.executable, "-m", "gtn_rl", *arguments, "--no-progress"]
        return subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)

    workers = ["--workers.executor", "processes", "--learners.kinds", "1xpg@tanh:8"]
    done = run("train", "CartPole-v1", "--out", "run", *TINY.split(), *options, *workers)
    assert done.returncode == 0, done.stderr
    assert "next: gtn-rl compare run --env-kwargs '{\"sutton_barto_reward\": true}' --wrap" in (
        done.stdout
    )
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert "--wrap mine:shifted" in config["training"]["command"]
    # Sutton and Barto's reward is 0, and -1 where the pole falls.
    assert config["results"]["returns"]["random"] == pytest.approx(-3, abs=0.1)
    agents = ["--algos", "a2c", "--steps", "20", "--seeds", "2", "--jobs", "2", "--episodes", "2"]
    lost = run("compare", "run", *agents)
    assert lost.returncode == 2
    assert "give --env-kwargs '{\"sutton_barto_reward\": true}' --wrap mine:shifted" in lost.stderr
    done = run("compare", "run", *agents, *options)
    assert done.returncode == 0, done.stderr
    cells = json.loads((tmp_path / "run" / "comparison.json").read_text())["cells"]
    assert [cell["returns"] for cell in cells] == [[[-3.0] * 2] * 2] * 2
    pairs = ["--pairs", "1", "--steps", "1", "--networks", "2xtanh:4", "--outer.steps", "0"]
    done = run("distill", "CartPole-v1", "--out", "pairs", "--candidates", "2", *pairs, *options)
    assert done.returncode == 0, done.stderr
    assert "score -3.00 on CartPole-v1 --env-kwargs" in done.stdout


ONE = {"algos": ["a2c"], "steps": 20, "episodes": 1, "progress_bar": False}


def after(count, error, monkeypatch):
    """Let so many agents be trained, then raise."""
    run_one, calls = comparing._run_one, []

    def stopping(task):
        calls.append(task)
        if len(calls) > count:
            raise error
        return run_one(task)

    monkeypatch.setattr(comparing, "_run_one", stopping)


def test_an_interrupted_comparison_shows_what_there_is_and_goes_on(call, tmp_path, monkeypatch):
    options = ["--algos", "a2c", "--steps", "20", "--seeds", "2", "--episodes", "1"]
    options += ["--no-progress", "--json", tmp_path / "scores.json"]
    whole = gtn_rl.compare("CartPole-v1", seeds=2, **ONE)
    after(3, KeyboardInterrupt(), monkeypatch)
    code, printed, error = call("compare", "CartPole-v1", *options)
    monkeypatch.undo()
    assert code == 130
    assert error.startswith("4 agents to train\n1 of 4 agents trained, about ")
    assert "\n2 of 4 agents" in error
    assert "interrupted after 3 of 4 agents; the same command with --resume goes on" in printed
    assert "| A2C | gtn_rl/CartPole-v1 | 20 |" in printed
    assert "| A2C | CartPole-v1 | 20 |" in printed
    after(1, AssertionError("only the last agent is left"), monkeypatch)
    code, _, _ = call("compare", "CartPole-v1", *options, "--resume")
    assert code == 0
    resumed = comparing.Comparison.load(tmp_path / "scores.json")
    for one, other in zip(whole.cells, resumed.cells, strict=True):
        assert one.key == other.key
        assert (one.returns == other.returns).all()
    code, _, error = call("compare", "CartPole-v1", *options)
    assert code == 2
    assert "scores.json exists: --resume goes on with it" in error
    with pytest.raises(UsageError, match="of another first_seed"):
        gtn_rl.compare(
            "CartPole-v1", seeds=2, first_seed=9, out=tmp_path / "scores.json", resume=True, **ONE
        )
    with pytest.raises(UsageError, match="other episodes"):
        gtn_rl.compare("CartPole-v1", seeds=1, out=tmp_path / "scores.json", resume=True, **ONE)
    monkeypatch.undo()
    with (
        locked(tmp_path, "scores.json"),
        pytest.raises(UsageError, match=r"another process is at work in .*scores.json"),
    ):
        gtn_rl.compare("CartPole-v1", seeds=9, out=tmp_path / "scores.json", resume=True, **ONE)
    with locked(tmp_path, "scores.json"):
        gtn_rl.compare("CartPole-v1", seeds=1, real=False, out=tmp_path / "other.json", **ONE)


class Fatal(gym.Wrapper):
    """An environment that ends its process at that process's second agent, the first one's kept."""

    seeds: ClassVar[set] = set()

    def reset(self, *, seed=None, **options):
        self.seeds.add(seed)
        if len(self.seeds - {None}) > 1:
            deadline = time.monotonic() + 60
            while not os.path.exists(os.environ["SCORES"]) and time.monotonic() < deadline:
                time.sleep(0.05)
            os._exit(3)
        return super().reset(seed=seed, **options)


def fatal():
    return Fatal(gym.make("CartPole-v1"))


def test_a_process_that_dies_costs_no_results(tmp_path, monkeypatch):
    monkeypatch.setattr(comparing, "random_return", lambda *_: 0.0)
    out = tmp_path / "scores.json"
    monkeypatch.setenv("SCORES", str(out))
    with pytest.raises(GTNError, match=r"a process died.*__main__.*[12] agents are in") as error:
        gtn_rl.compare("CartPole-v1", fatal, seeds=3, real=False, jobs=2, out=out, **ONE)
    assert "\n" not in str(error.value)
    assert len(comparing.Comparison.load(out).cells[0].returns) in (1, 2)


def test_what_cannot_be_compared_is_said_at_once(env, tmp_path):
    folder = gtn_rl.save_pretrained(env, tmp_path / "run")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"target": "Aim"}))
    with pytest.raises(UsageError, match=r"compare\(artifact, target\)"):
        gtn_rl.compare(folder, **ONE)
    with pytest.raises(UsageError, match="cannot be sent to other processes"):
        gtn_rl.compare(folder, lambda: gym.make("CartPole-v1"), jobs=2, **ONE)
    with pytest.raises(UsageError, match="Acrobot-v1 has observation_space"):
        gtn_rl.compare(folder, "Acrobot-v1", **ONE)
    found = gtn_rl.compare(folder, lambda: gym.make("CartPole-v1"), seeds=1, real=False, **ONE)
    assert found.cells[0].returns.min() >= 8
