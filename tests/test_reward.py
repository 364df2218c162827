"""Learned rewards on real dynamics."""

import warnings
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.envs.toy_text.cliffwalking import CliffWalkingEnv
from gymnasium.utils.env_checker import check_env as gymnasium_check
from probes import assert_slopes
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.env_checker import check_env as sb3_check

import gtn_rl
from gtn_rl import zoo
from gtn_rl.agents.draw import draw_interactive
from gtn_rl.agents.interactive import Segment, train
from gtn_rl.agents.spec import parse_learners
from gtn_rl.config import Learners, Outer, Pretrain, Search, Workers
from gtn_rl.envs.actions import make_actions
from gtn_rl.envs.learned_reward import LearnedReward
from gtn_rl.envs.reward import FORMS, RewardNetwork
from gtn_rl.envs.targets import describe
from gtn_rl.errors import UsageError
from gtn_rl.inner.worlds import RewardedWorld
from gtn_rl.io.artifact import read_config

BOX = spaces.Box(-np.inf, np.inf, (2,))


def transition(generator, discrete, members=1, count=5):
    normal = [torch.randn(members, count, 2, generator=generator) for _ in range(2)]
    action = torch.randint(2, (members, count), generator=generator)
    if not discrete:
        action = torch.rand(members, count, 1, generator=generator) * 2 - 1
    real = torch.randn(members, count, generator=generator)
    return normal[0], action, normal[1], real, torch.arange(count).expand(members, -1) == 0


def randomise(network, generator):
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return network


@pytest.mark.parametrize("space", [spaces.Discrete(3), spaces.Box(-2, 1, (2,))], ids=str)
def test_the_reward_of_a_synthetic_environment_is_kept(space, generator, tmp_path):
    discrete = isinstance(space, spaces.Discrete)
    phases = (
        gtn_rl.Phase(until=0.4, scale=0.3, width=2.0, gain=0.5),
        gtn_rl.Phase(scale=1.7, width=0.6, gain=0.8),
    )
    scales = {"mean": np.ones(2), "std": np.array([2.0, 0.5])}
    env = gtn_rl.SyntheticEnv(BOX, space, phases=phases, **scales)
    env.reward_parameters.data.normal_(generator=generator)
    network = RewardNetwork.of(env)
    observation, action, following, real, ended = transition(generator, discrete)
    if not discrete:
        action = action.expand(-1, -1, 2) * torch.tensor([1.0, -0.5])
    wanted = env.reward(env.lesson(observation, 1.0), action)
    assert wanted.std() > 0.05
    before = env.reward(env.lesson(observation, 0.0), action)
    assert not torch.allclose(wanted, before, rtol=0.1)
    for same in (network, gtn_rl.load_reward(gtn_rl.save_reward(network, tmp_path))):
        torch.testing.assert_close(same(observation, action, following, real, ended), wanted)
    other = network.like(3)
    randomise(other, generator).network_parameters.data[:] = network.network_parameters
    parts = (part.expand(3, *part.shape[1:]) for part in (observation, action, following, real))
    torch.testing.assert_close(other(*parts, ended.expand(3, -1)), wanted.expand(3, -1))


def test_potentials_add_up_to_their_ends(generator):
    network = RewardNetwork(BOX, spaces.Discrete(2), form="potential", discount=0.9)
    randomise(network, generator)
    # Along a path the discounted sum is the difference of the ends, whatever lies between.
    path = torch.randn(1, 6, 2, generator=generator)
    ended = torch.tensor([[False] * 4 + [True]])
    zero = torch.zeros(1, 5)
    reward = network(path[:, :-1], zero.long(), path[:, 1:], zero, ended)
    total = (reward * 0.9 ** torch.arange(5)).sum()
    start = network._output(path[:, :1]).squeeze()
    torch.testing.assert_close(total, -start)


@pytest.mark.parametrize("form", ["state", "potential"])
def test_an_additive_reward_starts_as_the_real_one(form, generator):
    network = RewardNetwork(BOX, spaces.Discrete(2), form=form, additive=True)
    parts = transition(generator, True)
    torch.testing.assert_close(network(*parts), parts[3])


def test_terms_show_the_real_reward(generator):
    parts = list(transition(generator, True))
    outputs = []
    for terms in (False, True):
        network = RewardNetwork(BOX, spaces.Discrete(2), form="state", terms=terms)
        randomise(network, generator)
        before = network(*parts)
        changed = network(*parts[:3], parts[3] + 1, parts[4])
        outputs.append(torch.equal(before, changed))
    assert outputs == [True, False]
    with pytest.raises(UsageError, match="form state"):
        RewardNetwork(BOX, spaces.Discrete(2), form="potential", terms=True)
    with pytest.raises(UsageError, match="Did you mean 'state'"):
        RewardNetwork(BOX, spaces.Discrete(2), form="states")


