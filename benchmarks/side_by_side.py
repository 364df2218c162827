"""Side by side: stock agents taught by gtn_rl, by the strongest peer, and by the real environment.

Trains Stable-Baselines3 agents (final, deterministic, 20 real episodes each) of three kinds:

- `peer`: defaults, in the one-step environments of Liesen et al. 2024 (`keraJLi/synthetic-gymnax`),
  as many steps as `benchmarks/zoo.py` gives them in ours;
- `real`: defaults, in the real environment, as many steps;
- `tuned`: hyperparameters and full budget of rl-baselines3-zoo, in the real environment.

Scores go, agent by agent, to `benchmarks/results/side_by_side.json`; a run that is stopped goes on.
gtn_rl's own are those that `benchmarks/zoo.py` measured. Prints the scores, then from how many
agents on meta-training costs less than tuned real training of each (`--seeds 0 --real-seeds 0`:
prints what was measured so far). Seconds are those of one agent on one thread, and the wall-clock
of meta-training on all cores; the tuned budgets are those of the zoo, not the least that suffice.

    python benchmarks/side_by_side.py [--kinds peer real tuned] [--algos ppo ...] [--tasks ...]
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Iterator
from concurrent.futures import as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import gymnasium as gym
import numpy as np
import tyro
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import VecNormalize
from zoo import PLAN, fingerprint, measured
from zoo import RESULTS as ZOO

from gtn_rl.agents.sb3 import train_stock
from gtn_rl.envs.targets import describe, play
from gtn_rl.evaluation.stats import summarize
from gtn_rl.io.artifact import total_costs
from gtn_rl.io.files import write_text
from gtn_rl.outer.pool import make_pool
from gtn_rl.seeding import derive

RESULTS = Path(__file__).parent / "results" / "side_by_side.json"
EPISODES = 20
Kind = Literal["peer", "real", "tuned"]

PEERS = {
    "CartPole-v1": "cartpole",
    "Acrobot-v1": "acrobot",
    "MountainCar-v0": "mountaincar",
    "MountainCarContinuous-v0": "continuous_mountaincar",
    "Pendulum-v1": "pendulum",
}
# Most real steps that the peer's population can have taken, by the configurations published with
# its weights: generations x population x agents x 50 episodes x step limit (MountainCar's falls
# from 1,000 to 200). Its evaluations of the mean come on top.
PEER_STEPS = {
    "CartPole-v1": 300 * 128 * 1 * 50 * 500,
    "Acrobot-v1": 100 * 128 * 1 * 50 * 500,
    "MountainCar-v0": 128 * 1 * 50 * (200 * 1000 + 600 * 600 + 200 * 200),
    "MountainCarContinuous-v0": 300 * 128 * 1 * 50 * 999,
    "Pendulum-v1": 1000 * 64 * 8 * 50 * 200,
}

# rl-baselines3-zoo, hyperparams/{ppo,a2c,dqn,sac,td3,ddpg}.yml. `steps`, `n_envs`, `normalize` and
# `noise_std` are ours to act on, "lin_" falls linearly to nothing, the rest goes to the agent. TD3
# and DDPG on MountainCarContinuous take 300,000 steps there, an hour each, and are left out.
_WIDE = {"net_arch": [256, 256]}
TUNED: dict[tuple[str, str], dict[str, Any]] = {
    ("CartPole-v1", "ppo"): {
        "steps": 100_000, "n_envs": 8, "n_steps": 32, "batch_size": 256, "gae_lambda": 0.8,
        "gamma": 0.98, "n_epochs": 20, "ent_coef": 0.0, "learning_rate": "lin_0.001",
        "clip_range": "lin_0.2",
    },
    ("CartPole-v1", "a2c"): {"steps": 500_000, "n_envs": 8, "ent_coef": 0.0},
    ("CartPole-v1", "dqn"): {
        "steps": 50_000, "learning_rate": 2.3e-3, "batch_size": 64, "buffer_size": 100_000,
        "learning_starts": 1_000, "gamma": 0.99, "target_update_interval": 10, "train_freq": 256,
        "gradient_steps": 128, "exploration_fraction": 0.16, "exploration_final_eps": 0.04,
        "policy_kwargs": _WIDE,
    },
    ("Acrobot-v1", "ppo"): {
        "steps": 1_000_000, "n_envs": 16, "normalize": True, "n_steps": 256, "gae_lambda": 0.94,
        "gamma": 0.99, "n_epochs": 4, "ent_coef": 0.0,
    },
    ("Acrobot-v1", "a2c"): {"steps": 500_000, "n_envs": 16, "normalize": True, "ent_coef": 0.0},
    ("Acrobot-v1", "dqn"): {
        "steps": 100_000, "learning_rate": 6.3e-4, "batch_size": 128, "buffer_size": 50_000,
        "learning_starts": 0, "gamma": 0.99, "target_update_interval": 250, "train_freq": 4,
        "gradient_steps": -1, "exploration_fraction": 0.12, "exploration_final_eps": 0.1,
        "policy_kwargs": _WIDE,
    },
    ("MountainCar-v0", "ppo"): {
        "steps": 1_000_000, "n_envs": 16, "normalize": True, "n_steps": 16, "gae_lambda": 0.98,
        "gamma": 0.99, "n_epochs": 4, "ent_coef": 0.0,
    },
    ("MountainCar-v0", "a2c"): {
        "steps": 1_000_000, "n_envs": 16, "normalize": True, "ent_coef": 0.0,
    },
    ("MountainCar-v0", "dqn"): {
        "steps": 120_000, "learning_rate": 4e-3, "batch_size": 128, "buffer_size": 10_000,
        "learning_starts": 1_000, "gamma": 0.98, "target_update_interval": 600, "train_freq": 16,
        "gradient_steps": 8, "exploration_fraction": 0.2, "exploration_final_eps": 0.07,
        "policy_kwargs": _WIDE,
    },
    ("MountainCarContinuous-v0", "ppo"): {
        "steps": 20_000, "normalize": True, "batch_size": 256, "n_steps": 8, "gamma": 0.9999,
        "learning_rate": 7.77e-5, "ent_coef": 0.00429, "clip_range": 0.1, "n_epochs": 10,
        "gae_lambda": 0.9, "max_grad_norm": 5, "vf_coef": 0.19, "use_sde": True,
        "policy_kwargs": {"log_std_init": -3.29, "ortho_init": False},
    },
    ("MountainCarContinuous-v0", "a2c"): {
        "steps": 100_000, "n_envs": 4, "normalize": True, "n_steps": 100, "ent_coef": 0.0,
        "use_sde": True, "sde_sample_freq": 16,
        "policy_kwargs": {"log_std_init": 0.0, "ortho_init": False},
    },
    ("MountainCarContinuous-v0", "sac"): {
        "steps": 50_000, "learning_rate": 3e-4, "buffer_size": 50_000, "batch_size": 512,
        "ent_coef": 0.1, "train_freq": 32, "gradient_steps": 32, "gamma": 0.9999, "tau": 0.01,
        "learning_starts": 0, "use_sde": True,
        "policy_kwargs": {"log_std_init": -3.67, "net_arch": [64, 64]},
    },
    ("Pendulum-v1", "ppo"): {
        "steps": 100_000, "n_envs": 4, "n_steps": 1024, "gae_lambda": 0.95, "gamma": 0.9,
        "n_epochs": 10, "ent_coef": 0.0, "learning_rate": 1e-3, "clip_range": 0.2,
        "use_sde": True, "sde_sample_freq": 4,
    },
    ("Pendulum-v1", "a2c"): {
        "steps": 1_000_000, "n_envs": 8, "normalize": True, "n_steps": 8, "gae_lambda": 0.9,
        "vf_coef": 0.4, "gamma": 0.9, "ent_coef": 0.0, "learning_rate": "lin_0.0007",
        "use_sde": True, "policy_kwargs": {"log_std_init": -2.0, "ortho_init": False},
    },
    ("Pendulum-v1", "sac"): {"steps": 20_000, "learning_rate": 1e-3},
    ("Pendulum-v1", "td3"): {
        "steps": 20_000, "learning_rate": 1e-3, "gamma": 0.98, "buffer_size": 200_000,
        "learning_starts": 10_000, "noise_std": 0.1, "gradient_steps": 1, "train_freq": 1,
        "policy_kwargs": {"net_arch": [400, 300]},
    },
    ("Pendulum-v1", "ddpg"): {
        "steps": 20_000, "learning_rate": 1e-3, "gamma": 0.98, "buffer_size": 200_000,
        "learning_starts": 10_000, "noise_std": 0.1, "gradient_steps": -1,
        "train_freq": (1, "episode"), "policy_kwargs": {"net_arch": [400, 300]},
    },
}  # fmt: skip


@dataclass
class Arguments:
    """Stock agents taught by gtn_rl, by the peer, and by the real environment."""

    seeds: int = 10
    """Agents trained in each of the peer's environments."""
    real_seeds: int = 3
    """Agents trained in each real environment, of kind `real` and of kind `tuned`."""
    tasks: tuple[str, ...] = tuple(PLAN)
    """Targets."""
    algos: tuple[str, ...] = ()
    """Only these algorithms, if given; SAC, TD3 and DDPG take a minute and more each."""
    kinds: tuple[Kind, ...] = ("peer", "real", "tuned")
    """What to train; what is not trained is printed as far as it was measured before."""
    jobs: int = 2
    """Processes; each uses one thread."""
    peers: Path = Path("../shared/peers/synthetic_gymnax")
    """Folder of the peer's weights, a `.npz` for each target."""


