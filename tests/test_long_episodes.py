"""The three faces of synthetic environments with dynamics, and what both kinds share."""

import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env as gymnasium_check
from gymnasium.utils.seeding import np_random
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3 import DQN, PPO, SAC, TD3
from stable_baselines3.common.env_checker import check_env as sb3_check

import gtn_rl
from gtn_rl.envs.gym import SyntheticGymEnv, SyntheticVectorEnv
from gtn_rl.envs.presentation import Phase
from gtn_rl.envs.synthetic import State
from gtn_rl.spaces import first_action

DISCRETE = spaces.Discrete(3, start=-1)
BOX = spaces.Box(-1, 1, (2,))
# Logits of termination (of which 4 is taken); the first gives episodes of unequal lengths.
SOMETIMES, NEVER, ALWAYS = 3.0, -1e9, 1e9
PHASES = (Phase(0.5, scale=2.0, spread=2.0), Phase(gain=0.5))
N, SMALL = 4, np.full(2, 0.1)


def make_env(horizon=10, action_space=DISCRETE, end=None, **kwargs):
    # Bounds that float32 rounds outwards, and that untrained dynamics run into.
    high = np.array([1.1, 1.6])
    env = gtn_rl.SyntheticEnv(
        spaces.Box(-high, high, dtype=np.float64), action_space, horizon=horizon, hidden=(8,),
        **kwargs,
    )  # fmt: skip
    if end is not None:
        with torch.no_grad():
            _, bias = env.dynamics_network.layers(env.dynamics_parameters)[-1]
            bias.view(-1, 3)[:, -1] = end
    return env


def some_actions(vector):
    vector.action_space.seed(0)
    while True:
        yield vector.action_space.sample()


@pytest.mark.parametrize("horizon", [1, 10])
@pytest.mark.parametrize("action_space", [spaces.Discrete(3), BOX])
def test_both_checkers_pass_without_a_warning(horizon, action_space):
    single = SyntheticGymEnv(make_env(horizon, action_space))
    gymnasium_check(single, skip_render_check=True)
    sb3_check(single)


@pytest.mark.parametrize(
    ("algorithm", "action_space"),
    [(PPO, spaces.Discrete(3)), (DQN, spaces.Discrete(3)), (PPO, BOX), (SAC, BOX), (TD3, BOX)],
)
def test_stock_agents_train_through_all_phases(algorithm, action_space):
    env = make_env(action_space=action_space, phases=PHASES)
    vec = gtn_rl.make_sb3_env(env, n_envs=2, budget=48)
    settings = {"learning_starts": 16, "buffer_size": 100, "batch_size": 8}
    if algorithm is PPO:
        settings = {"n_steps": 16, "batch_size": 16, "n_epochs": 1}
    agent = algorithm(
        "MlpPolicy", vec, seed=0, device="cpu", policy_kwargs={"net_arch": [8]}, **settings
    )
    agent.learn(32)
    assert vec._episodes.progress == pytest.approx(32 / 48)
    agent.learn(32, reset_num_timesteps=False)
    assert vec._episodes.progress == 1.0
    assert all(1 <= episode["l"] <= 10 for episode in agent.ep_info_buffer)
    assert len(agent.ep_info_buffer) >= 6


