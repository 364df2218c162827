"""Evolution strategies as plain functions of a state: `ask` for a population, `tell` its fitness.

A strategy is a frozen dataclass of settings with three methods; its state is a NamedTuple of
tensors. Everything random comes from the generator that `ask` is given, so a state and a seed are
all that another process needs to know a whole population. Fitness is maximised; a member whose
fitness is not a number (its task was lost) is left out of the update.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

S = TypeVar("S", bound="State")


class State(Protocol):
    """Where a strategy stands; `mean` `[D]` is its best guess."""

    @property
    def mean(self) -> Tensor: ...


class Strategy(Protocol[S]):
    """An evolution strategy of `population` P: states from means `[D]`, members `[P, D]`.

    `tell` gives the state after the fitness `[P]` of a population is known. `deviation` is the
    standard deviation of the first population.
    """

    @property
    def population(self) -> int: ...
    def initial(self, mean: Tensor) -> S: ...
    def ask(self, state: S, generator: torch.Generator) -> Tensor: ...
    def tell(self, state: S, population: Tensor, fitness: Tensor) -> S: ...


def _normal(rows: int, mean: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(rows, len(mean), generator=generator, dtype=mean.dtype)


def centered_ranks(fitness: Tensor) -> Tensor:
    """Ranks `[P]` scaled to [-1/2, 1/2]; 0 where fitness is not a number, ties share a rank.

    Fitness shaping (Wierstra et al. 2014, arXiv 1106.4487, section 3.1), as Salimans et al. 2017
    scale it.
    """
    valid = fitness.isfinite()
    known = fitness[valid]
    below = (known[:, None] > known).double().sum(1)
    above = (known[:, None] < known).double().sum(1)
    shaped = torch.zeros(len(fitness), dtype=fitness.dtype)
    shaped[valid] = ((below - above) / max(2 * (len(known) - 1), 1)).to(fitness.dtype)
    return shaped


def summed_ranks(returns: Tensor) -> Tensor:
    """Centered ranks `[P]` of returns `[P, K]`, summed over K kinds that all weigh alike."""
    return torch.stack([centered_ranks(kind) for kind in returns.T]).sum(0)


class OpenAIESState(NamedTuple):
    """Mean `[D]`, Adam's averages `[D]`, generations so far."""

    mean: Tensor
    first: Tensor
    second: Tensor
    steps: int