@pytest.mark.integration
@pytest.mark.parametrize("name", list(zoo.folders()))
@pytest.mark.filterwarnings("ignore:.*For Box action spaces")
@pytest.mark.filterwarnings("ignore:.*recommend")
def test_every_target_has_its_reward_network(name):
    env = gym.make(f"gtn_rl/RN-{name}")
    target = gym.make(read_config(f"gtn_rl/{name}")["target"])
    assert env.observation_space == target.observation_space
    assert env.spec.max_episode_steps == target.spec.max_episode_steps
    sb3_check(env)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*A Box observation space m.* value is .*infinity")
        warnings.filterwarnings("ignore", ".*the environment spec is None.*")
        warnings.filterwarnings("ignore", ".*render.*")
        gymnasium_check(env, skip_render_check=True)
    # Real dynamics, step by step; the real reward is not lost.
    one, _ = env.reset(seed=3)
    other, _ = target.reset(seed=3)
    np.testing.assert_array_equal(one, other)
    env.action_space.seed(0)
    action = env.action_space.sample()
    step, plain = env.step(action), target.step(action)
    np.testing.assert_array_equal(step[0], plain[0])
    assert step[2:4] == plain[2:4]
    assert step[4]["reward"] == pytest.approx(plain[1])


def test_a_users_environment_with_discrete_observations(generator):
    box = spaces.utils.flatten_space(spaces.Discrete(48))
    network = RewardNetwork(box, spaces.Discrete(4), form="state")
    randomise(network, generator)
    env = LearnedReward(CliffWalkingEnv(), network)
    env.reset(seed=0)
    observation, reward, *_ = env.step(0)
    seen = torch.zeros(1, 1, 48)
    seen[0, 0, observation] = 1
    assert reward == pytest.approx(network._output(seen).item(), rel=1e-5)
    A2C("MlpPolicy", env, seed=0, device="cpu").learn(10)


def test_other_spaces_and_populations_are_refused(env, tmp_path):
    with pytest.raises(UsageError, match="was learned for"):
        LearnedReward(gym.make("Acrobot-v1"), gtn_rl.save_pretrained(env, tmp_path))
    space = gym.make("CartPole-v1").observation_space
    with pytest.raises(UsageError, match="population of 3"):
        LearnedReward(gym.make("CartPole-v1"), RewardNetwork(space, spaces.Discrete(2), members=3))


def test_the_world_gives_the_learned_reward_of_real_steps(generator):
    task = describe("CartPole-v1")
    network = RewardNetwork(
        task.observation_space, task.action_space, form="state", additive=True, members=2
    )
    randomise(network, generator)
    world = RewardedWorld(task, network, make_actions(task.action_space, 0.4), 3, 2, seed=0)
    world.enter(0.0)
    place = world.reset(generator)
    assert torch.equal(place.observation[:3], place.observation[3:])
    rows = []
    for _ in range(40):
        action = torch.ones(6, 2, dtype=torch.long)
        before = place.observation
        place, following, over, last = world.step(place, action, generator)
        rows.append((before, action, following, over, last))
        assert (place.observation.abs() < 0.05).all(-1)[over].all()
    segment = Segment(*(torch.stack(column, 1) for column in zip(*rows, strict=True)))
    assert segment.over.any()
    judged = world.judge(segment)
    flat = segment.following.reshape(2, -1, 4)
    torch.testing.assert_close(judged.reward.reshape(2, -1), network._output(flat).squeeze(-1) + 1)
    assert torch.equal(judged.going == 0, segment.last)
    with pytest.raises(UsageError, match="all actions"):
        world.judge_all(segment)


def test_the_meta_gradient_through_real_training_is_that_of_finite_differences(generator):
    # Small changes of the reward do not change which actions are drawn, so that experience is the
    # same on both sides; single precision allows no more than this.
    task = describe("CartPole-v1")
    network = RewardNetwork(task.observation_space, task.action_space, hidden=(4,))
    learners = draw_interactive(
        parse_learners("2xa2c@tanh:4"), 4, task.action_space, learning_rate=(1e-2, 1e-2),
        generator=generator,
    )  # fmt: skip
    weight = torch.randn(learners.parameters.shape, generator=generator)

    def score():
        world = RewardedWorld(task, network, make_actions(task.action_space, 0.4), 2, 4, seed=0)
        trained = train(learners, world, 4, seed=1, create_graph=True)
        return (trained.parameters * weight).sum()

    parameters = [network.network_parameters]
    assert_slopes(score, parameters, torch.autograd.grad(score(), parameters), step=1e-2, rel=0.05)


