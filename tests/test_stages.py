"""Stages on tasks with known answers: search, pretraining, how a lesson is shown, judging."""

import math
from functools import partial

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from probes import Probe, Side

from gtn_rl.config import Pretrain, Search, TrainConfig
from gtn_rl.envs.actions import make_actions
from gtn_rl.envs.presentation import decode
from gtn_rl.envs.synthetic import SyntheticEnv
from gtn_rl.envs.targets import RealEnvs, describe
from gtn_rl.errors import UsageError
from gtn_rl.inner.objective import Critic, Experience
from gtn_rl.inner.optimal import optimal_policy
from gtn_rl.run import go
from gtn_rl.stages import pretrain, search
from gtn_rl.stages.base import moments, untrained
from gtn_rl.stages.expert import ImitateExpert
from gtn_rl.stages.search import Seen, ahead
from gtn_rl.stages.show import STATES, gain_of, show
from gtn_rl.state import State as RunState

OBSERVATION = spaces.Box(-np.inf, np.inf, (2,))


def staged(target, config, *kinds):
    """What stages make of an untrained environment, and the run's result."""
    task = describe(target)
    actions = make_actions(task.action_space, config.noise)
    state = RunState(untrained(task, config))
    result = go(
        [kind(task, actions, config) for kind in kinds], state, target=task.id, config=config,
        folder=None, resume=False, budgets={}, write=None, command="", progress_bar=False,
        columns={"stage": "", "real_steps": "", "evaluation": ""},
    )  # fmt: skip
    return state, result


def greedy(target, env, episodes=20, horizon=None):
    task = describe(target)
    with RealEnvs(task, make_actions(task.action_space, 0.4), 1, episodes, horizon) as real:
        return float(real.evaluate(partial(optimal_policy, env), 1).mean())


# Search


def test_the_search_finds_a_better_start_than_chance():
    state, result = staged("CartPole-v1", TrainConfig(), search.Search)
    assert greedy("CartPole-v1", state.teacher) > 60
    assert state.returns["random"] == pytest.approx(21, abs=10)
    assert result.real_steps < 50_000


def test_the_search_finds_the_goal_of_mountain_car():
    """Nearly all untrained environments teach agents that never reach the goal."""
    state, _ = staged("MountainCar-v0", TrainConfig(), search.Search)
    # The scale of what moving learners see, not of what random actions see (0.08 and 0.01).
    assert state.teacher.std[0] > 0.15
    assert greedy("MountainCar-v0", state.teacher, horizon=1000) > -999
    assert state.returns["random"] == -200


@pytest.mark.parametrize(("reward", "said"), [(0.0, True), (None, False)])
def test_the_search_says_at_once_that_no_return_differs(reward, said, caplog):
    class Given(Side):
        def reward(self, action):
            return super().reward(action) if reward is None else reward

    staged(Given, TrainConfig(search=Search(8, 2)), search.Search)
    assert ("8 different policies all have the same return (0)" in caplog.text) == said


def test_a_shared_best_return_is_nothing_to_climb():
    plateau = torch.tensor([-100.0, -200.0, -100.0, -300.0])
    assert not ahead(plateau, -14.0).any()
    assert not ahead(plateau, None).any()
    # Unless it is the goal, or too few have it.
    assert ahead(plateau, -100.0).tolist() == [True, True, True, False]
    assert ahead(torch.arange(8.0), None).sum() == 7
    assert not ahead(torch.zeros(8), None).any()
    assert ahead(torch.tensor([1.0, 2.0]), None).tolist() == [False, True]


def test_who_goes_where_few_go_gets_about_most():
    seen = Seen(4, 3)
    # Cells one-hot: all see the first, three the second, one the third.
    for cells in ([0, 0, 0, 0], [1, 1, 1, 2]):
        seen.add(torch.eye(3)[cells].unsqueeze(1))
    assert seen.extent().argmax() == 3


class Hall(gym.Env):
    """Twelve cells in a row, one-hot; only the last pays, and whoever bumps at the first loses."""

    observation_space = spaces.Box(0, 1, (12,), np.int64)
    action_space = spaces.Discrete(3)

    def _see(self):
        seen = np.zeros(12, np.int64)
        seen[self.cell] = 1
        return seen

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.cell, self.age = 0, 0
        return self._see(), {}

    def step(self, action):
        self.age += 1
        self.cell = min(max(self.cell + (int(action) - 1), 0), 11)
        arrived = self.cell == 11
        return self._see(), float(arrived), arrived, self.age == 25, {}