@pytest.mark.parametrize("action_space", [DISCRETE, BOX])
@torch.inference_mode()
def test_vector_faces_follow_the_core_through_all_phases(action_space):
    env = make_env(action_space=action_space, end=SOMETIMES, phases=PHASES)
    n, budget, rng = 5, 200, np_random(3)[0]
    same = SyntheticVectorEnv(env, n, "SameStep", budget=budget)
    sb3 = gtn_rl.make_sb3_env(env, n, seed=3, budget=budget)

    def start(count, progress):
        noise = torch.as_tensor(rng.standard_normal((1, count, 4), dtype=np.float32))
        return env.initial(noise, progress)

    state = State(start(n, 0.0), torch.zeros(1, n))
    seen = same.reset(seed=3)[0]
    np.testing.assert_array_equal(sb3.reset(), seen)
    returns, lengths = np.zeros(n), set()
    for step, action in zip(range(30), some_actions(same), strict=False):
        np.testing.assert_allclose(seen, state.observation[0].numpy(), rtol=1e-6)
        assert seen in same.observation_space
        counted = action - first_action(action_space)
        core = torch.as_tensor(counted[None])
        chance = torch.as_tensor(rng.random((1, n), dtype=np.float32))
        state, reward, over = env.step(state, core, chance, step * n / budget)
        seen, rewards, terminated, truncated, info = same.step(action)
        again, same_rewards, dones, infos = sb3.step(counted)
        np.testing.assert_array_equal(rewards, reward[0].numpy())
        np.testing.assert_array_equal(terminated, over[0].numpy())
        assert not truncated.any()
        for ours, theirs in ((again, seen), (same_rewards, rewards), (dones, terminated)):
            np.testing.assert_array_equal(ours, theirs)
        returns += rewards
        for i in range(n):
            if not dones[i]:
                assert infos[i] == {}
                assert not terminated.any() or info["final_obs"][i] is None
                continue
            last = state.observation[0, i].numpy()
            np.testing.assert_allclose(infos[i]["terminal_observation"], last, rtol=1e-6)
            np.testing.assert_array_equal(infos[i]["terminal_observation"], info["final_obs"][i])
            assert infos[i]["TimeLimit.truncated"] is False
            assert infos[i]["episode"]["r"] == pytest.approx(returns[i])
            assert infos[i]["episode"]["l"] == state.age[0, i]
            lengths.add(infos[i]["episode"]["l"])
            returns[i] = 0
        state.observation[over] = start(int(over.sum()), (step + 1) * n / budget)[0]
        state.age[over] = 0
    assert len(lengths) > 2


def play(env, generator, actions, progress):
    """What the core gives N episodes that reset in a step of their own, and the steps taken."""

    def start(count):
        noise = generator.standard_normal((1, count, 4), dtype=np.float32)
        return env.initial(torch.as_tensor(noise), progress(taken))[0]

    taken, over = 0, np.zeros(N, np.bool_)
    # Every episode's start is drawn when it is needed: so is it while there are phases to come.
    state = State(start(N)[None], torch.zeros(1, N))
    for action in actions:
        chance = torch.as_tensor(generator.random((1, N), dtype=np.float32))
        given = torch.as_tensor(action[None])
        state, reward, ended = env.step(state, given, chance, progress(taken))
        taken += N - int(over.sum())
        reward[0, over] = 0.0
        ended[0, over] = False
        if over.any():
            state.observation[0, over] = start(int(over.sum()))
            state.age[0, over] = 0
        over = ended[0].numpy().copy()
        yield state.observation[0].numpy().copy(), reward[0].numpy(), over, taken


@pytest.mark.parametrize("action_space", [spaces.Discrete(3), BOX])
@torch.inference_mode()
def test_next_step_follows_the_core_and_does_not_count_steps_that_reset(action_space):
    env = make_env(action_space=action_space, end=SOMETIMES, phases=PHASES)
    vector = SyntheticVectorEnv(env, N, budget=400)
    actions = [action for action, _ in zip(some_actions(vector), range(80), strict=False)]
    vector.reset(seed=3)
    core = play(env, np_random(3)[0], actions, lambda taken: taken / 400)
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


