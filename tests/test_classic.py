"""The batched copies of classic control against Gymnasium's own, step by step."""

import gymnasium as gym
import numpy as np
import pytest

from gtn_rl.envs.classic import PHYSICS, ClassicVectorEnv


@pytest.mark.parametrize("target", PHYSICS)
def test_every_step_is_gymnasiums(target):
    env, physics = gym.make(target), PHYSICS[target]
    env.action_space.seed(0)
    rng = np.random.default_rng(0)
    ended = 0
    for episode in range(20):
        env.reset(seed=episode)
        if target.startswith("MountainCar"):
            # Random actions never reach the goal: start near it, or at the wall.
            position = rng.uniform(0.3, 0.49) if episode % 2 else -1.2
            env.unwrapped.state = np.array([position, rng.uniform(-0.07, 0.07)])
        if target == "Acrobot-v1" and episode % 2:
            env.unwrapped.state = np.array([rng.uniform(2, 3), 0.5, *rng.normal(0, 2, 2)])
        for _ in range(60):
            action = env.action_space.sample()
            state = np.array(env.unwrapped.state, np.float64)[None]
            observation, reward, terminated, truncated, _ = env.step(action)
            following, rewards, over = physics.step(state, np.asarray(action)[None])
            np.testing.assert_allclose(physics.observe(following)[0], observation, atol=2e-6)
            assert rewards[0] == pytest.approx(float(reward), abs=1e-5)
            assert over[0] == terminated
            ended += terminated
            if terminated or truncated:
                break
    assert ended > 0 or target == "Pendulum-v1"


@pytest.mark.parametrize("target", PHYSICS)
def test_spaces_and_initial_states_are_gymnasiums(target):
    single, envs = gym.make(target), ClassicVectorEnv(target, 500)
    assert envs.single_observation_space == single.observation_space
    assert envs.single_action_space == single.action_space
    many, _ = envs.reset(seed=0)
    assert envs.observation_space.contains(many)
    few = np.stack([single.reset(seed=seed)[0] for seed in range(300)])
    np.testing.assert_allclose(many.mean(0), few.mean(0), atol=0.15)
    np.testing.assert_allclose(many.std(0), few.std(0), atol=0.1)
    np.testing.assert_array_equal(many, envs.reset(seed=0)[0])


def test_episodes_are_truncated_and_reset_on_the_next_step():
    envs = ClassicVectorEnv("Pendulum-v1", 2, max_episode_steps=3)
    envs.reset(seed=0)
    actions = np.zeros((2, 1), np.float32)
    truncated = [envs.step(actions)[3].tolist() for _ in range(3)]
    assert truncated == [[False, False], [False, False], [True, True]]
    observation, reward, terminated, truncation, _ = envs.step(actions)
    assert not reward.any()
    assert not (terminated | truncation).any()
    assert (np.abs(observation[:, 2]) <= 1).all()
    assert ClassicVectorEnv("Pendulum-v1", 1)._limit == 200
