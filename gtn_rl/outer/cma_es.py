"""Covariance matrix adaptation, for teachers of up to about a thousand parameters."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


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
    """CMA-ES with positive weights (Hansen 2016, arXiv 1604.00772, figure 6 and its defaults).

    Args:
        population: P.
        deviation: Initial standard deviation.
    """

    population: int
    deviation: float = 0.1

    def initial(self, mean: Tensor) -> CMAESState:
        mean = mean.double()
        size = len(mean)
        zero, unit = torch.zeros_like(mean), torch.eye(size, dtype=torch.float64)
        return CMAESState(mean, self.deviation, zero, zero, unit, unit, torch.ones_like(mean), 0)

    def ask(self, state: CMAESState, generator: torch.Generator) -> Tensor:
        shape = (self.population, len(state.mean))
        noise = torch.randn(shape, generator=generator, dtype=torch.float64)
        return state.mean + state.deviation * (noise * state.lengths) @ state.basis.T

    def tell(self, state: CMAESState, population: Tensor, fitness: Tensor) -> CMAESState:
        """The state after the update of mean, paths, covariance and step size."""
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