@pytest.mark.parametrize("end", [SOMETIMES, NEVER])
def test_one_environment_is_what_gymnasium_makes_of_the_single_one(end):
    env = make_env(end=end)
    theirs = SyncVectorEnv([lambda: SyntheticGymEnv(env)], autoreset_mode=AutoresetMode.SAME_STEP)
    ours = SyntheticVectorEnv(env, 1, "SameStep")
    np.testing.assert_array_equal(ours.reset(seed=1)[0], theirs.reset(seed=1)[0])
    for _, action in zip(range(25), some_actions(ours), strict=False):
        (*values, info), (*expected, wanted) = ours.step(action), theirs.step(action)
        for value, other in zip(values, expected, strict=True):
            np.testing.assert_array_equal(value, other)
        assert info.keys() == wanted.keys()
        if wanted:
            np.testing.assert_array_equal(info["final_obs"][0], wanted["final_obs"][0])
            assert info["final_info"] == wanted["final_info"] == {}
            for mask in ("_final_obs", "_final_info"):
                np.testing.assert_array_equal(info[mask], wanted[mask])


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
def test_episodes_of_unequal_length_reset_alone(mode):
    vector = SyntheticVectorEnv(make_env(end=NEVER), 3, mode)
    vector.reset(seed=0)
    actions = some_actions(vector)
    for _ in range(4):
        before = vector.step(next(actions))[0]
    masked, _ = vector.reset(options={"reset_mask": np.array([False, True, False])})
    assert (masked == before).all(1).tolist() == [True, False, True]
    ends = [[], [], []]
    for step in range(5, 34):
        _, _, terminated, _, info = vector.step(next(actions))
        if mode == "SameStep" and terminated.any():
            assert info["_final_obs"].tolist() == terminated.tolist()
        else:
            assert info == {}
        for i in np.flatnonzero(terminated):
            ends[i].append(step)
    first, second = ([10, 21, 32], [14, 25]) if mode == "NextStep" else ([10, 20, 30], [14, 24])
    assert ends == [first, second, first]


def test_sb3_episodes_that_never_end_by_themselves_restart_with_reset():
    vec = gtn_rl.make_sb3_env(make_env(end=NEVER), N, seed=0)
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


def test_no_start_is_used_twice():
    single = SyntheticGymEnv(make_env(end=ALWAYS, std=SMALL))
    starts = [single.reset(seed=0)[0]] + [single.reset()[0] for _ in range(199)]
    assert len(np.unique(np.stack(starts), axis=0)) == 200
    vector = SyntheticVectorEnv(make_env(end=ALWAYS, std=SMALL), N, "SameStep")
    starts = [vector.reset(seed=0)[0]]
    starts += [vector.step(np.zeros(N, np.int64))[0] for _ in range(199)]
    assert len(np.unique(np.concatenate(starts), axis=0)) == 200 * N


def gymnasium_trace(env, seed):
    observation, _ = env.reset(seed=seed)
    yield observation
    while True:
        observation, _, terminated, *_ = env.step(1)
        yield env.reset()[0] if terminated else observation


def vector_trace(env, seed):
    yield env.reset(seed=seed)[0]
    while True:
        yield env.step(np.ones(N, np.int64))[0]


def sb3_trace(env, seed):
    env.seed(seed)
    yield env.reset()
    while True:
        yield env.step(np.ones(N, np.int64))[0]


FACES = {
    "gymnasium": (SyntheticGymEnv, gymnasium_trace),
    "next-step": (lambda env: SyntheticVectorEnv(env, N), vector_trace),
    "same-step": (lambda env: SyntheticVectorEnv(env, N, "SameStep"), vector_trace),
    "sb3": (lambda env: gtn_rl.make_sb3_env(env, N), sb3_trace),
}


@pytest.mark.parametrize("horizon", [1, 10])
@pytest.mark.parametrize("face", FACES)
def test_seeds_reproduce_and_differ_and_returned_arrays_are_the_callers_own(face, horizon):
    make, trace = FACES[face]
    env = make(make_env(horizon, end=SOMETIMES if horizon > 1 else None))
    runs = []
    for seed in (5, 5, 6):
        seen = []
        for observation, _ in zip(trace(env, seed), range(150), strict=False):
            seen.append(observation.copy())
            observation += 100
        runs.append(np.stack(seen))
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])
    assert np.abs(runs[0]).max() < 2


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
