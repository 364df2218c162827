"""Everything a run needs to go on after a kill."""

from __future__ import annotations

import copy
import json
import math
import time
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from gtn_rl.config import TrainConfig
from gtn_rl.critic import Critic
from gtn_rl.envs.synthetic import SyntheticEnv
from gtn_rl.errors import ArtifactError, UsageError
from gtn_rl.files import replacing
from gtn_rl.outer.meta_gradient import MetaGradient

_FILE = "checkpoint.pt"


class Parts:
    """The moving parts of a run: the environment, what updates it, its average and its best.

    Args:
        env: The environment that is trained.
        estimator: Updates it.
        critic: Values of the real task.
        decay: Decay of the moving average of the environment's parameters.
        visited: Observations `[M, O]` where learners are to agree with the expert, the perfect
            learner of `env` as it is now.
    """

    def __init__(
        self,
        env: SyntheticEnv,
        estimator: MetaGradient,
        critic: Critic,
        decay: float,
        visited: Tensor,
    ) -> None:
        def blend(average: Tensor, new: Tensor, count: Tensor | int) -> Tensor:
            # The plain mean until it is longer than the decay's memory: no bias to the start.
            return average.lerp(new, max(1 - decay, 1 / (int(count) + 1)))

        self.env = env
        self.estimator = estimator
        self.critic = critic
        self.average = AveragedModel(env, avg_fn=blend).requires_grad_(False)
        self.best = copy.deepcopy(env).requires_grad_(False)
        self.expert = copy.deepcopy(env).requires_grad_(False)
        self.visited = visited

    @property
    def averaged(self) -> SyntheticEnv:
        """The environment with averaged parameters."""
        env = self.average.module
        assert isinstance(env, SyntheticEnv)
        return env

    def _modules(self) -> dict[str, Any]:
        return {
            "env": self.env,
            "average": self.average,
            "best": self.best,
            "expert": self.expert,
            "critic": self.critic,
            "estimator": self.estimator.optimizer,
            "critic_optimizer": self.critic.optimizer,
        }

    def state_dict(self) -> dict[str, Any]:
        """States of all parts."""
        states: dict[str, Any] = {n: module.state_dict() for n, module in self._modules().items()}
        return states | {"visited": self.visited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Set all parts to saved states."""
        for name, module in self._modules().items():
            module.load_state_dict(state[name])
        self.visited = state["visited"]


@dataclass
class Progress:
    """Where a run stands, besides tensors.

    Args:
        step: Outer steps done.
        real_steps: Steps of the real environment.
        seconds: Wall time, all sittings together.
        best: Best evaluation so far.
        since_best: Evaluations since then.
        stopped: Why the run ended, or an empty string.
        rows: The log.
    """

    step: int = 0
    real_steps: int = 0
    seconds: float = 0.0
    best: float = -math.inf
    since_best: int = 0
    stopped: str = ""
    rows: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Start the clock of this sitting."""
        self._clock = time.perf_counter()

    def spend(self, real_steps: int, config: TrainConfig) -> float:
        """Bring the costs up to date; the share of the budget that is spent."""
        now = time.perf_counter()
        self.seconds += now - self._clock
        self._clock, self.real_steps = now, real_steps
        return max(real_steps / config.max_real_steps, self.seconds / 60 / config.max_minutes)

    def judge(self, score: float, goal: float | None, patience: int) -> bool:
        """Whether an evaluation is the best so far; stop when the goal is reached and it stalls."""
        better = score > self.best
        self.best = max(score, self.best)
        self.since_best = 0 if better else self.since_best + 1
        if goal is not None and self.best >= goal and self.since_best >= patience:
            self.stopped = "converged"
        return better


def prepare(folder: Path, *, resume: bool) -> Path:
    """Make the folder of a run, or check that it holds one to go on with.

    Raises:
        UsageError: The folder holds something already, or with `resume` no checkpoint.
    """
    if resume:
        if not started(folder) and not (folder / "log.csv").is_file():
            raise UsageError(f"{folder} holds no checkpoint to resume: start without --resume")
        return folder
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(
            f"{folder} is not empty: go on with --resume, or choose another folder with --out"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make folder {folder}: {error.strerror}") from error
    return folder


def started(folder: Path) -> bool:
    """Whether a run got far enough to leave a checkpoint."""
    return (folder / _FILE).is_file()


def save(folder: Path, target: str, config: TrainConfig, progress: Progress, parts: Parts) -> None:
    """Replace the folder's checkpoint."""
    content = {
        "target": target,
        "config": json.dumps(asdict(config)),
        "progress": asdict(progress),
        "parts": parts.state_dict(),
    }
    with replacing(folder / _FILE) as path:
        torch.save(content, path)


def load(folder: Path, target: str, config: TrainConfig, parts: Parts) -> Progress:
    """Set the parts to the folder's checkpoint and say where that run stood.

    A run may be resumed with a larger budget; nothing else may differ.

    Raises:
        ArtifactError: The checkpoint cannot be read.
        UsageError: It belongs to another target or to other settings.
    """
    try:
        content = torch.load(folder / _FILE, weights_only=True)
        saved = json.loads(content["config"])
        progress = Progress(**content["progress"])
        saved_target = content["target"]
    except Exception as error:
        raise ArtifactError(
            f"{folder / _FILE} cannot be read ({type(error).__name__}): train into a new folder"
        ) from error
    if saved_target != target:
        raise UsageError(f"{folder} holds a run on {saved_target}, not on {target}")
    asked = json.loads(json.dumps(asdict(config)))
    budget = {"max_real_steps", "max_minutes", "patience", "target_return"}
    changed = [
        f.name for f in fields(config) if f.name not in budget and saved[f.name] != asked[f.name]
    ]
    if changed:
        raise UsageError(
            f"{folder} was trained with other settings ({', '.join(changed)}): "
            "resume with the same, only the budget may change"
        )
    parts.load_state_dict(content["parts"])
    progress.stopped = ""
    return progress
