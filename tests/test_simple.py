from dataclasses import replace

import pytest
import torch
from gymnasium import spaces

import gtn_rl
from gtn_rl.config import TrainConfig
from gtn_rl.envs.targets import describe
from gtn_rl.errors import UsageError
from gtn_rl.perfect import perfect_learner
from gtn_rl.real_return import RealReturn
from gtn_rl.simple import hush, set_gap


def ramp(bias):
    """Scores x, bias and -x of what is seen, a number of deviation 1."""
    env = gtn_rl.SyntheticEnv(spaces.Box(-9, 9, (1,)), spaces.Discrete(3), hidden=(1,))
    with torch.no_grad():
        env.initial_parameters.zero_()
        (weight, first), (out, last) = env.reward_network.layers(env.reward_parameters)
        # Small enough for tanh to be straight.
        weight.fill_(1e-3), first.zero_()
        out.copy_(1e3 * torch.tensor([[[1.0, 0, -1]]])), last.copy_(torch.tensor([[[0, bias, 0]]]))
    return env


def scores(env, seen):
    observation = torch.tensor(seen).view(1, -1, 1)
    return env.reward_network(env.reward_parameters, observation)[0].detach()


def test_what_is_hardly_ever_best_scores_the_mean_of_the_others(generator):
    # Best where |x| < 0.1, 8 % of a normal distribution.
    env = ramp(0.1)
    before = scores(env, [-2.0, 0.05, 2.0])
    assert hush(env, 0.05, generator) == []
    assert scores(env, [-2.0, 0.05, 2.0]).equal(before)
    assert hush(env, 0.15, generator) == [1]
    wanted = torch.tensor([[-2.0, 0, 2], [0.05, 0, -0.05], [2, 0, -2]])
    torch.testing.assert_close(scores(env, [-2.0, 0.05, 2.0]), wanted, atol=1e-4, rtol=1e-3)


def test_one_action_that_is_always_best_stays_so(generator):
    env = ramp(50.0)
    before = env.reward_parameters.detach().clone()
    assert hush(env, 0.3, generator) == []
    assert torch.equal(env.reward_parameters, before)


def test_scores_are_stretched_to_a_mean_gap_and_no_action_becomes_better(generator):
    env = ramp(-0.5)
    before = scores(env, [-1.0, 0.3, 1.0])
    # Best and worst are 2 |x| apart, or |x| + 1/2 where |x| is below that: some 1.73 on average.
    set_gap(env, 0.25, generator)
    after = scores(env, [-1.0, 0.3, 1.0])
    ratio = after / before
    torch.testing.assert_close(ratio, ratio[:1, :1].expand(3, 3))
    noise = torch.randn(1, 50_000, 1, generator=generator)
    output = env.reward_network(env.reward_parameters, env.initial(noise))[0].detach()
    assert (output.amax(-1) - output.amin(-1)).mean().item() == pytest.approx(0.25, rel=0.03)
    set_gap(env, 0.0, generator)
    assert scores(env, [-1.0, 0.3, 1.0]).equal(after)


def test_continuous_lessons_are_left_alone(generator):
    env = gtn_rl.SyntheticEnv(spaces.Box(-9, 9, (1,)), spaces.Box(-1, 1, (1,)))
    before = env.reward_parameters.detach().clone()
    assert hush(env, 0.3, generator) == []
    set_gap(env, 1.0, generator)
    assert torch.equal(env.reward_parameters, before)


def test_a_run_begins_with_a_lesson_as_simple_as_the_settings_say(tiny_config, generator):
    task = describe("MountainCar-v0")
    config = replace(
        tiny_config, warmup=20_000, starts=32, max_real_steps=1_000_000, rare=0.2, score_gap=0.5,
        wide=1.0, centred=0.75, fade=0.25, budget=400, reward_scale=(1.0, 0.25),
    )  # fmt: skip
    with RealReturn(task, config.for_space(task.action_space)) as problem:
        env = problem.start(lambda _: None)
    assert (env.centred, env.fade, env.even, env.budget) == (0.75, 0.25, True, 400)
    torch.testing.assert_close(env.scale_parameters.detach().exp(), torch.tensor([[1.0, 0.25]]))
    noise = torch.randn(1, 50_000, 2, generator=generator)
    states = env.initial(noise)
    seen = (states - env.mean) / env.std
    output = env.reward_network(env.reward_parameters, seen)[0].detach()
    assert (output.amax(-1) - output.amin(-1)).mean().item() == pytest.approx(0.5, rel=0.05)
    # Uniform between what was met: the middle half takes half of the room.
    low, lower, upper, high = states[0].detach().quantile(torch.tensor([0.0, 0.25, 0.75, 1]), 0)
    torch.testing.assert_close(
        (upper - lower) / (high - low), torch.full((2,), 0.5), atol=0.02, rtol=0
    )
    # To stand still is best nowhere, and nothing is to be learned of it.
    torch.testing.assert_close(output[:, 1], output[:, ::2].mean(-1), atol=1e-5, rtol=1e-4)
    best = perfect_learner(env, states)[0].argmax(-1).bincount(minlength=3) / 50_000
    assert all(share == 0 or share > 0.15 for share in best.tolist())


def test_what_does_not_fit_is_refused(tmp_path):
    config = TrainConfig(budget=100, reward_scale=(1.0, 0.3), centred=0.5)
    for wrong, message in (
        ({"centred": 0.0}, "reward_scale takes 1 number"),
        ({"budget": 0}, "set budget"),
        ({"fade": 0.6}, "at most 1 together"),
        ({"fade": -0.1}, "fade must not be negative"),
        ({"rare": 0.5}, "rare is a share below 0.5"),
        ({"horizon": 5}, "for a horizon of 1"),
        ({"rare": 0.1, "warmup": 0, "imitation": 0}, "what a warm-up leaves"),
        ({"wide": 1.0, "fits": 2}, "no initial states are fitted"),
    ):
        with pytest.raises(UsageError, match=message):
            replace(config, **wrong)
    pendulum = describe("Pendulum-v1").action_space
    with pytest.raises(UsageError, match="rare and score_gap are for discrete actions"):
        TrainConfig(score_gap=1.0).for_space(pendulum)
    assert TrainConfig(score_gap=1.0).for_space(spaces.Discrete(2)).score_gap == 1
    env = gtn_rl.SyntheticEnv(
        describe("CartPole-v1").observation_space, spaces.Discrete(2), target="CartPole-v1",
        hidden=(32,), centred=0.25, budget=100,
    )  # fmt: skip
    other = replace(config, init=str(gtn_rl.save_pretrained(env, tmp_path)))
    task = describe("CartPole-v1")
    with (
        RealReturn(task, other.for_space(task.action_space)) as problem,
        pytest.raises(UsageError, match=r"has centred 0\.25, not 0\.5: set centred"),
    ):
        problem.start(lambda _: None)
