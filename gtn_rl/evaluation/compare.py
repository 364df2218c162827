"""Stock agents trained in the synthetic and in the real environment, scored in the real one."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from gtn_rl import bounds
from gtn_rl.envs.synthetic import SyntheticEnv
from gtn_rl.envs.targets import Factory, Target, describe, random_return
from gtn_rl.errors import GTNError, UsageError
from gtn_rl.evaluation.stats import Summary, summarize
from gtn_rl.evaluation.verdict import verdict
from gtn_rl.inner.stock import greedy_returns
from gtn_rl.io.artifact import canonical, locate, read_config, target_of
from gtn_rl.io.files import locked, write_text
from gtn_rl.io.kinds import from_pretrained
from gtn_rl.outer.pool import end, make_pool, unsendable
from gtn_rl.seeding import derive

SYNTHETIC, REAL = "synthetic", "real"

_STEPS = 2_048
"""Steps of agents in an environment that was made for no number of them."""


@dataclass(frozen=True)
class Cell:
    """All agents of one algorithm trained in one kind of environment.

    Args:
        algorithm: Lower-case name.
        environment: `"synthetic"` or `"real"`.
        steps: Environment steps asked for.
        returns: Greedy real returns of the final agents, `[seeds, episodes]`.
        seconds: Training time of each agent, `[seeds]`.
    """

    algorithm: str
    environment: str
    steps: int
    returns: NDArray[np.float64]
    seconds: NDArray[np.float64]

    @property
    def key(self) -> tuple[str, str, int]:
        """What tells it from the others."""
        return self.algorithm, self.environment, self.steps

    def after(self, returns: NDArray[np.float64], seconds: float) -> Cell:
        """It with another agent."""
        every = np.concatenate([self.returns, returns[None]])
        return replace(self, returns=every, seconds=np.append(self.seconds, seconds))

    def summary(self) -> Summary:
        """Aggregate over seeds."""
        return summarize(self.returns)


@dataclass(frozen=True)
class Comparison:
    """What `compare` measured.

    Args:
        artifact: Name or folder of the synthetic environment.
        target: Gymnasium id of the real one.
        training: What meta-training cost, from the artifact.
        cells: A cell for each algorithm and kind of environment.
        returns: Mean real returns of `random` agents, and of the `optimal` policy that the
            environment teaches if the artifact knows it.
        first_seed: Of the agents.
        stopped: Why agents are missing, if some are.
    """

    artifact: str
    target: str
    training: dict[str, Any]
    cells: list[Cell]
    returns: dict[str, float]
    first_seed: int = 0
    stopped: str = ""

    def verdict(self) -> str:
        """How agents do that were trained in the synthetic environment, in words."""
        means: dict[str, dict[str, float]] = {SYNTHETIC: {}, REAL: {}}
        for cell in self.cells:
            means[cell.environment][cell.algorithm] = cell.summary().iqm
        return verdict(self.target, self.returns | means[SYNTHETIC], means[REAL])

    def to_json(self) -> dict[str, Any]:
        """Everything, raw scores included."""
        return {
            "artifact": self.artifact,
            "target": self.target,
            "training": self.training,
            "returns": self.returns,
            "first_seed": self.first_seed,
            "cells": [
                {
                    "algorithm": cell.algorithm,
                    "environment": cell.environment,
                    "steps": cell.steps,
                    **cell.summary()._asdict(),
                    "returns": cell.returns.tolist(),
                    "seconds": cell.seconds.tolist(),
                }
                for cell in self.cells
            ],
        }

    def save(self, path: str | Path) -> None:
        """Write `to_json()` to a file."""
        write_text(Path(path), json.dumps(self.to_json(), indent=1) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> Comparison:
        """Read what `save` wrote, to draw it again or to go on with it.

        Raises:
            UsageError: There is no such file, or it holds something else.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            cells = [
                Cell(
                    cell["algorithm"], cell["environment"], cell["steps"],
                    np.array(cell["returns"]), np.array(cell["seconds"]),
                )
                for cell in content["cells"]
            ]  # fmt: skip
            return cls(
                content["artifact"], content["target"], content["training"], cells,
                content["returns"], content.get("first_seed", 0),
            )  # fmt: skip
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(
                f"{path} holds no comparison ({type(error).__name__}): start without --resume"
            ) from error


