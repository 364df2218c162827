import gymnasium as gym
import pytest
import torch
from gymnasium import spaces

import gtn_rl
from gtn_rl.config import TrainConfig
from gtn_rl.envs.actions import make_actions
from gtn_rl.envs.targets import describe
from gtn_rl.errors import UsageError
from gtn_rl.presentation import present, show


@pytest.fixture
def env():
    return gtn_rl.SyntheticEnv(spaces.Box(-99, 99, (2,)), spaces.Discrete(3), std=[1.0, 5.0])


def states(env, count=4_000):
    noise = torch.randn(1, count, 2, generator=torch.Generator().manual_seed(1))
    return env.initial(noise.expand(env.members, -1, -1))


def test_zeros_change_nothing(env, generator):
    shown = show(env, torch.zeros(2, 6))
    torch.testing.assert_close(states(shown), states(env).expand(2, -1, -1))
    observation = torch.randn(1, 9, 2, generator=generator)
    torch.testing.assert_close(
        shown.lesson(observation.expand(2, -1, -1)), env.lesson(observation).expand(2, -1, -1)
    )


def test_initial_states_are_spread_about_their_mean_and_moved(env):
    before = states(env)[0]
    numbers = torch.tensor([[0.7, 0.0, 0.0, 0.3, 0.0, 0.0]])
    after = states(show(env, numbers))[0]
    grown = torch.tensor([0.7, 0.0]).exp()
    torch.testing.assert_close(after.std(0), before.std(0) * grown)
    moved = torch.tensor([0.0, 0.3]) * env.std
    # The mean of other draws is not quite the mean of these.
    assert (after.mean(0) - before.mean(0) - moved).abs().max() < 0.1


def test_rewards_are_scaled_and_sharpened(env, generator):
    observation = torch.randn(1, 9, 2, generator=generator)
    before = env.lesson(observation)
    scaled = show(env, torch.tensor([[0.0, 0, 0, 0, 0.5, 0]])).lesson(observation)
    torch.testing.assert_close(scaled, before * torch.tensor(0.5).exp())
    sharp = show(env, torch.tensor([[0.0, 0, 0, 0, 0, 0.5]])).lesson(observation)
    assert sharp.argmax(-1).equal(before.argmax(-1))
    free = before / (1 + before)
    torch.testing.assert_close(sharp / (1 + sharp), free * torch.tensor(0.5).exp())


def test_widths_of_welsch_rewards_grow_and_nothing_else(generator):
    task = gym.make("Pendulum-v1")
    env = gtn_rl.SyntheticEnv(task.observation_space, task.action_space, head="welsch")
    observation = torch.randn(1, 9, 3, generator=generator)
    shown = show(env, torch.tensor([[0.0] * 8 + [0.7], [0.0] * 8 + [-0.7]]))
    before, after = env.lesson(observation), shown.lesson(observation.expand(2, -1, -1))
    torch.testing.assert_close(after[..., :2], before[..., :2].expand(2, -1, -1))
    logit = torch.special.logit(before[0, :, 2] / 3.5)
    torch.testing.assert_close(after[0, :, 2], 3.5 * torch.sigmoid(logit + 0.7))
    torch.testing.assert_close(after[1, :, 2], 3.5 * torch.sigmoid(logit - 0.7))


@pytest.mark.parametrize("head", ["bounded-quadratic", "quadratic", "mlp"])
def test_continuous_rewards_keep_their_weight_when_sharpened(head, generator):
    task = gym.make("Pendulum-v1")
    env = gtn_rl.SyntheticEnv(task.observation_space, task.action_space, head=head)
    observation = torch.randn(1, 9, 3, generator=generator)
    shown = show(env, torch.tensor([[0.0] * 7 + [0.5]]))
    before, after = env.lesson(observation), shown.lesson(observation)
    torch.testing.assert_close(after[..., 0], before[..., 0])
    if head == "quadratic":
        torch.testing.assert_close(after[..., 1], before[..., 1] * torch.tensor(0.5).exp())


def test_what_is_found_has_the_same_best_actions(generator):
    task = describe("CartPole-v1")
    env = gtn_rl.SyntheticEnv(
        task.observation_space, task.action_space, target=task.id
    ).requires_grad_(False)
    observation = torch.randn(1, 50, 4, generator=generator)
    best = env.lesson(observation).argmax(-1)
    config = TrainConfig(presentation=2, candidates=4, judges=("2xstock-a2c@tanh:16-16/500",))
    told = []
    actions = make_actions(task.action_space, 0.4)
    steps = present(env, task, actions, config, 0, lambda *row: told.append(row))
    assert steps > 0
    assert [share for _, share in told] == [0.5, 1.0]
    assert env.lesson(observation).argmax(-1).equal(best)
    none = TrainConfig(presentation=0)
    assert present(env, task, actions, none, 0) == 0


class Flat(gym.Env):
    """Whatever is done, it is worth the same."""

    observation_space = spaces.Box(-1.0, 1.0, (1,))
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.np_random.uniform(-1, 1, 1).astype("float32"), {}

    def step(self, action):
        return self.np_random.uniform(-1, 1, 1).astype("float32"), -1.0, True, False, {}


def test_where_all_is_worth_the_same_nothing_is_changed():
    task = describe(Flat)
    env = gtn_rl.SyntheticEnv(task.observation_space, task.action_space).requires_grad_(False)
    before = {name: value.clone() for name, value in env.state_dict().items()}
    config = TrainConfig(presentation=3, candidates=4, judges=("1xstock-a2c@tanh:4/10",))
    assert present(env, task, make_actions(task.action_space, 0.4), config, 0) > 0
    for name, value in env.state_dict().items():
        torch.testing.assert_close(value, before[name])


def test_too_few_candidates_are_refused():
    with pytest.raises(UsageError, match="candidates must be at least 4"):
        TrainConfig(candidates=2)
