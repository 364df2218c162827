"""The engine: stages, budgets, checkpoints. A killed run goes on to the same bits."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from probes import Probe

import gtn_rl
from gtn_rl import run as engine
from gtn_rl.config import Learners, Outer, Pretrain, Search, TrainConfig
from gtn_rl.envs.actions import make_actions
from gtn_rl.envs.targets import RealEnvs, describe, random_return, random_steps
from gtn_rl.errors import ArtifactError, UsageError
from gtn_rl.io import checkpoint
from gtn_rl.io.files import locked
from gtn_rl.io.runlog import COLUMNS, RunLog
from gtn_rl.loop import outer_loop
from gtn_rl.run import Run
from gtn_rl.stages import base, pretrain, search, teach
from gtn_rl.state import State

STAGES = {
    "search": search.Search, "pretrain": pretrain.Pretrain, "teach": teach.TeachLearners,
    "judge": base.Once,
}  # fmt: skip


class Side(Probe):
    """Twenty steps; say on which side of 0 what you see first lies."""

    observation_space = gym.spaces.Box(-1.0, 1.0, (2,))
    action_space = gym.spaces.Discrete(2)
    steps, taken = 20, 0

    def reward(self, action):
        Side.taken += 1
        return float((action == 1) == (self.seen[0] > 0))


CONFIG = TrainConfig(
    steps=256,
    hidden=(8,),
    search=Search(candidates=8),
    pretrain=Pretrain(real_steps=11_000, patience=50_000, copies=4),
    outer=Outer(steps=2, every=1, population=4, patience=9, copies=1),
    learners=Learners(kinds=("2xpg@tanh:8", "2xdqn@relu:8"), judges=1, episodes=1),
)


def quick(config, space, count):
    """Judges that hardly train: what they say does not matter here."""
    return replace(config, learners=replace(config.learners, kinds=QUICK))


QUICK = ("1xstock-a2c@tanh:4/50", "1xstock-dqn@relu:4/200")


@pytest.fixture(autouse=True, scope="module")
def quickly():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainConfig, "stock_like", quick)
        patch.setattr(pretrain, "_STEPS", 40)
        yield


def run(config=CONFIG, out=None, target=Side, **kwargs):
    return gtn_rl.train(target, out, config, progress_bar=False, **kwargs)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, quickly):
    """A run that nothing happened to, and its folder."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    return run(out=folder), folder


def untimed(rows):
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def assert_same(one, other):
    first, second = one.teacher.state_dict(), other.teacher.state_dict()
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name
    assert untimed(one.rows) == untimed(other.rows)
    assert (one.score, one.scores) == (other.score, other.scores)
    assert (one.real_steps, one.stopped) == (other.real_steps, other.stopped)


class Killed(Exception):
    """Not an error of the library's."""


def die(monkeypatch, stage, calls, error):
    """Raise in the objective of a stage, after so many steps of it."""
    kind, made = STAGES[stage], []
    objective = kind.objective

    def dying(self, *args):
        made.append(1)
        if len(made) > calls:
            raise error
        return objective(self, *args)

    monkeypatch.setattr(kind, "objective", dying)


def test_a_run_has_four_stages_and_its_result_knows_what_was_measured(whole):
    result, _ = whole
    assert result.stopped == "done"
    assert {row["stage"] for row in result.rows} == {0, 1, 2, 3}
    assert set(result.scores) == {"random", "optimal", "stock-a2c", "stock-dqn"}
    # By chance half of 20 steps are right; nearly all are once it is learned.
    assert result.scores["random"] == pytest.approx(10, abs=0.7)
    # A comparison measures random agents by the same hundred episodes.
    assert random_return(describe(Side)) == result.scores["random"]
    assert [random_steps(length) for length in (0, 20, 200, 1000)] == [0, 2_000, 12_000, 20_000]
    assert result.scores["optimal"] > 19
    kinds = [result.scores[f"stock-{name}"] for name in ("a2c", "dqn")]
    assert result.score == pytest.approx(np.mean(kinds), abs=1e-5)
    assert (result.teacher.num_phases, result.teacher.budget) == (1, 256)


