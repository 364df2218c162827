import numpy as np
import pytest
import torch
from gymnasium import spaces

import gtn_rl
from gtn_rl.envs.presentation import Phase
from gtn_rl.errors import UnsupportedSpaceError, UsageError


def test_initial_states_are_scaled_and_clipped():
    box = spaces.Box(np.array([-1.0, -np.inf], np.float32), np.array([1.0, np.inf], np.float32))
    env = gtn_rl.SyntheticEnv(
        box, spaces.Discrete(2), mean=np.array([0.0, 100.0]), std=np.array([50.0, 2.0])
    )
    with torch.no_grad():
        for parameter in env.parameters():
            parameter.zero_()
        noise = torch.tensor([[[2.0, -1.0, 0, 0], [-0.01, 0.5, 0, 0]]])
        observation = env.initial(noise)
    assert observation.tolist() == [[[1.0, 98.0], [-0.5, 101.0]]]


@pytest.mark.parametrize("action_space", [spaces.Discrete(2), spaces.Box(-2, 1, (2,))])
def test_environment_is_differentiable_in_double(action_space, generator):
    env = gtn_rl.SyntheticEnv(
        spaces.Box(-np.inf, np.inf, (2,)), action_space, hidden=(3,),
        phases=(Phase(0.5, scale=2.0, gain=0.6), Phase(spread=2.0, wide=0.5)),
        states=torch.randn(3, 2, generator=generator),
    ).double()  # fmt: skip
    noise = torch.randn(1, 4, 4, generator=generator, dtype=torch.float64)
    parameters = list(env.parameters())
    action = torch.rand(1, 4, 2, generator=generator, dtype=torch.float64)
    when = torch.tensor([0.1, 0.2, 0.6, 0.9])

    def rewards(*_):
        lesson = env.lesson(env.initial(noise, when), when)
        return lesson if action_space.shape == () else env.reward(lesson, action)

    assert torch.autograd.gradcheck(rewards, parameters)


def test_untrained_rewards_favour_no_action_everywhere(generator):
    env = gtn_rl.SyntheticEnv(
        spaces.Box(-np.inf, np.inf, (2,)), spaces.Discrete(3), members=50, generator=generator
    )
    best = env.lesson(env.initial(torch.randn(50, 500, 4, generator=generator))).argmax(-1)
    everywhere = torch.stack([(best == a).float().mean(1) for a in range(3)])
    assert everywhere.max() < 0.95
    assert (everywhere.min(0).values > 0).float().mean() > 0.8


@pytest.mark.parametrize(
    ("observation", "action", "hint"),
    [
        (spaces.Discrete(4), spaces.Discrete(2), "FlattenObservation"),
        (spaces.Box(0, 1, (2, 2)), spaces.Discrete(2), "FlattenObservation"),
        (spaces.Box(0, 1, (2,)), spaces.MultiDiscrete([2, 2]), "one of a few actions"),
        (spaces.Box(0, 1, (2,)), spaces.Box(-1, np.inf, (1,)), "with a bounded Box"),
        (spaces.Box(0, 1, (2,)), spaces.Box(-1, 1, (1, 2)), "is not flat"),
    ],
)
def test_unsupported_spaces_say_what_to_do(observation, action, hint):
    with pytest.raises(UnsupportedSpaceError, match=hint) as error:
        gtn_rl.SyntheticEnv(observation, action)
    assert "FlattenObservation" in hint or "FlattenObservation" not in str(error.value)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"horizon": 0}, "horizon must be at least 1"),
        ({"budget": -1}, "budget must not be negative"),
        ({"phases": ()}, "phases must be one or more"),
    ],
)
def test_settings_that_make_no_sense_are_refused(env, bad, message):
    with pytest.raises(UsageError, match=message):
        gtn_rl.SyntheticEnv(env.observation_space, env.action_space, **bad)


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
    noise = torch.randn(1, 4, 4, generator=generator).expand(2, -1, -1)
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


