from math import exp, log, sqrt

import numpy as np
import pytest
import torch
from gymnasium import spaces

import gtn_rl
from gtn_rl.errors import UnsupportedSpaceError, UsageError
from gtn_rl.perfect import perfect_learner


def test_initial_states_are_scaled_and_clipped():
    box = spaces.Box(np.array([-1.0, -np.inf], np.float32), np.array([1.0, np.inf], np.float32))
    env = gtn_rl.SyntheticEnv(
        box, spaces.Discrete(2), mean=np.array([0.0, 100.0]), std=np.array([50.0, 2.0])
    )
    with torch.no_grad():
        for parameter in env.parameters():
            parameter.zero_()
        noise = torch.tensor([[[2.0, -1.0], [-0.01, 0.5]]])
        observation = env.initial(noise)
    assert observation.tolist() == [[[1.0, 98.0], [-0.5, 101.0]]]


def test_reward_of_an_action_is_its_entry(env, generator):
    state = env.reset(torch.randn(1, 5, 4, generator=generator))
    action = torch.tensor([[0, 1, 1, 0, 1]])
    following, reward, terminated = env.step(state, action)
    torch.testing.assert_close(
        reward[0], env.lesson(state.observation)[0, torch.arange(5), action[0]]
    )
    assert terminated.all()
    assert (following.age == 1).all()


def test_members_are_independent(generator):
    box = spaces.Box(-np.inf, np.inf, (3,))
    population = gtn_rl.SyntheticEnv(
        box, spaces.Discrete(2), members=4, generator=generator, hidden=(8,)
    )
    noise = torch.randn(1, 6, 3, generator=generator).expand(4, 6, 3)
    observation = population.initial(noise)
    assert observation.shape == (4, 6, 3)
    for member in range(4):
        single = gtn_rl.SyntheticEnv(box, spaces.Discrete(2), hidden=(8,))
        with torch.no_grad():
            for own, rows in zip(single.parameters(), population.parameters(), strict=True):
                own.copy_(rows[member : member + 1])
        torch.testing.assert_close(single.initial(noise[:1])[0], observation[member])
    assert len({member.sum().item() for member in observation}) == 4


def test_environment_is_differentiable_in_double(generator):
    env = gtn_rl.SyntheticEnv(
        spaces.Box(-np.inf, np.inf, (2,)), spaces.Discrete(2), hidden=(3,)
    ).double()
    noise = torch.randn(1, 4, 2, generator=generator, dtype=torch.float64)
    parameters = list(env.parameters())

    def rewards(*_):
        return env.lesson(env.initial(noise))

    assert torch.autograd.gradcheck(rewards, parameters)


def box_env(head="", **kwargs):
    return gtn_rl.SyntheticEnv(
        spaces.Box(-np.inf, np.inf, (2,)), spaces.Box(-2, 2, (3,)), head=head, hidden=(5,), **kwargs
    )


def test_a_quadratic_reward_is_highest_at_its_best_action(generator):
    env = box_env()
    lesson = env.lesson(torch.randn(1, 6, 2, generator=generator))
    weight, best = lesson.chunk(2, -1)
    assert (weight > 0).all()
    assert not env.reward(lesson, best).any()
    off = torch.tensor([1.0, 0.0, -2.0])
    torch.testing.assert_close(env.reward(lesson, best + off), -weight[..., 0] - 4 * weight[..., 2])


@pytest.mark.parametrize("head", ["quadratic", "mlp"])
def test_continuous_rewards_differ_between_members(head, generator):
    env = box_env(head, members=3, generator=generator)
    lesson = env.lesson(torch.zeros(3, 4, 2))
    reward = env.reward(lesson, torch.full((3, 4, 3), 0.5))
    assert reward.shape == (3, 4)
    assert len(reward[:, 0].unique()) == 3
    picked = env.select(torch.tensor([2]))
    again = picked.reward(picked.lesson(torch.zeros(1, 4, 2)), torch.full((1, 4, 3), 0.5))
    torch.testing.assert_close(again[0], reward[2])


def test_untrained_rewards_favour_no_action_everywhere(generator):
    env = gtn_rl.SyntheticEnv(
        spaces.Box(-np.inf, np.inf, (2,)), spaces.Discrete(3), members=50, generator=generator
    )
    best = env.lesson(env.initial(torch.randn(50, 500, 2, generator=generator))).argmax(-1)
    everywhere = torch.stack([(best == a).float().mean(1) for a in range(3)])
    assert everywhere.max() < 0.95
    assert (everywhere.min(0).values > 0).float().mean() > 0.8


