import copy
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

import gtn_rl
from gtn_rl.agents import stock
from gtn_rl.agents.sb3 import train_stock
from gtn_rl.agents.spec import Spec, parse_learners
from gtn_rl.agents.unroll import shorten
from gtn_rl.config import Learners, TrainConfig
from gtn_rl.envs.presentation import Phase
from gtn_rl.envs.sb3 import SyntheticVecEnv
from gtn_rl.errors import UsageError
from gtn_rl.inner.training import inner_loop, members, train_stock_agents

KINDS = {"ppo": (2_048, "tanh"), "a2c": (1_000, "tanh"), "dqn": (2_000, "relu")}


def regret(env, observation, greedy):
    """How much less than the best a greedy action is rewarded, on average: `[K]`."""
    lesson = env.lesson(observation.expand(env.members, -1, -1))
    if isinstance(env.action_space, spaces.Box):
        greedy = (greedy / 2).clamp(-1, 1)
        best = env.reward(lesson, lesson[..., :1])
    else:
        best = lesson.amax(-1)
    return (best - env.reward(lesson.expand(len(greedy), -1, -1), greedy)).mean(-1)


def of_stock(env, name, steps, observation, seed):
    agent = train_stock(name, SyntheticVecEnv(env, 1, seed, budget=steps), steps, seed)
    action = agent.predict(observation[0].numpy(), deterministic=True)[0]
    return float(regret(env, observation, torch.as_tensor(action[None]))[0])