def test_the_search_finds_a_goal_that_pays_nothing_on_the_way():
    """All returns are 0 until one arrives: those are mutated that get about (novelty search)."""
    config = TrainConfig(search=Search(candidates=32, generations=40), target_return=1.0)
    state, _ = staged(Hall, config, search.Search)
    assert greedy(Hall, state.teacher, 1) == 1.0


# Pretraining


def test_pretraining_learns_a_task_within_its_steps():
    config = TrainConfig(pretrain=Pretrain(real_steps=60_000, copies=8))
    state, result = staged("CartPole-v1", config, search.Search, pretrain.Pretrain)
    assert greedy("CartPole-v1", state.teacher) > 300
    assert state.returns["optimal"] > 300
    # Two evaluations of 16 episodes and the last look around come on top.
    assert result.real_steps < 50_000 + 60_000 + 8 * 128 + 2 * 16 * 500 + 64 * 256
    assert state.visited.shape[1] == 4
    assert (state.teacher.num_phases, len(state.teacher.states)) == (1, STATES)


def test_pretraining_ends_where_nothing_is_to_be_gained():
    class Nothing(Hall):
        def step(self, action):
            observation, _, _, truncated, info = super().step(action)
            return observation, 1.0, False, truncated, info

    config = TrainConfig(
        search=Search(candidates=4, generations=1),
        pretrain=Pretrain(real_steps=10**6, patience=2_000, copies=4),
    )
    state, result = staged(Nothing, config, search.Search, pretrain.Pretrain)
    assert state.returns["optimal"] == 25
    assert result.real_steps < 60_000


@pytest.mark.parametrize(("costs", "change"), [(0.0, 0.0), (1.0, -0.01)])
def test_the_deviation_of_actions_shrinks_where_noise_costs(costs, change, generator):
    space = spaces.Box(-1.0, 1.0, (1,))
    actions, env = make_actions(space, 0.4), SyntheticEnv(OBSERVATION, space, generator=generator)
    critic = Critic(torch.zeros(2), torch.ones(2), generator=generator)
    estimator = pretrain.PolicyGradient(env, actions, critic, TrainConfig())
    with torch.no_grad():
        observation = torch.randn(1, 512, 2, generator=generator)
        output = optimal_policy(env, observation)
        action = actions.sample(output, generator)
        loss = (action - output).square()[..., 0]
        likely = actions.log_probability(output, action)
    gain = costs * (loss.mean() - loss) / loss.std()
    score = Experience(observation, action, likely, gain, torch.ones_like(gain), gain)
    estimator.tell(partial(optimal_policy, env), score, 0)
    # Five passes over two batches, in steps of 0.001.
    moved = actions.log_deviation.item() - math.log(0.4)
    assert moved == pytest.approx(change, rel=0.02, abs=1e-6)


# An expert


def lean(observation):
    tilt = observation[:, 2] + 0.5 * observation[:, 3]
    return torch.stack([-tilt, tilt], 1)


def damp(observation):
    return torch.tanh(0.5 * observation[:, 1:2] - 0.3 * observation[:, 2:3])


@pytest.mark.parametrize(("target", "expert"), [("CartPole-v1", lean), ("Pendulum-v1", damp)])
def test_an_experts_actions_are_fitted_where_it_goes(target, expert):
    state, _ = staged(target, TrainConfig(), lambda *task: ImitateExpert(*task, expert))
    made, wanted = state.teacher.output(state.visited.unsqueeze(0))[0], expert(state.visited)
    if expert is lean:
        assert (made.argmax(-1) == wanted.argmax(-1)).float().mean() > 0.98
    else:
        assert (made - wanted).square().mean() < 0.01
    assert {"random", "expert", "optimal"} <= set(state.returns)
    assert state.teacher.num_phases == (1 if target == "CartPole-v1" else 2)
    assert len(state.teacher.states) > 0


# How a lesson is shown


