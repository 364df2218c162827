"""The outer loop: train learners in the synthetic environment, score them, improve it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gtn_rl import checkpoint
from gtn_rl.agents.learners import Learners
from gtn_rl.artifact import copy_parameters, save_pretrained
from gtn_rl.checkpoint import Parts, Progress
from gtn_rl.config import TrainConfig
from gtn_rl.critic import Critic
from gtn_rl.envs.actions import Actions, make_actions
from gtn_rl.envs.synthetic import SyntheticEnv
from gtn_rl.envs.targets import Act, Factory, RealEnvs, Target, describe
from gtn_rl.errors import TrainingDivergedError, UsageError
from gtn_rl.inner import act, algorithms, inner_loop
from gtn_rl.objective import agreement, collect, surrogate
from gtn_rl.outer.meta_gradient import MetaGradient
from gtn_rl.perfect import VISITED, perfect_learner, warm_up
from gtn_rl.runlog import RunLog
from gtn_rl.seeding import derive, generator
from gtn_rl.settings import settings_for
from gtn_rl.start import search, untrained

# Names of random streams; a run's randomness is a function of (seed, stream, outer step) alone, so
# that a resumed run is the run that was never killed.
_START, _LEARNERS, _ACTIONS, _RESET, _EVALUATION, _CRITIC, _WARM_UP = range(7)


Objective = Callable[[Act], Tensor]
"""What is maximised, a function of what the learners do."""


@dataclass(frozen=True)
class TrainResult:
    """A trained synthetic environment and what it cost.

    Args:
        env: The environment with the best evaluation.
        score: That evaluation: mean greedy real return of fresh learners.
        real_steps: Steps of the real environment, evaluations included.
        seconds: Wall time.
        stopped: Why it ended: `"converged"`, `"real steps"`, `"minutes"` or `"interrupted"`.
        rows: The log, one row per outer step (columns: `gtn_rl.runlog.COLUMNS`).
    """

    env: SyntheticEnv
    score: float
    real_steps: int
    seconds: float
    stopped: str
    rows: list[dict[str, Any]]


def train(
    target: str | Factory,
    out: str | Path | None = None,
    config: TrainConfig | None = None,
    *,
    resume: bool = False,
    progress_bar: bool = True,
    command: str = "",
) -> TrainResult:
    """Meta-train a synthetic environment for a target by the gradient of real return.

    Each outer step trains fresh learners in the environment, lets them act in the target, and
    changes the environment along the gradient of their real return through their whole training
    (Such et al. 2020, section 3, with return in the place of the validation loss).

    Args:
        target: Gymnasium id of an environment with flat `Box` observations and `Discrete` or
            bounded `Box` actions, or a function that makes one.
        out: Folder for the artifact, `log.csv`, TensorBoard logs and checkpoints; made if missing.
        config: Settings; those that `gtn_rl.settings` has for the target if not given.
        resume: Go on with the run that `out` holds, as if it had never stopped.
        progress_bar: Whether to show a progress bar.
        command: Recorded in the artifact as the way to reproduce it.

    Raises:
        UsageError: Unknown target, or `out` already holds a run and `resume` is false.
        UnsupportedSpaceError: The target's spaces are not supported.
        TrainingDivergedError: Numbers stopped being finite; `out` keeps the last good artifact.
    """
    if resume and out is None:
        raise UsageError("resume needs the folder of the run to go on with")
    task = describe(target)
    config = (config or settings_for(task.id)).for_space(task.action_space)
    folder = None if out is None else checkpoint.prepare(Path(out), resume=resume)
    actions = make_actions(task.action_space, config.outer_noise)
    goal = task.reward_threshold if config.target_return is None else config.target_return
    progress = Progress()
    parts: Parts | None = None
    if folder is not None and resume and checkpoint.started(folder):
        parts = _parts(untrained(task, config), config)
        progress = checkpoint.load(folder, task.id, config, parts)
    with (
        RealEnvs(task, actions, config.num_learners, config.copies) as real,
        RealEnvs(task, actions, config.num_learners, config.exam_copies) as exam,
        RunLog(folder, progress.rows, progress=progress_bar) as log,
    ):
        try:
            if parts is None:
                parts, progress.real_steps = _start(task, actions, config, goal, log)
                if folder is not None:
                    # A run that ends before its first evaluation can still be resumed.
                    checkpoint.save(folder, task.id, config, progress, parts)
            real.steps, first = progress.real_steps, progress.step
            env, critic, seed = parts.env, parts.critic, config.seed
            while not progress.stopped:
                step = progress.step
                if step == first or step % config.evaluate_every == 0:
                    real.reset(derive(seed, _RESET, step))

                learners = inner_loop(
                    env, config, generator(seed, _LEARNERS, step), create_graph=True
                )
                imitating = step < config.imitation
                if imitating:
                    objective: Objective = _agreement(
                        parts, config, actions, generator(seed, _ACTIONS, step)
                    )
                else:
                    experience = collect(
                        partial(act, learners), real, actions, critic, config,
                        generator(seed, _ACTIONS, step), config.rollout_steps,
                    )  # fmt: skip
                    objective = partial(
                        surrogate, experience=experience, actions=actions, clip=config.clip
                    )
                # Linear decay to the budget's end, in steps and not in seconds, which would make a
                # run depend on the machine's load.
                if imitating:
                    rate = config.imitation_learning_rate * (1 - step / config.imitation)
                else:
                    remaining = max(1 - progress.real_steps / config.max_real_steps, 0.0)
                    rate = config.outer_learning_rate * remaining
                for epoch in range(1 if imitating else config.outer_epochs):
                    if epoch:
                        learners = inner_loop(
                            env, config, generator(seed, _LEARNERS, step), create_graph=True
                        )
                    update = parts.estimator.update(
                        learners,
                        partial(_score, objective),
                        rate,
                    )
                error = None
                if not imitating:
                    error = critic.fit(*experience.values(), generator(seed, _CRITIC, step))
                parts.average.update_parameters(env)

                progress.step = step + 1
                row = {"return": real.finished(), "critic_error": error, **update._asdict()}
                used = progress.spend(real.steps + exam.steps, config)
                if progress.step % config.evaluate_every == 0 or used >= 1:
                    scores, met = evaluate(parts.averaged, exam, config, progress.step)
                    row |= scores
                    if progress.step < config.imitation:
                        # Where learners go is where they must know what to do (Ross et al. 2011).
                        parts.visited = torch.cat([parts.visited[:VISITED], met])
                    used = progress.spend(real.steps + exam.steps, config)
                    if progress.judge(row["evaluation"], goal, config.patience):
                        copy_parameters(parts.averaged, parts.best)
                if used >= 1 and not progress.stopped:
                    spent = progress.real_steps >= config.max_real_steps
                    progress.stopped = "real steps" if spent else "minutes"
                log.add(progress, row, used)
                if "evaluation" in row and folder is not None:
                    _save(folder, task.id, config, progress, parts, command)
        except KeyboardInterrupt:
            progress.stopped = "interrupted"
    parts = parts or _parts(untrained(task, config), config)
    return TrainResult(
        parts.best, progress.best, progress.real_steps, progress.seconds, progress.stopped,
        progress.rows,
    )  # fmt: skip


def evaluate(
    env: SyntheticEnv, exam: RealEnvs, config: TrainConfig, step: int
) -> tuple[dict[str, float], Tensor]:
    """Greedy real returns of fresh learners trained in `env`: mean, worst, mean of each kind.

    Returns:
        These, and some observations `[VISITED, O]` that the learners met.
    """
    stream = generator(config.seed, _EVALUATION, step)
    learners = inner_loop(env, config, stream, create_graph=False)
    met: list[Tensor] = []

    def policy(observation: Tensor) -> Tensor:
        met.append(observation.flatten(0, 1))
        return act(learners, observation)

    returns = exam.evaluate(policy, derive(config.seed, _EVALUATION, step)).mean(1)
    if not returns.isfinite().all():
        raise TrainingDivergedError("the real return is not finite: check the target's rewards")
    row = {"evaluation": float(returns.mean()), "evaluation_min": float(returns.min())}
    names = algorithms(learners)
    for name in dict.fromkeys(names):
        mask = torch.tensor([own == name for own in names])
        row[f"evaluation_{name}"] = float(returns[mask].mean())
    flat = torch.cat(met)
    return row, flat[torch.randint(len(flat), (VISITED,), generator=stream)]


def _score(objective: Objective, learners: Sequence[Learners]) -> Tensor:
    return objective(partial(act, learners))


def _agreement(
    parts: Parts, config: TrainConfig, actions: Actions, source: torch.Generator
) -> Objective:
    """Agreement with the expert on some of the observations that it met."""
    index = torch.randint(len(parts.visited), (config.num_learners, 256), generator=source)
    return partial(
        agreement, expert=partial(perfect_learner, parts.expert),
        observation=parts.visited[index], actions=actions,
    )  # fmt: skip


def _start(
    task: Target, actions: Actions, config: TrainConfig, goal: float | None, log: RunLog
) -> tuple[Parts, int]:
    """The start of a run, and the real steps that it took."""
    log.say("searching a start")
    env, steps = search(task, actions, config, _START)
    if not config.warmup:
        return _parts(env, config), steps
    critic = _critic(env, config)
    visited, more = warm_up(
        env, task, actions, critic, config, _WARM_UP, goal,
        lambda score, share: log.say(f"warm-up {share:.0%}, return {score:.1f}"),
    )  # fmt: skip
    return _parts(env, config, critic, visited), steps + more


def _parts(
    env: SyntheticEnv,
    config: TrainConfig,
    critic: Critic | None = None,
    visited: Tensor | None = None,
) -> Parts:
    """What trains an environment."""
    return Parts(
        env,
        MetaGradient(env, config.max_gradient_norm),
        critic or _critic(env, config),
        config.averaging,
        torch.zeros(0, env.noise_size) if visited is None else visited,
    )


def _critic(env: SyntheticEnv, config: TrainConfig) -> Critic:
    source = generator(config.seed, _START, _CRITIC)
    return Critic(env.mean, env.std, config.critic_learning_rate, source)


def _save(
    folder: Path, target: str, config: TrainConfig, progress: Progress, parts: Parts, command: str
) -> None:
    training = {
        "real_steps": progress.real_steps,
        "seconds": round(progress.seconds, 1),
        "outer_steps": progress.step,
        "seed": config.seed,
        "stopped": progress.stopped or "still running",
        "command": command,
        "config": asdict(config),
    }
    results = {"meta_validation": progress.best}
    save_pretrained(parts.best, folder, training=training, results=results)
    checkpoint.save(folder, target, config, progress, parts)
