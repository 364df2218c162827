"""Does the meta-gradient say what a change of the environment does to its learners?

For each kind of learner, the gradient of their agreement with the environment's own perfect learner
is taken through their whole training. Then the environment is moved along it, forth and back, by
steps that meta-training takes, the same learners are trained again, and half the difference of what
they reach is compared with what the gradient foretold. Also the cosine of the gradients of two
draws of learners. Usage:

    python benchmarks/slopes.py gtn_rl/CartPole-v1 --learners 16xpg@tanh:64-64
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import tyro
from torch import Tensor

from gtn_rl import from_pretrained
from gtn_rl.agents.learners import Student
from gtn_rl.envs.actions import make_actions
from gtn_rl.envs.synthetic import SyntheticEnv
from gtn_rl.envs.targets import RealEnvs, describe
from gtn_rl.files import write_text
from gtn_rl.gradients import with_rows
from gtn_rl.inner import act, inner_loop
from gtn_rl.loop import Objective
from gtn_rl.objective import agreement
from gtn_rl.outer.meta_gradient import meta_gradient
from gtn_rl.perfect import perfect_learner
from gtn_rl.seeding import generator
from gtn_rl.settings import settings_for

RESULTS = Path(__file__).parent / "results" / "slopes.json"


@dataclass(frozen=True)
class Arguments:
    """Is the meta-gradient true?"""

    name: tyro.conf.Positional[str]
    """A shipped environment or a folder."""
    learners: tuple[str, ...] = ("16xpg@tanh:64-64",)
    """Kinds of learners, each judged by itself."""
    sizes: tuple[float, ...] = (0.001, 0.01, 0.1)
    """Lengths of the steps."""
    truncation: int = 0
    """Differentiate through the last updates of stock-like learners only."""


def main(arguments: Arguments) -> None:
    torch.set_num_threads(1)
    env = from_pretrained(arguments.name)
    task = describe(env.target)
    rows: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    actions = make_actions(task.action_space, 0.4)
    states = met(env, arguments)
    expert = partial(perfect_learner, copy.deepcopy(env))
    env.requires_grad_()
    for text in arguments.learners:
        config = replace(
            settings_for(env.target), learners=(text,), truncation=arguments.truncation
        ).for_space(task.action_space)
        index = torch.randint(len(states), (config.num_learners, 256), generator=generator(1))

        def train(
            env: SyntheticEnv, seed: int, *, create_graph: bool, config: Any = config
        ) -> Sequence[Student]:
            return inner_loop(env, config, generator(seed), create_graph=create_graph)

        def score(learners: Sequence[Student], index: Tensor = index) -> Tensor:
            return agreement(partial(act, learners), expert, states[index], actions)

        first, second = (slope(env, train(env, seed, create_graph=True), score) for seed in (0, 1))
        direction = first / first.norm()
        row: dict[str, Any] = {
            "length": float(first.norm()),
            "cosine": float(torch.cosine_similarity(first, second)),
        }
        for size in arguments.sizes:
            with torch.no_grad():
                forth, back = (
                    float(score(train(moved(env, sign * size * direction), 0, create_graph=False)))
                    for sign in (1, -1)
                )
            row[f"foretold {size}"] = size * row["length"]
            row[f"found {size}"] = (forth - back) / 2
        key = f"{env.target} {text}"
        rows[f"{key} last {arguments.truncation}" if arguments.truncation else key] = row
        print(key, json.dumps({name: float(f"{value:.2g}") for name, value in row.items()}))
        write_text(RESULTS, json.dumps(rows, indent=1) + "\n")


def met(env: SyntheticEnv, arguments: Arguments) -> Tensor:
    """States `[M, O]` of the real task that perfect learners meet."""
    task = describe(env.target)
    actions = make_actions(task.action_space, 0.4)
    with RealEnvs(task, actions, 1, 16) as real, torch.no_grad():
        real.reset(0)
        rollout = real.rollout(partial(perfect_learner, env), 200, generator(0))
        return rollout.observation[rollout.valid]


def slope(env: SyntheticEnv, learners: Sequence[Student], score: Objective) -> Tensor:
    """The gradient `[1, D]` of a score of learners w.r.t. the environment that taught them."""
    return torch.cat(meta_gradient(learners, score, list(env.parameters()))[1], 1)


def moved(env: SyntheticEnv, step: Tensor) -> SyntheticEnv:
    """The environment with its parameters moved by `[1, D]`."""
    return with_rows(env, torch.cat(list(env.parameters()), 1) + step)


if __name__ == "__main__":
    main(tyro.cli(Arguments))
