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
from gtn_rl.envs.targets import describe
from gtn_rl.errors import MissingExtraError, TrainingDivergedError, UsageError
from gtn_rl.executors import make_executor
from gtn_rl.inner import inner_loop
from gtn_rl.outer.evolution import Evolution, Generation, make_strategy
from gtn_rl.real_return import RealReturn
from gtn_rl.settings import settings_for
from gtn_rl.start import untrained


@pytest.fixture
def config(tiny_config):
    return replace(
        tiny_config, estimator="evolution", population=6, copies=3, max_real_steps=10_000,
        learners=("1xpg@tanh:8", "1xdqn@relu:8-4", "2xppo@tanh:4-4"),
    )  # fmt: skip


def run(config, out=None, **options):
    return gtn_rl.train("CartPole-v1", out, config, progress_bar=False, **options)


def parameters(result):
    return parameters_to_vector(result.env.parameters())


def generation(config, target="CartPole-v1"):
    strategy = make_strategy("snes", config.population, 0.3, 0.01)
    mean = parameters_to_vector(untrained(describe(target), config).parameters()).detach()
    return Generation(strategy, strategy.initial(mean), 0, 5)


def test_members_teach_the_same_learners_with_the_same_noise(config):
    task = describe("CartPole-v1")
    env = untrained(task, config, members=3)
    with torch.no_grad():
        for parameter in env.parameters():
            parameter.copy_(parameter[:1].expand_as(parameter).clone())
    stacks = inner_loop(env, config, torch.Generator().manual_seed(0), create_graph=False)
    alone = inner_loop(
        env.select(torch.tensor([1])), config, torch.Generator().manual_seed(0), create_graph=False
    )
    for stack, single in zip(stacks, alone, strict=True):
        start = 0
        for (_, rows), (_, one) in zip(stack.names, single.names, strict=True):
            part = stack.parameters[start : start + rows].view(3, one, -1)
            torch.testing.assert_close(part[0], part[2])
            start += rows


def test_fitness_of_a_member_does_not_depend_on_its_company(config):
    with RealReturn(describe("CartPole-v1"), config) as problem:
        population = generation(config).population()
        whole, steps = problem.fitness(population, 5)
        parts = [problem.fitness(population[chosen], 5) for chosen in ([0], [1, 2], [3, 4, 5])]
    torch.testing.assert_close(whole, torch.cat([values for values, _ in parts]), rtol=0, atol=0)
    assert steps == sum(used for _, used in parts)
    assert len(whole.unique()) > 1


@pytest.mark.parametrize("strategy", ["snes", "openai-es", "cma-es"])
def test_a_killed_run_resumes_as_if_nothing_had_happened(config, tmp_path, monkeypatch, strategy):
    import gtn_rl.outer.evolution as module

    config = replace(config, strategy=strategy, hidden=(4,))
    whole = run(config, tmp_path / "whole")
    step, calls = module.Evolution.step, []

    def killed(self, *args):
        calls.append(1)
        if len(calls) == 4:
            raise RuntimeError("killed")
        return step(self, *args)

    monkeypatch.setattr(module.Evolution, "step", killed)
    with pytest.raises(RuntimeError, match="killed"):
        run(config, tmp_path / "killed")
    monkeypatch.undo()
    resumed = run(config, tmp_path / "killed", resume=True)
    assert torch.equal(parameters(whole), parameters(resumed))
    assert whole.real_steps == resumed.real_steps
    assert "return_best" in resumed.rows[1]


def test_processes_give_what_the_batch_gives(config):
    batch = run(config)
    spread = run(replace(config, executor="processes"))
    assert torch.equal(parameters(batch), parameters(spread))
    assert batch.real_steps == spread.real_steps