class Job(NamedTuple):
    """One agent."""

    kind: Kind
    task: str
    algorithm: str
    steps: int
    seed: int
    peers: Path

    @property
    def key(self) -> str:
        """Of the row that it belongs to."""
        return f"{self.task} {self.algorithm}:{self.steps} {self.kind}"

    @property
    def sha(self) -> str:
        """Which weights or hyperparameters a score belongs to; empty if there are none."""
        path = self.peers / f"{PEERS[self.task]}.npz"
        if self.kind == "tuned":
            content = json.dumps(TUNED[self.task, self.algorithm], sort_keys=True).encode()
        elif self.kind == "peer" and path.is_file():
            content = path.read_bytes()
        else:
            return ""
        return hashlib.sha256(content).hexdigest()[:12]


class PeerEnv(gym.Env[NDArray[np.float32], Any]):
    """The peer's contextual bandit: a state made from noise, a reward for the action, the end."""

    def __init__(self, task: str, weights: Path) -> None:
        target = describe(task)
        self.observation_space, self.action_space = target.observation_space, target.action_space
        with np.load(weights) as arrays:
            self._weights = {name: arrays[name] for name in arrays.files}

    def _network(self, name: str, x: NDArray[Any]) -> NDArray[np.float32]:
        first, second = (
            [self._weights[f"{name}/Dense_{layer}/{part}"] for part in ("kernel", "bias")]
            for layer in range(2)
        )
        hidden = np.maximum(x.astype(np.float32) @ first[0] + first[1], 0)
        result: NDArray[np.float32] = hidden @ second[0] + second[1]
        return result

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Draw a state."""
        super().reset(seed=seed)
        size = self._weights["initial_state/Dense_0/kernel"].shape[0]
        self._state = self._network("initial_state", self.np_random.standard_normal(size))
        return self._state, {}

    def step(self, action: Any) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Reward the action; the episode is over."""
        if isinstance(self.action_space, spaces.Discrete):
            code = np.eye(self.action_space.n)[int(action)]
        else:
            code = np.asarray(action).reshape(-1)
        reward = self._network("reward", np.concatenate([self._state, code]))
        return self._state, float(reward[0]), True, False, {}


