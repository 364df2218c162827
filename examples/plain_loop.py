"""Learn CartPole without a library of agents: a linear policy in the synthetic environment."""

import gymnasium as gym
import numpy as np

import gtn_rl  # noqa: F401 - registers gtn_rl/CartPole-v1

synthetic = gym.make("gtn_rl/CartPole-v1", budget=3_000)
rng, weights = np.random.default_rng(0), np.zeros((2, 4))
observation, _ = synthetic.reset(seed=0)
for _ in range(3_000):
    # REINFORCE: an episode is one step, and rewards are about 0 on average in every state.
    logits = weights @ observation
    chances = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    action = rng.choice(2, p=chances)
    seen = observation
    _, reward, *_ = synthetic.step(action)
    weights += float(reward) * np.outer(np.eye(2)[action] - chances, seen)
    observation, _ = synthetic.reset()

real, returns = gym.make("CartPole-v1"), []
for seed in range(20):
    observation, _ = real.reset(seed=seed)
    total, over = 0.0, False
    while not over:
        observation, reward, terminated, truncated, _ = real.step(
            int(np.argmax(weights @ observation))
        )
        total, over = total + float(reward), terminated or truncated
    returns.append(total)
print(f"real CartPole-v1, a linear policy after 3,000 synthetic steps: {np.mean(returns):.0f}")
