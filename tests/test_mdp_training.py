"""Runs with a horizon above 1, from start to artifact."""

from dataclasses import replace

import gymnasium as gym
import pytest
import torch
from stable_baselines3 import PPO
from torch.nn.utils import parameters_to_vector

import gtn_rl
from gtn_rl.errors import UsageError
from gtn_rl.io.artifact import read_config, total_costs


def run(config, out=None, **kwargs):
    return gtn_rl.train("CartPole-v1", out, config, progress_bar=False, **kwargs)


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
    again = run(config)
    for one, other in zip(result.teacher.parameters(), again.teacher.parameters(), strict=True):
        assert torch.equal(one, other)
    gtn_rl.register(tmp_path / "run", f"gtn_rl/Long-{estimator}-v0")
    env = gym.make(f"gtn_rl/Long-{estimator}-v0", budget=64)
    env.reset(seed=0)
    lengths = 1
    while not env.step(env.action_space.sample())[2]:
        lengths += 1
    assert lengths <= 3
    PPO("MlpPolicy", env, n_steps=16, batch_size=16, seed=0, device="cpu").learn(16)


def test_a_run_with_dynamics_that_is_killed_goes_on(long_config, tmp_path, monkeypatch):
    from gtn_rl.stages.teach import TeachLearners

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
    assert torch.equal(*(parameters_to_vector(r.teacher.parameters()) for r in (whole, rest)))
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
