"""Real environments that do what they must not: one line at once, with their name and the step."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

import gtn_rl
from gtn_rl.envs import checked, classic
from gtn_rl.envs.actions import make_actions
from gtn_rl.envs.classic import ClassicVectorEnv
from gtn_rl.envs.targets import RealEnvs, describe
from gtn_rl.errors import GTNError, TargetError, UnsupportedSpaceError, UsageError

DO = {"at": 3}


class Odd(gym.Env):
    """Well until step 3, then odd; episodes have 10 steps."""

    observation_space = spaces.Box(-1.0, 1.0, (2,))
    action_space = spaces.Discrete(2)
    last = 10

    def __init__(self, **odd):
        self.odd = odd

    def give(self, name, value, *args):
        odd = self.odd.get(name, value) if self.age >= DO["at"] or name == "start" else value
        return odd(*args) if callable(odd) else odd

    def reset(self, *, seed=None, options=None):
        self.age = 0
        return self.give("start", np.zeros(2, np.float32), seed), {}

    def step(self, action):
        self.age += 1
        answer = (
            self.give("observation", np.zeros(2, np.float32)),
            self.give("reward", 1.0),
            self.give("terminated", self.age >= self.last),
            False,
            {},
        )
        return self.give("answer", answer)


def run(steps=30, copies=2, **odd):
    """Random actions in copies of an odd environment."""
    task = describe(partial(Odd, **odd))
    with RealEnvs(task, make_actions(task.action_space, 0.4), 1, copies) as real:
        real.reset(7)
        act = lambda o: torch.zeros(*o.shape[:-1], 2)  # noqa: E731
        return real.rollout(act, steps, torch.Generator().manual_seed(0))


def fail(*_):
    return {}["users own key"]


def fail_at_length(*_):
    raise ValueError("\n\tfirst,\r\n  then \u2028" + 999 * "long ")


def lack():
    raise ImportError("first\n  second")


def leave(*_):
    sys.exit(5)


@pytest.mark.parametrize(
    ("odd", "what"),
    [
        ({"observation": np.array([0, np.nan], np.float32)}, "observation 1 is nan"),
        ({"observation": np.array([np.inf, 0])}, "observation 0 is inf"),
        ({"observation": np.array([1e300, 0])}, "observation 0 is 1e"),
        ({"observation": np.zeros(3)}, r"is float64 of shape \(3,\), its space says float32"),
        ({"observation": np.array(["a", "b"])}, "the observation is <U1"),
        ({"observation": [[1.0], 2.0]}, "the observation is a list"),
        ({"observation": None}, "the observation is None"),
        ({"observation": np.array([0, 1e20])}, "observation 1 is 1e.20: .*within .-1e.15; scale"),
        ({"reward": 1e38}, "the reward is 1e.38: it must be finite, and within .-1e.15; scale it"),
        ({"reward": np.nan}, "the reward is nan"),
        ({"reward": -np.inf}, "the reward is -inf"),
        ({"reward": None}, "the reward must be a number, it is None"),
        ({"reward": np.ones(2)}, r"it is float64 of shape \(2,\)"),
        ({"terminated": None}, "true or false, not None"),
        ({"answer": (np.zeros(2), 0.0, False, {})}, "it returned a tuple of 4"),
        ({"answer": None}, "it returned None"),
        ({"answer": fail}, "it raised KeyError: 'users own key'"),
        (
            {"answer": fail_at_length},
            r"ValueError: first, then long (long ){50,99}lo?n?$",
        ),
        ({"answer": leave}, "it raised SystemExit: 5"),
    ],
)
def test_what_a_step_does_wrong_is_named_with_the_step(odd, what):
    with pytest.raises(TargetError, match=what) as failed:
        run(**odd)
    assert ", step 3 of episode 1: " in str(failed.value)
    assert str(failed.value).startswith("Odd(")
    assert "\n" not in str(failed.value)


def test_what_a_reset_does_wrong_is_named_with_the_episode():
    with pytest.raises(TargetError, match=r"reset before episode 1: observation 0 is nan"):
        run(start=np.array([np.nan, 0]))


def test_the_traceback_of_the_users_code_is_shown_and_ours_is_not(caplog):
    with pytest.raises(TargetError):
        run(answer=fail)
    assert "users own key" in caplog.text
    assert "in fail" in caplog.text
    assert "envs/checked.py" not in caplog.text
    assert "envs/targets.py" not in caplog.text


def test_what_is_right_passes():
    rollout = run(reward=np.float32(2), terminated=np.bool_(False), observation=[0.5, -0.5])
    assert rollout.reward[0, 2:, 0].unique().tolist() == [2]
    assert rollout.next_observation[0, 2:].unique().tolist() == [-0.5, 0.5]
    assert run(reward=np.array([3.0])).reward.max() == 3


def test_bounds_that_do_not_hold_are_warned_of_once():
    checked._warned.clear()
    with pytest.warns(RuntimeWarning, match=r"observation 1 is 20, its space says -1 to 1") as said:
        run(observation=np.array([0, 20.0]))
    assert len(said) == 1
    with pytest.raises(TargetError, match="observation 0 is nan"):
        run(observation=np.array([np.nan, 20.0]))


@pytest.mark.parametrize("seed", [2**32 - 1, 2**61, [2**40, 3]])
def test_environments_that_seed_numpy_take_every_seed(seed):
    seen = []
    task = describe(partial(Odd, start=lambda s: seen.append(s) or np.zeros(2)))
    envs = task.vector(2)
    envs.reset(seed=seed)
    for one in seen:
        np.random.RandomState(one)
    assert len(set(seen)) == 2


def make():
    return Odd()


def test_a_target_that_a_function_makes_is_called_by_its_module_too():
    assert describe(make).id == f"{__name__}.make"
    assert describe(partial(make)).id == f"{__name__}.make()"


def test_a_factory_that_returns_the_same_object_is_refused():
    one = Odd()
    with pytest.raises(UsageError, match="the same object each time"):
        gtn_rl.train(lambda: one)


def test_only_gymnasiums_own_classic_control_is_copied(monkeypatch):
    assert isinstance(describe("CartPole-v1").vector(1), ClassicVectorEnv)
    assert isinstance(describe("CartPole-v1").copies(1).envs[0], checked.Checked)
    spec = gym.spec("CartPole-v1")
    wrapper = gym.wrappers.RescaleObservation.wrapper_spec(min_obs=-1, max_obs=1)
    for change in (
        {"entry_point": Odd},
        {"kwargs": {"sutton_barto_reward": True}},
        {"additional_wrappers": (wrapper,)},
    ):
        monkeypatch.setitem(gym.registry, "CartPole-v1", replace(spec, **change))
        assert not classic.is_gymnasiums("CartPole-v1"), change
    monkeypatch.setitem(gym.registry, "CartPole-v1", replace(spec, entry_point=Odd))
    assert describe("CartPole-v1").vector(1).reset(seed=0)[0].shape == (1, 2)
    monkeypatch.setitem(gym.registry, "CartPole-v1", spec)
    named = lambda: gym.make("CartPole-v1", sutton_barto_reward=True)  # noqa: E731
    named.__name__ = "CartPole-v1"
    assert not isinstance(describe(named).vector(1), ClassicVectorEnv)


@pytest.mark.parametrize("limited", [False, True])
def test_an_episode_without_end_or_limit_is_named_within_seconds(monkeypatch, limited):
    monkeypatch.setattr(checked, "_SOON", 0.05)
    checked._warned.clear()
    never = partial(Odd, terminated=False)
    make = (lambda: gym.wrappers.TimeLimit(never(), 30_000)) if limited else never
    task = describe(make)
    start = time.process_time()
    with RealEnvs(task, make_actions(task.action_space, 0.4), 1, 1) as real:
        act = lambda o: torch.zeros(*o.shape[:-1], 2)  # noqa: E731
        if limited:
            assert real.evaluate(act, 0).item() == 30_000
            return
        with (
            pytest.warns(RuntimeWarning, match="the episode goes on, and there is no time limit"),
            pytest.raises(TargetError, match=r"step 20000 of episode 1: .*max_episode_steps"),
        ):
            real.evaluate(act, 0)
    assert time.process_time() - start < 10


HANGS = """
import time, sys, os
import gymnasium as gym, numpy as np
from gymnasium import spaces
from gtn_rl.envs.targets import describe
class Bad(gym.Env):
    observation_space, action_space = spaces.Box(-1, 1, (1,)), spaces.Discrete(2)
    def reset(self, seed=None, options=None):
        return np.zeros(1, np.float32), {}
    def step(self, action):
        try:
            BAD
        except Exception:
            pass
        return np.zeros(1, np.float32), 0.0, False, False, {}
