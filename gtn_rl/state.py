"""Where a run stands: what its stages hand on, and what it cost so far."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from gtn_rl import bounds
from gtn_rl.errors import ArtifactError, UsageError
from gtn_rl.inner.objective import Critic


@dataclass
class State:
    """What one stage hands to the next.

    Args:
        teacher: The module that is trained.
        critic: Values of the real task, once something is known of them.
        visited: States `[M, O]` that agents met in the target.
        returns: Real returns known so far: `random`, `optimal`, and those of final learners.
        later: What the teacher becomes, where that is another kind of module.
        length: Steps of a real episode, on average, of agents that do well; 0 if not known.
    """

    teacher: nn.Module
    critic: Critic | None = None
    visited: Tensor = field(default_factory=lambda: torch.zeros(0, 0))
    returns: dict[str, float] = field(default_factory=dict)
    later: nn.Module | None = None
    length: float = 0.0

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must hold of it."""
        critic = self.critic
        return {
            "teacher": self.teacher.state_dict(),
            "critic": None if critic is None else critic.state_dict(),
            "critic_optimizer": None if critic is None else critic.optimizer.state_dict(),
            "visited": self.visited,
            "returns": dict(self.returns),
            "length": self.length,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Set it to a saved state."""
        if self.later is not None and state["teacher"].keys() == self.later.state_dict().keys():
            self.teacher = self.later
        load_sized(self.teacher, state["teacher"])
        self.visited = state["visited"].flatten(1)
        self.returns = {name: float(value) for name, value in state["returns"].items()}
        self.length = float(state["length"])
        if state["critic"] is not None:
            size = len(state["critic"]["mean"])
            self.critic = Critic(torch.zeros(size), torch.ones(size), generator=torch.Generator())
            self.critic.load_state_dict(state["critic"])
            self.critic.optimizer.load_state_dict(state["critic_optimizer"])


def load_sized(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load a state whose buffers and parameters may have grown since the module was made."""
    for name, tensor in state.items():
        owner = module.get_submodule(name.rpartition(".")[0])
        own = getattr(owner, name.rpartition(".")[2])
        if own.shape != tensor.shape:
            own.data = tensor.clone()
    module.load_state_dict(state)


def saving(*names: str) -> tuple[Callable[..., dict[str, Any]], Callable[..., None]]:
    """`state_dict` and `load_state_dict` of objects whose state is in these attributes."""

    def state_dict(self: Any) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in names}
        return {name: x.state_dict() if hasattr(x, "state_dict") else x for name, x in own.items()}

    def load_state_dict(self: Any, state: Mapping[str, Any]) -> None:
        for name in names:
            own = getattr(self, name)
            if isinstance(own, nn.Module):
                load_sized(own, state[name])
            elif hasattr(own, "load_state_dict"):
                own.load_state_dict(state[name])
            else:
                setattr(self, name, state[name])

    return state_dict, load_state_dict


@dataclass
class Progress:
    """Where a run stands, besides tensors.

    Args:
        stage: Number of the stage that is on.
        step: Outer steps done in it.
        steps: Outer steps done in all.
        real_steps: Steps of the real environment, or real examples; everything included.
        seconds: Wall time, all sittings together.
        best: Best evaluation of the stage so far.
        stopped: Why the run ended, or an empty string.
        cut: The budget that ended a stage before its time, or an empty string.
        rows: The log.
        before: What the artifact cost that the run began from (`init`): `real_steps`, `seconds`.
        dearest: Real steps and seconds of the stage's outer step that took most, not evaluated.
        exam: Those of its evaluation that took most.
    """

    stage: bounds.Few = 0
    step: bounds.Whole = 0
    steps: bounds.Whole = 0
    real_steps: bounds.Large = 0
    seconds: bounds.Seconds = 0.0
    best: float = -math.inf
    stopped: str = ""
    cut: str = ""
    rows: list[dict[str, Any]] = field(default_factory=list)
    before: dict[str, float] = field(default_factory=dict)
    dearest: tuple[bounds.Large, bounds.Seconds] = (0, 0.0)
    exam: tuple[bounds.Large, bounds.Seconds] = (0, 0.0)

    def costs(self) -> dict[str, Any]:
        """What the run cost so far, with what it began from, and why it ended."""
        costs = {"real_steps": self.real_steps, "seconds": round(self.seconds, 1)}
        costs |= {f"{name}_of_init": value for name, value in self.before.items()}
        return costs | {"outer_steps": self.steps, "stopped": self.stopped or "still running"}


def progress_of(saved: Any) -> Progress:
    """Where a checkpoint says that a run stands.

    Raises:
        ArtifactError: It says nothing that can be meant.
    """
    try:
        progress = Progress(**saved)
        bounds.check(progress)
        if all(isinstance(row, dict) for row in progress.rows):
            return progress
        raise UsageError("rows must be tables")
    except (UsageError, TypeError) as error:
        raise ArtifactError(
            f"the checkpoint is none of this kind of run ({error}): train into a new folder"
        ) from error
