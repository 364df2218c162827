"""Evolution of synthetic environments: fitness, executors, lost tasks, hybrids, stock learners."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import ray
import torch
from torch.nn.utils import parameters_to_vector

import gtn_rl
from gtn_rl.config import Learners, Outer, Pretrain, Search, Workers
from gtn_rl.envs.targets import describe
from gtn_rl.errors import MissingExtraError, TrainingDivergedError, UsageError
from gtn_rl.inner.fitness import Fitness
from gtn_rl.outer.evolution import Evolution, Generation, make_strategy
from gtn_rl.outer.executors import make_executor
from gtn_rl.stages.base import untrained


@pytest.fixture(scope="module")
def config(tiny_config):
    # No search and no pretraining to speak of, and no judges but the last.
    return replace(
        tiny_config,
        search=Search(candidates=4, generations=1),
        pretrain=Pretrain(real_steps=0),
        outer=Outer(steps=2, every=2, population=6, copies=3, patience=9),
        learners=replace(
            tiny_config.learners, kinds=("1xpg@tanh:8", "1xdqn@relu:8-4", "2xppo@tanh:4-4")
        ),
        target_return=1e9,
    )


def fitness_of(task, config, env=None, copies=3):
    env = env or untrained(task, config)
    return Fitness(task, config, env.like, copies)


def parameters(result):
    return parameters_to_vector(result.teacher.parameters()).detach()


def generation(config, target="CartPole-v1"):
    strategy = make_strategy("snes", config.outer.population, 0.3, 0.01)
    mean = parameters_to_vector(untrained(describe(target), config).parameters()).detach()
    return Generation(strategy, strategy.initial(mean), 0, 5)


def test_fitness_of_a_member_does_not_depend_on_its_company(config):
    task = describe("CartPole-v1")
    population = generation(config).population()
    fitness = fitness_of(task, config)
    whole = fitness(population, 5)
    parts = [fitness(population[chosen], 5) for chosen in ([0], [1, 2], [3, 4, 5])]
    fitness.close()
    assert whole.shape == (6, 3)
    torch.testing.assert_close(whole, torch.cat(parts), rtol=0, atol=0)
    assert len(whole.unique()) > 1


def run(config, out=None, **options):
    return gtn_rl.train("CartPole-v1", out, config, progress_bar=False, **options)


@pytest.fixture(scope="module")
def batch(config):
    """What a run in one process leads to."""
    return run(config)


KILLED = """
import os, signal
from gtn_rl.outer.executors import Processes
pool = Processes(lambda: None, 2, 60.0)._pool
print(*{pool.submit(os.getpid).result() for _ in range(4)}, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_workers_leave_with_a_run_that_is_killed():
    # Workers hold the output open: this returns when the last of them is gone.
    command = [sys.executable, "-c", KILLED]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert run.returncode == -signal.SIGKILL
    assert run.stdout.split()


class Flaky(gym.Env):
    """Two steps; in a process other than the first, dies or hangs once where a file says so."""

    observation_space = gym.spaces.Box(-1.0, 1.0, (1,))
    action_space = gym.spaces.Discrete(2)

    def __init__(self, folder):
        self.folder = folder

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.age = 0
        return self.np_random.uniform(-1, 1, 1).astype("float32"), {}

    def step(self, action):
        if os.getpid() != int(Path(self.folder, "driver").read_text()):
            for name in ("die", "hang"):
                try:
                    Path(self.folder, name).unlink()
                except FileNotFoundError:
                    continue
                os._exit(1) if name == "die" else time.sleep(1_000)
            if Path(self.folder, "always").exists():
                raise ValueError("bad environment")
        self.age += 1
        return np.array([0.5], np.float32), float(action), self.age == 2, False, {}


@pytest.fixture
def flaky(tmp_path):
    (tmp_path / "driver").write_text(str(os.getpid()))
    return partial(Flaky, str(tmp_path))


@pytest.fixture(scope="module")
def cluster():
    """One Ray of two workers for all tests: to start it takes seconds."""
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def check_misfortunes(flaky, folder, config, executor, kinds, timeout):
    """Fitness of a generation is the same whatever happens to workers once; then all is lost."""
    config = replace(
        config, learners=replace(config.learners, kinds=("1xpg@tanh:4",)),
        workers=Workers(executor=executor, timeout=timeout),
    )  # fmt: skip
    task = describe(flaky)
    env = untrained(task, config).requires_grad_(False)
    this, fitness = generation(config, flaky), fitness_of(task, config, env)
    expected = fitness(this.population(), this.step)
    pool = make_executor(flaky, config, fitness, env, 3)
    try:
        for name in kinds:
            (folder / name).touch()
            assert torch.equal(pool.fitness(this), expected)
            assert not (folder / name).exists()
        (folder / "always").touch()
        with pytest.warns(RuntimeWarning, match="left out of this generation.*bad environment"):
            assert pool.fitness(this).isnan().all()
    finally:
        pool.close()


executors = pytest.mark.parametrize("executor", ["processes", "ray"])


@executors
def test_a_worker_that_dies_costs_nothing(flaky, tmp_path, config, cluster, executor):
    check_misfortunes(flaky, tmp_path, config, executor, ["die"], 300.0)


@pytest.mark.slow
@executors
def test_a_worker_that_hangs_costs_nothing_but_time(flaky, tmp_path, config, cluster, executor):
    check_misfortunes(flaky, tmp_path, config, executor, ["hang", "die"], 60.0)


@executors
def test_workers_give_what_the_batch_gives(config, batch, cluster, executor):
    spread = run(replace(config, workers=Workers(executor=executor)))
    assert torch.equal(parameters(batch), parameters(spread))
    assert batch.real_steps == spread.real_steps


def test_ray_that_is_missing_is_named(config, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"gtn_rl\[ray\]"):
        run(replace(config, workers=Workers(executor="ray")))


def test_a_factory_that_cannot_travel_is_refused(config):
    config = replace(config, workers=Workers(executor="processes"))
    with pytest.raises(UsageError, match="top of a module"):
        gtn_rl.train(lambda: gym.make("CartPole-v1"), None, config, progress_bar=False)


def test_a_population_without_a_finite_return_ends_the_run(config, monkeypatch):
    def lost(self, population, step):
        return torch.full((len(population), 4), torch.nan)

    monkeypatch.setattr(Fitness, "__call__", lost)
    with pytest.raises(TrainingDivergedError, match="finite return"):
        run(config)


RETURNS = torch.tensor([[-1.0, -900.0], [-2.0, -100.0], [-3.0, -200.0], [-4.0, -300.0]])


def vector(teacher):
    return parameters_to_vector(teacher.parameters()).detach().clone()


def evolved(returns, strategy="snes", **options):
    teacher = torch.nn.Linear(2, 1)
    before = vector(teacher)
    evolution = Evolution(teacher, make_strategy(strategy, 4, 0.1, 0.1), 3, **options)
    this = evolution.ask(2)
    return evolution, before, this, evolution.tell(this, returns, 2)


@pytest.mark.parametrize(
    ("lost", "fitness"),
    # Ranks are 3, 2, 1, 0 and 0, 3, 2, 1.
    [(False, [3.0, 5.0, 3.0, 1.0]), (True, [2.0, torch.nan, 3.0, 1.0])],
)
def test_members_are_compared_by_rank_for_each_kind(lost, fitness):
    returns = RETURNS.clone()
    if lost:
        # A member is lost where one kind of learner is.
        returns[1, 0] = torch.nan
    evolution, before, this, row = evolved(returns)
    strategy = make_strategy("snes", 4, 0.1, 0.1)
    wanted = strategy.tell(strategy.initial(before), this.population(), torch.tensor(fitness))
    torch.testing.assert_close(vector(evolution.teacher), wanted.mean)
    assert row["lost_members"] == lost
    assert row["return_best"] == pytest.approx(-101.5 if lost else -51.0)


@pytest.mark.parametrize("strategy", ["snes", "openai-es", "cma-es"])
def test_where_all_members_do_equally_well_the_teacher_stays(strategy):
    returns = torch.full((4, 1), -200.0)
    for lost in (-200.0, torch.nan):
        returns[3] = lost
        evolution, before, _, row = evolved(returns, strategy)
        assert row["return"] == -200.0
        assert torch.equal(vector(evolution.teacher), before)


def test_some_parameters_alone_evolve():
    evolution, before, this, _ = evolved(RETURNS, "cma-es", moving=("bias",))
    assert this.asked().shape == (4, 1)
    population = this.population()
    torch.testing.assert_close(population[:, :2].float(), before[:2].expand(4, -1))
    torch.testing.assert_close(population[:, 2:], this.asked())
    after = vector(evolution.teacher)
    assert torch.equal(after[:2], before[:2])
    assert not torch.equal(after[2:], before[2:])
    state = evolution.state_dict()
    with torch.no_grad():
        evolution.teacher.bias.add_(1.0)
    evolution.load_state_dict(state)
    torch.testing.assert_close(vector(evolution.teacher), after)


@pytest.mark.parametrize("strategy", ["snes", "openai-es", "cma-es"])
def test_a_saved_state_goes_on_to_the_same_bits(strategy, tmp_path):
    evolution, *_ = evolved(RETURNS, strategy)
    torch.save(evolution.state_dict(), tmp_path / "state")
    other = Evolution(torch.nn.Linear(2, 1), make_strategy(strategy, 4, 0.1, 0.1), 3)
    other.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    for one in (evolution, other):
        for step in range(3, 6):
            one.tell(one.ask(step), RETURNS.roll(step, 0), step)
    assert torch.equal(vector(evolution.teacher), vector(other.teacher))


def test_evolution_finds_a_known_optimum():
    teacher = torch.nn.Linear(3, 1, bias=False)
    evolution = Evolution(teacher, make_strategy("cma-es", 8, 0.5, 0.0), 0)
    wanted = torch.tensor([0.5, -1.0, 2.0])
    for step in range(80):
        this = evolution.ask(step)
        error = -(this.population().float() - wanted).square().sum(1, keepdim=True)
        evolution.tell(this, error, step)
    torch.testing.assert_close(vector(teacher), wanted, atol=0.02, rtol=0)


def test_only_what_there_is_evolves(config):
    with pytest.raises(UsageError, match="no dynamics_parameters, only"):
        run(replace(config, outer=replace(config.outer, moving=("dynamics",))))


def test_one_estimator_goes_on_from_the_others_result(config, tmp_path):
    run(config, tmp_path / "evolved")
    evolved = gtn_rl.from_pretrained(tmp_path / "evolved")
    still = replace(
        config, init=str(tmp_path / "evolved"), estimator="meta-gradient",
        outer=replace(config.outer, steps=1, learning_rate=1e-12, copies=4),
    )  # fmt: skip
    after = run(still)
    assert any("gradient_norm" in row for row in after.rows)
    wanted = parameters_to_vector(evolved.parameters())
    torch.testing.assert_close(parameters(after), wanted, atol=1e-6, rtol=0)
    with pytest.raises(UsageError, match="hidden"):
        run(replace(still, hidden=(9,)))


def test_stock_agents_as_learners(config):
    config = replace(
        config, steps=100, learners=Learners(kinds=("sb3:a2c", "sb3:dqn"), episodes=1),
        outer=replace(config.outer, steps=1, population=4, copies=2),
    )  # fmt: skip
    first, second = run(config), run(config)
    assert torch.equal(parameters(first), parameters(second))
    assert (first.real_steps, first.scores) == (second.real_steps, second.scores)
