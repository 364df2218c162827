"""Runs of `gtn_rl.train` as a user makes them; the engine itself is in `test_run.py`."""

from dataclasses import replace

import gymnasium as gym
import pytest
import torch
from stable_baselines3 import PPO

import gtn_rl
from gtn_rl.config import Learners, Outer, Pretrain, TrainConfig
from gtn_rl.errors import (
    ArtifactError,
    TrainingDivergedError,
    UnsupportedSpaceError,
    UsageError,
)


def run(config, out=None, target="CartPole-v1", **kwargs):
    return gtn_rl.train(target, out, config, progress_bar=False, **kwargs)


def parameters(result):
    return torch.cat([p.flatten() for p in result.teacher.parameters()])


@pytest.fixture(scope="module")
def small():
    """Judged by real judges, but not taught."""
    return TrainConfig(
        steps=64, hidden=(8,), pretrain=Pretrain(real_steps=2_000, copies=4),
        outer=Outer(steps=0), learners=Learners(judges=1, episodes=1),
    )  # fmt: skip


@pytest.fixture(scope="module")
def trained(small, tmp_path_factory):
    folder = tmp_path_factory.mktemp("small") / "run"
    return run(small, folder), folder


def test_a_run_on_cartpole_is_judged_by_all_algorithms(trained):
    result, folder = trained
    assert set(result.scores) == {"random", "optimal", "stock-ppo", "stock-a2c", "stock-dqn"}
    assert result.stopped == "done"
    assert gtn_rl.from_pretrained(folder, target="CartPole-v1").budget == 64


def test_the_bar_shows_what_is_known_and_nothing_else(small, capsys, caplog):
    with caplog.at_level("WARNING"):
        gtn_rl.train("CartPole-v1", config=replace(small, max_real_steps=40_000))
    assert "nothing of this run is saved" in caplog.text
    last = capsys.readouterr().err.split("\r")[-1]
    assert "evaluation" in last
    assert "best" in last
    assert "nan" not in last


def test_a_run_without_teaching_keeps_what_pretraining_found(trained):
    result, _ = trained
    assert {row["stage"] for row in result.rows} == {0, 1, 2}
    assert result.teacher.num_phases == 2


def test_a_run_that_goes_on_from_another(trained, small, tmp_path):
    before, folder = trained
    moved = replace(
        small, init=str(folder), outer=Outer(steps=1, population=4, copies=1),
        learners=replace(small.learners, kinds=("1xpg@tanh:8",)), target_return=1e9,
    )  # fmt: skip
    after = run(moved, tmp_path / "after")
    # Only how it is presented was to move.
    assert torch.equal(after.teacher.reward_parameters, before.teacher.reward_parameters)
    assert torch.equal(after.teacher.states, before.teacher.states)
    assert set(after.scores) == {"stock-ppo", "stock-a2c", "stock-dqn"}
    with pytest.raises(UsageError, match="set hidden to the same"):
        run(replace(moved, hidden=(9,)))
    with pytest.raises(ArtifactError, match="not for Acrobot-v1"):
        run(moved, target="Acrobot-v1")


def test_an_expert_is_taught_instead_of_a_search(small, tmp_path):
    agent = PPO("MlpPolicy", "CartPole-v1", n_steps=64, seed=0, device="cpu")
    with torch.no_grad():
        # Push to where the pole falls: from whatever it was at first.
        layer = agent.policy.action_net
        layer.weight.zero_()
        layer.bias.copy_(torch.tensor([3.0, 0.0]))
    agent.save(tmp_path / "agent.zip")
    result = run(replace(small, expert=f"ppo:{tmp_path / 'agent.zip'}"))
    # An agent that always pushes left lasts nine or ten steps.
    assert result.scores["expert"] == pytest.approx(9.4, abs=0.6)
    assert result.scores["optimal"] == pytest.approx(9.4, abs=0.6)
    for text, message in (
        ("ppo", "not of the form"), ("ppo:no.zip", "no file no.zip"),
        (f"ppoo:{tmp_path / 'agent.zip'}", "Did you mean 'ppo'"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=message):
            run(replace(small, expert=text))


def test_divergence_keeps_the_last_artifact(small, tmp_path, monkeypatch):
    from gtn_rl.stages import pretrain

    collect, calls = pretrain.collect, []

    def poisoned(*args):
        calls.append(1)
        experience = collect(*args)
        if len(calls) < 24:
            return experience
        return experience._replace(advantage=experience.advantage * torch.nan)

    monkeypatch.setattr(pretrain, "collect", poisoned)
    longer = replace(small, pretrain=Pretrain(real_steps=100_000, copies=2))
    with pytest.raises(TrainingDivergedError, match="not finite"):
        run(longer, tmp_path / "run")
    env = gtn_rl.from_pretrained(tmp_path / "run")
    assert all(parameter.isfinite().all() for parameter in env.parameters())


def test_an_existing_run_is_not_touched(small, trained):
    folder = trained[1]
    before = {p: p.read_bytes() for p in folder.iterdir() if p.is_file()}
    with pytest.raises(UsageError, match="--resume"):
        run(small, folder)
    assert before == {p: p.read_bytes() for p in folder.iterdir() if p.is_file()}


def test_a_checkpoint_that_cannot_be_read_is_named(small, tmp_path):
    (tmp_path / "checkpoint.pt").write_bytes(b"junk")
    with pytest.raises(ArtifactError, match="cannot be read"):
        run(small, tmp_path, resume=True)


def test_targets_that_cannot_be_used():
    with pytest.raises(UsageError, match="Did you mean 'CartPole-v1'"):
        gtn_rl.train("CartPol-v1", progress_bar=False)
    with pytest.raises(UnsupportedSpaceError, match="FlattenObservation"):
        gtn_rl.train("FrozenLake-v1", progress_bar=False)


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


def test_a_users_environment_from_a_factory(small):
    config = replace(
        small, outer=Outer(steps=1, population=4, copies=1),
        pretrain=Pretrain(real_steps=20_000, copies=4),
        learners=replace(small.learners, kinds=("2xpg@tanh:8", "1xtd3@relu:8", "1xsac@relu:8")),
    )  # fmt: skip
    result = run(config, target=Aim)
    assert result.teacher.target == "Aim"
    assert result.teacher.action_space == Aim.action_space
    assert set(result.scores) == {"random", "optimal", "stock-ppo", "stock-a2c"}
    # At random -0.67 a step.
    assert result.scores["random"] < -2
    assert result.scores["optimal"] > -1


@pytest.mark.slow
def test_cartpole_is_learned():
    result = run(TrainConfig(steps=2_048))
    assert result.score > 400
