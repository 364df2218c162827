"""Behaviour distillation: cloning against torch, the meta-gradient, runs, artifacts."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from gymnasium import spaces
from probes import Aim, Side, assert_slopes
from torch import nn
from torch.nn import functional as F

import gtn_rl
from gtn_rl.agents.cloning import Cloning, clone
from gtn_rl.agents.optim import SGD
from gtn_rl.agents.spec import parse_networks
from gtn_rl.config import Outer, Pretrain
from gtn_rl.envs.actions import make_actions
from gtn_rl.errors import UsageError
from gtn_rl.inner.objective import Experience, surrogate
from gtn_rl.inner.training import act
from gtn_rl.io import checkpoint
from gtn_rl.io.artifact import read_config
from gtn_rl.outer.meta_gradient import meta_gradient

OBSERVATIONS = spaces.Box(-np.inf, np.inf, (3,))
DISCRETE, BOX = spaces.Discrete(3), spaces.Box(-2.0, 1.0, (2,))
SHAPES = [parse_networks(text) for text in ("2xtanh:6", "2xrelu:4", "2xtanh:5-4")]

both_spaces = pytest.mark.parametrize("space", [DISCRETE, BOX], ids=["discrete", "box"])


def make(space, **kwargs):
    scales = {"mean": np.array([0.1, -0.2, 0.5]), "std": np.array([1.0, 0.5, 2.0])}
    return gtn_rl.Pairs(OBSERVATIONS, space, **scales, **kwargs).double()


def modules(stack, row):
    """One network of a stack as torch has it."""
    layers = []
    for weight, bias in stack.networks.shapes[0].layers(stack.parameters.detach()):
        linear = nn.Linear(*weight.shape[1:], dtype=weight.dtype)
        linear.load_state_dict({"weight": weight[row].T, "bias": bias[row, 0]})
        layers += [linear, nn.Tanh()]
    return nn.Sequential(*layers[:-1])


@both_spaces
def test_cloning_equals_torch(space, generator):
    pairs = make(space, count=4, steps=7)
    with torch.no_grad():
        pairs.log_rates.copy_(torch.linspace(-2, 0, 7))
    algorithm = Cloning(pairs.discrete, SGD())
    (stack,) = clone(
        [parse_networks("1xtanh:8-6")], algorithm, pairs.normal, pairs.wanted, torch.zeros(0),
        generator=torch.Generator().manual_seed(5),
    )  # fmt: skip
    network = modules(stack, 0)
    optimizer = torch.optim.SGD(network.parameters(), 1.0)
    seen = ((pairs.states - pairs.mean) / pairs.std).detach()
    for rate in pairs.rates.detach():
        outputs = network(seen)
        if pairs.discrete:
            loss = F.cross_entropy(outputs, pairs.actions.detach())
        else:
            loss = F.mse_loss(outputs, (pairs.actions.detach() + 0.5) / 1.5)
        optimizer.zero_grad()
        loss.backward()
        optimizer.param_groups[0]["lr"] = float(rate)
        optimizer.step()
    observation = torch.randn(9, 3, generator=generator, dtype=torch.float64)
    expected = network((observation - pairs.mean) / pairs.std)
    if not pairs.discrete:
        expected = -0.5 + 1.5 * expected
    policy = pairs.clone((8, 6), seed=5)
    torch.testing.assert_close(policy(observation), expected, rtol=1e-9, atol=1e-9)


@both_spaces
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_meta_gradient_equals_finite_differences(space, optimizer):
    pairs = make(space, count=3, steps=4, optimizer=optimizer, learning_rate=0.1)
    actions = make_actions(space, 0.5)
    source = torch.Generator().manual_seed(0)

    def teach():
        stream = torch.Generator().manual_seed(3)
        return pairs.teach(SHAPES, stream, create_graph=True, temperature=0.5)

    def normal(*shape):
        return torch.randn(6, 9, *shape, generator=source, dtype=torch.float64)

    observation, weight, advantage = normal(3), (normal() > -0.8).double(), normal()
    with torch.no_grad():
        outputs = act(teach(), observation)
        action = actions.sample(outputs, source)
        behaviour = actions.log_probability(outputs, action) + 0.05 * normal()
    experience = Experience(observation, action, behaviour, advantage, weight, advantage)

    def score(trained):
        return surrogate(partial(act, trained), experience, actions, 0.2)

    _, gradients = meta_gradient(teach(), score, list(pairs.parameters()))
    assert_slopes(lambda: score(teach()), pairs.parameters(), gradients)


SIDE = gtn_rl.DistillConfig(
    pairs=2, steps=5, clone_learning_rate=1.0, networks=("4xtanh:32",), candidates=1,
    temperature=1.0, target_return=4.9,
    outer=Outer(steps=60, every=10, copies=8, patience=2, learning_rate=5e-2),
)  # fmt: skip
NEVER = replace(SIDE.outer, steps=0)


def distill(target, config, out=None, **options):
    return gtn_rl.distill(target, out, config, progress_bar=False, **options)


@pytest.mark.integration
def test_a_probe_is_solved_from_two_pairs():
    result = distill(Side, SIDE)
    first = next(row for row in result.rows if row["stage"] == 1)
    assert first["evaluation"] < 4
    assert result.score > 4.7
    # The last stage judges by policies and episodes that chose nothing.
    assert result.scores["tanh:32"] == result.score
    assert 1.5 < result.scores["random"] < 3.5
    unseen = gtn_rl.clone_returns(result.teacher, Side, networks="10xtanh:48", episodes=10, seed=1)
    assert unseen.shape == (10, 10)
    assert unseen.mean() > 4.4


TINY = gtn_rl.DistillConfig(
    pairs=2, steps=2, networks=("2xtanh:8", "1xrelu:6"), episodes=1, candidates=20,
    outer=Outer(steps=4, every=2, copies=4, learning_rate=5e-2),
)  # fmt: skip


@pytest.mark.integration
def test_a_run_leaves_pairs_that_load_again(tmp_path):
    result = distill("CartPole-v1", TINY, tmp_path / "run")
    assert result.stopped == "done"
    assert result.real_steps > 4 * 3 * 4 * 128 * 0.9
    loaded = gtn_rl.load_pairs(tmp_path / "run", target="CartPole-v1")
    for name, value in result.teacher.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[name])
    assert loaded.states.shape == (2, 4)
    torch.testing.assert_close(loaded.actions.sum(1), torch.ones(2))
    kinds = [result.rows[-1][f"evaluation_of_{name}"] for name in ("tanh:8", "relu:6")]
    assert result.score == pytest.approx(sum(kinds) / 2)
    assert read_config(tmp_path / "run")["training"]["real_steps"] == result.real_steps
    head = (tmp_path / "run" / "log.csv").read_text().splitlines()[0]
    assert head.endswith("evaluation_of_tanh:8,evaluation_of_relu:6")
    policy = loaded.clone((5,), "relu", seed=1)
    assert policy(torch.zeros(7, 4)).shape == (7, 2)
    assert torch.equal(policy[0].weight, loaded.clone((5,), "relu", seed=1)[0].weight)
    assert not torch.equal(policy[0].weight, loaded.clone((5,), "relu", seed=2)[0].weight)


EXPERT = replace(
    TINY, pretrain=Pretrain(real_steps=1_000), imitation=4, hidden=(8,),
    outer=replace(TINY.outer, steps=2),
)  # fmt: skip


@pytest.mark.integration
@pytest.mark.parametrize("config", [TINY, EXPERT], ids=["candidates", "expert"])
def test_a_killed_run_goes_on_as_if_it_had_not_been(config, tmp_path, monkeypatch):
    whole = distill("CartPole-v1", config, tmp_path / "whole")

    class Killed(Exception):
        pass

    save, count = checkpoint.save, len(whole.rows)
    for kill in range(100):
        # Once more after each checkpoint, until the run gets to its end.
        def save_and_die(*arguments):
            save(*arguments)
            raise Killed

        monkeypatch.setattr(checkpoint, "save", save_and_die)
        try:
            with pytest.raises(Killed):
                distill("CartPole-v1", config, tmp_path / "killed", resume=kill > 0)
        except pytest.fail.Exception:
            break
    monkeypatch.undo()
    assert kill > 4
    resumed = distill("CartPole-v1", config, tmp_path / "killed", resume=True)
    assert whole.real_steps == resumed.real_steps
    assert whole.scores == resumed.scores
    assert len(resumed.rows) == count
    for name, value in whole.teacher.state_dict().items():
        assert torch.equal(value, resumed.teacher.state_dict()[name])


def test_pairs_become_what_an_expert_does():
    pairs = make(BOX, count=2)
    states = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]]).double()
    pairs.be(states, torch.tensor([[-0.5, 0.25], [9.0, -9.0]]).double())
    torch.testing.assert_close(pairs.states, states)
    torch.testing.assert_close(pairs.actions, torch.tensor([[-0.5, 0.25], [1.0, -2.0]]).double())


def test_members_teach_a_row_each(generator):
    many = make(DISCRETE, count=3, steps=4, members=2, generator=generator)
    one = make(DISCRETE, count=3, steps=4)
    shapes = [parse_networks("2xtanh:5")]
    rows = []
    for member in range(2):
        with torch.no_grad():
            one.normal.copy_(many.normal[member])
            one.wanted.copy_(many.wanted[member])
        (stack,) = one.teach(shapes, torch.Generator().manual_seed(1))
        rows.append(stack.parameters[member])
    (stack,) = many.teach(shapes, torch.Generator().manual_seed(1))
    torch.testing.assert_close(stack.parameters, torch.stack(rows))


@pytest.mark.integration
def test_pairs_may_start_as_an_experts_experience():
    config = replace(
        SIDE, pretrain=Pretrain(real_steps=20_000), imitation=30, outer=NEVER, hidden=(16,)
    )
    result = distill(Side, config)
    assert result.scores["optimal"] > 4.4
    own = [row for row in result.rows if row["stage"] == 2]
    # Agreement is minus a cross-entropy; imitation takes no real step but for its evaluations.
    agreed = [row["surrogate"] for row in own if "surrogate" in row]
    assert len(agreed) == 30
    assert agreed[-1] > agreed[0]
    assert own[-1]["real_steps"] - own[0]["real_steps"] == 3 * 4 * 3 * 5
    assert result.score > 4.3


@pytest.mark.integration
def test_continuous_actions_are_learned_in_one_step_of_adam():
    config = replace(
        SIDE, pairs=3, steps=1, optimizer="adam", clone_learning_rate=0.02,
        outer=replace(SIDE.outer, steps=40), target_return=-0.02, noise=0.2,
    )  # fmt: skip
    result = distill(Aim, config)
    first = next(row for row in result.rows if row["stage"] == 1)
    assert first["evaluation"] < -1
    # To put out 0 loses a third.
    assert result.score > -0.3


@pytest.mark.integration
def test_the_best_of_many_random_pairs_is_the_start():
    few, many = (distill(Side, replace(SIDE, candidates=n, outer=NEVER)) for n in (1, 64))
    rounds = [row["return_best"] for row in many.rows if "return_best" in row]
    assert len(rounds) == 2
    assert rounds[0] == 5
    assert many.score > few.score + 0.5
    # 64 environments of 64 steps and 8 random episodes, then two rounds of candidates.
    scale = 64 * 64 * 5 / 6 + 8 * 5
    # Three policies by four episodes, and random agents by a hundred.
    judged = (4 * 3 + 100) * 5
    own = many.real_steps - 64 * 5 - 16 * 8 * 2 * 5 - judged
    assert own == pytest.approx(scale, abs=64)


@pytest.mark.parametrize(
    "bad",
    [
        {"pairs": 0}, {"steps": 0}, {"networks": ()}, {"networks": ("8xtan:64",)},
        {"networks": ("tanh:64",)}, {"optimizer": "sdg"}, {"temperature": 0.0},
        {"clone_learning_rate": -1.0}, {"candidates": 0}, {"averaging": 1.0}, {"imitation": 5},
        {"outer": Outer(steps=-1)}, {"pairs": "four"}, {"outer": {"steps": 3}},
    ],
)  # fmt: skip
def test_bad_settings_are_refused_before_anything_is_spent(bad):
    with pytest.raises(UsageError):
        distill("CartPole-v1", gtn_rl.DistillConfig(**bad))
    with pytest.raises(UsageError, match="hidden must be"):
        make(BOX).clone(())


@pytest.mark.integration
def test_command_line(call, tmp_path):
    out = tmp_path / "pairs"
    tiny = [
        *("--pairs", 2, "--steps", 1, "--networks", "2xtanh:8", "--episodes", 1, "--no-progress"),
        *("--candidates", 8, "--outer.every", 2, "--outer.steps", 2),
    ]
    code, printed, _ = call("distill", "CartPole-v1", "--out", out, *tiny)
    assert code == 0
    assert "2 pairs in 1 steps" in printed
    code, printed, _ = call("show", out)
    assert code == 0
    assert "2 synthetic (state, action) pairs" in printed
    code, _, error = call("distill", "CartPole-v1", "--out", out, *tiny)
    assert (code, error.count("\n")) == (2, 1)
    assert "--resume" in error
    code, _, _ = call("distill", "CartPole-v1", "--out", out, "--resume", *tiny)
    assert code == 0
    code, _, error = call("distill", "CartPol-v1", "--out", tmp_path / "x")
    assert (code, error.count("\n")) == (2, 1)
    assert "Did you mean 'CartPole-v1'" in error


@pytest.mark.slow
def test_cartpole_is_solved_from_four_pairs():
    result = distill("CartPole-v1", gtn_rl.DistillConfig(seed=1))
    assert gtn_rl.clone_returns(result.teacher, networks="20xtanh:64-64", seed=1).mean() > 495
