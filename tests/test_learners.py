import pytest
import torch

from gtn_rl.agents import policy_gradient, q_learning
from gtn_rl.agents.learners import draw, train
from gtn_rl.agents.networks import MLP
from gtn_rl.agents.optim import Adam


def make(generator, dtype=torch.float32, hidden=16):
    return draw(
        MLP((2, hidden, 3)),
        policies=3,
        q_networks=3,
        learning_rate=(5e-3, 2e-2),
        entropy=(1e-4, 1e-2),
        temperature=0.1,
        generator=generator,
        dtype=dtype,
    )


def test_policy_loss_is_minus_the_expected_advantage_minus_entropy():
    logits = torch.log(torch.tensor([[[0.2, 0.3, 0.5]]]))
    advantages = torch.tensor([[[1.0, -2.0, 4.0]]])
    expected = 0.2 - 0.6 + 2.0
    entropy = -sum(p * torch.log(torch.tensor(p)) for p in (0.2, 0.3, 0.5))
    loss = policy_gradient.loss(logits, advantages, torch.tensor([[0.1]]))
    torch.testing.assert_close(loss, -(expected + 0.1 * entropy).reshape(1))


def test_q_loss_is_huber():
    loss = q_learning.loss(torch.tensor([[[0.0, 5.0]]]), torch.tensor([[[0.5, 1.0]]]))
    assert float(loss) == pytest.approx((0.125 + 3.5) / 2)


def test_advantages_are_normalised():
    rewards = torch.tensor([[[[1.0, 3.0], [5.0, 7.0]]]])
    advantages = policy_gradient.normalize_advantages(rewards)
    assert float(advantages.mean()) == pytest.approx(0, abs=1e-6)
    assert float(advantages.std()) == pytest.approx(1, rel=1e-3)


def test_every_learner_of_a_mixed_batch_solves_a_bandit_with_a_known_optimum(generator):
    """Probe: the best action is the sign pattern of the observation."""
    observations = torch.randn(6, 600, 64, 2, generator=generator)
    best = (observations[..., 0] > 0).long() + (observations[..., 1] > 0).long()
    rewards = torch.nn.functional.one_hot(best, 3).float()
    trained = train(make(generator), observations, rewards, Adam())
    test = torch.randn(6, 500, 2, generator=generator)
    truth = (test[..., 0] > 0).long() + (test[..., 1] > 0).long()
    accuracy = (trained.logits(test).argmax(-1) == truth).float().mean(1)
    assert accuracy.min() > 0.9


def test_learners_in_a_batch_do_not_touch_each_other(generator):
    learners = make(generator)
    observations = torch.randn(6, 5, 8, 2, generator=generator)
    rewards = torch.randn(6, 5, 8, 3, generator=generator)
    before = train(learners, observations, rewards, Adam()).parameters
    rewards[0] += torch.randn(5, 8, 3, generator=generator)
    after = train(learners, observations, rewards, Adam()).parameters
    assert not torch.equal(before[0], after[0])
    torch.testing.assert_close(before[1:], after[1:])


def test_graph_or_not_the_result_is_the_same(generator):
    learners = make(generator)
    observations = torch.randn(6, 5, 8, 2, generator=generator)
    rewards = torch.randn(6, 5, 8, 3, generator=generator, requires_grad=True)
    with_graph = train(learners, observations, rewards, Adam(), create_graph=True).parameters
    without = train(learners, observations, rewards.detach(), Adam()).parameters
    assert with_graph.requires_grad
    torch.testing.assert_close(with_graph.detach(), without.detach())


def test_drawn_hyperparameters_lie_in_their_bounds(generator):
    learners = make(generator)
    assert learners.learning_rate.shape == (6, 1)
    assert ((learners.learning_rate >= 5e-3) & (learners.learning_rate <= 2e-2)).all()
    assert ((learners.entropy >= 1e-4) & (learners.entropy <= 1e-2)).all()
    assert len(learners.learning_rate.unique()) == 6
