"""The start of a run: the search among untrained environments and the warm-up."""

from dataclasses import dataclass, replace
from functools import partial

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch.nn.utils import parameters_to_vector

from gtn_rl.config import TrainConfig
from gtn_rl.critic import Critic
from gtn_rl.envs.actions import make_actions
from gtn_rl.envs.synthetic import SyntheticEnv
from gtn_rl.envs.targets import RealEnvs, describe
from gtn_rl.errors import UsageError
from gtn_rl.perfect import perfect_learner, warm_up
from gtn_rl.real_return import RealReturn
from gtn_rl.start import _ahead, _Seen, search

OBSERVATION = spaces.Box(-np.inf, np.inf, (2,))


def test_a_perfect_learner_takes_the_best_action(generator):
    env = SyntheticEnv(OBSERVATION, spaces.Discrete(3), members=2, generator=generator)
    observation = torch.randn(2, 5, 2, generator=generator)
    best = env.lesson(observation).argmax(-1)
    assert torch.equal(perfect_learner(env, observation).argmax(-1), best)
    env = SyntheticEnv(OBSERVATION, spaces.Box(0.0, 4.0, (1,)), generator=generator)
    observation = observation[:1]
    lesson = env.lesson(observation)
    unit = (perfect_learner(env, observation) - 2) / 2
    assert env.reward(lesson, unit).abs().max() < 1e-12
    with pytest.raises(UsageError, match="no known best action"):
        perfect_learner(
            SyntheticEnv(OBSERVATION, spaces.Box(0.0, 4.0, (1,)), head="mlp"), observation
        )


def test_the_search_finds_a_better_start_than_chance():
    task = describe("CartPole-v1")
    actions = make_actions(task.action_space, 0.4)
    config = TrainConfig(starts=64)
    env, steps = search(task, actions, config, 0)
    with RealEnvs(task, actions, 1, 20) as real:
        score = real.evaluate(partial(perfect_learner, env), 1).mean()
    assert score > 60
    assert 64 * 4 * 32 < steps < 300_000


def test_the_search_goes_on_where_all_returns_are_the_same():
    """MountainCar: nearly all untrained environments teach agents that never reach the goal."""
    task = describe("MountainCar-v0")
    actions = make_actions(task.action_space, 0.4)
    env, _ = search(task, actions, TrainConfig(starts=96), 0)
    # The scale of what moving learners see, not of what random actions see (0.08 and 0.01).
    assert env.std[0] > 0.15
    with RealEnvs(task, actions, 1, 50, horizon=1000) as real:
        assert real.evaluate(partial(perfect_learner, env), 1).mean() > -999


@pytest.mark.parametrize(
    "settings",
    [
        {"warmup": 120_000},
        # Fewer real steps do where updates are small.
        {"warmup": 60_000, "warmup_copies": 8, "warmup_batch": 128, "warmup_learning_rate": 1e-3},
    ],
)
def test_the_warm_up_learns_a_task_within_its_budget(settings):
    task = describe("CartPole-v1")
    actions = make_actions(task.action_space, 0.4)
    config = TrainConfig(starts=16, **settings)
    env, _ = search(task, actions, config, 0)
    critic = Critic(env.mean, env.std, 1e-3, torch.Generator().manual_seed(0))
    visited, steps = warm_up(env, task, actions, critic, config, 1)
    # Two evaluations of 64 episodes and the last look around come on top of the budget.
    assert steps < config.warmup + 64 * 128 + 2 * 64 * 500 + 64 * 256
    assert visited.shape[1] == 4
    with RealEnvs(task, actions, 1, 20) as real:
        assert real.evaluate(partial(perfect_learner, env), 1).mean() > 300


