"""What agents are shown and told: phases, rewards in closed form, states; the same at all faces."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.utils.seeding import np_random

import gtn_rl
from gtn_rl.config import TrainConfig
from gtn_rl.envs import lessons
from gtn_rl.envs.episodes import to_core
from gtn_rl.envs.gym import SyntheticGymEnv, SyntheticVectorEnv
from gtn_rl.envs.presentation import FIELDS, Phase, at, decode, encode
from gtn_rl.inner.optimal import optimal_policy
from gtn_rl.inner.training import _lessons
from gtn_rl.spaces import first_action
from gtn_rl.stages.show import show

LINE = spaces.Box(-1, 1, (1,))
PLANE = spaces.Box(-2, 1, (2,))
THREE = spaces.Discrete(3)
FLAT = spaces.Box(-np.inf, np.inf, (2,))
PLAIN = (Phase(),)


def saying(output, action_space=THREE, phases=PLAIN, observation_space=FLAT, **settings):
    """An environment whose reward network says the same everywhere."""
    env = gtn_rl.SyntheticEnv(
        observation_space, action_space, phases=phases, hidden=(4,), **settings
    )
    with torch.no_grad():
        weight, bias = env.reward_network.layers(env.reward_parameters)[-1]
        weight.zero_()
        bias.copy_(torch.as_tensor(output).view_as(bias))
    return env.requires_grad_(False)


def told(env, actions, progress=1.0):
    """Rewards of actions at one observation."""
    actions = torch.as_tensor(np.asarray(actions))
    lesson = env.lesson(torch.zeros(1, 1, env.observation_size), progress)
    return env.reward(lesson.expand(1, len(actions), -1), actions.unsqueeze(0))[0].numpy()


def test_phases_are_kept_by_their_parameters():
    phases = [Phase(0.25, 0.9, 2.0, 0.2, 0.01, 0.5), Phase(1.0, 0.3, 0.5, 7.0, 1.8, 1.1)]
    parameters = encode(phases)
    assert parameters.shape == (2, len(FIELDS))
    for one, two in zip(decode(parameters), phases, strict=True):
        for name in FIELDS:
            assert getattr(one, name) == pytest.approx(getattr(two, name), rel=1e-5), name
    torch.testing.assert_close(encode(decode(parameters)), parameters)


def test_shares_stay_between_2_and_98_percent():
    first, last = decode(encode([Phase(until=0.0, wide=1.0), Phase(wide=0.0)]))
    assert (first.until, first.wide, last.wide) == pytest.approx((0.02, 0.98, 0.02))
    assert last.until == 1.0
    beyond = decode(torch.full((1, 6), 100.0))[0]
    assert beyond.wide == pytest.approx(0.98)


def test_the_phase_that_is_on_follows_from_progress():
    phases = [[Phase(until, scale=1.0 + member), Phase(scale=10.0 + member)]
              for member, until in enumerate((0.5, 0.75))]  # fmt: skip
    parameters = torch.stack([encode(some) for some in phases])
    ends = [decode(some)[0].until for some in parameters]
    assert ends[0] == 0.5
    for progress, wanted in ((0.0, [1, 2]), (0.49, [1, 2]), (0.5, [10, 2]), (1.0, [10, 11])):
        # A number, and exactly at its end a phase is over.
        scale = at(parameters, progress).scale
        assert scale.shape == (2, 1, 1)
        torch.testing.assert_close(scale.flatten(), torch.tensor(wanted).float())
    each = torch.tensor([0.1, 0.5, 0.6, 0.8])
    scale = at(parameters, each).scale
    assert scale.shape == (2, 4, 1)
    wanted = torch.tensor([[1.0, 10, 10, 10], [2, 2, 2, 11]])
    torch.testing.assert_close(scale.squeeze(-1), wanted)
    scale = at(parameters, torch.stack([each, each.flip(0)])).scale
    torch.testing.assert_close(scale.squeeze(-1), torch.stack([wanted[0], wanted[1].flip(0)]))


def test_one_phase_is_always_on_and_three_follow_each_other():
    assert at(encode([Phase(scale=3.0)]).unsqueeze(0), 0.2).scale.item() == pytest.approx(3)
    three = encode([Phase(0.25, scale=1.0), Phase(0.5, scale=2.0), Phase(scale=3.0)])
    progress = torch.tensor([0.0, 0.24, 0.26, 0.49, 0.5, 0.99, 1.0])
    scale = at(three.unsqueeze(0), progress).scale.flatten()
    torch.testing.assert_close(scale, torch.tensor([1.0, 1, 2, 2, 3, 3, 3]))


# Rewards


def test_rewards_of_discrete_actions_are_their_closed_form():
    scores = np.array([4.0, 3.0, 1.0])
    env = saying(scores, phases=(Phase(scale=5.0, width=2.0),))
    error = scores.max() - scores
    bounded = -error / (error + 2.0)
    np.testing.assert_allclose(told(env, [0, 1, 2]), 5 * (bounded - bounded.mean()), rtol=1e-5)


@pytest.mark.parametrize(
    ("output", "gain"), [([0.3], 1.0), ([-0.6], 0.7), ([5.0], 0.5), ([0.2, -0.4], 1.0)]
)
def test_rewards_of_continuous_actions_are_their_closed_form(output, gain):
    space = LINE if len(output) == 1 else PLANE
    env = saying(output, space, (Phase(scale=3.0, width=0.5, gain=gain),))
    # Best actions reach a quarter beyond the space before they are clipped.
    best = gain * np.clip(1.25 * np.tanh(output), -1, 1)

    def bounded(action):
        error = ((action - best) ** 2).mean(-1)
        return -error / (error + 0.5)

    grid = lessons.probes(space).numpy()
    assert np.abs(grid).max() <= 1
    if space is LINE:
        np.testing.assert_allclose(grid[:, 0], np.linspace(-1, 1, 33), atol=1e-6)
    actions = np.array([[x] * len(output) for x in np.linspace(-1, 1, 9)], np.float32)
    wanted = 3 * (bounded(actions) - bounded(grid).mean())
    np.testing.assert_allclose(told(env, actions), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("action_space", [THREE, LINE, PLANE])
def test_rewards_average_0_over_actions(action_space, generator):
    phases = (Phase(0.5, scale=3.0, width=0.2), Phase(scale=0.5, gain=0.6))
    env = gtn_rl.SyntheticEnv(FLAT, action_space, phases=phases, members=3, generator=generator)
    observation = torch.randn(3, 20, 2, generator=generator)
    for progress in (0.2, 0.8):
        lesson = env.lesson(observation, progress)
        if action_space is THREE:
            average = lesson.mean(-1)
        else:
            grid = lessons.probes(action_space)
            rewards = [env.reward(lesson, probe.expand(3, 20, -1)) for probe in grid]
            average = torch.stack(rewards).mean(0)
        torch.testing.assert_close(average, torch.zeros(3, 20), atol=1e-5, rtol=0)


@pytest.mark.parametrize("action_space", [THREE, LINE])
def test_the_best_action_has_the_highest_reward(action_space, generator):
    env = gtn_rl.SyntheticEnv(FLAT, action_space, generator=generator).requires_grad_(False)
    observation = torch.randn(1, 50, 2, generator=generator)
    lesson = env.lesson(observation)
    optimal = optimal_policy(env, observation)
    if action_space is THREE:
        assert torch.equal(lesson.argmax(-1), env.output(observation).argmax(-1))
        assert torch.equal(lesson.argmax(-1), optimal.argmax(-1))
        return
    grid = torch.linspace(-1, 1, 201)
    rewards = torch.stack([env.reward(lesson, a.expand(1, 50, 1)) for a in grid], -1)
    best = optimal.clamp(-1, 1).squeeze(-1)
    assert (grid[rewards.argmax(-1)] - best).abs().max() <= 0.0051
    assert (env.reward(lesson, best.unsqueeze(-1)).unsqueeze(-1) >= rewards - 1e-6).all()


def test_gain_draws_best_actions_to_the_middle_of_the_space():
    actions = np.linspace(-1, 1, 41, dtype=np.float32)[:, None]
    for gain in (0.4, 1.0):
        rewards = told(saying(9.0, LINE, (Phase(gain=gain),)), actions)
        assert actions[rewards.argmax(), 0] == pytest.approx(gain)
    # What is taught in the end, the optimal policy, is not changed by it.
    env = saying(9.0, LINE, (Phase(gain=0.4),))
    assert optimal_policy(env, torch.zeros(1, 1, 2)).item() == pytest.approx(1.25)


# States


@pytest.mark.parametrize(("space", "close"), [(LINE, 0.03), (PLANE, 0.02)])
def test_the_average_over_actions_is_nearly_that_of_the_integral(space, close):
    size = space.shape[0]
    axis = np.linspace(-1, 1, 2_001 if size == 1 else 301)
    every = np.stack(np.meshgrid(*[axis] * size), -1).reshape(-1, size)
    error = ((every - 0.4) ** 2).mean(-1)
    env = saying(np.arctanh([0.4 / 1.25] * size), space, (Phase(width=0.5),))
    (best,) = told(env, np.full((1, size), 0.4, np.float32))
    assert best == pytest.approx((error / (error + 0.5)).mean(), rel=close)


def test_made_up_and_met_states_come_in_the_shares_of_wide(generator):
    phases = (Phase(until=0.5, wide=0.8), Phase(wide=0.3))
    env = saying([0.0] * 3, phases=phases, states=torch.full((5, 2), 1000.0))
    noise = torch.randn(1, 20_000, env.noise_size, generator=generator)
    for progress, wide in ((0.0, 0.8), (0.5, 0.3)):
        states = env.initial(noise, progress)[0]
        made = states[:, 0] < 500
        assert made.float().mean().item() == pytest.approx(wide, abs=0.015)
        # Made-up ones are standard normal here; those that were met have a tenth of that as noise.
        assert states[made].std(0).tolist() == pytest.approx([1, 1], rel=0.05)
        assert states[~made].std(0).tolist() == pytest.approx([0.1, 0.1], rel=0.05)
        assert torch.corrcoef(states[made].T)[0, 1].abs() < 0.05


def test_without_states_that_were_met_all_are_made_up(generator):
    env = saying([0.0] * 3, phases=(Phase(wide=0.1, spread=3.0),), mean=[5.0, 0], std=[1.0, 2])
    states = env.initial(torch.randn(1, 20_000, env.noise_size, generator=generator))[0]
    assert states.mean(0).tolist() == pytest.approx([5, 0], abs=0.2)
    assert states.std(0).tolist() == pytest.approx([3, 6], rel=0.05)


def test_all_states_that_were_met_are_shown_equally_often(generator):
    kept = torch.arange(8.0).unsqueeze(1).repeat(1, 2)
    space = spaces.Box(0, 10, (2,), np.int64)
    env = saying([0.0] * 3, phases=(Phase(wide=0.02),), observation_space=space, states=kept)
    noise = torch.randn(1, 20_000, env.noise_size, generator=generator)
    states = env.initial(noise)[0]
    shares = states[:, 0].long().bincount(minlength=11) / len(states)
    assert shares[:8].tolist() == pytest.approx([1 / 8] * 8, abs=0.02)


# The same at all faces

DTYPES = [np.float32, np.float64, np.float16, np.int8]
BUDGET_EPISODES = 100


def of_dtype(dtype, action_space, **settings):
    """Two phases over a space whose bounds no float32 holds exactly, unless it is of integers."""
    whole = np.issubdtype(dtype, np.integer)
    low, high = (0, 9) if whole else (-1.1, 1.3)
    space = spaces.Box(np.full(3, low, dtype), np.full(3, high, dtype), dtype=dtype)
    source = torch.Generator().manual_seed(3)
    met = torch.rand(20, 3, generator=source)
    return gtn_rl.SyntheticEnv(
        space, action_space, hidden=(8,), mean=np.full(3, 4.0 if whole else 0.1),
        std=np.full(3, 2.0 if whole else 0.7), states=(9 * met).round() if whole else met,
        phases=(Phase(0.5, wide=0.7, scale=2.0), Phase(wide=0.3, spread=2.0, gain=0.7)),
        **settings,
    ).requires_grad_(False)  # fmt: skip


@torch.inference_mode()
def core(env, count, episodes, seed):
    """Observations, lessons of so many rounds of episodes of `count` agents."""
    source, size, rounds = np_random(seed)[0], 64 * count, []
    budget = BUDGET_EPISODES * count
    for block in range(-(-episodes // 64)):
        noise = source.standard_normal((1, size, env.noise_size), dtype=np.float32)
        taken = block * size + np.arange(size) // count * count
        progress = torch.as_tensor(np.minimum(taken / budget, 1.0).astype(np.float32))
        observation = env.initial(torch.as_tensor(noise), progress)
        lesson = env.lesson(observation, progress)
        # What learners in the loop are given for the same noise.
        lessons = _lessons(env, torch.as_tensor(noise[0]), progress)
        assert torch.equal(lessons, torch.cat([observation, lesson], -1))
        rounds += zip(observation[0].split(count), lesson[0].split(count), strict=True)
    return rounds[:episodes]


def single_face(env, count, seed):
    face = SyntheticGymEnv(env, budget=BUDGET_EPISODES)
    observation, _ = face.reset(seed=seed)
    action = yield observation[None]
    while True:
        seen, reward, over, *_ = face.step(action[0])
        assert over
        np.testing.assert_array_equal(seen, observation)
        observation, _ = face.reset()
        action = yield observation[None], np.float32([reward])


def next_step_face(env, count, seed):
    face = SyntheticVectorEnv(env, count, budget=BUDGET_EPISODES * count)
    action = yield face.reset(seed=seed)[0]
    while True:
        _, reward, over, *_ = face.step(action)
        assert over.all()
        action = yield face.step(action)[0], reward


def same_step_face(env, count, seed):
    face = SyntheticVectorEnv(env, count, "SameStep", budget=BUDGET_EPISODES * count)
    observation = face.reset(seed=seed)[0]
    action = yield observation
    while True:
        last = observation
        observation, reward, _, _, info = face.step(action)
        np.testing.assert_array_equal(np.stack(list(info["final_obs"])), last)
        action = yield observation, reward


def sb3_face(env, count, seed):
    face = gtn_rl.make_sb3_env(env, count, seed=seed, budget=BUDGET_EPISODES * count)
    action = yield face.reset()
    while True:
        observation, reward, *_ = face.step(action - first_action(env.action_space))
        action = yield observation, reward


FACES = {
    "gymnasium": (single_face, 1), "next-step": (next_step_face, 3),
    "same-step": (same_step_face, 3), "sb3": (sb3_face, 3),
}  # fmt: skip


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("action_space", [spaces.Discrete(3, start=-1), PLANE])
def test_faces_emit_to_the_bit_what_learners_in_the_loop_see_and_are_told(
    dtype, action_space, face
):
    env = of_dtype(dtype, action_space)
    make, count = FACES[face]
    episodes = 130
    rounds = core(env, count, episodes, seed=5)
    played = make(env, count, 5)
    emitted = next(played)
    action_space.seed(0)
    scales = set()
    for index, (observation, lesson) in enumerate(rounds):
        assert emitted.dtype == dtype
        assert all(one in env.observation_space for one in emitted)
        np.testing.assert_array_equal(emitted.astype(np.float32), observation.numpy())
        action = np.stack([action_space.sample() for _ in range(count)])
        wanted = env.reward(lesson.unsqueeze(0), to_core(action_space, action))[0].numpy()
        if action_space is PLANE:
            scales.add((index < 50, float(lesson[0, -2])))
        emitted, reward = played.send(action)
        np.testing.assert_array_equal(reward, wanted)
    if action_space is PLANE:
        # Both phases were met, the first one for half of the budget.
        assert len(scales) == 2


def test_cells_of_a_flattened_lake_can_be_told_apart(generator):
    lake = gym.wrappers.FlattenObservation(gym.make("FrozenLake-v1"))
    space = lake.observation_space
    assert np.issubdtype(space.dtype, np.integer)
    cells = torch.eye(16)[torch.randint(16, (3_000,), generator=generator)]
    plain = gtn_rl.SyntheticEnv(
        space, lake.action_space, mean=cells.mean(0).numpy(), std=cells.std(0).numpy()
    )
    env = show(plain, cells, TrainConfig(steps=100))
    assert (env.num_phases, env.budget, len(env.states)) == (1, 100, 2048)
    vec = gtn_rl.make_sb3_env(env, 4, seed=0, budget=100)
    vec.reset()
    seen = []
    for _ in range(500):
        observation, *_ = vec.step(np.zeros(4, np.int64))
        assert observation.dtype == space.dtype
        seen.append(observation)
    late = np.concatenate(seen[50:])
    assert np.isin(late, (0, 1)).all()
    one_hot = late[late.sum(1) == 1]
    # They are met in the target, each cell as often as any other.
    assert len(one_hot) / len(late) > 0.95
    assert (one_hot.mean(0) > 0.03).all()
    # And what is best differs between them as much as the reward network says.
    lesson = env.lesson(torch.eye(16).unsqueeze(0))[0]
    assert len(torch.unique(lesson, dim=0)) == 16