def same(ours, theirs):
    """Whether two samples have means that differ by less than three standard errors and a bit."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    error = np.sqrt(ours.var(ddof=1) / len(ours) + theirs.var(ddof=1) / len(theirs))
    return abs(ours.mean() - theirs.mean()) < 3 * error + 0.02 * theirs.mean()


@pytest.fixture
def pendulum():
    env = gym.make("Pendulum-v1")
    return gtn_rl.SyntheticEnv(
        env.observation_space, env.action_space, std=np.array([0.7, 0.7, 3.0]),
        phases=(Phase(0.5, scale=2.0, gain=0.5), Phase(scale=2.0, width=0.5)),
    ).requires_grad_(False)  # fmt: skip


@pytest.mark.parametrize(
    ("task", "name"),
    [*(("lesson", name) for name in KINDS), ("pendulum", "ppo"), ("pendulum", "a2c")],
)
def test_agents_learn_what_those_of_stable_baselines3_learn(request, task, name, generator):
    (steps, activation), env = KINDS[name], request.getfixturevalue(task)
    noise = torch.randn(1, 2_000, env.noise_size, generator=generator)
    observation = env.initial(noise)
    spec = Spec(16, f"stock-{name}", activation, (64, 64))
    ours = train_stock_agents(env, spec, steps, generator)
    greedy = ours.outputs(observation.expand(16, -1, -1))
    greedy = greedy.argmax(-1) if task == "lesson" else greedy
    theirs = [of_stock(env, name, steps, observation, seed) for seed in range(6)]
    assert same(regret(env, observation, greedy), theirs)


def test_members_of_a_population_teach_the_same_agents(lesson):
    def trained(env):
        source = torch.Generator().manual_seed(5)
        config = TrainConfig(
            estimator="evolution",
            learners=Learners(kinds=("2xstock-ppo@tanh:8", "1xstock-dqn@relu:8/400", "1xoptimal")),
            steps=2_048,
        )
        return inner_loop(env, config, source, create_graph=False)

    both = lesson.like(2)
    for rows, row in zip(both.parameters(), lesson.parameters(), strict=True):
        rows.data[0] = row[0]
    alone, together = trained(lesson), trained(both.requires_grad_(False))
    for one, two in zip(alone, together, strict=True):
        torch.testing.assert_close(two.parameters[: len(one.parameters)], one.parameters)
    assert members(together, 2).tolist() == [0, 0, 1, 1, 0, 1, 0, 1]


def test_gradients_are_shortened_as_torch_does(generator):
    rows = torch.randn(3, 10, generator=generator) * torch.tensor([[0.01], [1.0], [10.0]])
    expected = []
    for row in rows:
        parameter = torch.nn.Parameter(torch.zeros(10))
        parameter.grad = row.clone()
        torch.nn.utils.clip_grad_norm_([parameter], 0.5)
        expected.append(parameter.grad)
    torch.testing.assert_close(shorten(rows, 0.5), torch.stack(expected))


def test_a_group_may_say_its_steps():
    assert parse_learners("2xstock-dqn@relu:64-64/5000").steps == 5_000
    assert parse_learners("3xoptimal").count == 3
    for text in ("2xdqn@relu:64-64/5000", "1xoptimal@tanh:64"):
        with pytest.raises(UsageError, match=r"stock-.* only"):
            parse_learners(text)


@pytest.mark.parametrize(
    ("task", "name", "steps"),
    [
        ("lesson", "stock-ppo", 2_048),
        ("lesson", "stock-a2c", 150),
        ("lesson", "stock-dqn", 300),
        ("pendulum", "stock-ppo", 4_096),
        ("pendulum", "stock-a2c", 150),
    ],
)
def test_they_are_differentiated_through_all_that_they_learn(
    request, monkeypatch, generator, task, name, steps
):
    # Gradients as they are: shortened they are those of no function.
    monkeypatch.setattr("gtn_rl.inner.training.clip_data_to_median", lambda *_: None)
    # Parts of a training whose graphs are made one after the other.
    monkeypatch.setattr(stock, "_SEGMENT", 7)
    env = copy.deepcopy(request.getfixturevalue(task)).double().requires_grad_(True)
    parameters = list(env.parameters())

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    observation = env.initial(normal(1, 64, env.noise_size)).detach().expand(2, -1, -1)
    direction = [normal(*parameter.shape) for parameter in parameters]
    weight = normal(2, 64, 1)

    def score(create_graph):
        source = torch.Generator().manual_seed(5)
        agents = train_stock_agents(
            env, Spec(2, name, "tanh", (8, 8)), steps, source, create_graph=create_graph
        )
        # Outputs are sharpened by a number that is held fixed.
        return (replace(agents, scale=1.0).outputs(observation) * weight).sum()

    def moved(step):
        with torch.no_grad():
            for parameter, along in zip(parameters, direction, strict=True):
                parameter += step * along
            value = score(False).item()
            for parameter, along in zip(parameters, direction, strict=True):
                parameter -= step * along
        return value

    gradients = torch.autograd.grad(score(True), parameters, materialize_grads=True)
    slope = sum((g * d).sum().item() for g, d in zip(gradients, direction, strict=True))
    assert abs(slope) > 1e-3
    assert slope == pytest.approx((moved(1e-7) - moved(-1e-7)) / 2e-7, rel=1e-5)


def test_how_sure_agents_are_does_not_depend_on_the_algorithm(lesson, generator):
    noise = torch.randn(1, 2_000, 6, generator=generator)
    observation = lesson.initial(noise).expand(4, -1, -1)
    for name, (steps, activation) in KINDS.items():
        spec = Spec(4, f"stock-{name}", activation, (16, 16))
        agents = train_stock_agents(lesson, spec, steps, generator)
        logits = agents.outputs(observation)
        size = (logits - logits.mean(-1, keepdim=True)).square().mean((1, 2)).sqrt()
        torch.testing.assert_close(size, torch.full((4,), 2.0), rtol=0.2, atol=0)


def test_they_may_be_differentiated_through_their_last_updates_only(lesson, monkeypatch, generator):
    monkeypatch.setattr(stock, "_SEGMENT", 10)
    env = copy.deepcopy(lesson).requires_grad_(True)

    def taught(last, steps=150):
        source = torch.Generator().manual_seed(5)
        agents = train_stock_agents(
            env, Spec(2, "stock-a2c", "tanh", (8,)), steps, source, create_graph=True, last=last
        )
        score = agents.parameters.square().sum()
        return agents.parameters, torch.autograd.grad(score, env.reward_parameters)[0]

    whole, gradient = taught(0)
    # 30 updates in three parts: all of them, the last two, and at least the last.
    assert torch.equal(taught(30)[1], gradient)
    for last in (20, 1):
        agents, cut = taught(last)
        assert torch.equal(agents, whole)
        assert cut.abs().max() > 0
        assert not torch.allclose(cut, gradient)
    assert torch.equal(taught(10)[1], taught(1)[1])
    assert not torch.allclose(taught(20)[1], taught(1)[1])
