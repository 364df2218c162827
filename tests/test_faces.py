"""The three faces of a synthetic environment: Gymnasium, its vector form, Stable-Baselines3."""

import subprocess
import sys
import warnings

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env as gymnasium_check
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.env_checker import check_env as sb3_check

import gtn_rl
from gtn_rl import zoo
from gtn_rl.agents.sb3 import train_stock
from gtn_rl.envs.gym import SyntheticGymEnv, SyntheticVectorEnv
from gtn_rl.errors import ArtifactError, UsageError
from gtn_rl.inner.stock import greedy_returns
from gtn_rl.io.artifact import read_config

SHIPPED = [f"gtn_rl/{name}" for name in zoo.folders()]


@pytest.mark.parametrize("name", SHIPPED)
# Advice on the ranges of actions, which are the target's.
@pytest.mark.filterwarnings("ignore:.*For Box action spaces")
@pytest.mark.filterwarnings("ignore:.*recommend")
def test_shipped_environments_pass_both_checkers_without_a_warning(name):
    single = gym.make(name)
    with warnings.catch_warnings():
        # The target's own space: CartPole's velocities are unbounded.
        warnings.filterwarnings("ignore", ".*A Box observation space m.* value is .*infinity")
        gymnasium_check(single.unwrapped)
    sb3_check(single)
    target = gym.make(read_config(name)["target"])
    assert single.observation_space == target.observation_space
    assert single.action_space == target.action_space


def test_next_step_autoreset_ignores_every_second_action(saved):
    vector = SyntheticVectorEnv(saved, num_envs=32)
    assert vector.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    first, _ = vector.reset(seed=0)
    last, reward, terminated, *_ = vector.step(np.zeros(32, np.int64))
    np.testing.assert_array_equal(first, last)
    assert terminated.all()
    assert reward.any()
    fresh, reward, terminated, *_ = vector.step(np.zeros(32, np.int64))
    assert not (fresh == last).all(1).any()
    assert not terminated.any()
    assert not reward.any()


def test_arguments_that_make_no_sense_are_refused(env):
    with pytest.raises(UsageError, match="'NextStep' or 'SameStep'"):
        SyntheticVectorEnv(env, 2, autoreset_mode="Disabled")
    with pytest.raises(UsageError, match="number of environments must be at least 1, got 0"):
        gtn_rl.make_sb3_env(env, n_envs=0)
    for make in (SyntheticGymEnv, SyntheticVectorEnv, gtn_rl.make_sb3_env):
        with pytest.raises(UsageError, match="budget must be at least 1"):
            make(env, budget=0)


def test_vec_env_speaks_sb3(saved):
    vec = gtn_rl.make_sb3_env(saved, n_envs=4, seed=0)
    observation = vec.reset()
    following, reward, done, infos = vec.step(np.array([0, 1, 0, 1]))
    assert following.shape == observation.shape == (4, 4)
    assert reward.dtype == np.float32
    assert done.all()
    for i, info in enumerate(infos):
        np.testing.assert_array_equal(info["terminal_observation"], observation[i])
        assert info["TimeLimit.truncated"] is False
        assert info["episode"]["r"] == pytest.approx(reward[i])
    assert vec.get_attr("render_mode") == [None] * 4
    vec.seed(9)
    again = gtn_rl.make_sb3_env(saved, n_envs=4, seed=9)
    np.testing.assert_array_equal(vec.reset(), again.reset())


def test_a_folder_works_wherever_a_name_does(env, tmp_path):
    folder = str(gtn_rl.save_pretrained(env, tmp_path / "mine"))
    gtn_rl.register(folder, "gtn_rl/Mine-v0")
    seen = [
        gym.make("gtn_rl/Mine-v0").reset(seed=1)[0],
        gym.make("gtn_rl/CartPole-v1", artifact=folder).reset(seed=1)[0],
        SyntheticGymEnv(folder).reset(seed=1)[0],
    ]
    np.testing.assert_array_equal(seen[0], seen[1])
    np.testing.assert_array_equal(seen[0], seen[2])
    assert gtn_rl.make_sb3_env(folder).reset().shape == (1, 4)
    with pytest.raises(ArtifactError):
        gtn_rl.register(tmp_path, "gtn_rl/Nothing-v0")


@pytest.mark.integration
def test_module_prefixed_id_works_in_a_fresh_process(saved):
    made = f"gym.make('gtn_rl:gtn_rl/CartPole-v1', artifact={str(saved)!r})"
    code = f"import gymnasium as gym; print({made}.reset(seed=0)[0].shape)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(4,)"


