"""How learners act, against torch.distributions."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from gtn_rl.envs.actions import make_actions

DISCRETE = make_actions(spaces.Discrete(3, start=-1), 0.5)
LOW, HIGH = np.array([-2.0, 0.0], np.float32), np.array([2.0, 1.0], np.float32)
BOX = make_actions(spaces.Box(LOW, HIGH), 0.5)


def test_log_probabilities_are_those_of_torch(generator):
    logits = torch.randn(4, 5, 3, generator=generator)
    action = DISCRETE.sample(logits, generator)
    expected = torch.distributions.Categorical(logits=logits).log_prob(action)
    torch.testing.assert_close(DISCRETE.log_probability(logits, action), expected)
    mean = torch.randn(4, 5, 2, generator=generator)
    action = BOX.sample(mean, generator)
    normal = torch.distributions.Normal(mean, torch.tensor([1.0, 0.25]))
    torch.testing.assert_close(BOX.log_probability(mean, action), normal.log_prob(action).sum(-1))


def test_samples_have_the_distribution_that_is_said(generator):
    logits = torch.log(torch.tensor([0.2, 0.5, 0.3])).expand(100_000, 3)
    share = DISCRETE.sample(logits, generator).bincount() / 100_000
    torch.testing.assert_close(share, torch.tensor([0.2, 0.5, 0.3]), atol=0.01, rtol=0)
    action = BOX.sample(torch.zeros(100_000, 2), generator)
    torch.testing.assert_close(action.std(0), torch.tensor([1.0, 0.25]), atol=0.01, rtol=0)


def test_actions_reach_the_environment_in_its_own_terms():
    assert DISCRETE.to_numpy(torch.tensor([0, 2])).tolist() == [-1, 1]
    taken = BOX.to_numpy(torch.tensor([[-9.0, 0.5], [1.0, 7.0]]))
    assert taken.tolist() == [[-2.0, 0.5], [1.0, 1.0]]
    assert taken.dtype == np.float32


def test_greedy_actions_and_the_distance_from_others():
    assert DISCRETE.mode(torch.tensor([[0.0, 3.0, 1.0]])).tolist() == [1]
    assert BOX.mode(torch.tensor([[5.0, 0.1]]))[0].tolist() == pytest.approx([5.0, 0.1])
    # A cross-entropy.
    wanted, outputs = torch.tensor([0.0, 0.0, -40.0]), torch.tensor([1.0, 1.0, 1.0])
    assert float(DISCRETE.distance(outputs, wanted)) == pytest.approx(np.log(3))


def test_distance_does_not_count_what_the_bounds_hide():
    wanted = torch.tensor([8.0, 0.5])
    # Half ranges are 2 and 0.5; 8 acts as 2 does, and so does 5.
    assert float(BOX.distance(torch.tensor([5.0, 0.5]), wanted)) == 0
    assert float(BOX.distance(torch.tensor([0.0, 1.0]), wanted)) == pytest.approx(1 + 1)
    assert float(BOX.distance(torch.tensor([-4.0, 0.5]), wanted)) == pytest.approx(9)


def test_uninformed_actions_cover_the_space(generator):
    observation = torch.zeros(2, 5000, 4)
    spread = BOX.uninformed(observation, generator)
    assert spread.shape == (2, 5000, 2)
    assert spread.amin((0, 1)).tolist() == pytest.approx([-2, 0], abs=0.01)
    assert spread.amax((0, 1)).tolist() == pytest.approx([2, 1], abs=0.01)
    assert not DISCRETE.uninformed(observation, generator).any()