@pytest.mark.parametrize("target", ["CartPole-v1", "Pendulum-v1"])
def test_what_is_shown_is_measured_on_the_task(target, generator):
    task = describe(target)
    config = TrainConfig(steps=700)
    env = untrained(task, config)
    size = task.observation_space.shape[0]
    visited = 0.1 + 0.5 * torch.randn(3_000, size, generator=generator)
    shown = show(env, visited, config)
    assert torch.equal(shown.reward_parameters, env.reward_parameters)
    discrete = isinstance(task.action_space, spaces.Discrete)
    count = 1 if discrete else 2
    assert (shown.budget, shown.num_phases, len(shown.states)) == (700, count, STATES)
    mean, std = moments(visited)
    torch.testing.assert_close(shown.shift_parameters[0], mean)
    torch.testing.assert_close(shown.spread_parameters[0].exp(), std)
    assert (shown.states.unsqueeze(1) == visited).all(-1).any(1).all()
    noise = torch.randn(1, 20_000, shown.noise_size, generator=generator)
    for progress, phase in zip(
        (1.0,) if discrete else (0.0, 1.0), decode(shown.presentation[0]), strict=True
    ):
        states = shown.initial(noise, progress)
        lesson = shown.lesson(states, progress)
        if discrete:
            rewards, wanted = lesson, 0.2
        else:
            action = 2 * torch.rand(1, 20_000, 1, generator=generator) - 1
            rewards, wanted = shown.reward(lesson, action), 1.0
        assert rewards.std().item() == pytest.approx(wanted, rel=0.1)
        assert phase.until == pytest.approx(0.5 if progress == 0 else 1.0)
    phases = decode(shown.presentation[0])
    assert phases[0].wide > 0.9
    assert phases[-1].wide == pytest.approx(0.98 if discrete else 0.5, rel=1e-3)


class Push(Probe):
    """Pays for whoever puts out more than 0.3."""

    action_space = spaces.Box(-1.0, 1.0, (1,))

    def reward(self, action):
        return float(action[0] > 0.3)


@pytest.mark.parametrize(("best", "gain"), [(0.62, 1.0), (0.5, 1.25), (0.35, 1.6)])
def test_the_gain_is_the_least_with_which_a_part_of_the_best_action_will_do(best, gain):
    task = describe(Push)
    env = untrained(task, TrainConfig()).requires_grad_(False)
    weight, bias = env.reward_network.layers(env.reward_parameters)[-1]
    weight.zero_()
    bias.fill_(np.arctanh(best / 1.25))
    with RealEnvs(task, make_actions(task.action_space, 0.4), 1, 4) as real:
        # At random 1.75 of 5; agents reach 0.55 of what is best.
        assert gain_of(env, real, 1.75, 5.0, 0) == gain


@pytest.mark.parametrize("scales", [(1.0, 1.0), (1.0, 2_000.0), (1e-4, 1.0), (200.0, 200.0)])
def test_observations_of_sizes_that_agents_cannot_use_are_named(scales, caplog, generator):
    env = SyntheticEnv(OBSERVATION, spaces.Discrete(2))
    visited = torch.randn(500, 2, generator=generator) * torch.tensor(scales)
    show(env, visited, TrainConfig())
    assert ("scale them to about 1" in caplog.text) == (scales != (1.0, 1.0))


def test_what_never_moved_is_shown_as_it_is(generator):
    env = SyntheticEnv(OBSERVATION, spaces.Discrete(2))
    visited = torch.stack([torch.full((500,), 3.0), torch.randn(500, generator=generator)], 1)
    shown = show(env, visited, TrainConfig())
    states = shown.initial(torch.randn(1, 500, 4, generator=generator), 0.0)[0]
    torch.testing.assert_close(states[:, 0], torch.full((500,), 3.0), atol=1e-4, rtol=0)
    assert states[:, 1].std() > 1


# What cannot be used


def test_what_an_environment_lacks_is_said():
    """It is known, its package is not there: no id would help."""

    def lacking():
        raise ModuleNotFoundError("No module named 'imageio'")

    gym.register("Lacking-v0", lacking)
    try:
        with pytest.raises(UsageError, match="cannot be made: No module named 'imageio'"):
            describe("Lacking-v0")
    finally:
        gym.registry.pop("Lacking-v0")
