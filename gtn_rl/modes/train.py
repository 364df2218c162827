"""Meta-training of a synthetic environment, from its stages to its artifact."""

from __future__ import annotations

from pathlib import Path

from gtn_rl.config import TrainConfig, expect
from gtn_rl.envs.actions import make_actions
from gtn_rl.envs.synthetic import SyntheticEnv
from gtn_rl.envs.targets import Factory, Target, describe
from gtn_rl.errors import UsageError
from gtn_rl.io import checkpoint
from gtn_rl.io.artifact import read_config, total_costs
from gtn_rl.io.kinds import from_pretrained, save_pretrained
from gtn_rl.io.runlog import COLUMNS
from gtn_rl.loop import Stage
from gtn_rl.run import Result, go
from gtn_rl.stages.base import untrained
from gtn_rl.stages.dynamics import learn_dynamics
from gtn_rl.stages.expert import ImitateExpert, load_expert
from gtn_rl.stages.pretrain import Pretrain
from gtn_rl.stages.search import Search
from gtn_rl.stages.teach import TeachLearners, judging
from gtn_rl.state import State
from gtn_rl.targets import config_for


def train(
    target: str | Factory,
    out: str | Path | None = None,
    config: TrainConfig | None = None,
    *,
    resume: bool = False,
    progress_bar: bool = True,
    command: str = "",
) -> Result:
    """Meta-train a synthetic environment for a target by real return.

    A policy for the target is found first, as what the environment rewards most (search, then
    policy gradient). Then fresh learners are trained in the environment, act in the target, and how
    the environment presents what it teaches is changed so that their return rises: by evolution, or
    along the gradient of their real return through their whole training (Such et al. 2020, section
    3, with return in the place of the validation loss).

    Args:
        target: Gymnasium id of an environment with flat `Box` observations and `Discrete` or
            bounded `Box` actions, or a function that makes one.
        out: Folder for the artifact, `log.csv`, TensorBoard logs and checkpoints; made if missing.
        config: Settings; the defaults, and what `gtn_rl.targets` says of the target, if not given.
        resume: Go on with the run that `out` holds, as if it had never stopped.
        progress_bar: Whether to show a progress bar.
        command: Recorded in the artifact as the way to reproduce it.

    Raises:
        UsageError: Unknown target, or `out` already holds a run and `resume` is false.
        UnsupportedSpaceError: The target's spaces are not supported.
        TrainingDivergedError: Numbers stopped being finite; `out` keeps the last good artifact.
    """
    task = describe(target)
    config = config_for(task.id) if config is None else config
    expect(config, TrainConfig)
    config = config.for_space(task.action_space)
    start, before = _start(task, config)
    stages = stages_of(target, task, config, start)
    folder = checkpoint.prepare(out, resume=resume)
    return go(
        stages, State(start), target=task.id, config=config, folder=folder, resume=resume,
        budgets={"real_steps": config.max_real_steps, "minutes": config.max_minutes},
        write=save_pretrained, command=command, progress_bar=progress_bar, columns=COLUMNS,
        before=before,
    )  # fmt: skip


def stages_of(
    target: str | Factory, task: Target, config: TrainConfig, start: SyntheticEnv
) -> list[Stage]:
    """What a run does: find a policy, learn dynamics where there are any, teach, judge."""
    stages = find_policy(task, config)
    dynamic = bool(config.init) and read_config(config.init)["horizon"] > 1
    if config.horizon > 1 and config.dynamics.real_steps and not dynamic:
        stages.append(learn_dynamics(task, config))
    if config.outer.steps:
        stages.append(TeachLearners(target, task, config))
    return [*stages, judging(TeachLearners(target, task, config), task, config.seed)]


def find_policy(task: Target, config: TrainConfig, *, pretrain: bool = True) -> list[Stage]:
    """What finds the environment to begin with: nothing where one is given."""
    actions = make_actions(task.action_space, config.noise)
    if config.init:
        return []
    if config.expert:
        return [ImitateExpert(task, actions, config, load_expert(config.expert, task))]
    if pretrain and config.pretrain.real_steps:
        return [Search(task, actions, config), Pretrain(task, actions, config)]
    return [Search(task, actions, config)]


def _start(task: Target, config: TrainConfig) -> tuple[SyntheticEnv, dict[str, float]]:
    """The given environment, or an untrained one, and what the given one cost.

    Raises:
        ArtifactError: `init` is no environment for the target.
        UsageError: Its networks are not those that the settings want.
    """
    if not config.init:
        return untrained(task, config), {}
    env = from_pretrained(config.init, target=task.id).requires_grad_(True)
    if env.hidden != config.hidden:
        raise UsageError(f"{config.init} has hidden units {env.hidden}: set hidden to the same")
    if env.horizon not in (1, config.horizon):
        raise UsageError(f"{config.init} has horizon {env.horizon}: set horizon to the same")
    if env.horizon == 1 and config.horizon > 1:
        longer = env.like(1, horizon=config.horizon)
        longer.load_state_dict(env.state_dict(), strict=False)
        env = longer
    return env, total_costs(config.init)
