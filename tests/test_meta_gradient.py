"""The whole meta-gradient against finite differences, in float64."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from gtn_rl.config import TrainConfig
from gtn_rl.envs.synthetic import SyntheticEnv
from gtn_rl.errors import TrainingDivergedError
from gtn_rl.inner import act, inner_loop
from gtn_rl.objective import Experience, log_probabilities, surrogate
from gtn_rl.outer.meta_gradient import MetaGradient, meta_gradient

CONFIG = TrainConfig(
    policies=2, q_networks=2, networks=("tanh:6", "tanh:4-3"), inner_steps=5, batch_size=7
)


def make_env():
    return SyntheticEnv(
        spaces.Box(-np.inf, np.inf, (3,)),
        spaces.Discrete(2),
        hidden=(4,),
        mean=np.array([0.1, -0.2, 0.0]),
        std=np.array([1.0, 0.5, 2.0]),
    ).double()


def teach(env):
    return inner_loop(env, CONFIG, torch.Generator().manual_seed(3), create_graph=True)


def make_experience(generator):
    observation = torch.randn(8, 9, 3, generator=generator, dtype=torch.float64)
    action = torch.randint(2, (8, 9), generator=generator)
    with torch.no_grad():
        behaviour = log_probabilities(act(teach(make_env()), observation), action)
    noise = 0.05 * torch.randn(8, 9, generator=generator, dtype=torch.float64)
    advantage = torch.randn(8, 9, generator=generator, dtype=torch.float64)
    weight = (torch.rand(8, 9, generator=generator) > 0.2).double()
    return Experience(observation, action, behaviour + noise, advantage, weight, advantage)


def test_meta_gradient_equals_finite_differences(generator):
    env, experience = make_env(), make_experience(generator)
    value, gradients = meta_gradient(
        teach(env), lambda trained: surrogate(trained, experience, 0.2), list(env.parameters())
    )
    assert float(value) != 0
    step, checked = 1e-6, 0
    for parameter, gradient in zip(env.parameters(), gradients, strict=True):
        assert gradient.abs().max() > 1e-6
        for index in range(0, parameter.numel(), 3):
            values = []
            for sign in (1, -1):
                with torch.no_grad():
                    parameter.view(-1)[index] += sign * step
                values.append(surrogate(teach(env), experience, 0.2).item())
                with torch.no_grad():
                    parameter.view(-1)[index] -= sign * step
            finite = (values[0] - values[1]) / (2 * step)
            assert float(gradient.view(-1)[index]) == pytest.approx(finite, rel=1e-4, abs=1e-8)
            checked += 1
    assert checked > 15


def test_an_update_raises_the_surrogate(generator):
    env, experience = make_env(), make_experience(generator)
    estimator = MetaGradient(env, max_norm=1.0)
    values = [
        estimator.update(teach(env), lambda t: surrogate(t, experience, 0.2), 1e-2).surrogate
        for _ in range(10)
    ]
    assert values[-1] > values[0]


def test_a_gradient_that_is_not_finite_changes_nothing(generator):
    env, experience = make_env(), make_experience(generator)
    experience.advantage[0, 0], experience.weight[0, 0] = torch.nan, 1.0
    before = [parameter.clone() for parameter in env.parameters()]
    estimator = MetaGradient(env, max_norm=1.0)
    with pytest.raises(TrainingDivergedError, match="lower outer_learning_rate"):
        estimator.update(teach(env), lambda t: surrogate(t, experience, 0.2), 1e-2)
    for old, new in zip(before, env.parameters(), strict=True):
        assert torch.equal(old, new)