def test_gain_is_how_far_best_actions_of_untrained_environments_reach(generator):
    env = gtn_rl.SyntheticEnv(
        spaces.Box(-np.inf, np.inf, (2,)), spaces.Box(-2, 2, (3,)), members=2,
        gain=torch.tensor([0.1, 1.0]), generator=generator,
    )  # fmt: skip
    noise = torch.randn(1, 1000, 4, generator=generator).expand(2, -1, -1)
    spread = env.output(env.initial(noise)).std(1).mean(1)
    assert spread[0] < 0.3 * spread[1]
    # Neither favours an action everywhere.
    assert (env.output(env.initial(noise)).mean(1).abs() < 0.1).all()


@pytest.mark.parametrize("action_space", [spaces.Discrete(3), spaces.Box(-2, 2, (3,))])
def test_rewards_differ_between_members_and_select_keeps_them(action_space, generator):
    env = gtn_rl.SyntheticEnv(
        spaces.Box(-np.inf, np.inf, (2,)), action_space, hidden=(5,), members=3,
        generator=generator, phases=(Phase(0.5), Phase(scale=2.0)),
    )  # fmt: skip
    with torch.no_grad():
        env.presentation_parameters.normal_(generator=generator)
        env.shift_parameters.normal_(generator=generator)
    shape = (3, 4, 3) if isinstance(action_space, spaces.Box) else (3, 4)
    action = torch.full(shape, 0.5 if len(shape) == 3 else 1).to(
        torch.float32 if len(shape) == 3 else torch.long
    )
    reward = env.reward(env.lesson(torch.zeros(3, 4, 2)), action)
    assert reward.shape == (3, 4)
    assert len(reward[:, 0].unique()) == 3
    picked = env.select(torch.tensor([2]))
    again = picked.reward(picked.lesson(torch.zeros(1, 4, 2)), action[:1])
    torch.testing.assert_close(again[0], reward[2])
    noise = torch.randn(1, 6, 4, generator=generator)
    initial = env.initial(noise.expand(3, -1, -1))
    torch.testing.assert_close(picked.initial(noise)[0], initial[2])
    assert not torch.allclose(initial[1], initial[2])


def test_gradients_pass_where_observations_are_whole_numbers(generator):
    env = gtn_rl.SyntheticEnv(spaces.Box(-9, 9, (2,), np.int64), spaces.Discrete(2))
    noise = torch.randn(1, 50, 4, generator=generator)
    states = env.initial(noise)
    assert torch.equal(states, states.round())
    states.sum().backward()
    torch.testing.assert_close(env.shift_parameters.grad, torch.full((1, 2), 50.0))


def test_only_phases_heed_progress(generator):
    noise = torch.randn(1, 4, 4, generator=generator)
    for phases in ((Phase(),), (Phase(0.5), Phase(spread=2.0, scale=3.0))):
        env = long_env(phases=phases)
        timed = len(phases) > 1
        assert env.timed is timed
        early, late = env.initial(noise, 0.0), env.initial(noise, 1.0)
        mixed = env.initial(noise, torch.tensor([0.0, 1.0, 0.0, 1.0]))
        assert torch.equal(early, late) is not timed
        torch.testing.assert_close(mixed[0, ::2], early[0, ::2])
        torch.testing.assert_close(mixed[0, 1::2], late[0, 1::2])
        assert torch.equal(env.lesson(early, 0.0), env.lesson(early, 1.0)) is not timed


def test_an_mdp_survives_saving(tmp_path):
    env = long_env(phases=(Phase(0.5), Phase(spread=2.0)), budget=70)
    env.step_size.fill_(0.7)
    again = gtn_rl.from_pretrained(gtn_rl.save_pretrained(env, tmp_path))
    assert (again.horizon, again.num_phases, again.budget) == (5, 2, 70)
    observation = torch.ones(1, 1, 2)
    torch.testing.assert_close(
        again.outcomes(observation).observation, env.outcomes(observation).observation
    )
    noise = torch.ones(1, 1, 4)
    torch.testing.assert_close(again.initial(noise, 0.3), env.initial(noise, 0.3))


def test_a_longer_horizon_keeps_all_else(lesson):
    longer = lesson.like(1, horizon=6)
    longer.load_state_dict(lesson.state_dict(), strict=False)
    observation = torch.ones(1, 3, 4)
    assert longer.horizon == 6
    torch.testing.assert_close(longer.lesson(observation, 0.7), lesson.lesson(observation, 0.7))
    assert torch.equal(longer.states, lesson.states)
