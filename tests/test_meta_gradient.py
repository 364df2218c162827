"""The whole meta-gradient against finite differences, in float64."""

from functools import partial

import numpy as np
import pytest
import torch
from gymnasium import spaces
from probes import assert_slopes

from gtn_rl.config import Learners, TrainConfig
from gtn_rl.envs.actions import make_actions
from gtn_rl.envs.presentation import Phase
from gtn_rl.envs.synthetic import SyntheticEnv
from gtn_rl.errors import TrainingDivergedError
from gtn_rl.inner.gradients import clip_to_median
from gtn_rl.inner.objective import Experience, agreement, surrogate
from gtn_rl.inner.training import act, inner_loop
from gtn_rl.outer.meta_gradient import MetaGradient, meta_gradient

DISCRETE = (
    spaces.Discrete(2),
    ("2xpg@tanh:6", "2xdqn@tanh:5", "2xppo@tanh:4-3", "2xsac@tanh:4", "1xa2c@tanh:3", "1xoptimal"),
)
BOX = (
    spaces.Box(-2.0, 1.0, (2,)),
    ("2xpg@tanh:6", "2xppo@tanh:4-3", "2xtd3@tanh:4", "2xsac@tanh:4", "1xa2c@tanh:3", "1xoptimal"),
)


class Case:
    """A small environment of two phases, learners and real experience of theirs."""

    def __init__(self, space, kinds):
        learners = Learners(kinds=kinds, inner_steps=5, batch_size=7)
        self.config = TrainConfig(estimator="meta-gradient", noise=0.5, learners=learners)
        source = torch.Generator().manual_seed(7)
        self.env = SyntheticEnv(
            spaces.Box(-np.inf, np.inf, (3,)), space, hidden=(4,), mean=np.array([0.1, -0.2, 0.0]),
            phases=(Phase(0.4, wide=0.7, scale=2.0, gain=0.8), Phase(wide=0.5, width=0.5)),
            states=torch.randn(20, 3, generator=source), std=np.array([1.0, 0.5, 2.0]),
        ).double()  # fmt: skip
        self.actions = make_actions(space, self.config.noise)
        self.rows = self.config.num_learners
        generator = torch.Generator().manual_seed(0)

        def normal(*shape):
            return torch.randn(self.rows, 9, *shape, generator=generator, dtype=torch.float64)

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
        self.expert = normal(self.actions.size).view(1, 9 * self.rows, -1)

    def teach(self):
        generator = torch.Generator().manual_seed(3)
        return inner_loop(self.env, self.config, generator, create_graph=True)

    def surrogate(self, trained):
        return surrogate(partial(act, trained), self.experience, self.actions, 0.2)

    def agreement(self, trained):
        return agreement(
            partial(act, trained), lambda _: self.expert, self.observation, self.actions
        )


@pytest.fixture(params=[DISCRETE, BOX], ids=["discrete", "continuous"])
def case(request, monkeypatch):
    # Gradients as they are: evened out they are those of no function.
    monkeypatch.setattr("gtn_rl.inner.training.clip_data_to_median", lambda *_: None)
    return Case(*request.param)


@pytest.mark.parametrize("objective", ["surrogate", "agreement"])
def test_meta_gradient_equals_finite_differences(case, objective):
    score = getattr(case, objective)
    value, gradients = meta_gradient(case.teach(), score, list(case.env.parameters()))
    assert float(value) != 0
    assert len(gradients) > 3
    assert_slopes(lambda: score(case.teach()), case.env.parameters(), gradients)


def test_an_update_raises_the_surrogate(case):
    estimator = MetaGradient(case.env, lambda _: 1e-2)
    values = [estimator.update(case.teach(), case.surrogate, 1e-2).surrogate for _ in range(4)]
    assert values[-1] > values[0]


def test_a_gradient_that_is_not_finite_changes_nothing(case):
    case.experience.advantage[0, 0], case.experience.weight[0, 0] = torch.nan, 1.0
    before = [parameter.clone() for parameter in case.env.parameters()]
    estimator = MetaGradient(case.env, lambda _: 1e-2)
    with pytest.raises(TrainingDivergedError, match="lower the outer learning rate"):
        estimator.update(case.teach(), case.surrogate, 1e-2)
    for old, new in zip(before, case.env.parameters(), strict=True):
        assert torch.equal(old, new)


def test_clipping_shortens_long_gradients_to_the_median_and_drops_broken_ones():
    gradient = torch.tensor([[3.0, 4.0], [0.0, 1.0], [30.0, 40.0], [torch.nan, 0.0], [6.0, 8.0]])
    even = clip_to_median(gradient, torch.ones(2))
    torch.testing.assert_close(
        even, torch.tensor([[3.0, 4.0], [0.0, 1.0], [3.0, 4.0], [0.0, 0.0], [3.0, 4.0]])
    )


def test_several_updates_by_one_objective_train_the_learners_again(case):
    trained = []

    def again(teacher, step):
        trained.append(step)
        return case.teach()

    estimator = MetaGradient(case.env, lambda step: 1e-2 / (1 + step), epochs=3, again=again)
    before = [parameter.detach().clone() for parameter in case.env.parameters()]
    row = estimator.tell(case.teach(), (case.surrogate, {"return": 5.0}), 1)
    assert trained == [1, 1]
    assert row.keys() == {"return", "surrogate", "gradient_norm"}
    # Adam's steps are no longer than its step size, which is that of the outer step.
    moved = max(
        float((new - old).abs().max().detach())
        for old, new in zip(before, case.env.parameters(), strict=True)
    )
    assert 1e-3 < moved < 3.1 * 5e-3


def test_the_teacher_is_the_average_of_its_updates(case):
    estimator = MetaGradient(case.env, lambda _: 1e-2, averaging=0.5)
    values = []
    for step in range(3):
        estimator.tell(case.teach(), (case.surrogate, {}), step)
        values.append(case.env.reward_parameters.detach().clone())
    # The first, the mean of two, and from then on half of the average each time.
    wanted = ((values[0] + values[1]) / 2 + values[2]) / 2
    torch.testing.assert_close(estimator.teacher.reward_parameters, wanted)
