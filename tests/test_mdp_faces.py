"""Environments with dynamics: what their faces do once episodes have fallen out of step."""

import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.utils.seeding import np_random
from stable_baselines3 import PPO, SAC

import gtn_rl
from gtn_rl.envs.gym import SyntheticGymEnv, SyntheticVectorEnv
from gtn_rl.envs.presentation import Phase
from gtn_rl.envs.synthetic import State

DISCRETE = spaces.Discrete(3)
BOX = spaces.Box(-1, 1, (2,))
N, O = 4, 3  # noqa: E741 - as the shapes have it
PHASES = (Phase(0.5, scale=2.0, spread=2.0), Phase(gain=0.5))


def make_env(action_space=DISCRETE, end=3.0, **kwargs):
    env = gtn_rl.SyntheticEnv(
        spaces.Box(-np.inf, np.inf, (O,)), action_space, horizon=10, hidden=(8,), **kwargs
    )
    with torch.no_grad():
        _, bias = env.dynamics_network.layers(env.dynamics_parameters)[-1]
        bias.view(-1, O + 1)[:, -1] = end
    return env


def play(env, generator, actions, progress=lambda taken: 1.0):
    """What the core gives N episodes that reset in a step of their own, and the steps taken."""

    def start(count):
        noise = generator.standard_normal((1, count, O + 2), dtype=np.float32)
        return env.initial(torch.as_tensor(noise), progress(taken))[0]

    taken, over = 0, np.zeros(N, np.bool_)
    # Every episode's start is drawn when it is needed: so is it while there are phases to come.
    state = State(start(N)[None], torch.zeros(1, N))
    for action in actions:
        chance = torch.as_tensor(generator.random((1, N), dtype=np.float32))
        state, reward, ended = env.step(
            state, torch.as_tensor(action[None]), chance, progress(taken)
        )
        taken += N - int(over.sum())
        reward[0, over] = 0.0
        ended[0, over] = False
        if over.any():
            state.observation[0, over] = start(int(over.sum()))
            state.age[0, over] = 0
        over = ended[0].numpy().copy()
        yield state.observation[0].numpy().copy(), reward[0].numpy(), over, taken


@pytest.mark.parametrize("action_space", [DISCRETE, BOX])
@torch.inference_mode()
def test_next_step_follows_the_core_and_does_not_count_steps_that_reset(action_space):
    env, budget = make_env(action_space, phases=PHASES), 400
    vector = SyntheticVectorEnv(env, N, budget=budget)
    vector.action_space.seed(0)
    actions = [vector.action_space.sample() for _ in range(80)]
    vector.reset(seed=3)
    core = play(env, np_random(3)[0], actions, lambda taken: taken / budget)
    together, steps = set(), 0
    for action, (seen, reward, over, taken) in zip(actions, core, strict=True):
        observation, rewards, terminated, truncated, info = vector.step(action)
        np.testing.assert_allclose(observation, seen, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(rewards, reward, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(terminated, over)
        assert not truncated.any()
        assert info == {}
        together.add(int(over.sum()))
        steps = taken
    # Otherwise nothing above tells them apart from episodes in step.
    assert {0, 1, 2} <= together
    assert N * 40 < steps < N * 80


def test_no_start_is_used_twice():
    single = SyntheticGymEnv(make_env(end=100.0))
    starts = [single.reset(seed=0)[0]] + [single.reset()[0] for _ in range(199)]
    assert len(np.unique(np.stack(starts), axis=0)) == 200
    vector = SyntheticVectorEnv(make_env(end=100.0), N, "SameStep")
    starts = [vector.reset(seed=0)[0]]
    starts += [vector.step(np.zeros(N, np.int64))[0] for _ in range(199)]
    assert len(np.unique(np.concatenate(starts), axis=0)) == 200 * N


@pytest.mark.parametrize("face", ["gymnasium", "sb3"])
def test_a_seed_forgets_what_came_before(face):
    if face == "gymnasium":
        single = SyntheticGymEnv(make_env())

        def run(seed):
            trace = [single.reset(seed=seed)[0]]
            for _ in range(60):
                observation, _, terminated, *_ = single.step(1)
                trace.append(single.reset()[0] if terminated else observation)
            return np.stack(trace)
    else:
        vec = gtn_rl.make_sb3_env(make_env(), N)

        def run(seed):
            vec.seed(seed)
            trace = [vec.reset()]
            trace += [vec.step(np.ones(N, np.int64))[0] for _ in range(60)]
            return np.stack(trace)

    first, other, again = run(5), run(6), run(5)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_sb3_episodes_that_never_end_by_themselves_restart_with_reset():
    vec = gtn_rl.make_sb3_env(make_env(end=-100.0), N, seed=0)
    vec.reset()
    for _ in range(7):
        vec.step(np.zeros(N, np.int64))
    vec.reset()
    total = np.zeros(N)
    for step in range(1, 11):
        _, reward, done, infos = vec.step(np.zeros(N, np.int64))
        total += reward
        assert done.all() == done.any() == (step == 10)
    assert [info["episode"]["l"] for info in infos] == [10] * N
    np.testing.assert_allclose([info["episode"]["r"] for info in infos], total)


@pytest.mark.parametrize(
    ("algorithm", "action_space", "settings"),
    [
        (PPO, DISCRETE, {"n_steps": 16, "batch_size": 16, "n_epochs": 1}),
        (SAC, BOX, {"learning_starts": 16, "buffer_size": 100, "batch_size": 8}),
    ],
)
def test_stock_agents_train_through_all_phases(algorithm, action_space, settings):
    env = make_env(action_space, phases=PHASES)
    vec = gtn_rl.make_sb3_env(env, n_envs=2, budget=48)
    episodes = vec._episodes
    agent = algorithm(
        "MlpPolicy", vec, seed=0, device="cpu", policy_kwargs={"net_arch": [8]}, **settings
    )
    agent.learn(32)
    assert episodes.progress == pytest.approx(32 / 48)
    agent.learn(32, reset_num_timesteps=False)
    assert episodes.progress == 1.0


def test_compare_lets_an_agent_go_through_all_phases(tmp_path, monkeypatch):
    env = gtn_rl.SyntheticEnv(
        spaces.Box(-np.inf, np.inf, (4,)), spaces.Discrete(2), target="CartPole-v1",
        phases=PHASES, hidden=(8,),
    )  # fmt: skip
    gtn_rl.save_pretrained(env, tmp_path / "lessons")
    met = []
    initial = gtn_rl.SyntheticEnv.initial

    def watched(self, noise, progress=1.0):
        met.append(torch.as_tensor(progress))
        return initial(self, noise, progress)

    monkeypatch.setattr(gtn_rl.SyntheticEnv, "initial", watched)
    gtn_rl.compare(
        tmp_path / "lessons", algos=("a2c:100",), seeds=1, episodes=1, real=False,
        progress_bar=False,
    )  # fmt: skip
    seen = torch.cat([progress.flatten() for progress in met])
    assert seen.min() == 0
    assert seen.unique().numel() >= 100
