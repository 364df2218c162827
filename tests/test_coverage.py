import math

import gymnasium as gym
import pytest
import torch
from gymnasium import spaces

import gtn_rl
from gtn_rl.agents.stock import train_stock_agents
from gtn_rl.coverage import baffle, cover, energy_distance, introduce, linear_share, widen
from gtn_rl.envs.heads import Showing, best_action, to_lesson, to_reward
from gtn_rl.envs.introduction import draw, introduction_size, stretched
from gtn_rl.errors import UsageError
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
    free, bounded = to_lesson("scores", output), to_lesson("bounded-scores", output, Showing(0.3))
    assert bounded.argmax(-1).equal(free.argmax(-1))
    assert bounded.max() == 0
    assert bounded.min() > -0.3
    torch.testing.assert_close(bounded, 0.3 * free / (1 - free))


def test_bounded_quadratic_rewards_have_their_best_action_near_the_space(generator):
    output = 3 * torch.randn(5, 7, 4, generator=generator)
    weight, best = to_lesson("bounded-quadratic", output, Showing(2.0)).chunk(2, -1)
    assert weight.min() > 0
    assert weight.max() < 4
    assert best.abs().max() <= 1.25
    lesson = torch.cat([weight, best], -1)
    assert not to_reward("bounded-quadratic", lesson, best).any()


def test_welsch_rewards_are_quadratic_near_the_best_action_and_slope_gently_far_from_it(generator):
    output = torch.randn(5, 7, 2, generator=generator, dtype=torch.float64)
    width = torch.tensor([0.7, 2.0]).double()
    lesson = to_lesson("welsch", output, Showing(2.0, width))
    weight, best, shown = lesson.chunk(3, -1)
    assert best_action(lesson, 2).equal(best)
    assert shown.equal(width.expand(5, 7, 2))
    assert weight.eq(2).all()
    assert not to_reward("welsch", lesson, best).any()
    near = best + 1e-3 * torch.randn(best.shape, generator=generator, dtype=torch.float64)
    quadratic = to_reward("bounded-quadratic", lesson[..., :4], near)
    # A tenth of a quadratic reward is everywhere.
    torch.testing.assert_close(
        to_reward("welsch", lesson, near), 1.1 * quadratic, rtol=1e-4, atol=0
    )
    far = to_reward("welsch", lesson, best + 100)
    bound = -(weight * width.square()).sum(-1)
    torch.testing.assert_close(far, bound - 2 * 2 * 0.1 * 100**2)
    # One width away, by hand.
    away = to_reward("welsch", lesson, best + width)
    torch.testing.assert_close(away, (1.1 - torch.tensor(-1.0).exp()).double() * bound)


def test_best_actions_beyond_the_space_lie_an_excess_of_times_as_far_beyond_it(generator):
    output = 2 * torch.randn(1, 50, 2, generator=generator)
    plain, shown = (
        best_action(to_lesson("welsch", output, Showing(excess=excess)), 2) for excess in (1.0, 3.0)
    )
    beyond = plain.abs() > 1
    assert beyond.any()
    assert not beyond.all()
    torch.testing.assert_close(shown[~beyond], plain[~beyond])
    farther = plain.sign() + 3 * (plain - plain.sign())
    torch.testing.assert_close(shown[beyond], farther[beyond])


def test_a_welsch_reward_without_width_has_a_best_action():
    lesson = to_lesson("welsch", torch.zeros(1), Showing(width=1e-30))
    rewards = to_reward("welsch", lesson, torch.tensor([[0.0], [0.5]]))
    assert rewards.isfinite().all()
    assert rewards[0] == 0
    assert rewards[1] < 0


def test_ppo_moves_its_means_farther_by_narrow_rewards_of_best_actions_beyond_the_space():
    moved = []
    for width, excess in ((6.0, 1.0), (1.2, 1.0), (1.2, 3.0)):
        env = gtn_rl.SyntheticEnv(spaces.Box(-1, 1, (3,)), spaces.Box(-2, 2, (1,)), head="welsch")
        with torch.no_grad():
            weight, bias = env.reward_network.layers(env.reward_parameters)[-1]
            weight.zero_()
            # Everywhere the best is 2.4, beyond the space, unless there is more excess.
            bias.fill_(1.9459)
            env.width_parameters.fill_(math.log(width))
            env.excess_parameters.fill_(math.log(excess))
        torch.testing.assert_close(
            env.lesson(torch.zeros(1, 1, 3))[0, 0, 1], torch.tensor(1 + 0.2 * excess)
        )
        agents = train_stock_agents(
            env, "stock-ppo", (64, 64), "tanh", 8, 4096, torch.Generator().manual_seed(0)
        )
        observation = torch.rand(8, 256, 3, generator=torch.Generator().manual_seed(1)) * 2 - 1
        moved.append(float(agents.outputs(observation).detach().mean()))
    assert 0.5 < moved[0] < 0.9
    assert moved[1] > 1.4 * moved[0]
    assert moved[2] > 1.15 * moved[1]


