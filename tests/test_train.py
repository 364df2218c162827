"""Runs of `gtn_rl.train` as a user makes them; the engine itself is in `test_run.py`."""

from dataclasses import replace

import gymnasium as gym
import pytest
import torch
from probes import Aim
from stable_baselines3 import PPO

import gtn_rl
from gtn_rl.config import Learners, Outer, Pretrain, TrainConfig
from gtn_rl.envs.targets import describe
from gtn_rl.errors import ArtifactError, TrainingDivergedError, UsageError
from gtn_rl.io.artifact import read_config, total_costs
from gtn_rl.stages import pretrain
from gtn_rl.stages.expert import load_expert
from gtn_rl.stages.teach import TeachLearners


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
    # Without teaching it is what pretraining found.
    assert {row["stage"] for row in result.rows} == {0, 1, 2}
    assert result.teacher.num_phases == 1
    assert gtn_rl.from_pretrained(folder, target="CartPole-v1").budget == 64


def test_the_bar_shows_what_is_known_and_nothing_else(small, capsys, caplog):
    with caplog.at_level("WARNING"):
        gtn_rl.train("CartPole-v1", config=replace(small, max_real_steps=40_000))
    assert "nothing of this run is saved" in caplog.text
    last = capsys.readouterr().err.split("\r")[-1]
    assert "evaluation" in last
    assert "best of fresh learners" in last
    assert "nan" not in last


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
    assert set(after.scores) == {"random", "stock-ppo", "stock-a2c", "stock-dqn"}
    with pytest.raises(UsageError, match="set hidden to the same"):
        run(replace(moved, hidden=(9,)))
    with pytest.raises(ArtifactError, match="not for Acrobot-v1"):
        run(moved, target="Acrobot-v1")


@pytest.fixture(scope="module")
def pusher(tmp_path_factory):
    """An agent that always pushes left, which lasts nine or ten steps."""
    agent = PPO("MlpPolicy", "CartPole-v1", n_steps=64, seed=0, device="cpu")
    with torch.no_grad():
        # From whatever it was at first.
        layer = agent.policy.action_net
        layer.weight.zero_()
        layer.bias.copy_(torch.tensor([3.0, 0.0]))
    file = tmp_path_factory.mktemp("expert") / "agent.zip"
    agent.save(file)
    return file


def test_an_expert_is_taught_instead_of_a_search(small, pusher):
    result = run(replace(small, expert=f"ppo:{pusher}"))
    assert result.scores["expert"] == pytest.approx(9.4, abs=0.6)
    assert result.scores["optimal"] == pytest.approx(9.4, abs=0.6)


def test_the_policy_of_an_agent_is_taught_for_few_real_steps(tmp_path):
    env = gtn_rl.make_sb3_env("gtn_rl/CartPole-v1", seed=1, budget=2_048)
    file = tmp_path / "agent.zip"
    PPO("MlpPolicy", env, seed=1, device="cpu").learn(2_048).save(file)
    config = TrainConfig(steps=2_048, expert=f"ppo:{file}", outer=Outer(steps=0))
    result = run(config)
    scores = result.scores
    assert scores["expert"] > 450
    assert scores["optimal"] > 0.9 * scores["expert"]
    assert max(scores[f"stock-{name}"] for name in ("ppo", "a2c", "dqn")) > 300
    assert result.real_steps < 80_000
    assert scores["random"] < 60


@pytest.mark.parametrize(
    ("text", "target", "message"),
    [
        ("agent.zip", "CartPole-v1", "not of the form"),
        ("ppo:nowhere.zip", "CartPole-v1", "no file"),
        ("pppo:{file}", "CartPole-v1", "Did you mean"),
        ("dqn:{file}", "CartPole-v1", "is no agent of dqn"),
        ("ppo:{file}", "Acrobot-v1", "trained on it"),
        ("ppo:{file}", "Pendulum-v1", "trained on it"),
    ],
)
def test_an_expert_that_does_not_fit_is_refused_in_one_line(pusher, text, target, message):
    with pytest.raises(UsageError, match=message) as error:
        load_expert(text.replace("{file}", str(pusher)), describe(target))
    assert "\n" not in str(error.value)