@pytest.mark.integration
def test_environments_run_in_worker_processes(saved):
    # Spawned, not forked: a fork after torch has used its thread pool can hang in any program.
    vector = gym.make_vec(
        "gtn_rl:gtn_rl/CartPole-v1", num_envs=2, vectorization_mode="async", artifact=str(saved),
        vector_kwargs={"context": "spawn"},
    )  # fmt: skip
    observation, _ = vector.reset(seed=0)
    assert observation.shape == (2, 4)
    vector.close()


class Minus(gym.Env):
    """One step; action -1 is worth 1, the others nothing."""

    observation_space = spaces.Box(-1.0, 1.0, (2,))
    action_space = spaces.Discrete(3, start=-1)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action):
        return np.zeros(2, np.float32), float(int(action) == -1), True, False, {}


@pytest.mark.parametrize("synthetic", [True, False])
def test_agents_that_count_from_zero_find_the_lowest_action(synthetic):
    """A synthetic reward, or the real one, that wants action -1; stock agents call it 0."""
    gym.register("test/Minus-v0", Minus)
    try:
        env = gtn_rl.SyntheticEnv(
            Minus.observation_space, Minus.action_space, target="test/Minus-v0", hidden=(4,)
        )
        with torch.no_grad():
            for weight, bias in env.reward_network.layers(env.reward_parameters):
                weight.zero_()
                bias.zero_()
            bias.view(-1)[0] = 3.0
        train_in = gtn_rl.make_sb3_env(env, seed=0) if synthetic else gym.make("test/Minus-v0")
        agent = train_stock("a2c", train_in, 600, 0)
        assert greedy_returns(agent, "test/Minus-v0", 3, 0).tolist() == [1.0] * 3
    finally:
        gym.registry.pop("test/Minus-v0")


@pytest.mark.parametrize(
    ("space", "actions"),
    [
        (spaces.Discrete(3, start=1), (0, 4, -1, 1.0, np.nan, [1])),
        (spaces.Discrete(2), (-1, 2)),
        (spaces.Box(-1, 1, (2,)), ([np.nan, 0], [0.0], 0.0)),
    ],
)
def test_actions_outside_the_space_are_refused(space, actions):
    env = gtn_rl.SyntheticEnv(spaces.Box(-1, 1, (2,)), space)
    single, vector = SyntheticGymEnv(env), SyntheticVectorEnv(env, 2)
    single.reset(seed=0)
    vector.reset(seed=0)
    for action in actions:
        for face, given in ((single, action), (vector, np.array([action, action]))):
            with pytest.raises(UsageError, match="no actions of"):
                face.step(given)
    single.step(space.sample())
    vector.step(vector.action_space.sample())


def test_seeds_of_a_vector_are_one_for_each(env):
    vector = SyntheticVectorEnv(env, 2)
    with pytest.raises(UsageError, match="3 seeds for 2 environments"):
        vector.reset(seed=[1, 2, 3])
    first, again, other = (vector.reset(seed=seed)[0] for seed in ([1, 2], [1, 2], [1, None]))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(other, vector.reset(seed=[1, None])[0])


def test_faces_of_one_core_have_their_own_generators(env):
    one, two = (gtn_rl.make_sb3_env(env, 2) for _ in range(2))
    for face in (one, two):
        face.action_space.seed(5)
    drawn = [one.action_space.sample() for _ in range(20)]
    assert drawn == [two.action_space.sample() for _ in range(20)]


def test_bounds_of_wide_integers_hold():
    most = np.iinfo(np.int64)
    box = spaces.Box(most.min, most.max, (2,), np.int64)
    env = gtn_rl.SyntheticEnv(box, spaces.Discrete(2), std=np.full(2, 1e19))
    seen, _ = SyntheticVectorEnv(env, 400).reset(seed=0)
    bounds = env.initial(torch.zeros(1, 1, 4)), env.low, env.high
    assert {most.min, most.max} < set(seen.flatten().tolist())
    assert bounds[1].tolist() == [-(2.0**63)] * 2
    # A cast beyond the bound would have come out at the other one.
    assert abs((seen == most.min).mean() - (seen == most.max).mean()) < 0.1


def test_the_default_dtype_of_torch_changes_nothing(saved):
    seen = []
    for dtype in (torch.float32, torch.float64):
        torch.set_default_dtype(dtype)
        try:
            for core in (
                saved,
                gtn_rl.SyntheticEnv(spaces.Box(-1, 1, (4,)), spaces.Box(-1, 1, (2,)), horizon=3),
            ):
                vec = gtn_rl.make_sb3_env(core, 3, seed=0)
                vec.action_space.seed(0)
                vec.reset()
                actions = np.stack([vec.action_space.sample() for _ in range(3)])
                seen += vec.step(actions)[:2]
        finally:
            torch.set_default_dtype(torch.float32)
    for one, two in zip(seen[:4], seen[4:], strict=True):
        assert one.dtype == two.dtype == np.float32
        np.testing.assert_array_equal(one, two)