def test_gain_is_how_far_continuous_rewards_reach(generator):
    env = box_env(members=2, gain=torch.tensor([0.1, 1.0]), generator=generator)
    noise = torch.randn(1, 1000, 2, generator=generator).expand(2, -1, -1)
    spread = env.lesson(env.initial(noise))[..., 3:].std(1).mean(1)
    assert spread[0] < 0.3 * spread[1]


def test_a_head_must_fit_the_action_space(env):
    with pytest.raises(UsageError, match="use bounded-scores or scores"):
        gtn_rl.SyntheticEnv(env.observation_space, env.action_space, head="quadratic")


@pytest.mark.parametrize(
    ("observation", "action", "hint"),
    [
        (spaces.Discrete(4), spaces.Discrete(2), "FlattenObservation"),
        (spaces.Box(0, 1, (2, 2)), spaces.Discrete(2), "FlattenObservation"),
        (spaces.Box(0, 1, (2,)), spaces.MultiDiscrete([2, 2]), "one of a few actions"),
        (spaces.Box(0, 1, (2,)), spaces.Box(-1, np.inf, (1,)), "RescaleAction"),
        (spaces.Box(0, 1, (2,)), spaces.Box(-1, 1, (1, 2)), "not flat"),
    ],
)
def test_unsupported_spaces_say_what_to_do(observation, action, hint):
    with pytest.raises(UnsupportedSpaceError, match=hint):
        gtn_rl.SyntheticEnv(observation, action)


def test_horizons_below_1_are_refused(env):
    with pytest.raises(UsageError, match="horizon must be at least 1"):
        gtn_rl.SyntheticEnv(env.observation_space, env.action_space, horizon=0)


def long_env(action_space=None, **kwargs):
    return gtn_rl.SyntheticEnv(
        spaces.Box(-np.inf, np.inf, (2,)), action_space or spaces.Discrete(3), horizon=5,
        hidden=(6,), **kwargs,
    )  # fmt: skip


def test_dynamics_of_zero_weights_are_known():
    env = long_env(std=np.array([2.0, 4.0]), mean=np.array([1.0, 0.0]))
    with torch.no_grad():
        env.dynamics_parameters.zero_()
        _, bias = env.dynamics_network.layers(env.dynamics_parameters)[-1]
        # Per action: two steps in units of step_size, then the logit of termination.
        bias.view(3, 3)[1] = torch.tensor([1.0, 100.0, 4.0])
    observation = torch.tensor([[[1.0, 4.0]]])
    following, termination = env.outcomes(observation)
    torch.testing.assert_close(following[0, 0, 0], torch.tensor([1.0, 4.0]))
    # 0.3 deviations of 2; the second stops at 10 deviations of 4.
    torch.testing.assert_close(following[0, 0, 1], torch.tensor([1.6, 40.0]))
    torch.testing.assert_close(termination[0, 0, 1], torch.tensor(0.5))
    assert termination[0, 0, 0].item() == pytest.approx(1 / (1 + np.exp(4)), rel=1e-4)
    one = env.outcome(observation, torch.tensor([[1]]))
    torch.testing.assert_close(one.observation[0, 0], following[0, 0, 1])


@pytest.mark.parametrize("space", [spaces.Discrete(3), spaces.Box(-2, 2, (3,))])
def test_episodes_end_by_chance_or_at_the_horizon(space, generator):
    env = long_env(space, members=2, generator=generator)
    noise = torch.randn(1, 4, 2, generator=generator).expand(2, -1, -1)
    state = env.reset(noise)
    action = torch.zeros(2, 4, 3) if isinstance(space, spaces.Box) else torch.zeros(2, 4).long()
    never, always = torch.ones(2, 4), torch.zeros(2, 4)
    assert env.step(state, action, always)[2].all()
    for age in range(1, 6):
        state, reward, over = env.step(state, action, never)
        assert reward.shape == (2, 4)
        assert over.all() == over.any() == (age == 5)
    assert state.observation.isfinite().all()
    with pytest.raises(UsageError, match="chance"):
        env.step(state, action)


@pytest.mark.parametrize("space", [spaces.Discrete(2), spaces.Box(-1, 1, (1,))])
def test_dynamics_are_differentiable_in_double(space, generator):
    env = long_env(space).double()
    observation = torch.randn(1, 3, 2, generator=generator, dtype=torch.float64)
    action = torch.tensor([[0, 1, 1]])
    if isinstance(space, spaces.Box):
        action = torch.rand(1, 3, 1, generator=generator, dtype=torch.float64)

    def outcome(start, _):
        return tuple(env.outcome(start, action))

    assert torch.autograd.gradcheck(
        outcome, (observation.requires_grad_(), env.dynamics_parameters)
    )