envs = describe(Bad).vector(1)
envs.reset(seed=0)
try:
    envs.step(np.zeros(1, int))
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.integration
@pytest.mark.parametrize("bad", ["time.sleep(60)", "while True: pass"])
def test_a_step_that_hangs_is_ended_and_named(bad):
    code = HANGS.replace("BAD", bad)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=50, check=True,
        env={**os.environ, "GTN_RL_STEP_TIMEOUT": "1"},
    )  # fmt: skip
    line = "Bad, step 1 of episode 1: no answer after 1 s"
    assert done.stdout.startswith(f"TargetError {line}")
    assert line in done.stderr


@pytest.mark.integration
def test_a_step_that_leaves_the_process_is_named():
    code = HANGS.replace("BAD", "os._exit(0)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50)
    assert done.returncode == 2
    assert done.stderr.strip() == "Bad, step 1 of episode 1: it called os._exit(0)"


@pytest.mark.filterwarnings("ignore:.*out of date")
@pytest.mark.parametrize(
    ("target", "what"),
    [
        ("Cart Pole", "'Cart Pole' is not a Gymnasium id"),
        ("", "'' is not a Gymnasium id"),
        ("LunarLander-v2", "not there any more.*LunarLander-v3"),
        ("CartPol-v1", "'CartPol-v1' in Gymnasium. Did you mean 'CartPole-v1'.*my_module:CartPol"),
        ("CartPole-v9", "no environment 'CartPole-v9' in Gymnasium. Did you mean 'CartPole-v"),
        ("absent_module:Foo-v0", "no module 'absent_module': run from the folder that holds it"),
        ("broken_module:Foo-v0", "module 'broken_module'.*ModuleNotFoundError: .*'not_installed'"),
        ("wrong_module:Foo-v0", "module 'wrong_module'.*SyntaxError"),
        ("empty_module:Foo-v0", "no environment 'empty_module:Foo-v0' in Gymnasium"),
        (Odd(), "a target is a Gymnasium id or a function that makes an environment"),
        (3, "a target is a Gymnasium id or a function"),
        (lambda: 3, "must make a gymnasium.Env, it made 3"),
        (lambda: fail(), "making it: it raised KeyError"),
        (lambda: lack(), r"cannot be made: first second\. Gym"),
    ],
)
def test_targets_that_cannot_be_made_say_why(target, what, tmp_path, monkeypatch):
    (tmp_path / "broken_module.py").write_text("import not_installed")
    (tmp_path / "wrong_module.py").write_text("def")
    (tmp_path / "empty_module.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(GTNError, match=what) as failed:
        describe(target)
    assert "\n" not in str(failed.value)


BOX, TWO = spaces.Box(-1.0, 1.0, (2,)), spaces.Discrete(2)


@pytest.mark.parametrize(
    ("observation_space", "action_space", "hint"),
    [
        (BOX, spaces.Box(np.float32([0, 1]), np.float32([1, 1])), "numbers with a single value"),
        (BOX, spaces.Box(-3e38, 3e38, (1,)), "too wide for float32"),
        (BOX, spaces.MultiDiscrete([3, 3]), "TransformAction"),
        (spaces.Dict(a=BOX), TWO, "FlattenObservation"),
        (spaces.Tuple([BOX, BOX]), TWO, "FlattenObservation"),
        (spaces.Box(0, 255, (64, 64, 3), np.uint8), TWO, "reduce images"),
    ],
)
def test_spaces_that_cannot_be_used_say_how_to_give_a_wrapped_environment(
    observation_space, action_space, hint
):
    with pytest.raises(UnsupportedSpaceError, match=hint) as failed:
        gtn_rl.SyntheticEnv(observation_space, action_space)
    assert "--wrap module:function" in str(failed.value)
    assert ("Flatten" in str(failed.value)) == (hint == "FlattenObservation")
