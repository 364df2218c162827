"""Every learner of meta-training against probes with known answers."""

import pytest
import torch
from gymnasium import spaces

from gtn_rl.agents.bandit import Batch, train
from gtn_rl.agents.bandit_algorithms import BanditDQN, PolicyGradient, squashed
from gtn_rl.agents.draw import BANDITS, ENTROPY, INTERACTIVE, draw
from gtn_rl.agents.spec import ALGORITHMS, WHOLE, parse_learners

THREE = spaces.Discrete(3)
BOX = spaces.Box(-4.0, 4.0, (2,))


def make(generator, *texts, space=THREE, learning_rate=(3e-3, 6e-3), **kwargs):
    return draw(
        [parse_learners(text) for text in texts], 2, space, learning_rate=learning_rate,
        generator=generator, **kwargs,
    )  # fmt: skip


def discrete_batches(generator, count, steps, size=64):
    """The best action is the number of positive observations."""
    observation = torch.randn(steps, count, size, 2, generator=generator)
    best = (observation > 0).sum(-1)
    lesson = torch.nn.functional.one_hot(best, 3).float() - 1
    noise = torch.randn(steps, count, size, 4, generator=generator)
    return [
        Batch(o, r, n, lambda *_: None, None)
        for o, r, n in zip(observation, lesson, noise, strict=True)
    ]


def quadratic(lesson, action):
    return -(action - lesson).square().sum(-1)


def continuous_batches(generator, count, steps, size=64):
    """The best action is the observation, far enough from the bounds for a unit Gaussian."""
    observation = torch.randn(steps, count, size, 2, generator=generator)
    lesson = observation.clamp(-2, 2) / 4
    noise = torch.randn(steps, count, size, 3, generator=generator)
    scale = (torch.zeros(2), torch.full((2,), 4.0))
    return [
        Batch(o, r, n, quadratic, scale) for o, r, n in zip(observation, lesson, noise, strict=True)
    ]


def test_policy_loss_is_minus_the_expected_advantage_minus_entropy():
    logits = torch.log(torch.tensor([[[0.2, 0.3, 0.5]]]))
    advantages = torch.tensor([[[1.0, -2.0, 4.0]]])
    expected = 0.2 - 0.6 + 2.0
    entropy = -sum(p * torch.log(torch.tensor(p)) for p in (0.2, 0.3, 0.5))
    exact = PolicyGradient(normalize=False)
    loss = exact.loss(logits, logits, batch_of(advantages), torch.tensor([[0.1]]))
    torch.testing.assert_close(loss, -(expected + 0.1 * entropy).reshape(1))


def batch_of(lesson, noise=None):
    observation = torch.zeros(*lesson.shape[:2], 1)
    return Batch(observation, lesson, noise, quadratic, None)


def test_q_loss_is_huber():
    values, rewards = torch.tensor([[[0.0, 5.0]]]), torch.tensor([[[0.5, 1.0]]])
    loss = BanditDQN().loss(values, values, batch_of(rewards), torch.zeros(1, 1))
    assert float(loss) == pytest.approx((0.125 + 3.5) / 2)


def test_greedy_dqn_learns_from_the_action_it_took():
    values, rewards = torch.tensor([[[0.0, 5.0]]]), torch.tensor([[[0.5, 1.0]]])
    greedy = torch.tensor([[[1.0, 0.0, 3.0]]])
    loss = BanditDQN(epsilon=0.1).loss(values, values, batch_of(rewards, greedy), torch.zeros(1, 1))
    assert float(loss) == pytest.approx(3.5)
    random = torch.tensor([[[1.0, 0.0, -3.0]]])
    loss = BanditDQN(epsilon=0.1).loss(values, values, batch_of(rewards, random), torch.zeros(1, 1))
    assert float(loss) == pytest.approx(0.125)


def test_ppo_does_not_reward_a_ratio_beyond_the_clip():
    lesson = torch.tensor([[[1.0, 0.0]]])
    old = torch.zeros(1, 1, 2)
    inside, outside, further = (
        torch.tensor([[[x, -x]]], requires_grad=True) for x in (0.01, 0.2, 0.4)
    )
    losses = [
        PolicyGradient(clip=0.2).loss(new, old, batch_of(lesson), torch.zeros(1, 1))
        for new in (inside, outside, further)
    ]
    gradients = [
        torch.autograd.grad(loss.sum(), new)[0].abs().sum()
        for loss, new in zip(losses, (inside, outside, further), strict=True)
    ]
    assert gradients[0] > 0.1
    assert gradients[2] == 0