def test_only_a_curriculum_heeds_progress(generator):
    noise = torch.randn(1, 4, 2, generator=generator)
    for curriculum in (False, True):
        env = long_env(curriculum=curriculum)
        early, late = env.initial(noise, 0.0), env.initial(noise, 1.0)
        mixed = env.initial(noise, torch.tensor([0.0, 1.0, 0.0, 1.0]))
        assert torch.equal(early, late) is not curriculum
        torch.testing.assert_close(mixed[0, ::2], early[0, ::2])
        torch.testing.assert_close(mixed[0, 1::2], late[0, 1::2])
        same = [torch.equal(f(early, 0.0)[0], f(early, 1.0)[0]) for f in (env.lesson, env.outcomes)]
        assert same == [not curriculum] * 2


def test_an_introduction_is_over_after_its_share_of_the_training(generator):
    env = long_env(introduction=True, members=2)
    with torch.no_grad():
        # Of the first member x = 1 + 2 n1, y = (3 n1 + n2) / 2, for a quarter of the training; of
        # the second the noise itself, for three quarters.
        env.introduction_parameters.copy_(
            torch.tensor([[1.0, 0, log(2), -log(2), 3, 0.25], [0, 0, 0, 0, 0, 0.75]])
        )
    noise = torch.randn(2, 5, 2, generator=generator)
    when = torch.tensor([0.0, 0.2, 0.3, 0.7, 0.8])
    states = env.initial(noise, when)
    first, second = noise[0].unbind(-1)
    wanted = torch.stack([1 + 2 * first, 1.5 * first + 0.5 * second], -1)
    late = env.initial(noise)
    torch.testing.assert_close(states[0, :2], wanted[:2])
    torch.testing.assert_close(states[0, 2:], late[0, 2:])
    torch.testing.assert_close(states[1, :4], noise[1, :4])
    torch.testing.assert_close(states[1, 4:], late[1, 4:])
    assert not torch.isclose(states[1, :4], late[1, :4]).any()
    torch.testing.assert_close(env.initial(noise, 0.5), torch.stack([late[0], noise[1]]))


def test_an_introduction_has_rewards_of_its_own_shape(generator):
    env = box_env("welsch", introduction=True, members=2, generator=generator)
    with torch.no_grad():
        env.introduction_parameters[:, -1] = torch.tensor([0.25, 0.75])
        env.width_parameters.copy_(torch.tensor([[1.0, 4], [2, 8]]).log())
        env.excess_parameters.copy_(torch.tensor([[3.0, 1], [1, 1]]).log())
        env.scale_parameters.copy_(torch.tensor([[2.0, 0.5], [1, 3]]).log())
        env.reward_parameters.mul_(5)
    observation = torch.randn(2, 40, 2, generator=generator)
    when = torch.tensor([0.0, 0.5, 1.0]).repeat_interleave(40)
    lesson = env.lesson(observation.repeat(1, 3, 1), when).view(2, 3, 40, 9)
    scale, best, width = lesson.chunk(3, -1)
    assert [scale[p, t].unique().item() for p in (0, 1) for t in range(3)] == pytest.approx(
        [0.5, 2, 2, 3, 3, 1]
    )
    assert [width[p, t].unique().item() for p in (0, 1) for t in range(3)] == pytest.approx(
        [4.0, 1, 1, 8, 8, 2]
    )
    early, *late = best[0]
    assert early.abs().max() > 1
    for after in late:
        torch.testing.assert_close(after, early + 2 * (early - early.clamp(-1, 1)))
    assert best[1, 0].equal(best[1, 1])
    torch.testing.assert_close(env.lesson(observation), lesson[:, 2])


def test_an_introduction_is_differentiable_in_double(generator):
    env = long_env(introduction=True).double()
    with torch.no_grad():
        env.introduction_parameters[:, -1] = 0.7
    noise = torch.randn(1, 3, 2, generator=generator, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda _: env.initial(noise, 0.3), [env.introduction_parameters]
    )


def scored(**settings):
    """Two members of three actions whose scores are 4, 3 and 1 everywhere, and 0, 0 and 2."""
    settings = {"members": 2, "budget": 10, "hidden": (4,)} | settings
    env = gtn_rl.SyntheticEnv(spaces.Box(-9, 9, (2,)), spaces.Discrete(3), **settings)
    with torch.no_grad():
        weight, bias = env.reward_network.layers(env.reward_parameters)[-1]
        weight.zero_()
        bias.copy_(torch.tensor([[[4.0, 3, 1]], [[0, 0, 2]]]))
        env.scale_parameters[:, 0], env.scale_parameters[:, 1:] = log(6.0), log(12.0)
    return env


