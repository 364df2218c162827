"""The three faces of synthetic environments with dynamics."""

import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env as gymnasium_check
from gymnasium.utils.seeding import np_random
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from stable_baselines3.common.env_checker import check_env as sb3_check

import gtn_rl
from gtn_rl.envs.gym import SyntheticGymEnv, SyntheticVectorEnv
from gtn_rl.envs.synthetic import State
from gtn_rl.spaces import first_action

DISCRETE = spaces.Discrete(3, start=-1)
BOX = spaces.Box(-1, 1, (2,))
SOMETIMES = 3.0
"""A logit of termination (of which 4 is taken) that gives episodes of unequal lengths."""


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


@pytest.mark.parametrize("horizon", [1, 10, 200])
@pytest.mark.parametrize("action_space", [spaces.Discrete(3), BOX])
def test_both_checkers_pass_without_a_warning(horizon, action_space):
    single = SyntheticGymEnv(make_env(horizon, action_space))
    gymnasium_check(single, skip_render_check=True)
    sb3_check(single)


@pytest.mark.parametrize("horizon", [1, 10, 200])
@pytest.mark.parametrize(
    ("algorithm", "action_space", "settings"),
    [
        (PPO, spaces.Discrete(3), {"n_steps": 16, "batch_size": 16, "n_epochs": 1}),
        (A2C, spaces.Discrete(3), {}),
        (DQN, spaces.Discrete(3), {"learning_starts": 16, "buffer_size": 100}),
        (PPO, BOX, {"n_steps": 16, "batch_size": 16, "n_epochs": 1}),
        (A2C, BOX, {}),
        (SAC, BOX, {"learning_starts": 16, "buffer_size": 100, "batch_size": 8}),
        (TD3, BOX, {"learning_starts": 16, "buffer_size": 100, "batch_size": 8}),
    ],
)
def test_stock_agents_train(horizon, algorithm, action_space, settings):
    vec = gtn_rl.make_sb3_env(make_env(horizon, action_space), n_envs=2)
    net = {"net_arch": [8]}
    agent = algorithm("MlpPolicy", vec, seed=0, device="cpu", policy_kwargs=net, **settings)
    agent.learn(32)
    lengths = [episode["l"] for episode in agent.ep_info_buffer]
    assert all(1 <= length <= horizon for length in lengths)
    assert lengths or horizon == 200


@pytest.mark.parametrize("action_space", [DISCRETE, BOX])
def test_vector_faces_follow_the_core(action_space):
    env, n, rng = make_env(action_space=action_space, end=SOMETIMES), 5, np_random(3)[0]
    same = SyntheticVectorEnv(env, n, "SameStep")
    sb3 = gtn_rl.make_sb3_env(env, n, seed=3)
    noise = torch.as_tensor(rng.standard_normal((1, 64 * n, 4), dtype=np.float32))
    with torch.inference_mode():
        starts = env.initial(noise)
    state, used = State(starts[:, :n].clone(), torch.zeros(1, n)), n
    seen = same.reset(seed=3)[0]
    np.testing.assert_array_equal(sb3.reset(), seen)
    returns, lengths = np.zeros(n), set()
    for _, action in zip(range(30), some_actions(same), strict=False):
        np.testing.assert_allclose(seen, state.observation[0].numpy(), rtol=1e-6)
        assert seen in same.observation_space
        counted = action - first_action(action_space)
        core = torch.as_tensor(counted[None])
        chance = torch.as_tensor(rng.random((1, n), dtype=np.float32))
        with torch.inference_mode():
            state, reward, over = env.step(state, core, chance)
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
        count = int(over.sum())
        with torch.inference_mode():
            state.observation[over] = starts[0, used : used + count]
            state.age[over] = 0
        used += count
    assert len(lengths) > 2


@pytest.mark.parametrize("end", [SOMETIMES, -1e9])
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