def test_a_run_leaves_artifact_log_and_boards(whole):
    result, folder = whole
    loaded = gtn_rl.from_pretrained(folder, target="Side")
    for name, value in loaded.state_dict().items():
        assert torch.equal(value, result.teacher.state_dict()[name])
    with (folder / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(COLUMNS)
    assert len(rows) == len(result.rows)
    assert int(rows[-1]["real_steps"]) == result.real_steps
    assert list((folder / "tensorboard").glob("events*"))
    content = json.loads((folder / "config.json").read_text())
    assert content["training"]["real_steps"] == result.real_steps
    assert content["training"]["stopped"] == "done"
    assert content["training"]["config"]["search"]["candidates"] == 8
    assert content["results"]["returns"] == result.scores
    card = (folder / "README.md").read_text()
    assert "| stock-dqn |" in card
    assert ".learn(256)" in card


@pytest.mark.parametrize("limit", [1, 5_000, 20_000, 50_000])
def test_real_steps_only_grow_all_are_counted_and_none_is_beyond_the_budget(limit, tmp_path):
    before = Side.taken
    result = run(replace(CONFIG, max_real_steps=limit), tmp_path / "run")
    assert result.real_steps == Side.taken - before <= limit
    steps = [row["real_steps"] for row in result.rows]
    assert steps == sorted(steps)
    assert result.stopped == ("done" if limit == 50_000 else "real steps")
    gtn_rl.from_pretrained(tmp_path / "run", target="Side")
    training = json.loads((tmp_path / "run" / "config.json").read_text())["training"]
    assert training["real_steps"] == result.real_steps
    assert training["stopped"] == result.stopped


class Uneven(Side):
    """Side with episodes of one to twenty steps, so that some environments wait for others."""

    def reset(self, **options):
        seen, info = super().reset(**options)
        self.age = int(self.np_random.integers(20))
        return seen, info


def test_environments_whose_episode_is_over_take_no_step():
    before = Side.taken
    with RealEnvs(describe(Uneven), make_actions(Side.action_space, 0.4), 1, 32) as real:
        returns = real.evaluate(lambda seen: torch.stack([-seen[..., 0], seen[..., 0]], -1), 5)
    # Every step of this policy pays 1.
    assert real.steps == Side.taken - before == returns.sum() < 32 * 20


def test_what_judging_takes_is_kept_back(tmp_path):
    """A policy that was pretrained for part of its steps is presented, and agents are judged."""
    known = gym.spec("CartPole-v1").max_episode_steps * 16 + 64 * 40 + 2 * 2 * 500
    config = replace(CONFIG, max_real_steps=known + 20_000, pretrain=Pretrain(copies=4))
    result = run(config, tmp_path / "run", target="CartPole-v1")
    assert result.stopped == "real steps"
    assert result.real_steps <= config.max_real_steps
    assert {row["stage"] for row in result.rows} == {0, 1, 2, 3}
    assert "stock-dqn" in result.scores
    assert result.teacher.num_phases == 1


@pytest.mark.parametrize(
    ("stage", "calls"),
    # In the middle of pretraining a checkpoint is written after 20 steps.
    [("search", 1), ("pretrain", 0), ("pretrain", 21), ("teach", 1), ("judge", 0)],
)
def test_a_killed_run_goes_on_as_if_it_had_not_been(stage, calls, whole, tmp_path, monkeypatch):
    die(monkeypatch, stage, calls, Killed())
    with pytest.raises(Killed):
        run(out=tmp_path / "run")
    monkeypatch.undo()
    # What was done is not made again.
    saved = torch.load(tmp_path / "run" / "checkpoint.pt")["progress"]
    assert saved["stage"] == list(STAGES).index(stage)
    assert saved["step"] == (20 if stage == "pretrain" and calls else calls)
    assert_same(run(out=tmp_path / "run", resume=True), whole[0])
    kept, other = (folder / "model.safetensors" for folder in (tmp_path / "run", whole[1]))
    assert kept.read_bytes() == other.read_bytes()


def test_one_that_is_killed_after_every_checkpoint_does_too(whole, tmp_path, monkeypatch):
    save, sittings = checkpoint.save, 0

    def save_and_die(*args):
        save(*args)
        raise Killed

    while True:
        stopped = sittings and torch.load(tmp_path / "run" / "checkpoint.pt")["progress"]["stopped"]
        if stopped:
            break
        monkeypatch.setattr(checkpoint, "save", save_and_die)
        with pytest.raises(Killed):
            run(out=tmp_path / "run", resume=sittings > 0)
        monkeypatch.undo()
        sittings += 1
    # One for each stage at its end, and inside; the quick judges are patched for the module.
    assert sittings > 9
    assert_same(run(out=tmp_path / "run", resume=True), whole[0])


def test_a_slow_outer_step_is_kept_between_evaluations(tmp_path, monkeypatch):
    config = replace(CONFIG, outer=replace(CONFIG.outer, steps=3, every=3))
    uninterrupted = run(config)
    monkeypatch.setattr(engine, "_SLOW", 0.0)
    die(monkeypatch, "teach", 2, Killed())
    with pytest.raises(Killed):
        run(config, tmp_path / "run")
    monkeypatch.undo()
    # The first two generations are not made again.
    die(monkeypatch, "teach", 1, AssertionError())
    assert_same(run(config, tmp_path / "run", resume=True), uninterrupted)


def test_the_meta_gradient_goes_on_too(tmp_path, monkeypatch):
    config = replace(
        CONFIG, estimator="meta-gradient",
        pretrain=replace(CONFIG.pretrain, real_steps=2_000),
        learners=replace(CONFIG.learners, kinds=("2xpg@tanh:8", "2xppo@tanh:8"), inner_steps=4),
        outer=replace(CONFIG.outer, steps=5, every=2),
    )  # fmt: skip
    uninterrupted = run(config)
    assert "gradient_norm" in uninterrupted.rows[-2]
    die(monkeypatch, "teach", 3, Killed())
    with pytest.raises(Killed):
        run(config, tmp_path / "run")
    monkeypatch.undo()
    assert_same(run(config, tmp_path / "run", resume=True), uninterrupted)


@pytest.mark.parametrize("stage", ["pretrain", "teach"])
def test_ctrl_c_ends_a_run_that_goes_on(stage, whole, tmp_path, monkeypatch):
    die(monkeypatch, stage, 21 if stage == "pretrain" else 1, KeyboardInterrupt())
    result = run(out=tmp_path / "run")
    assert result.stopped == "interrupted"
    monkeypatch.undo()
    gtn_rl.from_pretrained(tmp_path / "run")
    assert_same(run(out=tmp_path / "run", resume=True), whole[0])


KILL = """
import os, signal, sys
sys.path.insert(0, {tests!r})
import test_run
stage = test_run.STAGES[{stage!r}]
objective, made = stage.objective, []
def dying(self, *args):
    made.append(1)
    if len(made) > {calls}:
        os.kill(os.getpid(), signal.SIGKILL)
    return objective(self, *args)
stage.objective = dying
test_run.TrainConfig.stock_like = test_run.quick
test_run.pretrain._STEPS = 40
test_run.run(out={out!r})
"""


@pytest.mark.parametrize(("stage", "calls"), [("pretrain", 21), ("teach", 1)])
def test_a_process_that_is_killed_leaves_a_run_that_goes_on(stage, calls, whole, tmp_path):
    out = str(tmp_path / "run")
    code = KILL.format(tests=str(Path(__file__).parent), stage=stage, calls=calls, out=out)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, timeout=100
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert_same(run(out=tmp_path / "run", resume=True), whole[0])


def test_a_finished_run_that_is_resumed_takes_no_step(whole, tmp_path, monkeypatch):
    for stage in STAGES:
        die(monkeypatch, stage, 0, AssertionError(stage))
    again = run(out=whole[1], resume=True)
    assert_same(again, whole[0])
    assert [row["seconds"] for row in again.rows] == [row["seconds"] for row in whole[0].rows]


@pytest.mark.parametrize("share", [0.4, 0.8])
def test_a_run_that_its_budget_ended_adds_nothing_when_it_is_resumed(share, whole, tmp_path):
    config = replace(CONFIG, max_real_steps=int(share * whole[0].real_steps))
    first = run(config, tmp_path / "run")
    assert first.stopped == "real steps"
    for _ in range(2):
        assert_same(run(config, tmp_path / "run", resume=True), first)


def test_a_run_whose_minutes_are_over_goes_on_with_more_of_them_only(whole, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(whole[1], folder)
    content = json.loads((folder / "config.json").read_text())
    content["training"]["stopped"] = "minutes"
    (folder / "config.json").write_text(json.dumps(content))
    before = (folder / "model.safetensors").read_bytes()
    with pytest.raises(UsageError, match="give it more of them"):
        run(out=folder, resume=True)
    assert (folder / "model.safetensors").read_bytes() == before
    more = replace(CONFIG, max_minutes=CONFIG.max_minutes + 1)
    assert_same(run(more, folder, resume=True), whole[0])


def test_two_runs_in_one_folder_are_refused_and_a_foreign_checkpoint_too(whole, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(whole[1], folder)
    with locked(folder), pytest.raises(UsageError, match="another process is at work"):
        run(out=folder, resume=True)
    saved = torch.load(folder / "checkpoint.pt")
    target, stage = saved.pop("target"), {"stage": {}, "estimator": {}, "best": {}}
    for name in ("digest", "config"):
        saved.pop(name)
    progress = saved["progress"] | {"stage": 1, "stopped": ""}
    for other in ({"progress": {"x": 1, "rows": []}}, {"progress": progress, "stage": stage}):
        checkpoint.save(folder, target, CONFIG, saved | other)
        with pytest.raises(ArtifactError, match="none of this kind of run"):
            run(out=folder, resume=True)


class Slow(Side):
    """Each step takes 50 ms of a clock of its own."""

    now, pause = 0.0, 0.05

    def step(self, action):
        Slow.now += Slow.pause
        return super().step(action)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.9])
def test_a_slow_environment_is_left_at_the_deadline_and_goes_on(
    share, whole, tmp_path, monkeypatch
):
    monkeypatch.setattr("time.perf_counter", lambda: Slow.now)
    monkeypatch.setattr(Slow, "now", 0.0)
    minutes = share * 0.05 * whole[0].real_steps / 60
    result = run(replace(CONFIG, max_minutes=minutes), tmp_path / "run", target=Slow)
    assert result.stopped == "minutes"
    # Late by one step of all environments that are stepped together.
    assert result.seconds <= 60 * minutes + 0.05 * 16
    gtn_rl.from_pretrained(tmp_path / "run", target="Slow")
    config = replace(CONFIG, max_minutes=1e4)
    assert_same(run(config, tmp_path / "run", target=Slow, resume=True), whole[0])


def test_minutes_are_kept_back_for_showing_and_judging(monkeypatch):
    """What learners take is not known while none was trained, and pretraining would take all."""
    monkeypatch.setattr("time.perf_counter", lambda: Slow.now)
    monkeypatch.setattr(Slow, "now", 0.0)
    judge = teach.TeachLearners.judge

    def slow(self, *args):
        Slow.now += 12.0
        return judge(self, *args)

    monkeypatch.setattr(teach.TeachLearners, "judge", slow)
    monkeypatch.setattr(Slow, "pause", 0.001)
    longer = replace(CONFIG.pretrain, real_steps=100_000)
    result = run(replace(CONFIG, max_minutes=1.0, pretrain=longer), target=Slow)
    assert result.stopped == "minutes"
    assert result.seconds <= 60
    assert "stock-dqn" in result.scores
    assert result.teacher.num_phases == 1


def test_with_a_larger_budget_a_run_goes_on_as_if_it_had_had_it(whole, tmp_path):
    limit = max(row["real_steps"] for row in whole[0].rows if row["stage"] == 1) + 1
    short = run(replace(CONFIG, max_real_steps=limit), tmp_path / "run")
    assert short.stopped == "real steps"
    rest = run(CONFIG, tmp_path / "run", resume=True)
    assert_same(rest, whole[0])


def test_a_target_that_is_solved_ends_teaching(tmp_path):
    # As good as the optimal policy: there is nothing to gain.
    easy = replace(CONFIG, outer=replace(CONFIG.outer, steps=50, patience=1))
    result = run(easy)
    assert result.stopped == "done"
    assert sum(row["stage"] == 2 for row in result.rows) < 20


def test_same_seed_same_run_and_no_global_seed(whole):
    torch.manual_seed(2)
    state = torch.get_rng_state()
    assert_same(run(), whole[0])
    assert torch.equal(state, torch.get_rng_state())
    short = replace(CONFIG, pretrain=Pretrain(real_steps=0), outer=Outer(steps=0))
    assert not torch.equal(
        *(run(replace(short, seed=seed)).teacher.reward_parameters for seed in (0, 1))
    )


# The loop itself, without a task


class Counting:
    """A stage whose teacher is moved by 1 each step, and whose scores are given."""

    name, scored, every, steady = "counting", "numbers", 1, True

    def __init__(self, scores, competes=True):
        self.scores, self.competes, self.said = scores, competes, []

    def begin(self, state):
        self.estimator, self.teacher = self, state.teacher
        self.said.append("begin")

    def reset(self, step):
        self.said.append(f"reset {step}")

    def ask(self, step):
        return step

    def train(self, teachers, step):
        return teachers

    def objective(self, trained, step):
        return step

    def tell(self, trained, score, step):
        with torch.no_grad():
            self.teacher.weight += 1
        return {}

    def evaluate(self, step, *, last):
        return {"evaluation": self.scores[step]}

    def shares(self, step):
        return {"steps": step / (len(self.scores) - 1)}

    def converged(self, step):
        return False

    def end(self, state):
        self.said.append("end")

    def close(self):
        self.said.append("close")

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


def loop(*stages):
    teacher = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(teacher.weight)
    with RunLog(None, [], progress=False) as log:
        run = Run(State(teacher), {}, log, lambda *_: None)
        outer_loop(stages, run)
    return run


@pytest.mark.parametrize(
    ("scores", "kept"),
    [
        ([0.0, -1, -2], 0),
        ([0.0, 3, -2], 1),
        # Of equals the later: it has been trained longer.
        ([0.0, 3, 3, 1], 2),
    ],
)
def test_the_best_teacher_is_handed_on(scores, kept):
    stage = Counting(scores)
    done = loop(stage)
    assert done.state.teacher.weight.item() == kept
    assert done.result().score == max(scores)
    assert done.progress.stopped == "done"
    assert stage.said[:2] == ["begin", "reset 0"]
    assert stage.said[-2:] == ["end", "close"]


def test_a_teacher_that_does_not_compete_is_handed_on_as_it_is_in_the_end():
    done = loop(Counting([0.0, 3, -2], competes=False))
    assert done.state.teacher.weight.item() == 2
    assert done.result().score == -2


def test_each_stage_goes_on_from_the_best_of_the_one_before():
    first, second = Counting([0.0, 9, 1]), Counting([5.0, 4, 6])
    done = loop(first, second)
    # Moved once, then twice.
    assert done.state.teacher.weight.item() == 3
    assert done.result().score == 6
    assert done.progress.steps == 4
    assert [row["stage"] for row in done.progress.rows] == [0, 0, 0, 1, 1, 1]


def test_a_stage_is_closed_when_it_fails():
    class Failing(Counting):
        def objective(self, trained, step):
            raise Killed

    stage = Failing([0.0, 1])
    with pytest.raises(Killed):
        loop(stage)
    assert stage.said[-1] == "close"


def test_resuming_refuses_what_cannot_be_meant(whole, tmp_path):
    with pytest.raises(UsageError, match="needs the folder"):
        run(resume=True)
    with pytest.raises(UsageError, match="no checkpoint"):
        run(out=tmp_path / "none", resume=True)
    changed = replace(CONFIG, learners=replace(CONFIG.learners, inner_steps=5))
    with pytest.raises(UsageError, match="other settings \\(learners\\)"):
        run(changed, whole[1], resume=True)
    with pytest.raises(UsageError, match="holds a run on Side"):
        run(out=whole[1], target="CartPole-v1", resume=True)
