import numpy as np
import pytest
import torch
from gymnasium import spaces

import gtn_rl
from gtn_rl.errors import UnsupportedSpaceError, UsageError


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
        reward[0], env.rewards(state.observation)[0, torch.arange(5), action[0]]
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
        return env.rewards(env.initial(noise))

    assert torch.autograd.gradcheck(rewards, parameters)


@pytest.mark.parametrize(
    ("observation", "action", "hint"),
    [
        (spaces.Discrete(4), spaces.Discrete(2), "FlattenObservation"),
        (spaces.Box(0, 1, (2, 2)), spaces.Discrete(2), "FlattenObservation"),
        (spaces.Box(0, 1, (2,)), spaces.Box(-1, 1, (1,)), "Discrete"),
    ],
)
def test_unsupported_spaces_say_what_to_do(observation, action, hint):
    with pytest.raises(UnsupportedSpaceError, match=hint):
        gtn_rl.SyntheticEnv(observation, action)


def test_longer_horizons_are_refused(env):
    with pytest.raises(UsageError, match="horizon must be 1"):
        gtn_rl.SyntheticEnv(env.observation_space, env.action_space, horizon=10)