@pytest.mark.parametrize("action_space", [DISCRETE, BOX])
@pytest.mark.parametrize(("end", "length"), [(-1e9, 10), (1e9, 1)])
def test_episodes_last_as_long_as_the_core_says(action_space, end, length):
    env = make_env(action_space=action_space, end=end)
    single = SyntheticGymEnv(env)
    single.action_space.seed(0)
    before, _ = single.reset(seed=0)
    for step in range(1, length + 1):
        after, _, terminated, truncated, _ = single.step(single.action_space.sample())
        assert not np.array_equal(before, after)
        assert (terminated, truncated) == (step == length, False)
    sb3 = gtn_rl.make_sb3_env(env, 3, seed=0)
    sb3.reset()
    same = SyntheticVectorEnv(env, 3, "SameStep")
    following = SyntheticVectorEnv(env, 3)
    same.reset(seed=0)
    following.reset(seed=0)
    for step, action in zip(range(1, 23), some_actions(same), strict=False):
        over = step % length == 0
        _, _, dones, infos = sb3.step(action - first_action(action_space))
        assert dones.tolist() == [over] * 3
        assert [info["episode"]["l"] for info in infos if info] == [length] * 3 * over
        _, _, terminated, truncated, _ = same.step(action)
        assert terminated.tolist() == [over] * 3
        assert not truncated.any()
        _, _, terminated, truncated, _ = following.step(action)
        # One step more, which only resets.
        assert terminated.tolist() == [step % (length + 1) == length] * 3
        assert not truncated.any()


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
def test_episodes_of_unequal_length_reset_alone(mode):
    vector = SyntheticVectorEnv(make_env(end=-1e9), 3, mode)
    vector.reset(seed=0)
    actions = some_actions(vector)
    for _ in range(4):
        before = vector.step(next(actions))[0]
    masked, _ = vector.reset(options={"reset_mask": np.array([False, True, False])})
    assert (masked == before).all(1).tolist() == [True, False, True]
    ends = [[], [], []]
    for step in range(5, 34):
        observation, reward, terminated, truncated, info = vector.step(next(actions))
        assert not truncated.any()
        if mode == "NextStep":
            resetting = [bool(e) and e[-1] == step - 1 for e in ends]
            assert ((reward == 0) >= resetting).all()
            assert not terminated[resetting].any()
            assert info == {}
        elif terminated.any():
            assert info["_final_obs"].tolist() == terminated.tolist()
            assert info["_final_info"].tolist() == terminated.tolist()
            for i in range(3):
                assert (info["final_obs"][i] is not None) == terminated[i]
                if terminated[i]:
                    assert not np.array_equal(info["final_obs"][i], observation[i])
        else:
            assert info == {}
        for i in np.flatnonzero(terminated):
            ends[i].append(step)
    first, second = ([10, 21, 32], [14, 25]) if mode == "NextStep" else ([10, 20, 30], [14, 24])
    assert ends == [first, second, first]


def test_a_reset_step_shows_where_the_next_episode_starts():
    vector = SyntheticVectorEnv(make_env(end=1e9), 2)
    other = SyntheticVectorEnv(make_env(end=1e9), 2)
    vector.reset(seed=0)
    other.reset(seed=0)
    fresh = other.reset()[0]
    vector.step(np.zeros(2, np.int64))
    np.testing.assert_array_equal(vector.step(np.zeros(2, np.int64))[0], fresh)


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
def test_seeds_reproduce_and_differ(mode):
    runs = []
    vector = SyntheticVectorEnv(make_env(end=SOMETIMES), 4, mode)
    for seed in (5, 5, 6):
        trace = [vector.reset(seed=seed)[0]]
        trace += [vector.step(np.zeros(4, np.int64))[0] for _ in range(40)]
        runs.append(np.stack(trace))
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])


def test_returned_arrays_are_the_callers_own():
    vec, other = (gtn_rl.make_sb3_env(make_env(end=SOMETIMES), 3, seed=0) for _ in range(2))
    kept, copy = vec.reset(), other.reset()
    for _ in range(20):
        np.testing.assert_array_equal(kept, copy)
        kept += 100
        kept, copy = (v.step(np.zeros(3, np.int64))[0] for v in (vec, other))
    np.testing.assert_array_equal(kept, copy)
