"""Stock agents that the strongest peer and the real environment train, beside ours.

Trains Stable-Baselines3 agents (final, deterministic, 20 real episodes each) of three kinds:

- `peer`: defaults, in the one-step environments of Liesen et al. 2024 (`keraJLi/synthetic-gymnax`),
  as many steps as in ours;
- `real`: defaults, in the real environment, as many steps;
- `tuned`: hyperparameters and full budget of rl-baselines3-zoo (`tuned.json`), in the real one.

Scores go, agent by agent, to `benchmarks/results/side_by_side.json`; a run that is stopped goes on.
`benchmarks/classic.py` measures our own and prints the table of all.

    python benchmarks/side_by_side.py [--kinds peer real tuned] [--algos ppo ...] [--tasks ...]
"""

from __future__ import annotations

import hashlib
import itertools
import json
import time
from collections.abc import Iterator
from concurrent.futures import as_completed
from pathlib import Path
from typing import Any, Literal, NamedTuple

import gymnasium as gym
import numpy as np
import tyro
from common import PLAN, RESULTS, keep, measured
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import VecNormalize

from gtn_rl.agents.sb3 import train_stock
from gtn_rl.envs.targets import describe, play
from gtn_rl.outer.pool import make_pool
from gtn_rl.seeding import derive

FILE = RESULTS / "side_by_side.json"
EPISODES = 20
Kind = Literal["peer", "real", "tuned"]
PEERS = ("cartpole", "acrobot", "mountaincar", "continuous_mountaincar", "pendulum")
# rl-baselines3-zoo, hyperparams/{ppo,a2c,dqn,sac,td3,ddpg}.yml. `steps`, `n_envs`, `normalize` and
# `noise_std` are ours to act on, "lin_" falls linearly to nothing, the rest goes to the agent. TD3
# and DDPG on MountainCarContinuous take 300,000 steps there, an hour each, and are left out.
TUNED: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("tuned.json").read_text())


class Job(NamedTuple):
    """One agent; `sha` says which weights or hyperparameters its score belongs to, if any."""

    kind: Kind
    task: str
    algorithm: str
    steps: int
    seed: int
    weights: Path
    sha: str

    @property
    def key(self) -> str:
        """Of the row that it belongs to."""
        return f"{self.task} {self.algorithm}:{self.steps} {self.kind}"


