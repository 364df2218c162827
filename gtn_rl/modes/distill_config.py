"""Settings of a behaviour distillation; the text under each field is the command line's help."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from gtn_rl.agents.cloning import OPTIMIZERS
from gtn_rl.agents.spec import Spec, parse_networks
from gtn_rl.config import Learners, Outer, Pretrain, TrainConfig, one_of, positive
from gtn_rl.errors import UsageError


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

    max_real_steps: int = 1_000_000
    """Stop after this many steps of the real environment, evaluations included."""

    max_minutes: float = 10.0
    """Stop after this many minutes."""

    target_return: float | None = None
    """Mean real return of fresh policies that counts as solved; Gymnasium's reward threshold of the
    target if not given. It goes on until `patience` more evaluations bring nothing better."""

    candidates: int = 256
    """Random pairs that are tried before they are learned, where there is no expert."""

    warmup: int = 0
    """Real steps of policy gradient for an expert before anything is distilled; not needed where
    the return itself shows the way. With one, pairs start as states that it met, and its actions
    there."""

    warmup_learning_rate: float = 3e-3
    """Adam's first step size in that."""

    hidden: tuple[int, ...] = (64, 64)
    """Hidden units of the expert."""

    imitation: int = 0
    """Outer steps, before the others, that raise the policies' agreement with that expert instead
    of their real return."""

    imitation_learning_rate: float = 1e-2
    """Adam's first step size in these; it falls linearly to 0 at the last of them."""

    outer_steps: int = 60
    """Outer steps that raise the real return, at most."""

    outer_learning_rate: float = 5e-2
    """Adam's first step size in these; it falls linearly to 0 at the last of them."""

    epochs: int = 2
    """Updates from one batch of real experience."""

    copies: int = 4
    """Real environments for each policy, four at least."""

    noise: float = 0.4
    """Deviation of continuous actions in outer steps, relative to half their range."""

    episodes: int = 3
    """Real episodes of each policy in an evaluation."""

    every: int = 10
    """Outer steps between evaluations; each also writes the checkpoint and the artifact."""

    patience: int = 3
    """Evaluations without a better one, once the target return is reached, before it stops."""

    averaging: float = 0.9
    """Decay of the moving average of the pairs; the average is what is evaluated and saved."""

    def __post_init__(self) -> None:
        """Reject values that cannot work before anything is spent.

        Raises:
            UsageError: The first such value.
        """
        positive(
            self, "pairs", "steps", "temperature", "candidates", "imitation_learning_rate",
            "epochs",
        )  # fmt: skip
        if self.clone_learning_rate is not None:
            positive(self, "clone_learning_rate")
        if self.imitation < 0:
            raise UsageError(f"imitation must not be negative, got {self.imitation}")
        if self.imitation and not self.warmup:
            raise UsageError("imitation needs an expert: set warmup to its real steps")
        if not 0 <= self.averaging < 1:
            raise UsageError(f"averaging must be in [0, 1), got {self.averaging}")
        if not self.networks:
            raise UsageError("networks must name at least one, such as 8xtanh:64-64")
        one_of("optimizer", self.optimizer, tuple(OPTIMIZERS))
        self.shapes()
        self.training()

    def shapes(self) -> list[Spec]:
        """The networks, parsed."""
        return [parse_networks(text) for text in self.networks]

    @property
    def num_policies(self) -> int:
        """All policies of one outer step."""
        return sum(shape.count for shape in self.shapes())

    def first_rate(self) -> float:
        """Learning rate of every step before it is learned."""
        if self.clone_learning_rate is not None:
            return self.clone_learning_rate
        return 0.3 * math.sqrt(50 / self.steps) if self.optimizer == "sgd" else 0.01

    def training(self) -> TrainConfig:
        """What the stages want to know that it shares with the training of an environment."""
        return TrainConfig(
            seed=self.seed,
            max_real_steps=self.max_real_steps,
            max_minutes=self.max_minutes,
            target_return=self.target_return,
            estimator="meta-gradient",
            hidden=self.hidden,
            noise=self.noise,
            pretrain=Pretrain(real_steps=self.warmup, learning_rate=self.warmup_learning_rate),
            learners=Learners(episodes=self.episodes),
            outer=Outer(
                steps=self.outer_steps, every=self.every, patience=self.patience,
                copies=self.copies, learning_rate=self.outer_learning_rate,
            ),
        )  # fmt: skip


SETTINGS: dict[str, dict[str, Any]] = {
    "Hopper-v5": {
        "pairs": 64,
        "optimizer": "adam",
        "networks": ("8xtanh:64-64",),
        "max_real_steps": 5_000_000,
        "max_minutes": 25.0,
        # Return alone stalls early.
        "warmup": 3_000_000,
        "warmup_learning_rate": 1e-3,
        # With less it may learn to stand still, which pays 1,050.
        "noise": 0.3,
        "imitation": 600,
        # Adam for the pairs, too, wants bold steps: 1e-2 for 150 steps left clones at 1,000.
        "imitation_learning_rate": 2e-2,
        "copies": 8,
        "episodes": 2,
        "outer_learning_rate": 3e-3,
        "target_return": 3_000.0,
    },
}
"""Settings for known targets; whatever is not named here has the default."""


def distillation_for(target: str) -> DistillConfig:
    """The settings with which a target is distilled if nothing else is asked for."""
    return DistillConfig(**SETTINGS.get(target, {}))
