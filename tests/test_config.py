"""Settings: how many there are, and what they refuse."""

import math
from dataclasses import fields, is_dataclass, replace
from typing import get_args, get_origin, get_type_hints

import gymnasium as gym
import pytest
from gymnasium import spaces

import gtn_rl
from gtn_rl.config import STOCK, Learners, Outer, TrainConfig, Workers
from gtn_rl.errors import UsageError
from gtn_rl.modes.distill_config import DistillConfig
from gtn_rl.supervised import SupervisedConfig
from gtn_rl.targets import TARGETS, config_for


def leaves(config):
    for field in fields(config):
        value = getattr(config, field.name)
        yield from leaves(value) if is_dataclass(value) else [field.name]


def test_there_are_at_most_40_settings():
    assert len(list(leaves(TrainConfig()))) <= 40


def test_every_setting_is_explained():
    import ast
    import inspect

    from gtn_rl import config

    for node in ast.parse(inspect.getsource(config)).body:
        if not isinstance(node, ast.ClassDef):
            continue
        for setting, text in zip(node.body, node.body[1:], strict=False):
            if isinstance(setting, ast.AnnAssign):
                assert isinstance(text, ast.Expr), ast.unparse(setting)


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_has_at_most_five_settings_of_its_own(target):
    assert len(TARGETS[target]) <= 5
    space = gym.make(target).action_space
    config = config_for(target)
    assert config == TrainConfig(**TARGETS[target])
    for suited in (config, replace(config, horizon=20), replace(config, estimator="meta-gradient")):
        assert suited.for_space(space).learners.kinds


def test_a_target_without_settings_has_the_defaults():
    assert config_for("Unheard-v7") == TrainConfig()


@pytest.mark.parametrize(
    ("group", "bad", "message"),
    [
        (TrainConfig, {"steps": -1}, "steps must be from 0 to 1,000,000,000, got -1"),
        (TrainConfig, {"hidden": 32}, "type tuple.int, .*, got 32"),
        (TrainConfig, {"hidden": (8, 4.5)}, "hidden must be of type tuple"),
        (TrainConfig, {"seed": "a"}, "seed must be of type int, got 'a'"),
        (TrainConfig, {"steps": True}, "steps must be of type int, got True"),
        (TrainConfig, {"target_return": "9"}, "target_return must be of type .*float"),
        (TrainConfig, {"search": {"candidates": 3}}, "search must be of type Search"),
        (Learners, {"learning_rate": (1e-3,)}, "learning_rate must be of type tuple.float, float"),
        (TrainConfig, {"hidden": ()}, "hidden must be 1 to 16 layers, got 0"),
        (TrainConfig, {"hidden": (8, 0)}, "hidden must be from 1 to 65,536, got 0"),
        (TrainConfig, {"hidden": (65_536,) * 2}, "hidden must have at most 16,777,216 weights"),
        (TrainConfig, {"estimator": "evolutoin"}, "Did you mean 'evolution'"),
        (TrainConfig, {"init": "a", "expert": "ppo:b"}, "give one of them"),
        (Learners, {"learning_rate": (1e-2, 1e-3)}, "low <= high"),
        (Learners, {"kinds": ("8xpg@tanh:99999999",)}, "units of learners '8xpg@tanh:99999999'"),
        (Learners, {"kinds": ("99999xpg@tanh:9",)}, "count of learners '99999xpg@tanh:9'"),
        (Learners, {"kinds": ("8xpg@tanh:" + "9" * 9_999,)}, "is not of the form 8xpg"),
        (Outer, {"population": 5}, "even and at least 4"),
        (Outer, {"population": 2}, "even and at least 4"),
        (Outer, {"strategy": "cmaes"}, "Did you mean 'cma-es'"),
        (Outer, {"moving": ("spreads",)}, "Did you mean 'spread'"),
        (Workers, {"executor": "rai"}, "Did you mean 'ray'"),
    ],
)
def test_bad_values_are_refused_in_one_line(group, bad, message):
    # Whoever holds a group checks it, so that the command line can say it in one line.
    held = bad if group is TrainConfig else {group.__name__.lower(): group(**bad)}
    with pytest.raises(UsageError, match=message) as error:
        TrainConfig(**held)
    assert "\n" not in str(error.value)


def numbers(kind, path=()):
    """What leads to each number of a dataclass of settings, and its type."""
    for name, wanted in get_type_hints(kind).items():
        if is_dataclass(wanted):
            yield from numbers(wanted, (*path, name))
        elif {int, float} & {wanted, *get_args(wanted)}:
            yield (*path, name), wanted


