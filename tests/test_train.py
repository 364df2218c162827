import csv
import json
from dataclasses import replace

import gymnasium as gym
import pytest
import torch

import gtn_rl
from gtn_rl import checkpoint
from gtn_rl.config import TrainConfig
from gtn_rl.errors import (
    ArtifactError,
    TrainingDivergedError,
    UnsupportedSpaceError,
    UsageError,
)
from gtn_rl.runlog import COLUMNS


def run(config, out=None, **kwargs):
    return gtn_rl.train("CartPole-v1", out, config, progress_bar=False, **kwargs)


def parameters(result):
    return torch.cat([p.flatten() for p in result.env.parameters()])


def test_the_bar_shows_what_is_known_and_nothing_else(tiny_config, capsys):
    config = replace(tiny_config, warmup=500, imitation=4, max_outer_steps=2, evaluate_every=2)
    gtn_rl.train("CartPole-v1", config=config)
    last = capsys.readouterr().err.split("\r")[-1]
    assert "evaluation" in last
    assert "best" in last
    # No episode of learners that are trained for agreement ends.
    assert "return" not in last
    assert "nan" not in last


def test_a_run_leaves_artifact_log_and_boards(tiny_config, tmp_path):
    result = run(tiny_config, tmp_path / "run")
    assert result.stopped == "real steps"
    assert result.real_steps >= tiny_config.max_real_steps
    loaded = gtn_rl.from_pretrained(tmp_path / "run", target="CartPole-v1")
    for saved, kept in zip(loaded.parameters(), result.env.parameters(), strict=True):
        assert torch.equal(saved, kept)
    with (tmp_path / "run" / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(COLUMNS)
    assert len(rows) == len(result.rows)
    assert int(rows[-1]["real_steps"]) == result.real_steps
    assert float(rows[-1]["evaluation"]) > 0
    assert list((tmp_path / "run" / "tensorboard").glob("events*"))
    training = json.loads((tmp_path / "run" / "config.json").read_text())["training"]
    assert training["real_steps"] == result.real_steps
    assert training["config"]["seed"] == 0


def test_outer_steps_can_be_the_limit(tiny_config):
    result = run(replace(tiny_config, max_outer_steps=3, max_real_steps=10**9))
    assert (result.stopped, result.rows[-1]["step"]) == ("outer steps", 3)


def test_a_start_that_no_step_improves_is_what_is_kept(tiny_config, monkeypatch):
    from gtn_rl.real_return import RealReturn

    seen = {}

    def evaluate(self, teacher, step):
        seen[step] = torch.cat([p.detach().flatten() for p in teacher.parameters()])
        return {"evaluation": -float(step)}

    monkeypatch.setattr(RealReturn, "evaluate", evaluate)
    result = run(replace(tiny_config, max_outer_steps=2, evaluate_every=1))
    assert [row["step"] for row in result.rows] == [0, 1, 2]
    assert result.score == 0
    assert torch.equal(parameters(result), seen[0])
    assert not torch.equal(seen[0], seen[2])
    solved = run(replace(tiny_config, target_return=-0.5, patience=1, evaluate_every=1))
    assert (solved.stopped, solved.rows[-1]["step"]) == ("converged", 1)
    solved = run(replace(tiny_config, target_return=-0.5, patience=0))
    assert (solved.stopped, len(solved.rows)) == ("converged", 1)


def test_stock_like_learners_are_taught_by_the_meta_gradient(tiny_config):
    config = replace(
        tiny_config, learners=("1xstock-ppo@tanh:4", "2xstock-a2c@tanh:4/50", "1xperfect"),
        judges=("1xstock-a2c@tanh:4/50",), max_outer_steps=2, equal_say=True, showing_rate=3.0,
    )  # fmt: skip
    first = run(config)
    assert {"evaluation_stock-a2c"} <= set(first.rows[-1])
    assert first.rows[1]["gradient_norm"] > 0
    assert torch.equal(parameters(first), parameters(run(config)))


@pytest.mark.parametrize(("judged", "kinds"), [(True, {"stock-dqn"}), (False, {"pg", "dqn"})])
def test_judges_evaluate_where_they_are_asked_to(tiny_config, judged, kinds):
    config = replace(tiny_config, judges=("2xstock-dqn@relu:4/50",), max_outer_steps=1)
    row = run(replace(config, judged=judged)).rows[-1]
    names = {name.removeprefix("evaluation_") for name in row if name.startswith("evaluation_")}
    assert names - {"min"} == kinds


def test_same_seed_same_run_and_no_global_seed(tiny_config):
    torch.manual_seed(1)
    first = run(tiny_config)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    second = run(tiny_config)
    assert torch.equal(parameters(first), parameters(second))
    assert torch.equal(state, torch.get_rng_state())
    assert not torch.equal(parameters(first), parameters(run(replace(tiny_config, seed=1))))


def test_a_killed_run_goes_on_as_if_it_had_not_been(tiny_config, tmp_path, monkeypatch):
    whole = run(tiny_config, tmp_path / "whole")

    class Killed(Exception):
        pass

    save = checkpoint.save

    def save_and_die(folder, target, config, progress, parts):
        save(folder, target, config, progress, parts)
        if progress.step == 4:
            raise Killed

    monkeypatch.setattr(checkpoint, "save", save_and_die)
    with pytest.raises(Killed):
        run(tiny_config, tmp_path / "killed")
    monkeypatch.undo()
    resumed = run(tiny_config, tmp_path / "killed", resume=True)
    assert torch.equal(parameters(whole), parameters(resumed))
    assert whole.real_steps == resumed.real_steps
    assert [row["step"] for row in resumed.rows] == [row["step"] for row in whole.rows]


def test_ctrl_c_keeps_the_last_artifact(tiny_config, tmp_path, monkeypatch):
    import gtn_rl.outer.meta_gradient as module

    update, calls = module.MetaGradient.update, []

    def interrupted(self, *args):
        calls.append(1)
        if len(calls) == 7:
            raise KeyboardInterrupt
        return update(self, *args)

    monkeypatch.setattr(module.MetaGradient, "update", interrupted)
    result = run(replace(tiny_config, max_real_steps=10**6), tmp_path / "run")
    assert result.stopped == "interrupted"
    gtn_rl.from_pretrained(tmp_path / "run")


def test_divergence_keeps_the_last_artifact(tiny_config, tmp_path, monkeypatch):
    import sys

    module = sys.modules["gtn_rl.real_return"]
    collect, calls = module.collect, []

    def poisoned(*args):
        calls.append(1)
        experience = collect(*args)
        return (
            experience
            if len(calls) < 4
            else experience._replace(advantage=experience.advantage * torch.nan)
        )

    monkeypatch.setattr(module, "collect", poisoned)
    with pytest.raises(TrainingDivergedError, match="not finite"):
        run(replace(tiny_config, max_real_steps=10**6), tmp_path / "run")
    gtn_rl.from_pretrained(tmp_path / "run")


def test_an_existing_run_is_not_touched(tiny_config, tmp_path):
    run(tiny_config, tmp_path / "run")
    before = {p: p.read_bytes() for p in (tmp_path / "run").iterdir() if p.is_file()}
    with pytest.raises(UsageError, match="--resume"):
        run(tiny_config, tmp_path / "run")
    assert before == {p: p.read_bytes() for p in (tmp_path / "run").iterdir() if p.is_file()}


def test_resuming_refuses_what_cannot_be_meant(tiny_config, tmp_path):
    with pytest.raises(UsageError, match="needs the folder"):
        run(tiny_config, resume=True)
    with pytest.raises(UsageError, match="no checkpoint"):
        run(tiny_config, tmp_path / "none", resume=True)
    run(tiny_config, tmp_path / "run")
    with pytest.raises(UsageError, match="inner_steps"):
        run(replace(tiny_config, inner_steps=5), tmp_path / "run", resume=True)
    with pytest.raises(UsageError, match="holds a run on CartPole-v1"):
        gtn_rl.train("Acrobot-v1", tmp_path / "run", tiny_config, resume=True, progress_bar=False)
    (tmp_path / "run" / "checkpoint.pt").write_bytes(b"junk")
    with pytest.raises(ArtifactError, match="cannot be read"):
        run(tiny_config, tmp_path / "run", resume=True)


def test_a_run_from_before_a_setting_is_gone_on_with_by_its_default(tiny_config, tmp_path):
    path = tmp_path / "run" / "checkpoint.pt"
    whole = run(tiny_config, tmp_path / "run")
    content = torch.load(path, weights_only=True)
    saved = json.loads(content["config"])
    del saved["heard_spread"]
    torch.save(content | {"config": json.dumps(saved)}, path)
    assert torch.equal(
        parameters(run(tiny_config, tmp_path / "run", resume=True)), parameters(whole)
    )
    del saved["inner_steps"]
    torch.save(content | {"config": json.dumps(saved)}, path)
    # The fixture's is another than the default.
    with pytest.raises(UsageError, match="other settings \\(inner_steps\\)"):
        run(tiny_config, tmp_path / "run", resume=True)


def test_targets_that_cannot_be_used():
    with pytest.raises(UsageError, match="Did you mean 'CartPole-v1'"):
        gtn_rl.train("CartPol-v1", progress_bar=False)
    with pytest.raises(UnsupportedSpaceError, match="FlattenObservation"):
        gtn_rl.train("FrozenLake-v1", progress_bar=False)


@pytest.mark.parametrize(
    "bad",
    [
        {"inner_steps": 0},
        {"learning_rate": (1e-2, 1e-3)},
        {"discount": 1.0},
        {"learners": ("64-64",)},
        {"start_rounds": 1},
        {"warmup": -1},
        {"warmup": 0, "imitation": 5},
    ],
)
def test_bad_settings_are_refused_before_anything_is_spent(bad):
    with pytest.raises(UsageError):
        TrainConfig(**bad)


class Aim(gym.Env):
    """Say half of what you see: a user's environment, unknown to Gymnasium."""

    observation_space = gym.spaces.Box(-2.0, 2.0, (1,))
    action_space = gym.spaces.Box(-1.0, 1.0, (1,))

    def _see(self):
        self.seen = self.np_random.uniform(-2, 2, 1).astype("float32")
        return self.seen

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.age = 0
        return self._see(), {}

    def step(self, action):
        reward = -float(abs(action[0] - self.seen[0] / 2))
        self.age += 1
        return self._see(), reward, False, self.age == 5, {}


def test_a_users_environment_from_a_factory(tiny_config):
    config = replace(
        tiny_config,
        learners=("2xpg@tanh:8", "1xtd3@relu:8", "1xsac@relu:8"),
        warmup=3_000,
        imitation=2,
        max_real_steps=8_000,
    )
    result = gtn_rl.train(Aim, None, config, progress_bar=False)
    assert result.env.target == "Aim"
    assert result.env.action_space == Aim.action_space
    assert -10 <= result.score <= 0


@pytest.mark.slow
def test_cartpole_is_learned():
    result = run(TrainConfig(max_real_steps=600_000))
    assert result.score > 470
