"""Several starts, of which the one is taken that teaches best."""

import os
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch.nn.utils import parameters_to_vector

from gtn_rl import starts
from gtn_rl.envs.targets import describe
from gtn_rl.errors import GTNError, UsageError
from gtn_rl.prepare import Prepared
from gtn_rl.real_return import RealReturn
from gtn_rl.starts import Start, best_start, one_start, practised

TARGET = "CartPole-v1"
SWING = "Pendulum-v1"


@pytest.fixture
def config(tiny_config):
    config = replace(tiny_config, warmup=500, experts=3, executor="batch", workers=2)
    return config.for_space(describe(TARGET).action_space)


def vector(env):
    return parameters_to_vector(env.parameters()).detach()


def chosen(config, target=TARGET):
    said = []
    with RealReturn(describe(target), config) as problem:
        env = best_start(target, problem, said.append)
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


@pytest.fixture
def swinging(tiny_config):
    """Two starts of continuous actions, one of which practises, and one of what there is then."""
    config = replace(
        tiny_config, learners=("2xpg@tanh:4",), warmup=500, warmup_copies=8, experts=2,
        practised=(1, 1), practice=3_000, head="welsch", introduction=(2.0,),
        introduction_linear=0.01, executor="batch",
    )  # fmt: skip
    return config.for_space(describe(SWING).action_space)


@pytest.mark.parametrize(("target", "settings"), [(TARGET, "config"), (SWING, "swinging")])
def test_processes_find_the_same_start(target, settings, request):
    config = replace(request.getfixturevalue(settings), experts=2)
    here = chosen(config, target)
    there = chosen(replace(config, executor="processes"), target)
    torch.testing.assert_close(vector(here[0]), vector(there[0]))
    assert here[1] == there[1]


def test_in_every_round_the_best_so_far_practise(config, monkeypatch):
    table = {
        "a": [1, 1], "b": [0, 9], "c": [2, 2], "d": [-1, -1],
        "c1": [1.5, 0], "b1": [3, 10], "b12": [-2, -2], "c2": [4, 11],
    }  # fmt: skip
    names = "abcd"
    rounds = []

    def start(number, name, cost):
        prepared = Prepared(name, None, None, cost, {"seconds": 1.0})
        return Start(number, prepared, torch.tensor([table[name]], dtype=torch.float32))

    def practise(target, config, turn, before):
        name = before.prepared.env
        rounds.append((turn, name))
        return start(before.number, f"{name}{turn}", 10)

    monkeypatch.setattr(starts, "one_start", lambda target, _, index: start(index, names[index], 1))
    monkeypatch.setattr(starts, "practised", practise)
    said = []
    problem = SimpleNamespace(
        config=replace(config, experts=4, practised=(2, 2)), go_on=lambda prepared: prepared
    )
    taken = best_start(SWING, problem, said.append)
    # By ranks c is first, then b; then b's first practice, and c, which made nothing of its own.
    assert rounds == [(1, "c"), (1, "b"), (2, "b1"), (2, "c")]
    assert taken == Prepared("c2", None, None, 4 * 1 + 4 * 10, {"seconds": 1.0})
    assert said[-2:] == ["1 of 2 practised, round 2", "2 of 2 practised, round 2"]
    # One that is given is the only one, and practises.
    rounds.clear()
    problem.config = replace(problem.config, init="a", practised=(2,))
    table["a1"] = [0, 0]
    assert best_start(SWING, problem, said.append).env == "a"
    assert rounds == [(1, "a")]


def test_practice_leaves_the_start_and_what_it_shows(swinging):
    before = one_start(SWING, swinging, 1)
    kept = {name: value.clone() for name, value in before.prepared.env.named_parameters()}
    after = practised(SWING, swinging, 1, before)
    assert after.number == 1
    moved = {
        name for name, value in after.prepared.env.named_parameters()
        if not torch.equal(value, kept[name])
    }  # fmt: skip
    assert moved == {"reward_parameters", "introduction_parameters"}
    for name, value in before.prepared.env.named_parameters():
        torch.testing.assert_close(value, kept[name], rtol=0, atol=0)
    for old, new in zip(
        before.prepared.critic.parameters(), after.prepared.critic.parameters(), strict=True
    ):
        assert not torch.equal(old, new)
    # Batches of 128 steps of 8 copies, of which one is a reset; episodes for the two learners.
    assert after.prepared.real_steps == 8 * (3 * 128 - 1) + 2 * swinging.copies * 200
    # Another round is another practice.
    again = practised(SWING, swinging, 2, before)
    assert not torch.equal(vector(again.prepared.env), vector(after.prepared.env))


def test_what_practice_needs(tiny_config):
    config = replace(tiny_config, learners=(), warmup=500, practised=(2, 1))
    with pytest.raises(UsageError, match="practised is for continuous actions: leave it out"):
        config.for_space(describe(TARGET).action_space)
    with pytest.raises(UsageError, match="practised needs a warm-up's lesson: set warmup above 0"):
        replace(config, warmup=0)
    with pytest.raises(UsageError, match="practised is for a horizon of 1"):
        replace(config, horizon=3)
    with pytest.raises(UsageError, match="practised takes counts of 1 or more"):
        replace(config, practised=(2, 0))
    with pytest.raises(UsageError, match="practice must be positive"):
        replace(config, practice=0)


def test_several_starts_need_a_warm_up(config):
    with pytest.raises(UsageError, match="experts are what the warm-up makes"):
        replace(config, warmup=0, imitation=0)


def test_a_process_that_dies_is_told_of(config, monkeypatch):
    monkeypatch.setattr(starts, "one_start", _die)
    with pytest.raises(GTNError, match="set fewer workers"):
        chosen(replace(config, executor="processes", workers=1))


def _die(*_):
    os._exit(1)
