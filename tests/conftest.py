import numpy as np
import pytest
import torch
from gymnasium import spaces

import gtn_rl

torch.set_num_threads(2)


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
        policies=2,
        q_networks=2,
        networks=("tanh:8", "relu:8-4"),
        inner_steps=4,
        batch_size=8,
        copies=2,
        exam_copies=1,
        rollout_steps=16,
        evaluate_every=2,
        hidden=(8,),
        max_real_steps=1_500,
    )