def test_rewards_are_centred_at_first_and_fade_in_the_end():
    env = scored(centred=0.5, fade=0.2)
    when = torch.tensor([0.0, 0.49, 0.5, 0.8, 0.9, 1.0])
    lesson = env.lesson(torch.zeros(2, 6, 2), when)
    # 0, 1 and 3 less than the best are worth 0, 1/2 and 3/4; twice as much while they are centred.
    plain = torch.tensor([[0.0, -3, -4.5], [-4, -4, 0]])
    early = 2 * (plain - plain.mean(1, keepdim=True))
    for index, wanted in enumerate([early, early, plain, plain, plain * exp(-2), plain * exp(-4)]):
        torch.testing.assert_close(lesson[:, index], wanted)
        torch.testing.assert_close(env.lesson(torch.zeros(2, 1, 2), when[index])[:, 0], wanted)
    torch.testing.assert_close(env.lesson(torch.zeros(2, 1, 2))[:, 0], plain * exp(-4))
    # Whoever has learned the lesson perfectly does not care.
    same = scored(centred=0.0, fade=0.0)
    torch.testing.assert_close(
        perfect_learner(env, torch.zeros(2, 1, 2)), perfect_learner(same, torch.zeros(2, 1, 2))
    )


def test_an_introduction_may_be_centred_by_a_clock_of_its_own():
    env = scored(centred=0.5, introduction=True)
    with torch.no_grad():
        env.introduction_parameters[:, -1] = 0.25
    plain = torch.tensor([[0.0, -3, -4.5], [-4, -4, 0]])
    centred = plain - plain.mean(1, keepdim=True)
    for when, wanted in ((0.1, 2 * centred), (0.3, centred), (0.6, plain)):
        torch.testing.assert_close(env.lesson(torch.zeros(2, 1, 2), when)[:, 0], wanted)


def test_even_states_are_uniform_until_they_are_moved(generator):
    settings = {"mean": np.array([1.0, -2]), "std": np.array([0.5, 2])}
    env = gtn_rl.SyntheticEnv(spaces.Box(-9, 9, (2,)), spaces.Discrete(2), even=True, **settings)
    with torch.no_grad():
        for last in env.initial_network.layers(env.initial_parameters)[-1]:
            last.zero_()
        env.shift_parameters.copy_(torch.tensor([[1.0, 0]]))
        env.spread_parameters.copy_(torch.tensor([[0.0, log(0.5)]]))
    noise = torch.randn(1, 20_000, 2, generator=generator)
    states = env.initial(noise)[0].detach()
    # As wide as uniform distributions of deviations 0.5 and 1 are, about 1.5 and -2.
    for column, middle, deviation in zip(states.T, (1.5, -2.0), (0.5, 1.0), strict=True):
        share = (column - middle) / (sqrt(12) * deviation) + 0.5
        levels = torch.linspace(0, 1, 11)
        torch.testing.assert_close(share.quantile(levels), levels, atol=0.02, rtol=0)
    moved = gtn_rl.SyntheticEnv(spaces.Box(-9, 9, (2,)), spaces.Discrete(2), even=True).double()
    few = noise[:, :3].double()
    assert torch.autograd.gradcheck(lambda _: moved.initial(few), [moved.initial_parameters])


def test_what_cannot_be_centred_or_fade_is_refused():
    box, act = spaces.Box(-1, 1, (2,)), spaces.Box(-1, 1, (1,))
    with pytest.raises(UsageError, match="welsch cannot be centred"):
        gtn_rl.SyntheticEnv(box, act, head="welsch", centred=0.5)
    for space, head in ((act, "quadratic"), (act, "mlp"), (spaces.Discrete(2), "scores")):
        with pytest.raises(UsageError, match=f"{head} cannot fade"):
            gtn_rl.SyntheticEnv(box, space, head=head, fade=0.5)


def test_members_of_a_population_of_mdps_are_kept_by_select(generator):
    env = long_env(members=3, generator=generator)
    env.step_size.fill_(0.7)
    picked = env.select(torch.tensor([2]))
    observation = torch.randn(1, 4, 2, generator=generator)
    torch.testing.assert_close(
        picked.outcomes(observation).observation[0],
        env.outcomes(observation.expand(3, -1, -1)).observation[2],
    )


def test_a_negative_budget_is_refused(env):
    with pytest.raises(UsageError, match="budget must not be negative"):
        gtn_rl.SyntheticEnv(env.observation_space, env.action_space, budget=-1)


def test_an_mdp_survives_saving(tmp_path):
    env = long_env(curriculum=True, introduction=True, budget=70)
    env.step_size.fill_(0.7)
    again = gtn_rl.from_pretrained(gtn_rl.save_pretrained(env, tmp_path))
    assert again.introduction
    assert (again.horizon, again.curriculum, again.budget) == (5, True, 70)
    observation = torch.ones(1, 1, 2)
    torch.testing.assert_close(
        again.outcomes(observation, 0.3).observation, env.outcomes(observation, 0.3).observation
    )
