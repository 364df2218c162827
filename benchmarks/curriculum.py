"""Does it help that a synthetic environment knows how far its agent's training has got?

Meta-trains CartPole-v1 with and without a curriculum for several outer seeds, and judges stock
agents by few steps, because all of them hold the pole after many. An environment with a curriculum
is met in three ways: with its lessons in order, in random order, and with the last lesson alone.

    python benchmarks/curriculum.py [--seeds 3] [--agents 10] [--out runs/curriculum]
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
import tyro

import gtn_rl
from gtn_rl.agents.sb3 import greedy_returns, train_stock
from gtn_rl.artifact import read_config
from gtn_rl.envs.gym import SyntheticGymEnv
from gtn_rl.envs.synthetic import SyntheticEnv
from gtn_rl.files import write_text
from gtn_rl.settings import settings_for
from gtn_rl.stats import summarize

RESULTS = Path(__file__).parent / "results" / "curriculum.json"
TASK = "CartPole-v1"
STEPS = {"a2c": 512, "dqn": 2_000}


@dataclass
class Arguments:
    """Does a curriculum help?"""

    seeds: int = 3
    """Outer seeds."""
    agents: int = 10
    """Stock agents of each algorithm for each environment."""
    out: Path = Path("runs/curriculum")
    """Folder for the runs."""


class Shuffled(gym.Env[Any, Any]):
    """One-step episodes, each from a lesson drawn at random."""

    def __init__(self, env: SyntheticEnv) -> None:
        self._env = env
        self.observation_space, self.action_space = env.observation_space, env.action_space

    def reset(  # noqa: D102
        self, *, seed: int | None = None, options: Any = None
    ) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._progress = float(self.np_random.random())
        noise = self.np_random.standard_normal((1, 1, self._env.noise_size), dtype=np.float32)
        with torch.inference_mode():
            self._observation = self._env.initial(torch.as_tensor(noise), self._progress)
        return self._observation[0, 0].numpy(), {}

    @torch.inference_mode()
    def step(  # noqa: D102
        self, action: Any
    ) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        lesson = self._env.lesson(self._observation, self._progress)
        reward = float(self._env.reward(lesson, torch.tensor([[int(action)]])))
        return self._observation[0, 0].numpy(), reward, True, False, {}


def ways(env: SyntheticEnv, steps: int) -> dict[str, gym.Env[Any, Any]]:
    """The ways in which agents may meet an environment."""
    if not env.curriculum:
        return {"none": SyntheticGymEnv(env)}
    return {
        "in order": SyntheticGymEnv(env, budget=steps),
        "shuffled": Shuffled(env),
        "last lesson alone": SyntheticGymEnv(env),
    }


def main(arguments: Arguments) -> None:
    torch.set_num_threads(1)
    returns: dict[tuple[str, str], list[Any]] = {}
    costs = []
    for seed in range(arguments.seeds):
        for curriculum in (False, True):
            folder = arguments.out / f"{'with' if curriculum else 'without'}-{seed}"
            if not folder.exists():
                config = replace(settings_for(TASK), seed=seed, curriculum=curriculum)
                gtn_rl.train(TASK, folder, config, progress_bar=False)
            env = gtn_rl.from_pretrained(folder)
            training = read_config(folder)["training"]
            costs.append({"curriculum": curriculum, "seed": seed} | {
                key: training[key] for key in ("seconds", "real_steps")
            })  # fmt: skip
            for algorithm, steps in STEPS.items():
                for way in ways(env, steps):
                    for agent in range(arguments.agents):
                        trained = train_stock(algorithm, ways(env, steps)[way], steps, agent)
                        scores = greedy_returns(trained, TASK, 20, 1_000 + agent)
                        returns.setdefault((way, algorithm), []).append(scores)
            print(folder, flush=True)
    rows = [
        {"curriculum": way, "algorithm": algorithm, "steps": STEPS[algorithm]}
        | {name: round(value, 1) for name, value in summarize(np.stack(own))._asdict().items()}
        for (way, algorithm), own in returns.items()
    ]
    for row in rows:
        print(row)
    content = {"agents": rows, "runs": costs, "outer_seeds": arguments.seeds}
    write_text(RESULTS, json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Arguments))
