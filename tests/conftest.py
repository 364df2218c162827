from pathlib import Path

import numpy as np
import pytest
import torch
from gymnasium import spaces

import gtn_rl
from gtn_rl.cli import main
from gtn_rl.config import Dynamics, Learners, Outer, Pretrain, Search
from gtn_rl.envs.presentation import Phase

# One thread: the tensors are small, and a second process on the machine stalls two.
torch.set_num_threads(1)

CARTPOLE = np.array([4.8, np.inf, 0.418879, np.inf], np.float32)


# Modules of whole runs; in the others, tests that take seconds say so.
INTEGRATION = {
    "test_cli", "test_evolution", "test_package", "test_run",
    "test_search", "test_stages", "test_stock", "test_supervised", "test_train", "test_zoo",
}  # fmt: skip


def pytest_collection_modifyitems(items):
    """Every test is marked `unit`, `integration` or `slow`."""
    for item in items:
        if not any(map(item.get_closest_marker, ("integration", "slow"))):
            name = "integration" if item.path.stem in INTEGRATION else "unit"
            item.add_marker(getattr(pytest.mark, name))


@pytest.fixture
def call(capsys):
    """The command line: its exit code, and what it prints to both streams."""

    def run(*arguments):
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        output = capsys.readouterr()
        return stop.value.code, output.out, output.err

    return run


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture
def env() -> gtn_rl.SyntheticEnv:
    """A small untrained environment over CartPole's spaces."""
    return gtn_rl.SyntheticEnv(
        spaces.Box(-CARTPOLE, CARTPOLE), spaces.Discrete(2), target="CartPole-v1", hidden=(8,)
    )


@pytest.fixture(scope="session")
def lesson() -> gtn_rl.SyntheticEnv:
    """An environment over CartPole's spaces that is learnable and has two phases."""
    made = gtn_rl.SyntheticEnv(
        spaces.Box(-CARTPOLE, CARTPOLE), spaces.Discrete(2), target="CartPole-v1", budget=2_000,
        phases=(Phase(until=0.5, spread=2.0, scale=1.5), Phase(wide=0.3, scale=1.5)), hidden=(16,),
        states=torch.randn(256, 4, generator=torch.Generator().manual_seed(1)),
        generator=torch.Generator().manual_seed(2),
    )  # fmt: skip
    return made.requires_grad_(False)


@pytest.fixture(scope="session")
def saved(lesson: gtn_rl.SyntheticEnv, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that holds it."""
    return gtn_rl.save_pretrained(lesson, tmp_path_factory.mktemp("artifact") / "lesson")


@pytest.fixture(scope="session")
def tiny_config() -> gtn_rl.TrainConfig:
    learners = Learners(
        kinds=("2xpg@tanh:8", "2xdqn@relu:8-4"), judges=1, episodes=1, inner_steps=4, batch_size=8
    )
    return gtn_rl.TrainConfig(
        steps=64, hidden=(8,), max_real_steps=60_000, learners=learners,
        search=Search(candidates=4, generations=3), dynamics=Dynamics(real_steps=500),
        pretrain=Pretrain(real_steps=2_000, patience=1_000, copies=4),
        outer=Outer(steps=2, every=2, population=4),
    )  # fmt: skip
