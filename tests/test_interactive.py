"""Learners that gather their own experience, in worlds whose values are known."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from gymnasium import spaces
from probes import assert_slopes

from gtn_rl.agents.draw import draw_interactive
from gtn_rl.agents.interactive import Judged, Place, Segment, train
from gtn_rl.agents.spec import parse_learners
from gtn_rl.config import Learners, TrainConfig
from gtn_rl.envs.actions import make_actions
from gtn_rl.envs.presentation import Phase
from gtn_rl.envs.synthetic import State, SyntheticEnv
from gtn_rl.envs.targets import describe
from gtn_rl.errors import UsageError
from gtn_rl.inner.gradients import one_per_learner
from gtn_rl.inner.training import inner_loop
from gtn_rl.inner.worlds import SyntheticWorld
from gtn_rl.stages.dynamics import explore, fit_dynamics

BOX = spaces.Box(-2.0, 1.0, (2,))
PHASES = (Phase(0.5, scale=2.0), Phase(spread=2.0))


def draw(text, space, source, size=2, rate=(1e-2, 1e-2), dtype=torch.float32):
    return draw_interactive(
        parse_learners(text), size, space, learning_rate=rate, generator=source, dtype=dtype
    )  # fmt: skip


class Corridor:
    """Two rooms: action 0 in the first ends with 0.1; action 1 leads on, where all ends with 1."""

    def __init__(self, rows, episodes=8):
        self.shape = (rows, episodes)

    parameters = ()

    def forget(self):
        pass

    def enter(self, progress):
        pass

    def reset(self, source):
        return Place(self.rooms(torch.zeros(self.shape)), torch.zeros(self.shape).long())

    def rooms(self, second):
        return torch.stack([1.0 - second, second], -1)

    def outcome(self, second, action):
        on = (1 - second) * action
        reward = second + (1 - second) * (1 - action) * 0.1
        return reward, self.rooms(on), on

    def step(self, place, action, source):
        _, following, on = self.outcome(place.observation[..., 1], action.float())
        over = on == 0
        observation = torch.where(over[..., None], self.rooms(torch.zeros(self.shape)), following)
        return Place(observation, place.age), following, over, torch.zeros_like(over)

    def judge(self, segment):
        return Judged(*self.outcome(segment.observation[..., 1], segment.action.float()))

    def judge_all(self, segment):
        second = segment.observation[..., 1:].expand(*segment.action.shape, 2)
        return Judged(*self.outcome(second, torch.arange(2.0).expand_as(second)))

    def uniform(self, source, *size):
        return torch.rand(*self.shape, *size, generator=source)


@pytest.mark.parametrize("name", ["pg", "a2c", "ppo"])
def test_actor_critics_forgo_a_little_now_for_more_later(name, generator):
    learners = draw(f"4x{name}@tanh:16", spaces.Discrete(2), generator)
    trained = train(learners, Corridor(4), 400, seed=1)
    rooms = torch.eye(2).expand(4, 2, 2)
    probability = torch.softmax(trained.outputs(rooms), -1)
    assert (probability[:, 0, 1] > 0.9).all()
    value = trained.networks.values(trained.parameters, rooms)
    torch.testing.assert_close(value[:, 1], torch.ones(4), atol=0.1, rtol=0)
    torch.testing.assert_close(value[:, 0], torch.full((4,), 0.99), atol=0.1, rtol=0)


def test_action_values_are_rewards_plus_those_of_the_target_network(generator):
    learners = draw("4xdqn@relu:16", spaces.Discrete(2), generator)
    trained = train(learners, Corridor(4), 400, seed=1)
    rooms = torch.eye(2).expand(4, 2, 2)
    start = learners.networks.outputs(learners.parameters, rooms)
    values = trained.networks.outputs(trained.parameters, rooms)
    torch.testing.assert_close(values[:, 1], torch.ones(4, 2), atol=0.05, rtol=0)
    torch.testing.assert_close(values[:, 0, 0], torch.full((4,), 0.1), atol=0.05, rtol=0)
    torch.testing.assert_close(values[:, 0, 1], 0.99 * start[:, 1].amax(-1), atol=0.05, rtol=0)


def test_a_gaussian_finds_the_best_action(generator):
    class Valley(Corridor):
        def outcome(self, second, action):
            reward = -(action - torch.tensor([0.8, -0.5])).square().sum(-1)
            return reward, self.rooms(second), torch.zeros_like(second)

        def step(self, place, action, source):
            over = torch.ones(self.shape, dtype=torch.bool)
            return place, place.observation, over, over

    for name in ("a2c", "ppo"):
        learners = draw(f"2x{name}@tanh:16", BOX, generator, rate=(5e-3, 5e-3))
        trained = train(learners, Valley(2, 32), 600, seed=1)
        mean = trained.outputs(torch.tensor([1.0, 0.0]).expand(2, 1, 2))[:, 0]
        torch.testing.assert_close(mean, torch.tensor([[0.8, -0.5]] * 2), atol=0.2, rtol=0)


def mdp(space, dtype=torch.float64, **kwargs):
    env = SyntheticEnv(
        spaces.Box(-np.inf, np.inf, (2,)), space, horizon=4, hidden=(3,), **kwargs
    ).to(dtype)  # fmt: skip
    env.step_size.fill_(0.5)
    return env


# Of discrete actions: continuous ones that are sampled move with the policy, and only the score
# function's part of that is followed.
@pytest.mark.parametrize("name", ["pg", "a2c", "ppo", "dqn"])
def test_gradient_along_episodes_is_that_of_finite_differences(name, generator):
    env = mdp(spaces.Discrete(2))
    learners = draw(f"2x{name}@tanh:3", env.action_space, generator, dtype=torch.float64)
    short = {"ppo": {"length": 4, "epochs": 2, "minibatches": 2}, "dqn": {"batch_size": 9}}
    algorithm = replace(learners.algorithm, **short.get(name, {}))
    learners = replace(learners, parts=(replace(learners.parts[0], algorithm=algorithm),))

    def score():
        world = SyntheticWorld(env, 2, 3, seed=5, through=True)
        trained = train(learners, world, 6, seed=3, create_graph=True)
        return (trained.parameters * weight).sum()

    weight = torch.randn(learners.parameters.shape, generator=generator, dtype=torch.float64)
    assert_slopes(score, env.parameters(), torch.autograd.grad(score(), list(env.parameters())))


def gradients(env, name="pg", **kwargs):
    source = torch.Generator().manual_seed(1)
    learners = draw(f"2x{name}@tanh:4", env.action_space, source, dtype=torch.float64)
    world = SyntheticWorld(env, 2, 3, seed=5)
    trained = train(learners, world, 8, seed=3, create_graph=True, **kwargs)
    return torch.autograd.grad(trained.parameters.square().sum(), list(env.parameters()))


@pytest.mark.parametrize("phases", [PHASES[:1], PHASES])
@pytest.mark.parametrize("name", ["pg", "a2c", "dqn"])
def test_checkpointing_changes_nothing(name, phases):
    env = mdp(spaces.Discrete(2), phases=phases)
    whole = gradients(env, name)
    for segments in (3, 8):
        for one, other in zip(whole, gradients(env, name, segments=segments), strict=True):
            torch.testing.assert_close(one, other)


def test_training_without_a_graph_ends_at_the_same_parameters():
    env = mdp(spaces.Discrete(2))
    learners = draw("2xppo@tanh:4", env.action_space, torch.Generator(), dtype=torch.float64)
    ends = [
        train(learners, SyntheticWorld(env, 2, 3, 5), 64, 3, create_graph=graph).parameters
        for graph in (False, True)
    ]
    torch.testing.assert_close(*ends)
    assert not ends[0].grad_fn


def test_truncation_drops_what_came_first():
    env = mdp(spaces.Discrete(2))
    whole = gradients(env)
    for one, other in zip(whole, gradients(env, last=8), strict=True):
        torch.testing.assert_close(one, other)
    late = gradients(env, last=2, segments=1)
    assert all(not torch.allclose(one, other) for one, other in zip(whole, late, strict=True))


@pytest.mark.parametrize("space", [spaces.Discrete(2), BOX])
def test_the_world_is_the_environment(space, generator):
    env = mdp(space, torch.float32, members=2, generator=generator).requires_grad_(False)
    world = SyntheticWorld(env, 3, 4, seed=0)
    world.enter(0.0)
    place = world.reset(generator)
    state = State(place.observation.view(2, 12, 2), place.age.view(2, 12).float())
    for _ in range(6):
        if space is BOX:
            action = torch.rand(6, 4, 2, generator=generator) * 3 - 2
            unit = ((action + 0.5) / 1.5).view(2, 12, 2)
        else:
            action = torch.randint(2, (6, 4), generator=generator)
            unit = action.view(2, 12)
        mark = generator.get_state()
        before = place
        place, following, over, last = world.step(place, action, generator)
        again = torch.Generator()
        again.set_state(mark)
        state, reward, ended = env.step(state, unit, world.uniform(again).view(2, 12))
        torch.testing.assert_close(state.observation.view(6, 4, 2), following)
        assert torch.equal(ended.view(6, 4), over)
        columns = (before.observation, action, following, over, last)
        segment = Segment(*(column.unsqueeze(1) for column in columns))
        judged = world.judge(segment)
        torch.testing.assert_close(judged.reward[:, 0], reward.view(6, 4))
        torch.testing.assert_close(judged.following[:, 0], following)
        assert not judged.going[:, 0][last].any()
        if space is not BOX:
            everything = world.judge_all(segment)
            taken = everything.reward.gather(-1, segment.action.unsqueeze(-1)).squeeze(-1)
            torch.testing.assert_close(taken, judged.reward)
        state = State(place.observation.view(2, 12, 2), place.age.view(2, 12).float())


CONFIG = TrainConfig(
    horizon=4, learners=Learners(kinds=("2xpg@tanh:5", "2xdqn@relu:4"), inner_steps=6, batch_size=8)
)


def test_members_do_not_depend_on_their_company(generator):
    env = mdp(spaces.Discrete(2), torch.float32, members=3, generator=generator)
    env.requires_grad_(False)

    def teach(env):
        source = torch.Generator().manual_seed(4)
        return inner_loop(env, CONFIG, source, create_graph=False)

    together = teach(env)
    alone = teach(env.select(torch.tensor([1])).requires_grad_(False))
    for stack, single in zip(together, alone, strict=True):
        torch.testing.assert_close(stack.parameters[2:4], single.parameters)


def test_learners_apart_have_the_same_environment_and_even_gradients(generator):
    env = mdp(spaces.Discrete(2), torch.float32)
    several = one_per_learner(env, 3)
    observation = torch.randn(1, 5, 2, generator=generator).expand(3, -1, -1)
    lesson = several.lesson(observation)
    torch.testing.assert_close(lesson[1], env.lesson(observation[:1])[0])
    # The third learner's share is a thousand times the others' and is cut to their length.
    weight = torch.tensor([1.0, 1.0, 1000.0]).view(3, 1, 1)
    env.zero_grad()
    (weight * lesson[..., :1]).sum().backward()
    uneven = env.reward_parameters.grad.norm()
    env.zero_grad()
    lesson = several.lesson(observation[:, :5])
    (lesson[..., :1]).sum().backward()
    torch.testing.assert_close(uneven, env.reward_parameters.grad.norm())


def test_phases_are_entered_step_by_step(generator):
    env = mdp(spaces.Discrete(2), torch.float32, phases=PHASES)
    learners = draw("1xa2c@tanh:4", env.action_space, generator)
    seen = []

    class Noted(SyntheticWorld):
        def enter(self, progress):
            seen.append(progress)
            super().enter(progress)

    train(learners, Noted(env, 1, 2, 0), 5, seed=0)
    assert seen == [0.0, 0.0, 0.25, 0.5, 0.75, 1.0]


@pytest.mark.integration
def test_a_world_model_knows_where_cartpole_goes_and_ends():
    task = describe("CartPole-v1")
    env = SyntheticEnv(task.observation_space, task.action_space, horizon=20)
    env.std.copy_(torch.tensor([0.1, 0.5, 0.1, 0.7]))
    actions = make_actions(task.action_space, 0.4)
    rollout = explore(env, task, actions, 50_000, 0)
    errors = fit_dynamics(env, task, rollout, 0)
    assert errors["dynamics"] < 0.05
    assert 45_000 < int(rollout.valid.sum()) <= 50_000
    # Fewer updates do not know ends yet.
    # A fast fall to the right ends the episode, standing still does not.
    state = torch.tensor([[[0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.205, 2.0]]])
    outcome = env.outcome(state, torch.tensor([[1, 1]]))
    assert outcome.termination[0, 0] < 0.1 < 0.5 < outcome.termination[0, 1]
    # One push: the cart gains 0.02 s times about 10 N / 1.1 kg (plus the pole's share).
    assert outcome.observation[0, 0, 1].item() == pytest.approx(0.195, abs=0.03)


def test_learners_that_need_one_step_are_refused(generator):
    with pytest.raises(UsageError, match="horizon above 1"):
        draw("1xsac@tanh:4", spaces.Discrete(2), generator)
