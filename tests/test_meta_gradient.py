"""The whole meta-gradient against finite differences, in float64."""

from functools import partial

import numpy as np
import pytest
import torch
from gymnasium import spaces

from gtn_rl.config import TrainConfig
from gtn_rl.envs.actions import make_actions
from gtn_rl.envs.synthetic import SHOWING, SyntheticEnv
from gtn_rl.errors import TrainingDivergedError
from gtn_rl.gradients import even_out
from gtn_rl.inner import act, inner_loop
from gtn_rl.objective import Experience, agreement, surrogate
from gtn_rl.outer.meta_gradient import MetaGradient, meta_gradient

DISCRETE = (
    spaces.Discrete(2),
    "",
    ("2xpg@tanh:6", "2xdqn@tanh:5", "2xppo@tanh:4-3", "2xsac@tanh:4", "1xa2c@tanh:3"),
)
QUADRATIC = (
    spaces.Box(-2.0, 1.0, (2,)),
    "quadratic",
    ("2xpg@tanh:6", "2xppo@tanh:4-3", "2xtd3@tanh:4", "2xsac@tanh:4", "1xa2c@tanh:3"),
)
WELSCH = (spaces.Box(-2.0, 1.0, (2,)), "welsch", ("3xpg@tanh:6", "3xppo@tanh:4-3", "3xtd3@tanh:4"))
MLP = (spaces.Box(-2.0, 1.0, (2,)), "mlp", ("4xpg@tanh:6", "5xtd3@tanh:4"))


class Case:
    """A small environment, learners and real experience of theirs."""

    def __init__(self, space, head, learners):
        self.config = TrainConfig(
            learners=learners, inner_steps=5, batch_size=7, even_out=False, outer_noise=0.5
        )
        self.env = SyntheticEnv(
            spaces.Box(-np.inf, np.inf, (3,)),
            space,
            head=head,
            hidden=(4,),
            mean=np.array([0.1, -0.2, 0.0]),
            std=np.array([1.0, 0.5, 2.0]),
        ).double()
        if head == "welsch":
            # Narrow, and best actions beyond the space: otherwise its shape counts for nothing.
            self.env.width_parameters.data.zero_()
            _, bias = self.env.reward_network.layers(self.env.reward_parameters.data)[-1]
            bias[:] = torch.tensor([1.5, -1.5])
        self.actions = make_actions(space, self.config.outer_noise)
        generator = torch.Generator().manual_seed(0)

        def normal(*shape):
            return torch.randn(9, 9, *shape, generator=generator, dtype=torch.float64)

        self.observation = normal(3)
        with torch.no_grad():
            outputs = act(self.teach(), self.observation)
            action = self.actions.sample(outputs, generator)
            behaviour = self.actions.log_probability(outputs, action) + 0.05 * normal()
        weight = (normal() > -0.8).double()
        advantage = normal()
        self.experience = Experience(
            self.observation, action, behaviour, advantage, weight, advantage
        )
        self.expert = normal(self.actions.size).view(1, 81, -1)

    def teach(self):
        generator = torch.Generator().manual_seed(3)
        return inner_loop(self.env, self.config, generator, create_graph=True)

    def surrogate(self, trained):
        return surrogate(partial(act, trained), self.experience, self.actions, 0.2)

    def agreement(self, trained):
        return agreement(
            partial(act, trained), lambda _: self.expert, self.observation, self.actions
        )


@pytest.fixture(
    params=[DISCRETE, QUADRATIC, WELSCH, MLP], ids=["discrete", "quadratic", "welsch", "mlp"]
)
def case(request):
    return Case(*request.param)


@pytest.mark.parametrize("objective", ["surrogate", "agreement"])
def test_meta_gradient_equals_finite_differences(case, objective):
    score = getattr(case, objective)
    value, gradients = meta_gradient(case.teach(), score, list(case.env.parameters()))
    assert float(value) != 0
    step, checked = 1e-6, 0
    for parameter, gradient in zip(case.env.parameters(), gradients, strict=True):
        assert gradient.abs().max() > 1e-6
        for index in range(0, parameter.numel(), 3):
            values = []
            for sign in (1, -1):
                with torch.no_grad():
                    parameter.view(-1)[index] += sign * step
                values.append(score(case.teach()).item())
                with torch.no_grad():
                    parameter.view(-1)[index] -= sign * step
            finite = (values[0] - values[1]) / (2 * step)
            assert float(gradient.view(-1)[index]) == pytest.approx(finite, rel=1e-3, abs=1e-7)
            checked += 1
    assert checked > 15


def test_an_update_raises_the_surrogate(case):
    estimator = MetaGradient(case.env, max_norm=1.0)
    values = [estimator.update(case.teach(), case.surrogate, 1e-2).surrogate for _ in range(10)]
    assert values[-1] > values[0]


def test_a_gradient_that_is_not_finite_changes_nothing(case):
    case.experience.advantage[0, 0], case.experience.weight[0, 0] = torch.nan, 1.0
    before = [parameter.clone() for parameter in case.env.parameters()]
    estimator = MetaGradient(case.env, max_norm=1.0)
    with pytest.raises(TrainingDivergedError, match="lower outer_learning_rate"):
        estimator.update(case.teach(), case.surrogate, 1e-2)
    for old, new in zip(before, case.env.parameters(), strict=True):
        assert torch.equal(old, new)


def test_with_an_equal_say_each_stack_adds_a_gradient_of_one_length(case):
    parameters = list(case.env.parameters())
    learners = case.teach()
    assert len(learners) > 1
    leaves = [stack.parameters.detach().requires_grad_() for stack in learners]
    value = case.surrogate(
        [stack.with_parameters(leaf) for stack, leaf in zip(learners, leaves, strict=True)]
    )
    vectors = torch.autograd.grad(value, leaves)
    expected = 0
    for stack, vector in zip(learners, vectors, strict=True):
        own = torch.autograd.grad(
            stack.parameters, parameters, vector, retain_graph=True, materialize_grads=True
        )
        flat = torch.cat([part.flatten() for part in own])
        expected = expected + flat / flat.norm() / len(learners)
    _, gradients = meta_gradient(case.teach(), case.surrogate, parameters, equal=True)
    torch.testing.assert_close(torch.cat([part.flatten() for part in gradients]), expected)


def test_some_parameters_may_move_faster(case):
    before = {name: value.clone() for name, value in case.env.named_parameters()}
    MetaGradient(case.env, 1.0, faster=SHOWING, multiple=5.0).update(
        case.teach(), case.surrogate, 1e-3
    )
    for name, value in case.env.named_parameters():
        # Adam's first step is its step size, whatever the gradient.
        step = (value - before[name]).abs().max().item()
        assert step == pytest.approx(5e-3 if name in SHOWING else 1e-3, rel=1e-3)


def test_even_out_shortens_long_gradients_to_the_median_and_drops_broken_ones():
    gradient = torch.tensor([[3.0, 4.0], [0.0, 1.0], [30.0, 40.0], [torch.nan, 0.0], [6.0, 8.0]])
    even = even_out(gradient, torch.ones(2))
    torch.testing.assert_close(
        even, torch.tensor([[3.0, 4.0], [0.0, 1.0], [3.0, 4.0], [0.0, 0.0], [3.0, 4.0]])
    )
