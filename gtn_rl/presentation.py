"""How a lesson is shown: where initial states lie, how far apart, how large and sharp rewards are.

None of it changes which action is best. But what an agent has learned after a few thousand steps
depends on it, and each algorithm likes it otherwise: PPO and A2C measure rewards against a baseline
of size 1 that is untrained at first, DQN moves its weights by a tenth in all and can only learn
small differences. These few numbers are found by evolution, on the real return of stock-like
learners.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from gymnasium import spaces
from torch import Tensor

from gtn_rl.config import TrainConfig
from gtn_rl.envs.actions import Actions
from gtn_rl.envs.heads import BOUNDED, best_action, widths
from gtn_rl.envs.spaces import action_size
from gtn_rl.envs.synthetic import SyntheticEnv
from gtn_rl.envs.targets import RealEnvs, Target
from gtn_rl.inner import act, inner_loop, members
from gtn_rl.outer.cma_es import CMAES
from gtn_rl.seeding import derive, generator

_AGENTS = 2
"""Judges of each kind by which candidates are compared; all are taught by the same."""

_EPISODES = 2
"""Real episodes of each learner."""

_DEVIATIONS = (0.35, 0.1, 0.7, 0.35, 0.5)
"""First standard deviations: of what spreads, moves, enlarges, sharpens and widens."""


def numbers_of(env: SyntheticEnv) -> list[int]:
    """How many numbers of each of these kinds an environment's lesson has."""
    return [env.noise_size, env.noise_size, 1, 1, int(env.head == "welsch")]


def show(env: SyntheticEnv, numbers: Tensor) -> SyntheticEnv:
    """The environment as P rows of numbers show it.

    Args:
        env: One environment of `O` observations.
        numbers: `[P, 2 O + 2]`: logarithms of how much farther apart initial states are about their
            mean, how far they are moved (in units of the observations' deviation), and logarithms
            of how much larger and how much sharper rewards are; for the form `welsch`
            `[P, 2 O + 3]`: what the logits of its widths grow by.
    """
    size = env.noise_size
    spread, shift, scale, sharpness, width = torch.split(numbers, numbers_of(env), 1)
    shown = env.select(torch.zeros(len(numbers), dtype=torch.long))
    with torch.no_grad():
        noise = torch.randn(1, 1024, size, generator=torch.Generator().manual_seed(0))
        center = ((env.initial(noise) - env.mean) / env.std).mean(1)
        # About the mean: what is at the center stays there.
        shown.shift_parameters.sub_(center).mul_(spread.exp()).add_(center + shift)
        shown.spread_parameters.add_(spread)
        if env.head in BOUNDED:
            shown.scale_parameters.add_(scale)
        # The form mlp has no best action that could be sharper.
        layers = shown.reward_network.layers(shown.reward_parameters)
        actions = action_size(env.action_space)
        discrete = isinstance(env.action_space, spaces.Discrete)
        for last in layers[-1] if env.head != "mlp" else ():
            best = last if discrete else best_action(last, actions)
            best.mul_(sharpness.exp().unsqueeze(-1))
        if env.head == "welsch":
            widths(layers[-1][1], actions).add_(width.unsqueeze(-1))
    return shown


@torch.no_grad()
def present(
    env: SyntheticEnv, task: Target, actions: Actions, config: TrainConfig, stream: int,
    report: Callable[[float, float], None] = lambda *_: None,
) -> int:  # fmt: skip
    """Find how an environment's lesson is best shown, by CMA-ES on the judges' real return.

    Args:
        env: One environment of horizon 1, changed in place.
        task: The target.
        actions: How judges act in it.
        config: Settings: `presentation` generations, `candidates` in each, `judges`.
        stream: Number of the random stream.
        report: Told the mean return and the share of the generations that are done.

    Returns:
        How many real steps were taken.
    """
    strategy = CMAES(config.candidates, 1.0)
    counts = torch.tensor(numbers_of(env))
    units = torch.tensor(_DEVIATIONS, dtype=torch.float64).repeat_interleave(counts)
    state = strategy.initial(torch.zeros(len(units)))
    steps = 0
    few = tuple(f"{_AGENTS}x{text.partition('x')[2]}" for text in config.judges)
    for index in range(config.presentation):
        population = strategy.ask(state, generator(config.seed, stream, index))
        fitness, used = _judge(show(env, (units * population).float()), task, actions, config, few,
                               (stream, index))  # fmt: skip
        # Where nobody gets anywhere nothing is known of the way: to move would be to wander off.
        if fitness.max() > fitness.min():
            state = strategy.tell(state, population, fitness)
        steps += used
        report(float(fitness.mean()), (index + 1) / config.presentation)
    if config.presentation:
        # Of equals the first.
        rows = torch.stack([torch.zeros_like(state.mean), state.mean])
        final = show(env, (units * rows).float())
        fitness, used = _judge(final, task, actions, config, config.judges, (stream, -1 % 2**31))
        env.load_state_dict(final.select(fitness.argmax(0, keepdim=True)).state_dict())
        steps += used
    return steps


def _judge(
    population: SyntheticEnv, task: Target, actions: Actions, config: TrainConfig,
    judges: tuple[str, ...], stream: tuple[int, int],
) -> tuple[Tensor, int]:  # fmt: skip
    """Mean real returns `[P]` of the judges of P environments, and how many real steps it took."""
    config = replace(config, learners=judges, estimator="evolution")
    learners = inner_loop(
        population, config, generator(config.seed, *stream, 1), create_graph=False
    )
    taught = members(learners, population.members)
    with RealEnvs(task, actions, len(taught), _EPISODES) as real:
        seeds = [derive(config.seed, *stream, 2, copy) % 2**31 for copy in range(_EPISODES)]
        returns = real.evaluate(partial(act, learners), seeds).mean(1)
        total = torch.zeros(population.members, dtype=torch.float64).index_add(0, taught, returns)
        return total / (len(taught) / population.members), real.steps