class Push(gym.Env):
    """The harder the better."""

    observation_space = gym.spaces.Box(-1.0, 1.0, (1,))
    action_space = gym.spaces.Box(-1.0, 1.0, (1,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.np_random.uniform(-1, 1, 1).astype("float32"), {}

    def step(self, action):
        return self.np_random.uniform(-1, 1, 1).astype("float32"), float(action[0]), True, False, {}


def test_effort_makes_gentle_experts():
    task = describe(Push)
    actions = make_actions(task.action_space, 0.4)
    strain = []
    for effort in (0.0, 2.0):
        config = TrainConfig(
            starts=8, warmup=20_000, warmup_copies=8, warmup_batch=128, effort=effort
        )
        env, _ = search(task, actions, config, 0)
        critic = Critic(env.mean, env.std, 1e-3, torch.Generator().manual_seed(0))
        states, _ = warm_up(env, task, actions, critic, config, 1)
        with torch.no_grad():
            acted = perfect_learner(env, states.unsqueeze(0))
        strain.append(float(actions.effort(acted).mean()))
    assert strain[0] > 0.9
    assert strain[1] < 0.5 * strain[0]


def test_effort_is_refused_where_no_action_is_larger_than_another():
    with pytest.raises(UsageError, match="continuous actions"):
        RealReturn(describe("CartPole-v1"), TrainConfig(effort=0.1))


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


def test_a_shared_best_return_is_nothing_to_climb():
    plateau = torch.tensor([-100.0, -200.0, -100.0, -300.0])
    assert not _ahead(plateau, -14.0).any()
    assert not _ahead(plateau, None).any()
    # Unless it is the goal, or too few have it.
    assert _ahead(plateau, -100.0).tolist() == [True, True, True, False]
    assert _ahead(torch.arange(8.0), None).sum() == 7
    assert not _ahead(torch.zeros(8), None).any()
    assert _ahead(torch.tensor([1.0, 2.0]), None).tolist() == [False, True]


def test_who_goes_where_few_go_gets_about_most():
    seen = _Seen(4, 3)
    # Cells one-hot: all see the first, three the second, one the third.
    for cells in ([0, 0, 0, 0], [1, 1, 1, 2]):
        seen.add(torch.eye(3)[cells].unsqueeze(1))
    assert seen.extent().argmax() == 3
    seen.clear()
    seen.add(torch.eye(3)[[0, 0, 0, 1]].unsqueeze(1))
    assert (seen.extent() == 0).all()


@pytest.mark.slow
def test_the_search_leaves_a_plateau_by_novelty():
    """CliffWalking: whoever stands still does best, until one reaches the goal."""

    def cliff():
        limited = gym.wrappers.TimeLimit(gym.make("CliffWalking-v1"), 100)
        return gym.wrappers.FlattenObservation(limited)

    task = describe(cliff)
    actions = make_actions(task.action_space, 0.4)
    env, _ = search(task, actions, TrainConfig(seed=3, target_return=-14.0), 0)
    with RealEnvs(task, actions, 1, 5) as real:
        assert real.evaluate(partial(perfect_learner, env), 1).mean() > -100


def test_rewards_start_as_large_and_states_as_wide_as_the_settings_say(tiny_config, generator):
    config = replace(tiny_config, warmup=3_000, warmup_copies=4, reward_scale=(0.25,))
    task, made = describe("CartPole-v1"), []
    noise = torch.randn(1, 4_000, 4, generator=generator)
    for wide in (0.0, 1.0):
        with RealReturn(task, replace(config, wide=wide)) as problem:
            env = problem.start(lambda _: None)
        assert env.showing().scale.item() == pytest.approx(0.25)
        made.append(env.initial(noise)[0].detach().std(0))
    assert (made[1] > 1.1 * made[0]).all()
    with pytest.raises(UsageError, match="wide is a share"):
        replace(config, wide=1.5)
    with pytest.raises(UsageError, match="wide needs states"):
        replace(config, wide=0.5, warmup=0)
    with pytest.raises(UsageError, match="reward_scale must be positive"):
        replace(config, reward_scale=(0.0,))


def test_rewards_of_form_welsch_start_as_narrow_as_the_settings_say(tiny_config):
    task = describe("Pendulum-v1")
    config = replace(
        tiny_config, learners=("2xpg@tanh:4",), warmup=500, head="welsch", introduction=(2.0,),
        width=(1.5, 4.0), excess=(2.0,), reward_scale=(3.0, 0.5),
    )  # fmt: skip
    with RealReturn(task, config.for_space(task.action_space)) as problem:
        env = problem.start(lambda _: None)
    widths, excesses = (p.detach().exp() for p in (env.width_parameters, env.excess_parameters))
    torch.testing.assert_close(widths, torch.tensor([[1.5, 4.0]]))
    torch.testing.assert_close(excesses, torch.tensor([[2.0, 2.0]]))
    torch.testing.assert_close(env.scale_parameters.detach().exp(), torch.tensor([[3.0, 0.5]]))
    with pytest.raises(UsageError, match="width must be positive"):
        replace(config, width=(0.0,))
    with pytest.raises(UsageError, match="excess takes 1 number, or 2 where"):
        replace(config, excess=(1.0, 2.0), introduction=(), width=(1.0,), reward_scale=(1.0,))


def test_of_several_fits_the_one_that_teaches_best_is_taken(tiny_config, monkeypatch):
    told = {}

    def fitness(self, population, step, *, middle):
        told["population"], told["learners"] = population, self.config.learners
        assert middle
        # Ranks of the first kind of learners are 1, 0, 2, of the second 0, 2, 1.
        return torch.tensor([[1.0, 1.0], [0.0, 9.0], [2.0, 2.0]]), 5

    monkeypatch.setattr(RealReturn, "fitness", fitness)
    task = describe("CartPole-v1")
    judges = ("1xstock-ppo@tanh:4/10", "1xstock-a2c@tanh:4/10")
    config = replace(tiny_config, warmup=500, fits=3, judged=True, judges=judges)
    one, three = replace(config, fits=1), config
    envs, steps = [], []
    for settings in (one, three):
        with RealReturn(task, settings.for_space(task.action_space)) as problem:
            envs.append(problem.start(lambda _: None))
            steps.append(problem.real_steps)
    assert told["learners"] == judges
    assert steps[1] == steps[0] + 5
    rows = told["population"]
    first, chosen = (parameters_to_vector(env.parameters()) for env in envs)
    torch.testing.assert_close(rows[0], first)
    torch.testing.assert_close(rows[2], chosen)
    with pytest.raises(UsageError, match="fits needs states"):
        replace(config, coverage=False)
    # What is taught is the same.
    assert torch.equal(envs[0].reward_parameters, envs[1].reward_parameters)
    assert not torch.isclose(rows[0], rows[1]).all()


@dataclass
class Constant:
    """Learners that take one action each: rows of two members, four of each kind."""

    parameters: torch.Tensor
    names = (("a", 8), ("b", 8))

    def outputs(self, observations):
        return self.parameters.view(-1, 1, 1).expand(*observations.shape[:2], 1)


def test_neither_who_learned_nothing_nor_hard_episodes_decide_which_start_is_taken(
    tiny_config, monkeypatch
):
    class Action(gym.Env):
        observation_space = gym.spaces.Box(-1, 1, (1,))
        action_space = gym.spaces.Box(-100, 0, (1,))

        def reset(self, *, seed=None, options=None):
            begun.append(seed)
            return np.zeros(1, np.float32), {}

        def step(self, action):
            return np.zeros(1, np.float32), float(action[0]), False, True, {}

    begun = []
    first = [[-1.0, -2, -4, -90], [-3, -3, -5, -5]]
    second = [[-5.0, -7, -7, -8], [-99, -9, -8, -1]]
    learners = [Constant(torch.tensor([first, second]).flatten())]
    monkeypatch.setattr(RealReturn, "train", lambda *_, **__: learners)
    monkeypatch.setattr(TrainConfig, "kinds", {"a": 4, "b": 4})
    task = describe(Action)
    config = replace(tiny_config, learners=("8xpg@tanh:4",)).for_space(task.action_space)
    with RealReturn(task, config) as problem:
        rows = torch.cat(list(problem.blank(2).parameters()), 1)
        means, steps = problem.fitness(rows, 0)
        assert steps == 16 * config.copies
        torch.testing.assert_close(means, torch.tensor([[-24.25, -6.75], [-4.0, -29.25]]))
        assert len(set(begun)) == config.copies
        begun.clear()
        middle, _ = problem.fitness(rows, 0, middle=True)
        torch.testing.assert_close(middle, torch.tensor([[-3.0, -7.0], [-4.0, -8.5]]))
        # Each of 8 learners has its own episodes, in both members the same.
        assert len(set(begun)) == 8 * config.copies
        assert sorted(begun) == sorted(2 * [*set(begun)])


def test_an_introduction_is_part_of_the_start(tiny_config):
    task = describe("CartPole-v1")
    config = replace(
        tiny_config, warmup=500, introduction=(2.0,), introduction_share=0.6, budget=300
    )
    with RealReturn(task, config.for_space(task.action_space)) as problem:
        env = problem.start(lambda _: None)
    assert (env.introduction, env.budget) == (True, 300)
    row = env.introduction_parameters[0].detach()
    assert float(row[-1]) == pytest.approx(0.6)
    assert row[:8].any()
    with pytest.raises(UsageError, match="introduction_linear must be from 0 to 1"):
        replace(config, introduction_linear=1.5)
    for spread, share in (((0.0,), 0.5), ((1.0,), 1.0)):
        with pytest.raises(UsageError, match="introduction"):
            replace(config, introduction=spread, introduction_share=share)
    with pytest.raises(UsageError, match="set warmup above 0"):
        replace(config, warmup=0)