def test_a_share_of_states_is_made_up_within_the_bounds_of_real_ones(generator):
    first = torch.randn(4_000, generator=generator)
    states = torch.stack([first, 5 + first], -1)
    assert widen(states, 0.0, generator) is states
    for share in (0.25, 1.0):
        shown = widen(states, share, generator)
        assert shown.shape == states.shape
        made = shown[(shown[:, 1] - shown[:, 0] - 5).abs() > 1e-4]
        assert len(made) / 4_000 == pytest.approx(share, abs=0.01)
        assert (made >= states.amin(0)).all()
        assert (made <= states.amax(0)).all()
        assert made.std(0).tolist() == pytest.approx(
            ((states.amax(0) - states.amin(0)) / 12**0.5).tolist(), rel=0.05
        )
        assert torch.corrcoef(made.T)[0, 1].abs() < 0.1


@pytest.mark.parametrize("spread", [(2.0,), (2.0, 0.5)])
def test_an_introduction_begins_about_real_states_and_independent(spread, generator):
    first = torch.randn(4_000, generator=generator)
    states = torch.stack([1 + 2 * first, 5 + first], -1)
    env = gtn_rl.SyntheticEnv(
        spaces.Box(-50, 50, (2,)), spaces.Discrete(2), mean=[9.0, 9.0], std=[3.0, 4.0],
        introduction=True,
    )  # fmt: skip
    introduce(env, states, spread, 0.4)
    made = env.initial(torch.randn(1, 4_000, 2, generator=generator), 0.39)[0].detach()
    torch.testing.assert_close(made.mean(0), states.mean(0), rtol=0, atol=0.15)
    torch.testing.assert_close(made.std(0), states.std(0) * torch.tensor(spread), rtol=0.05, atol=0)
    assert torch.corrcoef(made.T)[0, 1].abs() < 0.05


def test_what_is_fitted_comes_after_the_introduction(generator):
    states = 3 + 0.1 * torch.randn(500, 2, generator=generator)
    env = gtn_rl.SyntheticEnv(spaces.Box(-9, 9, (2,)), spaces.Discrete(2), introduction=True)
    before = env.introduction_parameters.detach().clone()
    noise = torch.randn(1, 500, 2, generator=generator)
    cover(env, states, generator)
    assert torch.equal(env.introduction_parameters, before)
    torch.testing.assert_close(
        env.initial(noise)[0].mean(0).detach(), states.mean(0), rtol=0.1, atol=0
    )


def test_an_introduction_takes_one_spread_or_one_for_each_observation():
    env = gtn_rl.SyntheticEnv(spaces.Box(-9, 9, (3,)), spaces.Discrete(2), introduction=True)
    with pytest.raises(UsageError, match="1 number or 3"):
        introduce(env, torch.zeros(4, 3), (1.0, 2.0), 0.5)


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


def hills(*signs):
    """An environment that wants `tanh(sum tanh(1 + sign x))` of the first observation x, scaled."""
    env = gtn_rl.SyntheticEnv(
        spaces.Box(-9, 9, (2,)), spaces.Box(-1, 1, (1,)), head="welsch", hidden=(2,),
        introduction=True,
    )  # fmt: skip
    with torch.no_grad():
        env.reward_parameters.zero_()
        (first, bias), (last, _) = env.reward_network.layers(env.reward_parameters)
        first[0, 0], bias[0], last[0] = torch.tensor(signs), 1.0, 0.3
        # Independent, of deviation 1 about (1.5, 0), for half of the training.
        env.introduction_parameters[0, 0], env.introduction_parameters[0, -1] = 1.5, 0.5
    return env


def test_a_linear_policy_knows_all_of_a_line_and_nothing_of_a_hill(generator):
    noise = torch.randn(1, 20_000, 2, generator=generator)
    line, hill = hills(0.05, 0.05), hills(1.0, -1.0)
    assert linear_share(line, noise).item() == pytest.approx(1, abs=0.01)
    # On one flank of the hill much, about its top nothing.
    assert linear_share(hill, noise) > 0.5
    with torch.no_grad():
        hill.introduction_parameters[0, 0] = 0.0
    assert linear_share(hill, noise) < 1e-3
    # Neither a point nor a lesson that wants the same everywhere says anything.
    with torch.no_grad():
        line.introduction_parameters[0, 2:4] = -100.0
        hill.reward_parameters.zero_()
    assert linear_share(line, noise) == linear_share(hill, noise) == 0


def test_a_stretched_introduction_has_the_same_middle_and_shape(generator):
    parameters = torch.randn(3, introduction_size(2), generator=generator)
    noise = torch.randn(3, 50, 2, generator=generator)
    middle, longer = parameters[:, None, :2], stretched(parameters, 2, 1.5, 0.0)
    expected = middle + 1.5 * (draw(parameters, noise) - middle)
    torch.testing.assert_close(draw(longer, noise), expected)
    assert torch.equal(longer[:, -1], parameters[:, -1])
    other = stretched(parameters, 2, 1.0, 0.25)
    assert torch.equal(other[:, :-1], parameters[:, :-1])
    assert (other[:, -1] == 0.25).all()


def test_an_introduction_moves_until_linear_policies_know_little_of_it(generator):
    env = hills(1.0, -1.0)
    before = env.introduction_parameters.detach().clone()
    baffle(env, 0.1, generator)
    after = env.introduction_parameters.detach()
    noise = torch.randn(1, 20_000, 2, generator=generator)
    assert linear_share(env, noise).item() == pytest.approx(0.1, abs=0.05)
    assert after[0, 0].abs() < 1
    assert after[0, -1] == before[0, -1]
    # The other observation says nothing of what is wanted, and has no reason to move.
    assert after[0, 1].abs() < 0.05
    baffle(env, 0.5, generator)
    torch.testing.assert_close(env.introduction_parameters.detach(), after)