def compare(
    artifact: str | Path,
    target: str | Factory = "",
    *,
    algos: Sequence[str] = (),
    steps: int | None = None,
    seeds: int = 10,
    episodes: int = 20,
    real: bool = True,
    jobs: int = 1,
    first_seed: int = 0,
    out: str | Path | None = None,
    resume: bool = False,
    progress_bar: bool = True,
) -> Comparison:
    """Train stock agents in a synthetic environment and in its target; score them in the target.

    Every agent is scored as it is at the end, on `episodes` real episodes, with its deterministic
    policy. Both kinds of environment get the same number of steps and the same seeds. Ctrl-C ends
    it with the agents that there are.

    Args:
        artifact: Name of a shipped environment, or a folder.
        target: The real environment, as a Gymnasium id or a function that makes it; the artifact's
            own if not given.
        algos: Algorithms, each `"name"` or `"name:steps"`; those of Stable-Baselines3 that handle
            the action space if not given.
        steps: Environment steps where the algorithm does not say; as many as the environment was
            made for if not given.
        seeds: Agents of each algorithm in each environment.
        episodes: Real episodes for each agent.
        real: Whether to train in the real environment as well.
        jobs: Processes; each uses one thread.
        first_seed: Seed of the first agent.
        out: JSON file that is written after each agent.
        resume: Go on with what that file holds.
        progress_bar: Whether to show a progress bar; without it lines say how far it is, if there
            is `out`.

    Raises:
        ArtifactError: Nothing usable under that name.
        UsageError: An unknown algorithm, a number that cannot be meant, a target that cannot be
            found, a file that another process writes, or with `resume` one of another comparison.
        GTNError: A process died; `out` keeps the agents before that.
    """
    from gtn_rl.agents.sb3 import check_action_space, default_algorithms

    for named, number, kind in (
        ("seeds", seeds, bounds.Many), ("episodes", episodes, bounds.Many),
        ("jobs", jobs, bounds.Many), ("first_seed", first_seed, bounds.Seed),
        ("steps", 1 if steps is None else steps, bounds.Count),
    ):  # fmt: skip
        bounds.within(named, number, kind)
    name = canonical(artifact)
    env, config = from_pretrained(name), read_config(name)
    algos = (algos,) if isinstance(algos, str) else algos or default_algorithms(env.action_space)
    plan = [parse_algorithm(text, steps or env.budget or _STEPS) for text in algos]
    for algorithm, _ in plan:
        check_action_space(algorithm, env.action_space)
    # All that can fail does so before anything is spent.
    target = target or target_of(name, config)
    task = _checked(env, target, jobs)
    path = None if out is None else Path(out)
    if path is None and resume:
        raise UsageError("resume needs out, the file to go on with")
    if path is not None:
        _check_writable(path, resume=resume)
    empty = Comparison(name, config["target"], config.get("training", {}), [], {}, first_seed)
    kinds = [SYNTHETIC, REAL] if real else [SYNTHETIC]
    cells = [
        Cell(name, kind, count, np.zeros((0, episodes)), np.zeros(0))
        for name, count in plan
        for kind in kinds
    ]
    known = config.get("results", {}).get("returns", {})
    beside = {"random": random_return(task)}
    beside |= {name: value for name, value in known.items() if name == "optimal"}

    def sofar(stopped: str = "") -> Comparison:
        some = [cell for cell in cells if len(cell.returns)]
        return replace(empty, cells=some, returns=beside, stopped=stopped)

    with locked(*(None,) if path is None else (path.parent, path.name)):
        if path is not None and resume:
            cells = _known(cells, empty, path, seeds, episodes)
        tasks = [
            (number, _Task(*cell.key, name, target, first_seed + seed, episodes))
            for number, cell in enumerate(cells)
            for seed in range(len(cell.returns), seeds)
        ]
        try:
            with (
                tqdm(total=len(tasks), disable=not progress_bar, desc="stock agents") as bar,
                _mapping(jobs) as mapped,
            ):
                results = mapped(_run_one, [task for _, task in tasks])
                said = out is not None and not progress_bar
                clock = time.perf_counter()
                if said:
                    print(f"{len(tasks)} agents to train", file=sys.stderr, flush=True)
                pairs = zip(tasks, results, strict=True)
                for done, ((number, _), (returns, seconds)) in enumerate(pairs, 1):
                    cells[number] = cells[number].after(returns, seconds)
                    if path is not None:
                        sofar().save(path)
                    bar.update()
                    if said and (done == 1 or done % seeds == 0):
                        left = (time.perf_counter() - clock) * (len(tasks) / done - 1)
                        text = f"{done} of {len(tasks)} agents trained, about {left:.0f} s left"
                        print(text, file=sys.stderr, flush=True)
        except KeyboardInterrupt:
            count = sum(len(cell.returns) for cell in cells)
            return sofar(f"interrupted after {count} of {len(cells) * seeds} agents")
        except BrokenProcessPool as error:
            count = sum(len(cell.returns) for cell in cells)
            kept = f"{count} agents are in {out}: go on with resume" if out and count else ""
            raise GTNError(
                "a process died: of too little memory, killed, or because a script calls this "
                f'outside `if __name__ == "__main__":`; {kept or "none is kept"}'
            ) from error
    return sofar()