def tuned(task: str, algorithm: str, seed: int) -> tuple[Any, dict[str, Any]]:
    """The real environment and the hyperparameters of rl-baselines3-zoo."""
    settings = dict(TUNED[task, algorithm])
    settings.pop("steps")
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
    elif job.kind == "peer":
        env = PeerEnv(job.task, job.peers / f"{PEERS[job.task]}.npz")
    else:
        env = gym.make(job.task)
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


def wanted(arguments: Arguments, kinds: tuple[Kind, ...]) -> Iterator[Job]:
    """First agents of all groups that were asked for."""
    for task in arguments.tasks:
        for text in PLAN[task]:
            algorithm, steps = text.split(":")
            if arguments.algos and algorithm not in arguments.algos:
                continue
            budget = TUNED.get((task, algorithm), {}).get("steps")
            for kind in kinds:
                if count := budget if kind == "tuned" else int(steps):
                    yield Job(kind, task, algorithm, count, 0, arguments.peers)


def main(arguments: Arguments) -> None:
    rows = measured(RESULTS)
    jobs = []
    for first in wanted(arguments, arguments.kinds):
        if first.kind == "peer" and not first.sha:
            raise SystemExit(f"no {PEERS[first.task]}.npz in {first.peers}: say where with --peers")
        if first.key not in rows or rows[first.key]["sha"] != first.sha:
            rows[first.key] = {
                "task": first.task, "algorithm": first.algorithm, "kind": first.kind,
                "steps": first.steps, "sha": first.sha, "cores": os.cpu_count(), "agents": {},
            }  # fmt: skip
        seeds = arguments.seeds if first.kind == "peer" else arguments.real_seeds
        done = rows[first.key]["agents"]
        jobs += [first._replace(seed=seed) for seed in range(seeds) if str(seed) not in done]
    with make_pool(arguments.jobs) as pool:
        futures = {pool.submit(train, job): job for job in jobs}
        try:
            for future in as_completed(futures):
                job, agent = futures[future], future.result()
                add(rows[job.key], job.seed, agent)
                write_text(RESULTS, json.dumps(rows, indent=1) + "\n")
                score, seconds = np.mean(agent["returns"]), agent["seconds"]
                print(f"{job.key} seed {job.seed}: {score:.1f} in {seconds:.1f} s", flush=True)
        except BaseException:
            # What is trained from here on would be written nowhere.
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    print_tables(arguments, rows)


