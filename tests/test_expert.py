"""A trained agent as the source of what is taught."""

import pytest
import torch
from stable_baselines3 import PPO

import gtn_rl
from gtn_rl.config import Outer, TrainConfig
from gtn_rl.envs.actions import make_actions
from gtn_rl.envs.targets import describe
from gtn_rl.errors import UsageError
from gtn_rl.io.runlog import RunLog
from gtn_rl.loop import outer_loop
from gtn_rl.run import Run
from gtn_rl.stages.base import untrained
from gtn_rl.stages.expert import ImitateExpert, load_expert
from gtn_rl.state import State


@pytest.fixture(scope="module")
def agent(tmp_path_factory):
    file = tmp_path_factory.mktemp("expert") / "agent.zip"
    env = gtn_rl.make_sb3_env("gtn_rl/CartPole-v1", seed=1, budget=2_048)
    PPO("MlpPolicy", env, seed=1, device="cpu").learn(2_048).save(file)
    return file


def test_the_policy_of_an_agent_is_taught_for_few_real_steps(agent):
    config = TrainConfig(steps=2_048, expert=f"ppo:{agent}", outer=Outer(steps=0))
    result = gtn_rl.train("CartPole-v1", config=config, progress_bar=False)
    scores = result.scores
    assert scores["expert"] > 450
    assert scores["optimal"] > 0.9 * scores["expert"]
    assert max(scores[f"stock-{name}"] for name in ("ppo", "a2c", "dqn")) > 300
    assert result.real_steps < 80_000
    assert scores["random"] < 60


def imitated(task, expert):
    config = TrainConfig()
    actions = make_actions(task.action_space, config.noise)
    stage = ImitateExpert(task, actions, config, expert)
    with RunLog(None, [], progress=False) as log:
        run = Run(State(untrained(task, config)), {}, log, lambda *_: None)
        outer_loop([stage], run)
    return run.state


def test_continuous_actions_are_fitted_where_the_expert_goes():
    def expert(observation):
        return torch.tanh(0.5 * observation[:, 1:2] - 0.3 * observation[:, 2:3])

    state = imitated(describe("Pendulum-v1"), expert)
    made = state.teacher.output(state.visited.unsqueeze(0))[0]
    error = (made - expert(state.visited)).square().mean()
    assert error < 0.01
    assert {"random", "expert", "optimal"} <= set(state.returns)
    assert state.teacher.num_phases == 2
    assert len(state.teacher.states) > 0


def test_discrete_actions_are_those_with_the_highest_scores():
    def expert(observation):
        lean = observation[:, 2] + 0.5 * observation[:, 3]
        return torch.stack([-lean, lean], 1)

    state = imitated(describe("CartPole-v1"), expert)
    made = state.teacher.output(state.visited.unsqueeze(0))[0].argmax(-1)
    right = (made == expert(state.visited).argmax(-1)).float().mean()
    assert right > 0.98


@pytest.mark.parametrize(
    ("text", "target", "message"),
    [
        ("agent.zip", "CartPole-v1", "not of the form"),
        ("ppo:nowhere.zip", "CartPole-v1", "no file"),
        ("pppo:{file}", "CartPole-v1", "Did you mean"),
        ("dqn:{file}", "CartPole-v1", "is no agent of dqn"),
        ("ppo:{file}", "Acrobot-v1", "trained on it"),
        ("ppo:{file}", "Pendulum-v1", "trained on it"),
    ],
)
def test_an_expert_that_does_not_fit_is_refused_in_one_line(agent, text, target, message):
    with pytest.raises(UsageError, match=message) as error:
        load_expert(text.replace("{file}", str(agent)), describe(target))
    assert "\n" not in str(error.value)