def _checked(env: SyntheticEnv, target: str | Factory, jobs: int) -> Target:
    """A target that can be made, is one for the artifact, and can be sent to processes."""
    try:
        task = describe(target)
    except UsageError as error:
        raise UsageError(
            f"{error} If a function makes the environment, give it: compare(artifact, target), or "
            "options --wrap and --env-kwargs"
        ) from error
    for name in ("observation_space", "action_space"):
        own, other = getattr(env, name), getattr(task, name)
        if (own.shape, own.dtype) != (other.shape, other.dtype):
            raise UsageError(f"{task.id} has {name} {other}, but the artifact was made for {own}")
    if jobs > 1 and (why := unsendable(target)):
        raise UsageError(
            f"{task.id} cannot be sent to other processes ({why}): use jobs=1, or a function at "
            "the top of a module"
        )
    return task


def _check_writable(path: Path, *, resume: bool) -> None:
    """Nothing, if a file can be written there and nothing is lost by that.

    Raises:
        UsageError: There is a folder, or a file to go on with.
        OSError: It cannot be written.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a folder: give a file with --json")
    if resume and not path.exists():
        raise UsageError(f"{path} is not there, it holds no comparison: start without --resume")
    if path.exists() and not resume:
        raise UsageError(
            f"{path} exists: --resume goes on with it; else move it, or give another with --json"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent):
        pass


def _known(
    cells: list[Cell], asked: Comparison, out: Path, seeds: int, episodes: int
) -> list[Cell]:
    """The cells with the agents that a file holds.

    Raises:
        UsageError: It is of another comparison.
    """
    before = Comparison.load(out)
    for name in ("artifact", "target", "training", "first_seed"):
        if getattr(before, name) != getattr(asked, name):
            raise UsageError(
                f"{out} is of another {name}: move it, or give another file with --json"
            )
    known = {cell.key: cell for cell in before.cells}
    cells = [known.get(cell.key, cell) for cell in cells]
    if any(cell.returns.shape[1] != episodes or len(cell.returns) > seeds for cell in cells):
        raise UsageError(f"{out} has other episodes or more seeds: ask for the same, or more seeds")
    return cells


def _real(target: str | Factory) -> gym.Env[Any, Any]:
    return gym.make(target) if isinstance(target, str) else target()


def parse_algorithm(text: str, steps: int) -> tuple[str, int]:
    """Name and steps of `"dqn"` or `"dqn:5000"`.

    Raises:
        UsageError: Unknown algorithm, or steps that are not a positive number.
    """
    from gtn_rl.agents.sb3 import algorithm

    name, _, own = text.partition(":")
    algorithm(name)
    try:
        count = int(own.replace("_", "")) if own else steps
    except ValueError:
        raise UsageError(f"{text!r}: steps must be a positive whole number") from None
    bounds.within(f"{text!r}: steps", count, bounds.Count)
    return name, count


@dataclass(frozen=True)
class _Task:
    algorithm: str
    kind: str
    steps: int
    artifact: str
    target: str | Factory
    seed: int
    episodes: int


@contextmanager
def _mapping(jobs: int) -> Iterator[Callable[..., Any]]:
    """`map`, in this process or in others, which end at once where it does."""
    if jobs == 1:
        yield map
        return
    pool = make_pool(jobs)
    try:
        yield pool.map
    finally:
        end(pool)


def _run_one(task: _Task) -> tuple[NDArray[np.float64], float]:
    from gtn_rl.agents.sb3 import train_stock
    from gtn_rl.envs.sb3 import make_sb3_env

    env: Any = (
        make_sb3_env(locate(task.artifact), seed=task.seed, budget=task.steps)
        if task.kind == SYNTHETIC
        else _real(task.target)
    )
    start = time.perf_counter()
    agent = train_stock(task.algorithm, env, task.steps, task.seed)
    seconds = time.perf_counter() - start
    env.close()
    # The stream's number is any constant: scoring must not meet the initial states of training.
    seed = derive(task.seed, 7) >> 32
    return greedy_returns(agent, task.target, task.episodes, seed), seconds