class PeerEnv(gym.Env[NDArray[np.float32], Any]):
    """The peer's contextual bandit: a state made from noise, a reward for the action, the end."""

    def __init__(self, task: str, weights: Path) -> None:
        target = describe(task)
        self.observation_space, self.action_space = target.observation_space, target.action_space
        with np.load(weights) as arrays:
            self._weights = {name: arrays[name] for name in arrays.files}

    def _network(self, name: str, x: NDArray[Any]) -> Any:
        x = x.astype(np.float32)
        for layer in range(2):
            dense = f"{name}/Dense_{layer}"
            x = np.maximum(x, 0) if layer else x
            x = x @ self._weights[f"{dense}/kernel"] + self._weights[f"{dense}/bias"]
        return x

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        """Draw a state."""
        super().reset(seed=seed)
        size = self._weights["initial_state/Dense_0/kernel"].shape[0]
        self._state = self._network("initial_state", self.np_random.standard_normal(size))
        return self._state, {}

    def step(self, action: Any) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Reward the action; the episode is over."""
        code = np.asarray(action).reshape(-1)
        if isinstance(self.action_space, spaces.Discrete):
            code = np.eye(self.action_space.n)[int(action)]
        reward = self._network("reward", np.concatenate([self._state, code]))
        return self._state, float(reward[0]), True, False, {}


def tuned(task: str, algorithm: str, seed: int) -> tuple[Any, dict[str, Any]]:
    """The real environment and the hyperparameters of rl-baselines3-zoo."""
    settings = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in TUNED[task][algorithm].items() if name != "steps"
    }  # fmt: skip
    env: Any = make_vec_env(task, settings.pop("n_envs", 1), seed=seed)
    if settings.pop("normalize", False):
        env = VecNormalize(env, gamma=settings.get("gamma", 0.99))
    if deviation := settings.pop("noise_std", 0.0):
        size = env.action_space.shape[0]
        settings["action_noise"] = NormalActionNoise(np.zeros(size), np.full(size, deviation))
    for name, value in settings.items():
        if isinstance(value, str):
            settings[name] = LinearSchedule(float(value.removeprefix("lin_")), 0.0, 1.0)
    return env, settings


def train(job: Job) -> dict[str, Any]:
    """Train and score one agent, in a process of its own."""
    settings: dict[str, Any] = {}
    if job.kind == "tuned":
        env, settings = tuned(job.task, job.algorithm, job.seed)
    else:
        env = PeerEnv(job.task, job.weights) if job.kind == "peer" else gym.make(job.task)
    start = time.perf_counter()
    agent = train_stock(job.algorithm, env, job.steps, job.seed, settings)
    seconds = time.perf_counter() - start
    # An agent that learned from normalized observations knows no others.
    see = env.normalize_obs if isinstance(env, VecNormalize) else lambda observation: observation
    envs = gym.make_vec(job.task, num_envs=EPISODES)
    # The same initial states as in `gtn_rl.compare`.
    seed = derive(job.seed, 7) >> 32
    returns, _ = play(envs, lambda o: agent.predict(see(o), deterministic=True)[0], seed)
    envs.close()
    env.close()
    return {"returns": returns.tolist(), "seconds": seconds, "taken": agent.num_timesteps}


def wanted(
    tasks: tuple[str, ...], algos: tuple[str, ...], counts: dict[Kind, int], peers: Path
) -> Iterator[Job]:
    """All agents that are asked for and have hyperparameters."""
    for task in tasks:
        weights = peers / f"{PEERS[tuple(PLAN).index(task)]}.npz"
        if counts.get("peer") and not weights.is_file():
            raise SystemExit(f"no {weights}: say with --peers where the peer's weights are")
        for text, kind in itertools.product(PLAN[task], counts):
            (algorithm, steps), content = text.split(":"), b""
            if kind == "tuned":
                steps = TUNED[task].get(algorithm, {}).get("steps", 0)
                content = json.dumps(TUNED[task].get(algorithm), sort_keys=True).encode()
            elif kind == "peer" and counts[kind]:
                content = weights.read_bytes()
            sha = hashlib.sha256(content).hexdigest()[:12] if content else ""
            if int(steps) and (not algos or algorithm in algos):
                for seed in range(counts[kind]):
                    yield Job(kind, task, algorithm, int(steps), seed, weights, sha)


def main(
    *, seeds: int = 10, real_seeds: int = 3, tasks: tuple[str, ...] = tuple(PLAN),
    algos: tuple[str, ...] = (), kinds: tuple[Kind, ...] = ("peer", "real", "tuned"),
    jobs: int = 2, peers: Path = Path("synthetic_gymnax"),
) -> None:  # fmt: skip
    """Agents in each of the peer's environments, in each real one; the peer's `.npz` files."""
    counts: dict[Kind, int] = {kind: seeds if kind == "peer" else real_seeds for kind in kinds}
    rows, left = measured(FILE), []
    for job in wanted(tasks, algos, counts, peers):
        if job.key not in rows or rows[job.key]["sha"] != job.sha:
            rows[job.key] = {
                "task": job.task, "algorithm": job.algorithm, "kind": job.kind,
                "steps": job.steps, "sha": job.sha, "agents": {},
            }  # fmt: skip
        if str(job.seed) not in rows[job.key]["agents"]:
            left.append(job)
    with make_pool(jobs) as pool:
        futures = {pool.submit(train, job): job for job in left}
        try:
            for future in as_completed(futures):
                job = futures[future]
                rows[job.key]["agents"][str(job.seed)] = future.result()
                keep(FILE, job.key, rows[job.key])
        except BaseException:
            # What is trained from here on would be written nowhere.
            pool.shutdown(wait=False, cancel_futures=True)
            raise


if __name__ == "__main__":
    tyro.cli(main)
