import numpy as np
import pytest
import torch
from gymnasium import spaces

import gtn_rl

# One thread: the tensors are small, and a second process on the machine stalls two.
torch.set_num_threads(1)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture
def env() -> gtn_rl.SyntheticEnv:
    """A small untrained environment over CartPole's spaces."""
    high = np.array([4.8, np.inf, 0.418879, np.inf], np.float32)
    return gtn_rl.SyntheticEnv(
        spaces.Box(-high, high), spaces.Discrete(2), target="CartPole-v1", hidden=(8,)
    )


@pytest.fixture
def tiny_config() -> gtn_rl.TrainConfig:
    return gtn_rl.TrainConfig(
        learners=("2xpg@tanh:8", "2xdqn@relu:8-4"),
        starts=4,
        start_rounds=2,
        warmup=0,
        imitation=0,
        inner_steps=4,
        batch_size=8,
        copies=2,
        exam_copies=1,
        rollout_steps=16,
        evaluate_every=2,
        hidden=(8,),
        max_real_steps=6_000,
    )
