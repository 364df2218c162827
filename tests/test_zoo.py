"""The zoo: shipped artifacts, what is asked of targets, and environments nobody tuned for."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import pytest
from gymnasium.utils.env_checker import check_env

import gtn_rl
from gtn_rl import zoo
from gtn_rl.cli import parse
from gtn_rl.config import Learners, Outer, Pretrain, Search
from gtn_rl.envs.gym import SyntheticGymEnv
from gtn_rl.errors import MissingExtraError, UsageError
from gtn_rl.io.artifact import read_config
from gtn_rl.targets import TARGETS

# The checkers' advice on spaces: infinite bounds and ranges other than [-1, 1] are the targets'.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*A Box observation space"),
    pytest.mark.filterwarnings("ignore:.*For Box action spaces"),
    pytest.mark.filterwarnings("ignore:.*we recommend"),
]

EXAMPLES = Path(__file__).parents[1] / "examples"
CLASSIC = Path(__file__).parents[1] / "benchmarks" / "results" / "classic.json"


def test_the_command_line_starts_from_what_is_asked_of_a_target(monkeypatch):
    class Trained(Exception):
        pass

    def trained(target, **settings):
        raise Trained(settings["config"])

    def config(*arguments):
        with pytest.raises(Trained) as asked:
            parse(["train", *arguments, "--out", "x"])
        return asked.value.args[0]

    monkeypatch.setattr(gtn_rl, "train", trained)
    target, entries = next((name, entries) for name, entries in TARGETS.items() if entries)
    asked = config(target, "--seed", "7")
    assert asked == replace(gtn_rl.TrainConfig(**entries), seed=7)
    assert asked != gtn_rl.TrainConfig(seed=7)
    assert config("my_env:Boat-v0", "--steps", "300") == gtn_rl.TrainConfig(steps=300)


@pytest.fixture
def examples(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    yield
    sys.modules.pop("my_env", None)
    for name in ("Boat-v0", "Thermostat-v0", "Catch-v0"):
        gym.registry.pop(name, None)


# What an agent that learned it reaches: half of the way from random agents to the best there is.
REACHED = {
    "CartPole-v1": ("a2c", 2_048, 450.0),
    "Acrobot-v1": ("a2c", 2_048, -130.0),
    "MountainCar-v0": ("a2c", 5_000, -160.0),
    "MountainCarContinuous-v0": ("a2c", 10_000, 80.0),
    "Pendulum-v1": ("ppo", 10_000, -800.0),
}


@pytest.mark.parametrize("name", zoo.folders())
def test_a_stock_agent_learns_the_real_task_in_every_shipped_environment(name):
    algorithm, steps, wanted = REACHED[name]
    (cell,) = gtn_rl.compare(
        f"gtn_rl/{name}", algos=(algorithm,), steps=steps, seeds=2, episodes=10, real=False,
        progress_bar=False,
    ).cells  # fmt: skip
    assert cell.returns.mean(1).max() > wanted


@pytest.mark.parametrize("name", zoo.folders())
def test_what_a_shipped_environment_cost_is_what_readme_says(name):
    config = read_config(f"gtn_rl/{name}")
    training = config["training"]
    row = json.loads(CLASSIC.read_text())[f"{name} seed {training['seed']}"]
    assert (training["real_steps"], training["seconds"]) == (row["real_steps"], row["seconds"])
    assert training["command"].startswith(f"gtn-rl train {config['target']}")
    assert config["results"]["compare"], "ship what was measured: benchmarks/classic.py --ship"


@pytest.mark.parametrize("name", ["Boat-v0", "Thermostat-v0", "Catch-v0"])
def test_a_users_environment_is_named_by_its_module(examples, name, tmp_path):
    config = gtn_rl.TrainConfig(
        steps=256, search=Search(candidates=8), pretrain=Pretrain(real_steps=4_000, copies=4),
        outer=Outer(steps=0), learners=Learners(judges=1, episodes=1),
    )  # fmt: skip
    result = gtn_rl.train(f"my_env:{name}", tmp_path / "run", config, progress_bar=False)
    real = gym.make(name)
    assert result.teacher.observation_space == real.observation_space
    assert result.teacher.action_space == real.action_space
    loaded = gtn_rl.from_pretrained(tmp_path / "run", target=f"my_env:{name}")
    check_env(SyntheticGymEnv(loaded), skip_render_check=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "random", "solved"),
    [("Boat-v0", -150.0, -45.0), ("Thermostat-v0", -40.0, -14.0), ("Catch-v0", -0.6, 0.9)],
)
def test_environments_nobody_tuned_for_are_learned(examples, name, random, solved, tmp_path):
    """Default settings, a minute each; stock agents say how well."""
    folder = tmp_path / "run"
    gtn_rl.train(f"my_env:{name}", folder, gtn_rl.TrainConfig(), progress_bar=False)
    (cell,) = gtn_rl.compare(
        folder, f"my_env:{name}", algos=("ppo:5000",), seeds=3, real=False, progress_bar=False
    ).cells
    assert cell.returns.mean() > random + 0.7 * (solved - random)


def test_algorithms_of_an_extra_name_it(monkeypatch):
    from gtn_rl.agents.sb3 import algorithm

    monkeypatch.setitem(sys.modules, "sb3_contrib", None)
    with pytest.raises(MissingExtraError, match=r"gtn_rl\[contrib\]"):
        algorithm("trpo")
    with pytest.raises(UsageError, match="Did you mean 'trpo'"):
        algorithm("trpoo")
