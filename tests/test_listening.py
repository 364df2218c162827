"""Best actions become what learners made of them, and practise near to that."""

from dataclasses import dataclass, replace

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from gtn_rl.critic import Critic
from gtn_rl.envs.actions import make_actions
from gtn_rl.envs.synthetic import SyntheticEnv
from gtn_rl.envs.targets import describe
from gtn_rl.errors import UsageError
from gtn_rl.listening import _as_played, consensus, fit_best_actions, listen
from gtn_rl.perfect import perfect_learner
from gtn_rl.practice import practise
from gtn_rl.real_return import RealReturn
from gtn_rl.settings import settings_for

JUDGES = ("3xstock-ppo@tanh:4/10", "3xstock-a2c@tanh:4/10")


class Follow(gym.Env):
    """Five steps; the best action is 1 plus twice a random observation of -0.4 to 0.4."""

    observation_space = spaces.Box(-1, 1, (1,))
    action_space = spaces.Box(0, 2, (1,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = 5
        return self._see(), {}

    def step(self, action):
        self.left -= 1
        reward = -float((action[0] - 1 - 2 * self.now[0]) ** 2)
        return self._see(), reward, False, self.left == 0, {}

    def _see(self):
        self.now = self.np_random.uniform(-0.4, 0.4, 1).astype(np.float32)
        return self.now


@dataclass
class Timid:
    """Three learners: two that play a part of the best action, one that learned nonsense."""

    part: float
    name = "timid"
    parameters = torch.zeros(3, 1)

    def outputs(self, observations):
        factor = torch.tensor([2 * self.part, 2 * self.part, -50.0])
        return 1 + factor.view(3, 1, 1) * observations


@pytest.fixture
def env(generator):
    return SyntheticEnv(
        Follow.observation_space, Follow.action_space, head="welsch", introduction=True,
        hidden=(32,), generator=generator,
    )  # fmt: skip


def best(env, states):
    return (perfect_learner(env, states.unsqueeze(0))[0] - 1).detach()


def test_who_learned_nothing_has_no_say():
    states = torch.tensor([[0.1], [-0.3]])
    torch.testing.assert_close(consensus(Timid(0.5), states), 1 + states)


@pytest.mark.parametrize(("part", "gain"), [(0.5, 2.0), (1.0, 1.0), (0.8, 1.25)])
def test_learners_are_heard_as_boldly_as_serves_them_best(env, part, gain):
    task = describe(Follow)
    found, met, steps = _as_played(env, Timid(part), task, make_actions(task.action_space, 0.4), 3)
    assert found == gain
    assert steps == 4 * 32 * 5
    assert met.shape == (steps, 1)
    assert met.abs().max() <= 0.4


def test_best_actions_are_fitted_whatever_lies_beyond_the_space(env, generator):
    states = 2 * torch.rand(512, 1, generator=generator) - 1
    wanted = 1.1 * states
    before = {name: value.detach().clone() for name, value in env.named_parameters()}
    with torch.no_grad():
        env.excess_parameters.fill_(2.0)
    assert fit_best_actions(env, states, wanted, generator) < 1e-3
    shown = best(env, states)
    assert shown.max() > 1.1
    # Nothing else is moved.
    with torch.no_grad():
        env.excess_parameters.zero_()
    torch.testing.assert_close(best(env, states), wanted, atol=0.1, rtol=0)
    for name, value in env.named_parameters():
        assert torch.equal(value, before[name]) == (name != "reward_parameters"), name


def test_the_lesson_becomes_what_was_learned_of_it(env, tiny_config, monkeypatch, generator):
    """By two kinds of learners of which one plays half of the best actions, one all of them."""
    monkeypatch.setattr("gtn_rl.listening.inner_loop", lambda *_, **__: [Timid(0.5), Timid(1.0)])
    task = describe(Follow)
    heard = listen(env, task, make_actions(task.action_space, 0.4), tiny_config, generator, 3)
    assert heard.real_steps == 2 * 4 * 32 * 5
    states = torch.linspace(-0.4, 0.4, 9).unsqueeze(1)
    # If the timid were heard as they played it would be 1.5 times the states.
    torch.testing.assert_close(heard.policy(states), 2 * states)
    # No farther beyond the bounds than a bounded reward reaches.
    assert heard.policy(torch.ones(1, 1)) == pytest.approx(1.2)
    fit_best_actions(env, heard.states, heard.policy(heard.states), generator)
    torch.testing.assert_close(best(env, states), 2 * states, atol=0.1, rtol=0)


@pytest.mark.parametrize(("pull", "slope"), [(0.0, 2.0), (100.0, 1.5)])
def test_practice_finds_the_best_actions_near_to_what_they_were(
    env, tiny_config, monkeypatch, generator, pull, slope
):
    monkeypatch.setattr("gtn_rl.practice._PULL", pull)
    states = torch.linspace(-0.4, 0.4, 9).unsqueeze(1)
    task = describe(Follow)
    config = replace(tiny_config, warmup=500, practice=60_000, warmup_copies=16)
    fit_best_actions(env, states, 1.5 * states, generator)
    before = {name: value.detach().clone() for name, value in env.named_parameters()}
    with torch.no_grad():
        env.excess_parameters.fill_(2.0)
    steps = practise(
        env, task, make_actions(task.action_space, 0.15),
        Critic(env.mean, env.std, 1e-3, generator), config, (1,),
    )  # fmt: skip
    # To the end of a batch of 16 environments' 128 steps.
    assert 60_000 <= steps < 60_000 + 16 * 128
    with torch.no_grad():
        env.excess_parameters.zero_()
    found = (best(env, states) * states).sum() / states.square().sum()
    assert found == pytest.approx(slope, abs=0.15)
    for name, value in env.named_parameters():
        assert torch.equal(value, before[name]) == (name != "reward_parameters"), name


def test_every_time_what_came_of_the_last_is_listened_to(tiny_config, monkeypatch):
    monkeypatch.setattr("gtn_rl.listening._STEPS", 100)

    def start(**settings):
        with RealReturn(task, replace(config, **settings).for_space(task.action_space)) as problem:
            env = problem.start(lambda _: None)
            return env.reward_parameters.detach()[0], problem.real_steps

    config = replace(
        tiny_config, learners=("2xpg@tanh:4",), warmup=500, judged=True, judges=JUDGES,
        introduction=(2.0,), head="welsch",
    )  # fmt: skip
    task = describe(Follow)
    lessons, costs = zip(*(start(listen=times) for times in range(3)), strict=True)
    assert len(torch.unique(torch.stack(lessons), dim=0)) == 3
    # The same episodes every time, to find how boldly to play what was heard.
    assert costs[2] - costs[1] == costs[1] - costs[0] > 0


def test_what_was_heard_is_shown_as_the_settings_say(tiny_config):
    def start(**settings):
        chosen = replace(config, **settings).for_space(task.action_space)
        with RealReturn(task, chosen) as problem:
            env = problem.start(lambda _: None)
            return {name: value.detach() for name, value in env.named_parameters()}

    config = replace(
        tiny_config, learners=("2xpg@tanh:4",), warmup=500, listen=1, judged=True, judges=JUDGES,
        introduction=(2.0,), introduction_share=0.7, head="welsch", width=(1.0, 5.0),
    )  # fmt: skip
    task = describe(Follow)
    before = start()
    after = start(
        heard_scale=(2.0, 1.5), heard_width=(0.5, 3.0), heard_excess=(1.2, 1.1), heard_share=0.4,
        heard_spread=1.5,
    )  # fmt: skip
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    # Listened to as before: the lesson is the same.
    numbers = {"scale": (2.0, 1.5), "width": (0.5, 3.0), "excess": (1.2, 1.1)}
    assert changed == {*(f"{name}_parameters" for name in numbers), "introduction_parameters"}
    for name, shown in numbers.items():
        torch.testing.assert_close(after[f"{name}_parameters"].exp(), torch.tensor([shown]))
    mean, reach, share = after["introduction_parameters"][0]
    torch.testing.assert_close(mean, before["introduction_parameters"][0, 0])
    torch.testing.assert_close(reach.exp(), 1.5 * before["introduction_parameters"][0, 1].exp())
    assert float(share) == pytest.approx(0.4)
    assert float(before["introduction_parameters"][0, -1]) == pytest.approx(0.7)


def test_what_listening_needs(tiny_config):
    config = replace(tiny_config, warmup=500, listen=1)
    with pytest.raises(UsageError, match="listen is for continuous actions"):
        config.for_space(spaces.Discrete(2))
    with pytest.raises(UsageError, match="set warmup above 0"):
        replace(config, warmup=0)
    with pytest.raises(UsageError, match="listen is for a horizon of 1"):
        replace(config, horizon=3)
    with pytest.raises(UsageError, match="listen must not be negative"):
        replace(config, listen=-1)
    with pytest.raises(UsageError, match="are an introduction's: set introduction"):
        replace(config, heard_spread=1.5)
    with pytest.raises(UsageError, match="heard_width takes 1 number, or 2 where there is an intr"):
        replace(config, heard_width=(1.0, 5.0))
    with pytest.raises(UsageError, match="heard_scale takes 1 number, or 2 where there is an intr"):
        replace(config, heard_scale=(1.0, 5.0))
    with pytest.raises(UsageError, match="heard_excess must be positive"):
        replace(config, heard_excess=(0.0,))
    with pytest.raises(UsageError, match="heard_share must be 0 or a share below 1"):
        replace(config, heard_share=1.0, introduction=(2.0,))
    with pytest.raises(UsageError, match="heard_spread must be positive"):
        replace(config, heard_spread=0.0, introduction=(2.0,))
    assert settings_for("Pendulum-v1").listen
    # Not to listen is one option, as it was before there were others of it.
    assert not replace(settings_for("Pendulum-v1"), listen=0).listen