def test_the_squashed_density_integrates_to_one():
    outputs = torch.tensor([0.3, -0.5]).expand(1, 200_000, 2)
    noise = torch.linspace(-8, 8, 200_000).view(1, -1, 1)
    action, log_density = squashed(outputs, noise)
    density = log_density[0].exp()
    assert float(torch.trapezoid(density, action[0, :, 0])) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("name", BANDITS[True])
def test_every_discrete_learner_solves_a_bandit_with_a_known_optimum(name, generator):
    (learners,) = make(generator, f"4x{name}@tanh:32-32")
    trained = train(learners, discrete_batches(generator, 4, 600))
    test = torch.randn(4, 500, 2, generator=generator)
    accuracy = (trained.outputs(test).argmax(-1) == (test > 0).sum(-1)).float().mean(1)
    assert accuracy.mean() > 0.9
    assert accuracy.min() > 0.7


@pytest.mark.parametrize("name", BANDITS[False])
def test_every_continuous_learner_solves_a_bandit_with_a_known_optimum(name, generator):
    (learners,) = make(generator, f"4x{name}@tanh:32-32", space=BOX, learning_rate=(3e-3, 1e-2))
    trained = train(learners, continuous_batches(generator, 4, 600))
    test = torch.randn(4, 500, 2, generator=generator)
    wanted = test.clamp(-2, 2)
    error = (trained.outputs(test) - wanted).square().mean((1, 2)) / wanted.square().mean()
    assert error.max() < 0.3


def test_groups_of_one_depth_share_a_stack_and_others_do_not(generator):
    stacks = make(
        generator, "2xpg@tanh:16-16", "3xdqn@relu:8-16", "1xpg@tanh:16", "2xa2c@tanh:16-16"
    )
    assert [stack.names for stack in stacks] == [
        [("pg", 2), ("dqn", 3)], [("pg", 1)], [("a2c", 2)],
    ]  # fmt: skip


def test_learners_in_a_batch_do_not_touch_each_other(generator):
    (learners,) = make(generator, "3xpg@tanh:16-16", "3xdqn@relu:8-16")
    batches = discrete_batches(generator, 6, 5)
    before = train(learners, batches).parameters
    batches = [b._replace(lesson=torch.cat([b.lesson[:1].flip(-1), b.lesson[1:]])) for b in batches]
    after = train(learners, batches).parameters
    assert not torch.equal(before[0], after[0])
    torch.testing.assert_close(before[1:], after[1:])


@pytest.mark.parametrize(
    ("space", "texts"),
    [
        (THREE, ("2xpg@tanh:8-8", "2xdqn@relu:8-8")),
        (THREE, ("2xppo@tanh:8",)),
        (THREE, ("2xsac@relu:8",)),
        (BOX, ("2xpg@tanh:8-8",)),
        (BOX, ("2xtd3@tanh:8-8", "2xsac@relu:8-8")),
    ],
)
def test_graph_or_not_the_result_is_the_same(space, texts, generator):
    (learners,) = make(generator, *texts, space=space)
    count = learners.parameters.shape[0]
    kind = discrete_batches if space is THREE else continuous_batches
    batches = kind(generator, count, 20, size=8)
    lessons = [batch.lesson.clone().requires_grad_() for batch in batches]
    attached = [b._replace(lesson=r) for b, r in zip(batches, lessons, strict=True)]
    with_graph = train(learners, attached, create_graph=True).parameters
    without = train(learners, batches).parameters
    torch.testing.assert_close(with_graph.detach(), without.detach())
    assert torch.autograd.grad(with_graph.sum(), lessons[0])[0].abs().sum() > 0


def test_drawn_hyperparameters_lie_in_their_bounds(generator):
    (learners,) = make(generator, "6xpg@tanh:8-8")
    assert learners.learning_rate.shape == (6, 1)
    assert ((learners.learning_rate >= 3e-3) & (learners.learning_rate <= 6e-3)).all()
    assert ((learners.entropy >= ENTROPY[0]) & (learners.entropy <= ENTROPY[1])).all()
    assert len(learners.learning_rate.unique()) == 6


def test_every_name_has_a_learner_and_every_learner_a_name():
    tables = [*BANDITS.values(), *INTERACTIVE.values()]
    assert {name for table in tables for name in table} | {*WHOLE} == {*ALGORITHMS}