def test_divergence_keeps_the_last_artifact(small, tmp_path, monkeypatch):
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
    # At random -17/12 a step; to put out 0 loses a twelfth.
    assert result.scores["random"] == pytest.approx(-4 * 17 / 12, abs=2)
    assert result.scores["optimal"] > -1


# Horizons above 1


@pytest.fixture
def long_config(tiny_config):
    return replace(tiny_config, horizon=3, target_return=1e9)


@pytest.mark.parametrize("estimator", ["meta-gradient", "evolution"])
def test_either_estimator_trains_dynamics(estimator, long_config, tmp_path):
    config = replace(long_config, estimator=estimator)
    result = run(config, tmp_path / "run")
    assert result.teacher.horizon == 3
    assert {row["stage"] for row in result.rows} == {0, 1, 2, 3, 4}
    assert {"random", "optimal", "pg", "dqn"} <= set(result.scores)
    assert torch.equal(parameters(result), parameters(run(config)))
    gtn_rl.register(tmp_path / "run", f"gtn_rl/Long-{estimator}-v0")
    env = gym.make(f"gtn_rl/Long-{estimator}-v0", budget=64)
    env.reset(seed=0)
    lengths = 1
    while not env.step(env.action_space.sample())[2]:
        lengths += 1
    assert lengths <= 3
    PPO("MlpPolicy", env, n_steps=16, batch_size=16, seed=0, device="cpu").learn(16)


def test_a_run_with_dynamics_that_is_killed_goes_on(long_config, tmp_path, monkeypatch):
    whole = run(long_config)
    objective = TeachLearners.objective

    def killed(self, trained, step):
        if step == 1:
            raise RuntimeError("killed")
        return objective(self, trained, step)

    monkeypatch.setattr(TeachLearners, "objective", killed)
    with pytest.raises(RuntimeError, match="killed"):
        run(long_config, tmp_path / "run")
    monkeypatch.undo()
    rest = run(long_config, tmp_path / "run", resume=True)
    assert torch.equal(parameters(whole), parameters(rest))
    assert (whole.real_steps, whole.scores) == (rest.real_steps, rest.scores)


def test_a_bandit_is_where_dynamics_may_start(long_config, tmp_path):
    still = replace(long_config, outer=replace(long_config.outer, steps=0))
    bandit = run(replace(still, horizon=1), tmp_path / "bandit").teacher
    result = run(replace(still, init=str(tmp_path / "bandit")), tmp_path / "long")
    assert result.teacher.horizon == 3
    torch.testing.assert_close(result.teacher.reward_parameters, bandit.reward_parameters)
    assert torch.equal(result.teacher.states, bandit.states)
    assert (result.teacher.step_size != 0.3).all()
    # What the bandit cost is kept apart, and added up along a chain of runs.
    first = read_config(tmp_path / "bandit")["training"]
    assert read_config(tmp_path / "long")["training"]["real_steps_of_init"] == first["real_steps"]
    total = total_costs(tmp_path / "long")
    assert total["real_steps"] == result.real_steps + first["real_steps"]
    # Dynamics that were learned are not fitted again.
    further = run(replace(still, init=str(tmp_path / "long"))).teacher
    assert torch.equal(further.dynamics_parameters, result.teacher.dynamics_parameters)
    for horizon in (5, 1):
        with pytest.raises(UsageError, match="has horizon 3"):
            run(replace(still, init=str(tmp_path / "long"), horizon=horizon))


@pytest.mark.slow
def test_cartpole_is_learned():
    result = run(TrainConfig(steps=2_048))
    assert result.score > 400