def with_number(config, path, value):
    """A copy of settings with another value of one of them."""
    name, *rest = path
    return replace(
        config, **{name: with_number(getattr(config, name), rest, value) if rest else value}
    )


@pytest.mark.parametrize("kind", [TrainConfig, DistillConfig, SupervisedConfig])
def test_no_setting_may_be_negative_huge_or_no_number(kind):
    """Every field, those that are added later too."""
    found = list(numbers(kind))
    assert len(found) > 15
    for path, wanted in found:
        odd = [math.nan, math.inf, -math.inf, 1e39, 10**400]
        # Returns alone may be negative.
        odd += [] if path[-1] == "target_return" else [-1, -0.5, 10**19]
        for value in odd:
            several = get_origin(wanted) is tuple
            with pytest.raises(UsageError) as error:
                with_number(kind(), path, (value,) * 2 if several else value)
            assert ".".join(path) in str(error.value)
            assert len(str(error.value).splitlines()) == 1
            assert len(str(error.value)) < 300


@pytest.mark.parametrize("trainer", [gtn_rl.train, gtn_rl.train_reward, gtn_rl.distill])
def test_trainers_say_what_they_expect(trainer):
    with pytest.raises(UsageError, match="Config, got a dict: write"):
        trainer("CartPole-v1", config={"seed": 3}, progress_bar=False)
    with pytest.raises(UsageError, match="a target is a Gymnasium id or a function that makes"):
        trainer(gym.make("CartPole-v1"), progress_bar=False)


def of(*kinds, **settings):
    return TrainConfig(learners=Learners(kinds=kinds), **settings)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: of("64-64"), "not of the form"),
        (lambda: of("pg@tanh:64"), "not of the form"),
        (lambda: of("8xdqm@relu:64"), "Did you mean 'dqn'"),
        (lambda: of("8xdqn@gelu:64"), "activations"),
        (lambda: of("0xdqn@relu:64"), "above 0"),
        (lambda: of("sb3:ppo", estimator="meta-gradient"), "--estimator evolution"),
        (lambda: of("sb3:ppo", "1xpg@tanh:8"), "all sb3"),
        (lambda: of("sb3:ppo", horizon=5), "horizon 1 and the executor batch"),
        (lambda: of("sb3:ppo", workers=Workers(executor="processes")), "executor batch"),
        (lambda: of("1xstock-ppo@tanh:8/100", horizon=5), "for horizon 1"),
        (lambda: of("1xtd3@relu:8").for_space(spaces.Discrete(2)), "does not handle Discrete"),
        (lambda: of("1xdqn@relu:8").for_space(spaces.Box(-1, 1)), "does not handle Box"),
        (lambda: of("sb3:sac").for_space(spaces.Discrete(2)), "sac does not handle"),
        (lambda: of("sb3:ppoo").for_space(spaces.Discrete(2)), "Did you mean 'ppo'"),
        (lambda: of("1xtd3@tanh:4", horizon=2).for_space(spaces.Box(-1, 1)), "a2c, ppo"),
        (lambda: of("1xstock-ppo@tanh:8", horizon=5).for_space(spaces.Discrete(2)), "stock-ppo"),
    ],
)
def test_learners_that_cannot_be_taught_are_refused_in_one_line(make, message):
    with pytest.raises(UsageError, match=message) as error:
        make()
    assert "\n" not in str(error.value)


def test_learners_suit_the_actions_and_how_they_are_used():
    discrete, box = spaces.Discrete(3), spaces.Box(-1, 1, (2,))
    for settings in ({}, {"horizon": 9}, {"estimator": "meta-gradient"}):
        for space in (discrete, box):
            config = TrainConfig(**settings).for_space(space)
            assert config.num_learners == sum(config.kinds.values()) > 0
            assert config.for_space(space) == config
            assert config.steps == (5_000 if space is discrete else 10_000)
            assert ("dqn" in "".join(config.kinds)) == (space is discrete)
    # Agents of those algorithms that users train; DQN is too slow for fewer steps than its own.
    config = TrainConfig(steps=300).for_space(discrete)
    assert config.steps == 300
    assert config.kinds == {"stock-ppo": 2, "stock-a2c": 2, "stock-dqn": 2}
    assert {group.algorithm: group.steps for group in config.groups}["stock-dqn"] == 5_000
    assert of(f"{STOCK}ppo", f"{STOCK}a2c").kinds == {STOCK: 2}
