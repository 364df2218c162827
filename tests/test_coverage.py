import gymnasium as gym
import pytest
import torch
from gymnasium import spaces

import gtn_rl
from gtn_rl.coverage import cover, energy_distance
from gtn_rl.envs.heads import to_lesson, to_reward
from gtn_rl.perfect import Perfect, perfect_learner


def test_energy_distance_is_least_for_the_same_distribution(generator):
    real = torch.randn(2_000, 2, generator=generator)
    same = float(energy_distance(torch.randn(800, 2, generator=generator), real))
    for other in (1.3, 0.7):
        assert energy_distance(other * torch.randn(800, 2, generator=generator), real) > same
    shifted = torch.randn(800, 2, generator=generator) + torch.tensor([0.5, 0.0])
    assert energy_distance(shifted, real) > same


def test_energy_distance_of_two_points():
    made, real = torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0], [3.0]])
    # Twice the mean of 0, 3, 1, 2, less the mean distance of the two.
    assert energy_distance(made, real) == pytest.approx(2 * 1.5 - 1)


def test_initial_states_are_fitted_to_real_ones(generator):
    first = torch.randn(1_000, generator=generator)
    states = torch.stack([3 + 0.5 * first, first.square()], -1)

    def distance(made):
        own = energy_distance(states, states.roll(1, 0))
        return float((energy_distance(made, states) - own).detach())

    env = gtn_rl.SyntheticEnv(spaces.Box(-9, 9, (2,)), spaces.Discrete(2))
    noise = torch.randn(1, 1_000, 2, generator=generator)
    before = distance(env.initial(noise)[0])
    said = cover(env, states, generator)
    after = env.initial(noise)[0].detach()
    assert before > 1
    assert distance(after) < 0.05 * before
    assert said == pytest.approx(distance(after), abs=0.05)
    torch.testing.assert_close(after.mean(0), states.mean(0), rtol=0.3, atol=0)


def test_bounded_scores_have_a_bound_and_the_same_best_action(generator):
    output = 10 * torch.randn(5, 7, 3, generator=generator)
    free, bounded = to_lesson("scores", output), to_lesson("bounded-scores", output, 0.3)
    assert bounded.argmax(-1).equal(free.argmax(-1))
    assert bounded.max() == 0
    assert bounded.min() > -0.3
    torch.testing.assert_close(bounded, 0.3 * free / (1 - free))


def test_bounded_quadratic_rewards_have_their_best_action_near_the_space(generator):
    output = 3 * torch.randn(5, 7, 4, generator=generator)
    weight, best = to_lesson("bounded-quadratic", output, 2.0).chunk(2, -1)
    assert weight.min() > 0
    assert weight.max() < 4
    assert best.abs().max() <= 1.25
    lesson = torch.cat([weight, best], -1)
    assert not to_reward("bounded-quadratic", lesson, best).any()


def test_the_perfect_learner_does_not_heed_the_scale_of_rewards(generator):
    env = gtn_rl.SyntheticEnv(spaces.Box(-9, 9, (4,)), spaces.Discrete(2))
    observation = torch.randn(1, 20, 4, generator=generator)
    before = perfect_learner(env, observation)
    with torch.no_grad():
        env.scale_parameters.add_(1.0)
    torch.testing.assert_close(perfect_learner(env, observation), before)


def test_perfect_learners_have_the_gradient_of_their_environment(generator):
    task = gym.make("Pendulum-v1")
    env = gtn_rl.SyntheticEnv(task.observation_space, task.action_space).double()
    observation = torch.randn(1, 6, 3, generator=generator, dtype=torch.float64)
    learners = Perfect.of(env, 2)
    outputs = learners.outputs(observation.expand(2, -1, -1))
    torch.testing.assert_close(outputs[1:], perfect_learner(env, observation))
    through = torch.autograd.grad(outputs[0].sum(), env.reward_parameters)[0]
    direct = torch.autograd.grad(perfect_learner(env, observation).sum(), env.reward_parameters)[0]
    torch.testing.assert_close(through, direct)
    leaf = learners.parameters.detach().requires_grad_()
    moved = learners.with_parameters(leaf).outputs(observation.expand(2, -1, -1))
    assert torch.autograd.grad(moved.sum(), leaf)[0].abs().sum() > 0
