"""Train an unmodified PPO in the synthetic CartPole and score it in the real one."""

import gymnasium as gym
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor

import gtn_rl  # noqa: F401 - registers gtn_rl/CartPole-v1

agent = PPO("MlpPolicy", gym.make("gtn_rl/CartPole-v1"), seed=0, device="cpu").learn(2_048)
mean, deviation = evaluate_policy(agent, Monitor(gym.make("CartPole-v1")), n_eval_episodes=20)
print(f"real CartPole-v1 after 2,048 synthetic steps: {mean:.0f} ± {deviation:.0f}")