def add(row: dict[str, Any], seed: int, agent: dict[str, Any]) -> None:
    agents = row["agents"] | {str(seed): agent}
    row["agents"] = dict(sorted(agents.items(), key=lambda item: int(item[0])))
    each = list(row["agents"].values())
    row |= summarize([agent["returns"] for agent in each])._asdict()
    row |= {"seeds": len(each), "taken": agent["taken"]}
    row["seconds"] = float(np.mean([agent["seconds"] for agent in each]))


def shipped(task: str, text: str) -> dict[str, Any] | None:
    """What `zoo.py` measured of the weights that are shipped today, with the most agents."""
    algorithm, steps = text.split(":")
    same = [
        row for row in measured(ZOO).values()
        if (row["task"], row["algorithm"], row["steps"]) == (task, algorithm, int(steps))
        and row["sha"] == fingerprint(task)
    ]  # fmt: skip
    return max(same, key=lambda row: row["seeds"], default=None)


def break_even(once: float, synthetic: float, real: float) -> int | None:
    """Smallest n with `once + n * synthetic <= n * real`, if there is one."""
    return math.ceil(once / (real - synthetic)) if real > synthetic else None


def print_tables(arguments: Arguments, rows: dict[str, Any]) -> None:
    def score(row: dict[str, Any] | None) -> str:
        if row is None:
            return ""
        return f"{row['iqm']:.1f} [{row['low']:.1f}, {row['high']:.1f}] x{row['seeds']}"

    def count(number: float | None) -> str:
        return "never" if number is None else f"{number:,}"

    found: dict[tuple[str, str], dict[str, Any]] = {}
    for job in wanted(arguments, ("peer", "real", "tuned")):
        row = rows.get(job.key, {})
        if row.get("agents") and (row["sha"] == job.sha or not job.sha):
            found.setdefault((job.task, job.algorithm), {})[job.kind] = row
    scores = [
        "| task | agent | steps | gtn_rl | peer | real | tuned real | steps | seconds |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    costs = [
        "| task | agent | gtn_rl once: real steps | seconds | then each: seconds "
        "| tuned real each: steps | seconds | pays from agents: by steps | by seconds "
        "| peer once: real steps, at most | pays from, at most |",
        "| --- | --- |" + " ---: |" * 9,
    ]
    for task in arguments.tasks:
        for text in PLAN[task]:
            algorithm, steps = text.split(":")
            if (task, algorithm) not in found:
                continue
            kinds, own = found[task, algorithm], shipped(task, text)
            best = kinds.get("tuned")
            name = f"| {task} | {algorithm.upper()} |"
            cells = [score(row) for row in (own, kinds.get("peer"), kinds.get("real"), best)]
            spent = f"{best['taken']:,} | {best['seconds']:.1f}" if best else " | "
            scores.append(f"{name} {int(steps):,} | {' | '.join(cells)} | {spent} |")
            if best is None or own is None:
                continue
            once = total_costs(f"gtn_rl/{task}")
            by_steps = break_even(once["real_steps"], 0, best["taken"])
            by_seconds = break_even(once["seconds"], own["seconds"], best["seconds"])
            mark = "*" if own["iqm"] < best["low"] else ""
            costs.append(
                f"{name} {once['real_steps']:,} | {once['seconds']:.0f} | {own['seconds']:.1f} | "
                f"{spent} | {count(by_steps)}{mark} | {count(by_seconds)}{mark} | "
                f"{PEER_STEPS[task]:,} | {count(break_even(PEER_STEPS[task], 0, best['taken']))} |"
            )
    print("\nIQM [95 % interval] x agents, final, deterministic:\n")
    print("\n".join(scores))
    print("\nCost, and from how many agents on it is the smaller one:\n")
    print("\n".join(costs))
    print("\n* gtn_rl's IQM is below the tuned agents' interval: cheaper, but not as good.")


if __name__ == "__main__":
    main(tyro.cli(Arguments))
