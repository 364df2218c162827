"""Evolution strategies on functions whose optimum is known, and against `cma`."""

import cma
import numpy as np
import pytest
import torch

from gtn_rl.config import STRATEGIES
from gtn_rl.outer.evolution import make_strategy
from gtn_rl.outer.strategies import CMAES, SNES, OpenAIES, centered_ranks, utilities


def sphere(x):
    return -(x - 1).square().sum(-1)


def rosenbrock(x):
    return -(100 * (x[..., 1:] - x[..., :-1] ** 2) ** 2 + (1 - x[..., :-1]) ** 2).sum(-1)


def optimize(strategy, function, mean, generations, seed=0):
    state = strategy.initial(mean)
    for generation in range(generations):
        population = strategy.ask(state, torch.Generator().manual_seed(seed * 10**6 + generation))
        state = strategy.tell(state, population, function(population))
    return state


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_sphere_is_solved(name):
    strategy = make_strategy(name, 20, 0.3, 0.05)
    mean = torch.zeros(8, dtype=torch.float64)
    state = optimize(strategy, sphere, mean, 200)
    assert float(sphere(state.mean)) > (-1e-2 if name == "openai-es" else -1e-6)


@pytest.mark.parametrize("name", STRATEGIES)
def test_only_ranks_of_fitness_count(name):
    strategy = make_strategy(name, 10, 0.3, 0.05)
    mean = torch.zeros(5, dtype=torch.float64)
    plain = optimize(strategy, sphere, mean, 10)
    warped = optimize(strategy, lambda x: 7 * sphere(x).exp() - 3, mean, 10)
    torch.testing.assert_close(plain.mean, warped.mean)


@pytest.mark.parametrize("name", STRATEGIES)
def test_lost_members_are_left_out(name):
    strategy = make_strategy(name, 12, 0.3, 0.05)
    state = strategy.initial(torch.zeros(5))
    population = strategy.ask(state, torch.Generator().manual_seed(0))
    fitness = sphere(population)
    fitness[[0, 7]] = torch.nan
    told = strategy.tell(state, population, fitness)
    # Where they were does not matter.
    moved = population.clone()
    moved[[0, 7]] = 1e3
    if name != "openai-es":  # whose samples it reads from the first half alone
        torch.testing.assert_close(strategy.tell(state, moved, fitness).mean, told.mean)
    assert told.mean.isfinite().all()
    assert float(sphere(told.mean)) > float(sphere(state.mean))


def test_openai_es_estimates_the_gradient_of_a_linear_function():
    # With ranks of a linear function along one direction, the estimate points along it.
    strategy = OpenAIES(4_000, deviation=0.1)
    direction = torch.tensor([3.0, -4.0, 0.0])
    state = strategy.initial(torch.zeros(3))
    population = strategy.ask(state, torch.Generator().manual_seed(0))
    told = strategy.tell(state, population, population @ direction)
    torch.testing.assert_close(
        torch.nn.functional.normalize(told.first, dim=0), direction / 5, atol=0.05, rtol=0
    )
    # Adam's first step is as long as its step size.
    torch.testing.assert_close(told.mean[:2], torch.tensor([0.03, -0.03]), atol=1e-4, rtol=0)


def test_openai_es_samples_mirror_each_other():
    strategy = OpenAIES(6)
    state = strategy.initial(torch.arange(4.0))
    population = strategy.ask(state, torch.Generator().manual_seed(0))
    torch.testing.assert_close(population[:3] + population[3:], 2 * state.mean.expand(3, 4))


def test_shaping_by_hand():
    fitness = torch.tensor([3.0, torch.nan, 1.0, 2.0, 2.0])
    torch.testing.assert_close(centered_ranks(fitness), torch.tensor([0.5, 0.0, -0.5, 0.0, 0.0]))
    shaped = utilities(torch.tensor([1.0, 2.0, torch.nan, 3.0]))
    raw = np.maximum(0, np.log(3 / 2 + 1) - np.log([3, 2, 1]))
    expected = raw / raw.sum() - 1 / 3
    torch.testing.assert_close(
        shaped, torch.tensor([expected[0], expected[1], 0, expected[2]], dtype=torch.float32)
    )
    assert float(shaped.sum()) == pytest.approx(0, abs=1e-6)


def test_snes_step_is_the_papers_by_hand():
    strategy = SNES(4, deviation=0.5)
    state = strategy.initial(torch.zeros(1, dtype=torch.float64))
    population = torch.tensor([[0.5], [-0.5], [1.0], [0.0]], dtype=torch.float64)
    told = strategy.tell(state, population, torch.tensor([2.0, 1.0, 3.0, 0.0]))
    u = utilities(torch.tensor([2.0, 1.0, 3.0, 0.0], dtype=torch.float64))
    noise = torch.tensor([1.0, -1.0, 2.0, 0.0], dtype=torch.float64)
    assert float(told.mean) == pytest.approx(float(0.5 * (u * noise).sum()))
    growth = (3 + np.log(1)) / 5 / 2 * float((u * (noise**2 - 1)).sum())
    assert float(told.deviation) == pytest.approx(0.5 * np.exp(growth))


@pytest.mark.parametrize(("function", "target"), [(sphere, 1e-8), (rosenbrock, 1e-6)])
def test_cma_es_needs_as_many_generations_as_cma(function, target):
    size, population, deviation = 6, 12, 0.5
    ours = []
    for seed in range(5):
        strategy = CMAES(population, deviation)
        state = strategy.initial(torch.zeros(size, dtype=torch.float64))
        source = torch.Generator().manual_seed(seed)
        for generation in range(2_000):
            candidates = strategy.ask(state, source)
            fitness = function(candidates)
            if float(fitness.max()) > -target:
                ours.append(generation)
                break
            state = strategy.tell(state, candidates, fitness)
    theirs = []
    for seed in range(1, 6):
        options = {
            "popsize": population, "seed": seed, "verbose": -9, "ftarget": target,
            "CMA_active": False, "maxiter": 2_000, "verb_log": 0,
        }  # fmt: skip
        search = cma.CMAEvolutionStrategy(np.zeros(size), deviation, options)
        search.optimize(lambda x: -float(function(torch.tensor(x))))
        theirs.append(search.countiter)
    assert len(ours) == 5
    assert 0.75 < np.median(ours) / np.median(theirs) < 1.33
