"""The real CartPole with a learned reward: a DQN learns in a few thousand real steps."""

import gymnasium as gym
from stable_baselines3 import DQN
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor

import gtn_rl

env = gtn_rl.LearnedReward(gym.make("CartPole-v1"), "gtn_rl/CartPole-v1")
agent = DQN("MlpPolicy", env, learning_starts=200, seed=0, device="cpu").learn(5_000)
mean, _ = evaluate_policy(agent, Monitor(gym.make("CartPole-v1")), n_eval_episodes=20)
print(f"real CartPole-v1 after 5,000 real steps with a learned reward: {mean:.0f}")
