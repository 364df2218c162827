"""Several starts, of which the one is taken that teaches best."""

import os
from dataclasses import replace

import pytest
import torch
from torch.nn.utils import parameters_to_vector

from gtn_rl import starts
from gtn_rl.envs.targets import describe
from gtn_rl.errors import GTNError, UsageError
from gtn_rl.real_return import RealReturn
from gtn_rl.starts import best_start, one_start

TARGET = "CartPole-v1"


@pytest.fixture
def config(tiny_config):
    config = replace(tiny_config, warmup=500, experts=3, executor="batch", workers=2)
    return config.for_space(describe(TARGET).action_space)


def vector(env):
    return parameters_to_vector(env.parameters()).detach()


def chosen(config):
    said = []
    with RealReturn(describe(TARGET), config) as problem:
        env = best_start(TARGET, problem, said.append)
        return env, problem.real_steps, problem.visited, said


def test_the_start_whose_learners_do_best_is_taken(config, monkeypatch):
    alone = [one_start(TARGET, config, index) for index in range(3)]
    returns = iter([[1.0, 1.0], [0.0, 9.0], [2.0, 2.0]])
    monkeypatch.setattr(
        starts, "taught", lambda task, config, env: (torch.tensor([next(returns)]), 7)
    )
    env, steps, visited, said = chosen(config)
    # Ranks of the first kind of learners are 1, 0, 2, of the second 0, 2, 1.
    torch.testing.assert_close(vector(env), vector(alone[2].prepared.env))
    torch.testing.assert_close(env.mean, alone[2].prepared.env.mean)
    assert torch.equal(visited, alone[2].prepared.visited)
    judged = sum(start.prepared.real_steps for start in alone) - steps
    # Each start was judged for 7 steps here, for whole episodes of all learners there.
    assert judged > 3 * (config.copies - 1)
    assert said == ["warming up 3 starts", *(f"{number} of 3 starts" for number in (1, 2, 3))]


def test_the_first_start_is_that_of_a_run_without_others(config):
    with RealReturn(describe(TARGET), replace(config, experts=1)) as problem:
        env = problem.start(lambda _: None)
    first, second = (one_start(TARGET, config, index) for index in (0, 1))
    torch.testing.assert_close(vector(first.prepared.env), vector(env))
    assert not torch.isclose(vector(second.prepared.env), vector(env)).all()
    # Which is better is not decided by other learners.
    assert first.returns.shape == second.returns.shape == (1, len(config.examined.kinds))


def test_processes_find_the_same_start(config):
    config = replace(config, experts=2)
    here = chosen(config)
    there = chosen(replace(config, executor="processes"))
    torch.testing.assert_close(vector(here[0]), vector(there[0]))
    assert here[1] == there[1]


def test_several_starts_need_a_warm_up(config):
    with pytest.raises(UsageError, match="experts are what the warm-up makes"):
        replace(config, warmup=0, imitation=0)


def test_a_process_that_dies_is_told_of(config, monkeypatch):
    monkeypatch.setattr(starts, "one_start", _die)
    with pytest.raises(GTNError, match="set fewer workers"):
        chosen(replace(config, executor="processes", workers=1))


def _die(*_):
    os._exit(1)