KILLED = """
import os, signal
from gtn_rl.executors.processes import Processes
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
            for name, misfortune in (
                ("die", lambda: os._exit(1)), ("hang", lambda: time.sleep(1_000)),
            ):  # fmt: skip
                try:
                    Path(self.folder, name).unlink()
                except FileNotFoundError:
                    continue
                misfortune()
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


def misfortunes(flaky, folder, config, kinds):
    """Fitness of one generation: undisturbed here, then by an executor that fares as files say."""
    config = replace(config, learners=("1xpg@tanh:4",), executor=config.executor)
    with RealReturn(describe(flaky), config) as problem:
        this = generation(config, flaky)
        expected, _ = problem.fitness(this.population(), this.step)
        executor = make_executor(flaky, config, problem)
        try:
            yield expected
            for name in kinds:
                (folder / name).touch()
                yield executor.fitness(this)[0]
                assert not (folder / name).exists()
            (folder / "always").touch()
            with pytest.warns(RuntimeWarning, match="left out of this generation.*bad environment"):
                yield executor.fitness(this)[0]
        finally:
            executor.close()


def check_misfortunes(flaky, folder, config, executor, kinds, timeout):
    config = replace(config, executor=executor, task_timeout=timeout)
    expected, *survived, broken = misfortunes(flaky, folder, config, kinds)
    assert len(survived) == len(kinds)
    for fitness in survived:
        torch.testing.assert_close(fitness, expected, rtol=0, atol=0)
    assert broken.isnan().all()


def test_a_process_that_dies_costs_nothing(flaky, tmp_path, config):
    check_misfortunes(flaky, tmp_path, config, "processes", ["die"], 300.0)


def test_a_ray_worker_that_dies_costs_nothing(flaky, tmp_path, config, cluster):
    check_misfortunes(flaky, tmp_path, config, "ray", ["die"], 300.0)


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["processes", "ray"])
def test_a_worker_that_hangs_costs_nothing_but_time(flaky, tmp_path, config, cluster, executor):
    check_misfortunes(flaky, tmp_path, config, executor, ["hang", "die"], 60.0)


def test_ray_gives_what_the_batch_gives(config, cluster):
    batch = run(replace(config, max_real_steps=1_500))
    spread = run(replace(config, max_real_steps=1_500, executor="ray"))
    assert torch.equal(parameters(batch), parameters(spread))


def test_ray_that_is_missing_is_named(config, monkeypatch):
    import importlib

    load = importlib.import_module
    monkeypatch.setattr(
        importlib, "import_module",
        lambda name, *a: (_ for _ in ()).throw(ImportError(name)) if name == "ray" else load(name),
    )  # fmt: skip
    with pytest.raises(MissingExtraError, match=r"gtn_rl\[ray\]"):
        run(replace(config, executor="ray"))


def test_a_factory_that_cannot_travel_is_refused(config):
    with pytest.raises(UsageError, match="top of a module"):
        gtn_rl.train(
            lambda: gym.make("CartPole-v1"), None, replace(config, executor="processes"),
            progress_bar=False,
        )  # fmt: skip


def test_a_population_without_a_finite_return_ends_the_run(config, tmp_path, monkeypatch):
    def lost(self, population, step):
        return torch.full((len(population), 4), torch.nan), 0

    monkeypatch.setattr(RealReturn, "fitness", lost)
    with pytest.raises(TrainingDivergedError, match="finite return"):
        run(config)


class Said:
    """An executor that knows what each member has."""

    def __init__(self, returns):
        self.returns = returns

    def fitness(self, generation):
        self.generation = generation
        return self.returns, 7

    def close(self):
        """Nothing to free."""


class Ledger:
    steps = 0

    def charge(self, real_steps):
        self.steps += real_steps


RETURNS = torch.tensor([[-1.0, -900.0], [-2.0, -100.0], [-3.0, -200.0], [-4.0, -300.0]])


@pytest.mark.parametrize(
    ("equal", "weights", "fitness"),
    [
        (False, None, [-450.5, -51.0, -101.5, -152.0]),
        (False, [3.0, 1.0], [-225.75, -26.5, -52.25, -78.0]),
        # Ranks are 3, 2, 1, 0 and 0, 3, 2, 1.
        (True, None, [3.0, 5.0, 3.0, 1.0]),
    ],
)
def test_members_are_compared_by_mean_return_or_by_rank_for_each_kind(equal, weights, fitness):
    teacher = torch.nn.Linear(2, 1)
    before = parameters_to_vector(teacher.parameters()).detach()
    strategy = make_strategy("snes", 4, 0.1, 0.0)
    executor, ledger = Said(RETURNS), Ledger()
    weights = None if weights is None else torch.tensor(weights)
    row = Evolution(teacher, strategy, executor, 3, weights=weights, equal=equal).step(ledger, 2)
    wanted = strategy.tell(
        strategy.initial(before), executor.generation.population(), torch.tensor(fitness)
    )
    torch.testing.assert_close(parameters_to_vector(teacher.parameters()), wanted.mean)
    assert ledger.steps == 7
    if not equal:
        assert row["return_best"] == pytest.approx(max(fitness))


def test_a_member_is_lost_where_one_kind_of_learner_is():
    returns = RETURNS.clone()
    returns[1, 0] = torch.nan
    for equal in (False, True):
        teacher = torch.nn.Linear(2, 1)
        before = parameters_to_vector(teacher.parameters()).detach()
        strategy = make_strategy("snes", 4, 0.1, 0.0)
        executor = Said(returns)
        row = Evolution(teacher, strategy, executor, 3, equal=equal).step(Ledger(), 2)
        assert row["lost_members"] == 1
        fitness = returns.mean(1) if not equal else torch.tensor([2.0, torch.nan, 3.0, 1.0])
        wanted = strategy.tell(strategy.initial(before), executor.generation.population(), fitness)
        torch.testing.assert_close(parameters_to_vector(teacher.parameters()), wanted.mean)


@pytest.mark.parametrize("strategy", ["snes", "openai-es", "cma-es"])
def test_where_all_members_do_equally_well_the_teacher_stays(strategy):
    teacher = torch.nn.Linear(2, 1)
    before = parameters_to_vector(teacher.parameters()).detach().clone()
    returns = torch.full((4, 1), -200.0)
    for lost in (-200.0, torch.nan):
        returns[3] = lost
        evolution = Evolution(teacher, make_strategy(strategy, 4, 0.1, 0.1), Said(returns), 3)
        assert evolution.step(Ledger(), 2)["return"] == -200.0
        assert torch.equal(parameters_to_vector(teacher.parameters()), before)


def test_some_parameters_alone_evolve():
    teacher = torch.nn.Linear(2, 1)
    weight, bias = teacher.weight.detach().clone(), teacher.bias.detach().clone()
    executor = Said(RETURNS)
    evolution = Evolution(
        teacher, make_strategy("cma-es", 4, 0.1, 0.0), executor, 3, moving=("bias",)
    )
    evolution.step(Ledger(), 2)
    assert executor.generation.asked().shape == (4, 1)
    population = executor.generation.population()
    torch.testing.assert_close(population[:, :2].float(), weight.expand(4, -1))
    torch.testing.assert_close(population[:, 2:], executor.generation.asked())
    assert torch.equal(teacher.weight, weight)
    assert not torch.equal(teacher.bias, bias)
    state, moved = evolution.state_dict(), teacher.bias.detach().clone()
    with torch.no_grad():
        teacher.bias.add_(1.0)
    evolution.load_state_dict(state)
    torch.testing.assert_close(teacher.bias.detach(), moved)


def test_how_a_lesson_is_shown_evolves_alone(config):
    config = replace(config, evolved=("scale", "spread"))
    before, after = (
        dict(run(replace(config, max_real_steps=steps)).env.named_parameters())
        for steps in (1, config.max_real_steps)
    )
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"scale_parameters", "spread_parameters"}


def test_only_what_there_is_evolves(config):
    with pytest.raises(UsageError, match="Did you mean 'spread'"):
        replace(config, evolved=("spreads",))
    with pytest.raises(UsageError, match="no introduction_parameters"):
        run(replace(config, evolved=("introduction",)))


def test_one_estimator_goes_on_from_the_others_result(config, tiny_config, tmp_path):
    run(config, tmp_path / "evolved")
    evolved = gtn_rl.from_pretrained(tmp_path / "evolved")
    still = replace(
        tiny_config, init=str(tmp_path / "evolved"), outer_learning_rate=1e-12, max_real_steps=500
    )
    after = run(still)
    torch.testing.assert_close(
        parameters(after), parameters_to_vector(evolved.parameters()), atol=1e-6, rtol=0
    )
    with pytest.raises(UsageError, match="hidden"):
        run(replace(still, hidden=(9,)))


def test_stock_agents_as_learners(config):
    config = replace(
        config, learners=("sb3:a2c", "sb3:dqn"), stock_steps=100, population=4, copies=2,
        max_real_steps=200,
    )  # fmt: skip
    first, second = run(config), run(config)
    assert torch.equal(parameters(first), parameters(second))
    assert 8 <= first.score <= 500


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"estimator": "evolutoin"}, "Did you mean 'evolution'"),
        ({"strategy": "cmaes"}, "cma-es"),
        ({"executor": "rai"}, "Did you mean 'ray'"),
        ({"population": 5}, "even"),
        ({"learners": ("sb3:ppo",)}, "--estimator evolution"),
        ({"learners": ("sb3:ppo", "1xpg@tanh:8"), "estimator": "evolution"}, "all stock"),
    ],
)
def test_settings_that_cannot_work_are_refused(bad, message):
    with pytest.raises(UsageError, match=message):
        gtn_rl.TrainConfig(**bad)


def test_stock_learners_must_fit_the_task(config):
    with pytest.raises(UsageError, match="sac does not handle"):
        run(replace(config, learners=("sb3:sac",)))
    with pytest.raises(UsageError, match="Did you mean 'ppo'"):
        run(replace(config, learners=("sb3:ppoo",)))


def test_the_command_line_has_evolutions_own_defaults():
    from gtn_rl.cli import parse

    command = parse(
        ["train", "CartPole-v1", "--out", "x", "--estimator", "evolution", "--seed", "3"]
    )
    assert command.config == replace(settings_for("CartPole-v1", "evolution"), seed=3)
    assert command.config.warmup == 0


def test_a_target_that_evolves_by_itself_is_trained_by_the_gradient_if_asked():
    from gtn_rl.cli import parse

    train = ["train", "Acrobot-v1", "--out", "x"]
    assert parse(train).config == settings_for("Acrobot-v1")
    asked = parse([*train, "--estimator", "meta-gradient"])
    assert asked.config == settings_for("Acrobot-v1", "meta-gradient")
    assert asked.config.estimator == "meta-gradient"
