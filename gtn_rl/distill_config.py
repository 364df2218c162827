"""Settings of a behaviour distillation; the text under each field is the command line's help."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

from gtn_rl.agents.cloning import OPTIMIZERS, Shape, parse_shape
from gtn_rl.config import TrainConfig
from gtn_rl.errors import UsageError, did_you_mean


@dataclass(frozen=True)
class DistillConfig:
    """How (state, action) pairs are learned from which fresh policies are cloned."""

    pairs: int = 4
    """Synthetic (state, action) pairs."""

    steps: int = 50
    """Full-batch gradient steps of a policy; 1 for a single step on a single batch."""

    networks: tuple[str, ...] = ("8xtanh:64-64", "8xtanh:32-32")
    """Policies cloned side by side in each outer step, as count x activation : hidden units."""

    optimizer: str = "sgd"
    """Of the policies: sgd or adam."""

    clone_learning_rate: float | None = None
    """Learning rate of every step before it is learned; 0.3 sqrt(50 / steps) for sgd and 0.01 for
    adam if not given."""

    temperature: float = 0.1
    """Logits are divided by it when discrete policies act in outer steps. Evaluations are greedy,
    so that what explores should not be much less sure."""

    seed: int = 0
    """Seed of everything random; the same seed on the same machine gives the same run."""

    max_real_steps: int = 600_000
    """Stop after this many steps of the real environment, evaluations included."""

    max_minutes: float = 10.0
    """Stop after this many minutes."""

    target_return: float | None = None
    """Mean real return of fresh policies that counts as solved; Gymnasium's reward threshold of the
    target if not given. It goes on until `patience` more evaluations bring nothing better."""

    evaluate_every: int = 10
    """Outer steps between evaluations; each also writes the checkpoint and the artifact."""

    patience: int = 3
    """Evaluations without a better one, once the target return is reached, before it stops."""

    warmup: int = 0
    """Real steps of policy gradient for an expert before anything is distilled; not needed where
    the return itself shows the way. With one, pairs start as states that it met, and its actions
    there."""

    warmup_learning_rate: float = 1e-3
    """Adam's first step size in that."""

    warmup_copies: int = 64
    """Real environments side by side in that; 128 steps in each make up a batch of experience."""

    warmup_batch: int = 1024
    """Real steps that each of its updates looks at."""

    effort: float = 0.0
    """What its policy pays for the mean square of its continuous actions, in half ranges, where
    advantages have deviation 1. Gentle experts are easier to clone than those that bang from bound
    to bound."""

    starts: int = 256
    """Random pairs that are tried before they are learned, or random experts before a warm-up."""

    hidden: tuple[int, ...] = (64, 64)
    """Hidden units of the expert."""

    imitation: int = 0
    """Outer steps, the first ones, that raise the policies' agreement with that expert instead of
    their real return."""

    imitation_learning_rate: float = 1e-2
    """Adam's first step size in these; it falls linearly to 0 at the last of them."""

    copies: int = 4
    """Real environments for each policy."""

    exam_copies: int = 3
    """Real episodes for each policy in an evaluation."""

    rollout_steps: int = 128
    """Steps in each real environment for each outer step."""

    outer_epochs: int = 2
    """Updates from one batch of real experience."""

    outer_learning_rate: float = 5e-2
    """Adam's first step size for the pairs; it falls linearly to 0 at `max_real_steps`."""

    max_gradient_norm: float = 1.0
    """The meta-gradient is shortened to this norm."""

    clip: float = 0.2
    """PPO's bound on how far one batch of experience may move the cloned policies."""

    discount: float = 0.99
    """Gamma of the real return's advantages."""

    trace: float = 0.95
    """Lambda of generalized advantage estimation."""

    outer_noise: float = 0.4
    """Deviation of continuous actions in outer steps, relative to half their range."""

    critic_learning_rate: float = 1e-3
    """Adam's step size for the critic of the real task."""

    critic_epochs: int = 4
    """Its passes over each batch of experience."""

    averaging: float = 0.9
    """Decay of the moving average of the pairs; the average is what is evaluated and saved."""

    def __post_init__(self) -> None:
        """Reject values that cannot work before anything is spent.

        Raises:
            UsageError: The first such value.
        """
        positive = ("pairs", "steps", "temperature", "clone_learning_rate")
        for name in positive:
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UsageError(f"{name} must be positive, got {value}")
        if not self.networks:
            raise UsageError("networks must name at least one, such as 8xtanh:64-64")
        if self.optimizer not in OPTIMIZERS:
            raise UsageError(
                f"unknown optimizer {self.optimizer!r}: use one of {', '.join(OPTIMIZERS)}."
                f"{did_you_mean(self.optimizer, OPTIMIZERS)}"
            )
        self.shapes()
        self.outer()

    def shapes(self) -> list[Shape]:
        """The networks, parsed."""
        return [parse_shape(text) for text in self.networks]

    def first_rate(self) -> float:
        """Learning rate of every step before it is learned."""
        if self.clone_learning_rate is not None:
            return self.clone_learning_rate
        return 0.3 * math.sqrt(50 / self.steps) if self.optimizer == "sgd" else 0.01

    def outer(self) -> TrainConfig:
        """The settings that the score by real return needs, under the names it knows them by."""
        known = {field.name for field in fields(TrainConfig)}
        shared: dict[str, Any] = {
            field.name: getattr(self, field.name) for field in fields(self) if field.name in known
        }
        # Only the expert of the start is of interest, not the environment that would teach it.
        return TrainConfig(**shared, coverage=False)


SETTINGS: dict[str, dict[str, Any]] = {
    "Hopper-v5": {
        "pairs": 64,
        "optimizer": "adam",
        "networks": ("8xtanh:64-64",),
        "max_real_steps": 4_200_000,
        "max_minutes": 25.0,
        # Return alone stalls early. In 64 environments and updates of 1024 steps the expert ends at
        # 600.
        "warmup": 3_000_000,
        "warmup_learning_rate": 3e-4,
        "warmup_copies": 16,
        "warmup_batch": 128,
        "critic_epochs": 10,
        # Without it experts may bang from bound to bound, which clones do not learn.
        "effort": 0.4,
        # With less, or a discount of 0.995, it may learn to stand still, which pays 1,050.
        "outer_noise": 0.3,
        "starts": 16,
        "imitation": 600,
        # Adam for the pairs, too, wants bold steps: 1e-2 for 150 steps left clones at 1,000.
        "imitation_learning_rate": 2e-2,
        "copies": 8,
        "exam_copies": 2,
        "outer_learning_rate": 3e-3,
        "target_return": 3_000.0,
    },
}
"""Settings for known targets; whatever is not named here has the default."""


def distillation_for(target: str) -> DistillConfig:
    """The settings with which a target is distilled if nothing else is asked for."""
    return DistillConfig(**SETTINGS.get(target, {}))