@dataclass(frozen=True)
class OpenAIES:
    """Antithetic samples, centered ranks, Adam (Salimans et al. 2017, arXiv 1703.03864, alg. 1)."""

    population: int
    deviation: float = 0.1
    learning_rate: float = 0.03

    def initial(self, mean: Tensor) -> OpenAIESState:
        return OpenAIESState(mean, torch.zeros_like(mean), torch.zeros_like(mean), 0)

    def ask(self, state: OpenAIESState, generator: torch.Generator) -> Tensor:
        noise = _normal(self.population // 2, state.mean, generator)
        return state.mean + self.deviation * torch.cat([noise, -noise])

    def tell(self, state: OpenAIESState, population: Tensor, fitness: Tensor) -> OpenAIESState:
        half = self.population // 2
        pairs = fitness.view(2, half)
        whole = pairs.isfinite().all(0)
        known = torch.where(whole, pairs, torch.nan).flatten()
        weight = centered_ranks(known).view(2, half).to(population.dtype)
        noise = (population[:half] - state.mean) / self.deviation
        gradient = (weight[0] - weight[1]) @ noise / (max(int(whole.sum()), 1) * self.deviation)
        steps = state.steps + 1
        first = torch.lerp(state.first, gradient, 0.1)
        second = torch.lerp(state.second, gradient.square(), 0.001)
        root = (second / (1 - 0.999**steps)).sqrt() + 1e-8
        mean = state.mean + self.learning_rate * first / (1 - 0.9**steps) / root
        return OpenAIESState(mean, first, second, steps)


class SNESState(NamedTuple):
    """Mean and standard deviation `[D]`."""

    mean: Tensor
    deviation: Tensor


@dataclass(frozen=True)
class SNES:
    """Separable natural evolution strategy (Wierstra et al. 2014, arXiv 1106.4487, algorithm 6)."""

    population: int
    deviation: float = 0.1

    def initial(self, mean: Tensor) -> SNESState:
        return SNESState(mean, torch.full_like(mean, self.deviation))

    def ask(self, state: SNESState, generator: torch.Generator) -> Tensor:
        noise = _normal(self.population, state.mean, generator)
        return state.mean + state.deviation * noise

    def tell(self, state: SNESState, population: Tensor, fitness: Tensor) -> SNESState:
        utility = utilities(fitness).to(population.dtype)
        noise = (population - state.mean) / state.deviation
        dimensions = len(state.mean)
        rate = (3 + math.log(dimensions)) / (5 * dimensions**0.5)
        mean = state.mean + state.deviation * (utility @ noise)
        return SNESState(
            mean, state.deviation * (rate / 2 * (utility @ (noise.square() - 1))).exp()
        )


def utilities(fitness: Tensor) -> Tensor:
    """Rank-based utilities `[P]` that sum to 0 (Wierstra et al. 2014, section 3.1).

    0 where fitness is not a number.
    """
    valid = fitness.isfinite()
    count = int(valid.sum())
    order = torch.empty(count, dtype=torch.long)
    order[fitness[valid].argsort(descending=True, stable=True)] = torch.arange(count)
    top = torch.log(torch.tensor(count / 2 + 1.0, dtype=torch.float64))
    raw = (top - torch.log(order + 1.0)).clamp(min=0)
    shaped = torch.zeros(len(fitness), dtype=fitness.dtype)
    if count:
        shaped[valid] = (raw / raw.sum() - 1 / count).to(fitness.dtype)
    return shaped


class CMAESState(NamedTuple):
    """Where the search stands.

    `mean`, `step_path`, `path` and `lengths` are `[D]`, `covariance` and its eigenvectors `basis`
    `[D, D]`; `lengths` are the square roots of the eigenvalues. All are float64.
    """

    mean: Tensor
    deviation: float
    step_path: Tensor
    path: Tensor
    covariance: Tensor
    basis: Tensor
    lengths: Tensor
    generation: int


@dataclass(frozen=True)
class CMAES:
    """CMA-ES with positive weights (Hansen 2016, arXiv 1604.00772, figure 6 and its defaults)."""

    population: int
    deviation: float = 0.1

    def initial(self, mean: Tensor) -> CMAESState:
        mean = mean.double()
        size = len(mean)
        zero, unit = torch.zeros_like(mean), torch.eye(size, dtype=torch.float64)
        return CMAESState(mean, self.deviation, zero, zero, unit, unit, torch.ones_like(mean), 0)

    def ask(self, state: CMAESState, generator: torch.Generator) -> Tensor:
        noise = _normal(self.population, state.mean, generator)
        return state.mean + state.deviation * (noise * state.lengths) @ state.basis.T

    def tell(self, state: CMAESState, population: Tensor, fitness: Tensor) -> CMAESState:
        size, generation = len(state.mean), state.generation + 1
        known = fitness.isfinite().nonzero()[:, 0]
        best = known[fitness[known].argsort(descending=True, stable=True)][: self.population // 2]
        weight = math.log((self.population + 1) / 2) - torch.arange(1, len(best) + 1).double().log()
        weight = weight / weight.sum()
        mass = 1 / float(weight.square().sum())

        step_decay = (mass + 2) / (size + mass + 5)
        damping = 1 + 2 * max(0.0, math.sqrt((mass - 1) / (size + 1)) - 1) + step_decay
        decay = (4 + mass / size) / (size + 4 + 2 * mass / size)
        one = 2 / ((size + 1.3) ** 2 + mass)
        many = min(1 - one, 2 * (mass - 2 + 1 / mass) / ((size + 2) ** 2 + mass))
        expected = math.sqrt(size) * (1 - 1 / (4 * size) + 1 / (21 * size**2))

        steps = (population[best].double() - state.mean) / state.deviation
        move = weight @ steps
        whitened = state.basis @ ((state.basis.T @ move) / state.lengths)
        step_path = (1 - step_decay) * state.step_path
        step_path = step_path + math.sqrt(step_decay * (2 - step_decay) * mass) * whitened
        length = float(step_path.norm())
        # Stalls the path's update after long steps, so that the covariance does not grow with it.
        steady = (
            length / math.sqrt(1 - (1 - step_decay) ** (2 * generation))
            < (1.4 + 2 / (size + 1)) * expected
        )
        path = (1 - decay) * state.path + steady * math.sqrt(decay * (2 - decay) * mass) * move
        covariance = (1 - one - many + (1 - steady) * one * decay * (2 - decay)) * state.covariance
        covariance = covariance + one * torch.outer(path, path) + many * (steps.T * weight) @ steps
        covariance = (covariance + covariance.T) / 2
        deviation = state.deviation * math.exp(step_decay / damping * (length / expected - 1))
        values, basis = torch.linalg.eigh(covariance)
        return CMAESState(
            state.mean + state.deviation * move, deviation, step_path, path, covariance, basis,
            values.clamp_min(1e-20).sqrt(), generation,
        )  # fmt: skip
