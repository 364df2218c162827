import pytest
import torch

from gtn_rl.envs.actions import make_actions
from gtn_rl.envs.targets import RealEnvs, Rollout, describe
from gtn_rl.inner import objective
from gtn_rl.inner.objective import Critic


def cartpoles(learners, copies):
    task = describe("CartPole-v1")
    return RealEnvs(task, make_actions(task.action_space, 0.4), learners, copies)


def make_rollout(reward, terminated=(), truncated=(), invalid=()):
    n = len(reward)
    flags = []
    for where in (terminated, truncated, invalid):
        flag = torch.zeros(1, n, 1, dtype=torch.bool)
        flag[:, list(where)] = True
        flags.append(flag)
    observation = torch.zeros(1, n, 1, 1)
    reward = torch.tensor(reward).view(1, n, 1)
    action = torch.zeros(1, n, 1, dtype=torch.long)
    return Rollout(observation, observation, action, reward, flags[0], flags[1], ~flags[2])


@pytest.mark.parametrize(
    ("rollout", "value", "following", "trace", "wanted"),
    [
        # A trace of 1 without values: the discounted return; of 0: temporal differences.
        (make_rollout([1.0, 2, 4]), [0.0] * 3, [0.0] * 3, 1.0, [3, 4, 4]),
        (make_rollout([1.0, 1]), [2.0, 3], [3.0, 8], 0.0, [1 + 1.5 - 2, 1 + 4 - 3]),
        # An end is not bootstrapped, a truncation is.
        (make_rollout([1.0], terminated=[0]), [0.0], [10.0], 1.0, [1]),
        (make_rollout([1.0], truncated=[0]), [0.0], [10.0], 1.0, [6]),
        # Nothing flows across an episode's end or a step that resets.
        (make_rollout([1.0, 7, 2], [0], invalid=[1]), [0.0, 5, 0], [0.0] * 3, 1.0, [1, 0, 2]),
    ],
)
def test_advantages_are_those_by_hand(rollout, value, following, trace, wanted):
    shape = rollout.reward.shape
    values = [torch.tensor(numbers).view(shape) for numbers in (value, following)]
    assert objective.advantages(rollout, *values, 0.5, trace).flatten().tolist() == wanted


def test_critic_learns_a_known_function_in_any_scale(generator):
    critic = Critic(torch.zeros(2), torch.ones(2), generator=generator, learning_rate=3e-3)
    observation = torch.randn(4096, 2, generator=generator)
    assert not critic(observation).any()
    target = 1000 + 200 * observation[:, 0]
    errors = [critic.fit(observation, target, generator) for _ in range(8)]
    assert errors[-1] < 0.01 < errors[0]
    assert (critic(observation) - target).abs().mean() < 20
    assert critic(torch.zeros(3, 5, 2)).shape == (3, 5)


@pytest.mark.parametrize("copies", [1, 3])
def test_real_steps_are_counted_exactly(copies):
    with cartpoles(2, copies) as real:
        returns = real.evaluate(lambda o: torch.zeros(*o.shape[:-1], 2), seed=0)
        assert real.steps == int(returns.sum())
        real.reset(0)
        before = real.steps
        rollout = real.rollout(
            lambda o: torch.zeros(*o.shape[:-1], 2), 60, torch.Generator().manual_seed(0)
        )
        assert real.steps - before == int(rollout.valid.sum())
        assert rollout.valid.sum() < rollout.valid.numel()
        assert real.finished() > 5


def test_rollouts_follow_the_real_dynamics():
    import gymnasium as gym

    with cartpoles(1, 2) as real:
        real.reset(0)
        rollout = real.rollout(
            lambda o: torch.zeros(*o.shape[:-1], 2), 5, torch.Generator().manual_seed(1)
        )
    single = gym.make("CartPole-v1")
    single.reset(seed=0)
    for n in range(2):
        single.unwrapped.state = rollout.observation[0, 0, n].double().numpy()
        for step in range(5):
            following, *_ = single.step(int(rollout.action[0, step, n]))
            expected = rollout.next_observation[0, step, n].numpy()
            assert following == pytest.approx(expected, abs=1e-5)
