"""Runs with a horizon above 1, from start to artifact."""

from dataclasses import replace

import gymnasium as gym
import pytest
import torch
from stable_baselines3 import PPO

import gtn_rl
from gtn_rl.artifact import read_config, total_costs
from gtn_rl.errors import UsageError
from gtn_rl.settings import BANDITS, SETTINGS, settings_for


def run(config, out=None, **kwargs):
    return gtn_rl.train("CartPole-v1", out, config, progress_bar=False, **kwargs)


@pytest.fixture
def long_config(tiny_config):
    return replace(tiny_config, horizon=3, world_model=500, population=4)


@pytest.mark.parametrize("estimator", ["meta-gradient", "evolution"])
@pytest.mark.parametrize("curriculum", [False, True])
def test_either_estimator_trains_dynamics(estimator, curriculum, long_config, tmp_path):
    config = replace(long_config, estimator=estimator, curriculum=curriculum)
    result = run(config, tmp_path / "run")
    assert result.env.horizon == 3
    assert len(result.rows) >= 2
    again = run(config)
    for one, other in zip(result.env.parameters(), again.env.parameters(), strict=True):
        assert torch.equal(one, other)
    gtn_rl.register(tmp_path / "run", f"gtn_rl/Long-{estimator}-{curriculum}-v0")
    env = gym.make(f"gtn_rl/Long-{estimator}-{curriculum}-v0", budget=64)
    env.reset(seed=0)
    lengths = 1
    while not env.step(env.action_space.sample())[2]:
        lengths += 1
    assert lengths <= 3
    PPO("MlpPolicy", env, n_steps=16, batch_size=16, seed=0, device="cpu").learn(16)


def test_a_run_with_dynamics_goes_on(long_config, tmp_path):
    first = run(long_config, tmp_path / "run")
    longer = replace(long_config, max_real_steps=long_config.max_real_steps + 2_000)
    rest = run(longer, tmp_path / "run", resume=True)
    assert rest.real_steps >= longer.max_real_steps
    assert rest.rows[: len(first.rows)] == first.rows
    assert rest.env.horizon == 3


def test_a_bandit_is_where_dynamics_may_start(long_config, tmp_path):
    bandit = run(replace(long_config, horizon=1), tmp_path / "bandit").env
    init = str(tmp_path / "bandit")
    still = replace(long_config, init=init, max_real_steps=1)
    result = run(still, tmp_path / "long")
    assert result.env.horizon == 3
    torch.testing.assert_close(result.env.reward_parameters, bandit.reward_parameters)
    assert (result.env.step_size != 0.3).all()
    # Dynamics that were learned are not fitted again; one outer step of 1e-3 is all that happens.
    # What the bandit cost is kept apart, and added up along a chain of runs.
    first = read_config(tmp_path / "bandit")["training"]
    assert read_config(tmp_path / "long")["training"]["real_steps_of_init"] == first["real_steps"]
    total = total_costs(tmp_path / "long")
    assert total["real_steps"] == result.real_steps + first["real_steps"]
    further = run(replace(still, init=str(tmp_path / "long"), world_model=10_000)).env
    torch.testing.assert_close(further.step_size, result.env.step_size)
    moved = (further.dynamics_parameters - result.env.dynamics_parameters).abs().max()
    assert moved < 1.1e-3
    with pytest.raises(UsageError, match="has horizon 3"):
        run(replace(still, init=str(tmp_path / "long"), horizon=5))
    with pytest.raises(UsageError, match="persistence is for those yet to be fitted"):
        run(replace(still, init=str(tmp_path / "long"), persistence=1.0))
    with pytest.raises(UsageError, match="has horizon 3"):
        run(replace(still, init=str(tmp_path / "long"), horizon=1))


def test_persistence_lowers_the_logit_of_termination(long_config):
    def termination(persistence):
        config = replace(long_config, persistence=persistence, max_real_steps=1)
        env = run(replace(config, outer_learning_rate=1e-12)).env
        return env.outcomes(torch.zeros(1, 5, 4)).termination

    torch.testing.assert_close(
        termination(0.0).logit() - termination(2.0).logit(), torch.full((1, 5, 2), 2.0)
    )


def test_bad_settings(long_config):
    with pytest.raises(UsageError, match="horizon must be positive"):
        replace(long_config, horizon=0)
    with pytest.raises(UsageError, match="truncation must not be negative"):
        replace(long_config, truncation=-1)
    with pytest.raises(UsageError, match="persistence needs a horizon above 1"):
        replace(long_config, persistence=1.0, horizon=1)
    with pytest.raises(UsageError, match="judged needs a horizon of 1"):
        replace(long_config, judged=True)


@pytest.mark.parametrize("target", sorted({*SETTINGS, *BANDITS}))
@pytest.mark.parametrize("estimator", ["meta-gradient", "evolution"])
def test_settings_of_known_targets_suit_dynamics(target, estimator):
    space = gym.make(target).action_space
    settings = settings_for(target, estimator, dynamics=True)
    assert replace(settings, horizon=20).for_space(space).learners
    # Those of stock-like learners, whose steps are slow and few, stay with them.
    assert settings.max_outer_steps == 0
    assert settings.patience >= 8
    assert settings_for(target, estimator).for_space(space).learners


@pytest.mark.parametrize("target", ["Acrobot-v1", "MountainCar-v0", "Pendulum-v1"])
def test_a_target_that_evolves_does_so_unasked(target):
    settings = settings_for(target)
    assert settings.estimator == "evolution"
    assert settings == settings_for(target, "evolution")
    assert settings_for(target, dynamics=True).estimator == "meta-gradient"
    asked = settings_for(target, "meta-gradient")
    assert asked.estimator == "meta-gradient"
    assert asked.max_outer_steps == 0
    assert asked.imitation > 0


def test_curricula_of_bandits_differ_by_step(tiny_config):
    result = run(replace(tiny_config, curriculum=True))
    noise = torch.zeros(1, 1, 4)
    assert not torch.equal(result.env.initial(noise, 0.0), result.env.initial(noise, 1.0))