TINY = gtn_rl.TrainConfig(
    hidden=(8,),
    search=Search(candidates=4, generations=2),
    pretrain=Pretrain(real_steps=512, copies=4),
    learners=Learners(kinds=("2xa2c@tanh:8",), inner_steps=4, batch_size=8, episodes=1),
    outer=Outer(steps=4, every=2, population=4, copies=2),
)
TINY_META = replace(TINY, estimator="meta-gradient")


@pytest.mark.integration
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("estimator", ["meta-gradient", "evolution"])
def test_reward_networks_are_trained_and_saved(form, estimator, tmp_path):
    config = replace(TINY, estimator=estimator)
    made = {"form": form, "additive": form != "action", "progress_bar": False}
    result = gtn_rl.train_reward("CartPole-v1", tmp_path / "run", config, **made)
    assert isinstance(result.teacher, RewardNetwork)
    assert result.stopped == "done"
    # CartPole's return is at least 8.
    assert result.scores["a2c"] == pytest.approx(result.score)
    assert result.score >= 8
    stages = {row["stage"] for row in result.rows}
    assert stages == ({0, 1, 3, 4} if form == "action" else {0, 2, 3})
    learned = [row for row in result.rows if row["stage"] == max(stages) - 1]
    shown = "surrogate" if estimator == "meta-gradient" else "return_best"
    assert sum(shown in row for row in learned) == 4
    # Two learners take at least so many real steps to train, in each of four outer steps.
    spent = learned[-1]["real_steps"] - learned[0]["real_steps"]
    assert spent > 4 * 2 * 4 * 2
    loaded = gtn_rl.load_reward(tmp_path / "run")
    assert (loaded.form, loaded.additive) == (form, form != "action")
    assert torch.equal(loaded.network_parameters, result.teacher.network_parameters)
    training = read_config(tmp_path / "run")["training"]
    assert training["real_steps"] == result.real_steps
    env = LearnedReward(gym.make("CartPole-v1"), tmp_path / "run")
    PPO("MlpPolicy", env, n_steps=16, batch_size=16, seed=0, device="cpu").learn(16)
    again = gtn_rl.train_reward("CartPole-v1", tmp_path / "run", config, resume=True, **made)
    assert torch.equal(again.teacher.network_parameters, result.teacher.network_parameters)
    assert again.rows == result.rows


@pytest.mark.integration
def test_a_budget_ends_a_run_and_a_larger_one_goes_on(tmp_path):
    whole = gtn_rl.train_reward("CartPole-v1", config=TINY_META, progress_bar=False)
    first = [row for row in whole.rows if row["stage"] == 3][2]["real_steps"]
    small = replace(TINY_META, max_real_steps=first)
    cut = gtn_rl.train_reward("CartPole-v1", tmp_path / "run", small, progress_bar=False)
    assert cut.stopped == "real steps"
    assert cut.real_steps <= first < whole.real_steps
    assert np.isfinite(cut.score)
    more = gtn_rl.train_reward(
        "CartPole-v1", tmp_path / "run", TINY_META, resume=True, progress_bar=False
    )
    assert more.stopped == "done"
    rows = ([row | {"seconds": 0} for row in run.rows] for run in (more, whole))
    assert next(rows) == next(rows)


@pytest.mark.integration
def test_the_reward_of_a_given_environment_is_the_start(env, tmp_path):
    config = replace(TINY_META, init=str(tmp_path / "env"), outer=replace(TINY.outer, steps=0))
    training = {"real_steps": 70, "seconds": 1.5}
    env.reward_parameters.data.normal_(generator=torch.Generator().manual_seed(1))
    gtn_rl.save_pretrained(env, tmp_path / "env", training=training)
    result = gtn_rl.train_reward("CartPole-v1", tmp_path / "run", config, progress_bar=False)
    assert torch.equal(result.teacher.network_parameters, env.reward_parameters)
    assert read_config(tmp_path / "run")["training"]["real_steps_of_init"] == 70


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learners": Learners(kinds=("2xpg@tanh:8", "sb3:ppo"))}, "either all"),
        ({"learners": Learners(kinds=("1xstock-ppo@tanh:8",))}, "use a2c, dqn, pg, ppo"),
        ({"workers": Workers(executor="processes")}, "executor batch"),
    ],
)
def test_what_cannot_train_a_reward_is_refused(change, message):
    with pytest.raises(UsageError, match=message):
        gtn_rl.train_reward("CartPole-v1", config=replace(TINY, **change), progress_bar=False)
