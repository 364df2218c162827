"""Phases: the faces depend on how many steps their agent has taken."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

import gtn_rl
from gtn_rl.envs.gym import SyntheticGymEnv, SyntheticVectorEnv
from gtn_rl.envs.presentation import Phase

N = 4


BOX = spaces.Box(-1, 1, (1,))
ACTION = np.array([[0.5], [-0.5], [1.0], [0.0]], np.float32)


PHASES = [Phase(0.1 * k + 0.05, scale=1.0 + k, spread=1.0 + k / 5) for k in range(10)]
PHASES.append(Phase(scale=11.0, spread=3.0))
"""One around each tenth of the training."""


def make_env(horizon, timed=True, action_space=BOX):
    box = spaces.Box(-np.inf, np.inf, (2,))
    phases = PHASES if timed else (Phase(),)
    return gtn_rl.SyntheticEnv(box, action_space, horizon=horizon, phases=phases, hidden=(8,))


def expected(env, observation, action, progress):
    with torch.inference_mode():
        lesson = env.lesson(torch.as_tensor(observation)[None], progress)
        return env.reward(lesson, torch.as_tensor(action)[None])[0].numpy()


def assert_progress(env, observation, action, reward, progress):
    wanted = expected(env, observation, action, progress)
    np.testing.assert_allclose(reward, wanted, rtol=1e-4, atol=1e-6)
    for other in {max(progress - 0.1, 0.0), min(progress + 0.1, 1.0)} - {progress}:
        assert not np.allclose(reward, expected(env, observation, action, other), 1e-4, 1e-6)


@pytest.mark.parametrize("horizon", [1, 10])
def test_a_reset_does_not_start_it_again(horizon):
    env = make_env(horizon)
    single = SyntheticGymEnv(env, budget=10)
    for step in range(12):
        single.reset(seed=0 if step % 2 else None)
        # Not played: one-step episodes drawn ahead are then for another time.
        observation, _ = single.reset()
        _, reward, *_ = single.step(ACTION[0])
        assert_progress(env, observation[None], ACTION[:1], reward, min(step / 10, 1.0))


def test_masked_resets_of_one_step_episodes_keep_the_time():
    env = make_env(1)
    vector = SyntheticVectorEnv(env, N, budget=40)
    observation, _ = vector.reset(seed=0)
    over, taken = np.zeros(N, bool), 0
    for step in range(12):
        if step == 3:
            mask = np.array([True, False, False, False])
            observation, _ = vector.reset(options={"reset_mask": mask})
            over = over & ~mask
        following, reward, *_ = vector.step(ACTION)
        playing = ~over
        wanted = expected(env, observation, ACTION, taken / 40)
        np.testing.assert_allclose(reward[playing], wanted[playing], rtol=1e-4, atol=1e-6)
        # Steps that only reset are no steps of the agent.
        taken += int(playing.sum())
        observation, over = following, playing
    assert 20 < taken < 40


@pytest.mark.parametrize("horizon", [1, 10])
@pytest.mark.parametrize(("timed", "budget"), [(True, None), (False, 100), (False, None)])
def test_it_is_at_its_end_without_a_budget(horizon, timed, budget):
    env = make_env(horizon, timed)
    sb3 = gtn_rl.make_sb3_env(env, N, seed=0, budget=budget)
    observation = sb3.reset()
    for _ in range(3):
        following, reward, *_ = sb3.step(ACTION)
        wanted = expected(env, observation, ACTION, 1.0)
        np.testing.assert_allclose(reward, wanted, rtol=1e-5, atol=1e-6)
        observation = following


def at_7(observation):
    return bool((np.abs(observation - 7) < 1e-4).all())


@pytest.mark.parametrize("horizon", [1, 10])
def test_an_environment_has_a_budget_of_its_own(horizon):
    box = spaces.Box(-np.inf, np.inf, (2,))
    phases = (Phase(0.5, spread=1e-6), Phase())
    env = gtn_rl.SyntheticEnv(box, BOX, horizon=horizon, phases=phases, budget=80, hidden=(8,))
    with torch.no_grad():
        # For half of the training all episodes start at 7; later about there.
        env.shift_parameters.fill_(7.0)
    for budget, switch in ((None, 40), (20, 10)):
        sb3 = gtn_rl.make_sb3_env(env, 1, seed=0, budget=budget)
        observation = sb3.reset()
        for step in range(60):
            fresh = horizon == 1 or step == 0
            if fresh:
                assert at_7(observation) == (step < switch)
            observation, _, done, _ = sb3.step(ACTION[:1])
            if horizon > 1 and done:
                assert at_7(observation) == (step + 1 < switch)


def test_gymnasium_passes_the_budget_on(tmp_path):
    env = make_env(10)
    folder = gtn_rl.save_pretrained(env, tmp_path / "mine")
    gtn_rl.register(folder, "gtn_rl/Lessons-v0")
    single = gym.make("gtn_rl/Lessons-v0", budget=64)
    many = gym.make_vec("gtn_rl/Lessons-v0", num_envs=N, budget=64)
    first, _ = single.reset(seed=0)
    _, reward, *_ = single.step(ACTION[0])
    assert_progress(env, first[None], ACTION[:1], reward, 0.0)
    first, _ = many.reset(seed=0)
    _, reward, *_ = many.step(ACTION)
    assert_progress(env, first, ACTION, reward, 0.0)
