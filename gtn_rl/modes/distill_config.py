"""Settings of a behaviour distillation; the text under each field is the command line's help."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gtn_rl import bounds
from gtn_rl.config import Learners, Outer, Pretrain, TrainConfig, one_of
from gtn_rl.errors import UsageError

if TYPE_CHECKING:
    from gtn_rl.agents.spec import Spec


@dataclass(frozen=True)
class DistillConfig:
    """How (state, action) pairs are learned from which fresh policies are cloned."""

    pairs: bounds.Length = 4
    """Synthetic (state, action) pairs."""

    steps: bounds.Length = 50
    """Full-batch gradient steps of a policy; 1 for a single step on a single batch."""

    networks: tuple[str, ...] = ("8xtanh:64-64", "8xtanh:32-32")
    """Policies cloned side by side in each outer step, as count x activation : hidden units."""

    optimizer: str = "sgd"
    """Of the policies: sgd or adam."""

    clone_learning_rate: bounds.Positive | None = None
    """Learning rate of every step before it is learned; 0.3 sqrt(50 / steps) for sgd and 0.01 for
    adam if not given."""

    temperature: bounds.Positive = 0.1
    """Logits are divided by it when discrete policies act in outer steps. Evaluations are greedy,
    so that what explores should not be much less sure."""

    seed: bounds.Seed = 0
    """Seed of everything random; the same seed on the same machine gives the same run."""

    max_real_steps: bounds.Steps = 1_000_000
    """Stop after this many steps of the real environment, evaluations included."""

    max_minutes: bounds.Minutes = 10.0
    """Stop after this many minutes."""

    target_return: bounds.Return | None = None
    """Mean real return of fresh policies that counts as solved; Gymnasium's reward threshold of the
    target if not given. It goes on until `outer.patience` more evaluations bring nothing better."""

    candidates: bounds.Many = 256
    """Random pairs that are tried before they are learned, where there is no expert."""

    imitation: bounds.Whole = 0
    """Outer steps, before the others, that raise the policies' agreement with an expert
    (`pretrain`) instead of their real return."""

    imitation_learning_rate: bounds.Positive = 1e-2
    """Adam's first step size in these; it falls linearly to 0 at the last of them."""

    episodes: bounds.Many = 3
    """Real episodes of each policy in an evaluation."""

    epochs: bounds.Many = 2
    """Updates from one batch of real experience."""

    averaging: bounds.Share = 0.9
    """Decay of the moving average of the pairs; the average is what is evaluated and saved."""

    noise: bounds.Positive = 0.4
    """Deviation of continuous actions in outer steps, relative to half their range."""

    hidden: tuple[bounds.Units, ...] = (64, 64)
    """Hidden units of the expert."""

    pretrain: Pretrain = field(default_factory=lambda: Pretrain(real_steps=0))
    """An expert, found by policy gradient before anything is distilled; not needed where the return
    itself shows the way. With one, pairs start as states that it met, and its actions there."""

    outer: Outer = field(
        default_factory=lambda: Outer(steps=60, every=10, copies=4, learning_rate=5e-2)
    )
    """Outer steps that raise the real return."""

    def __post_init__(self) -> None:
        """Reject values that cannot work before anything is spent.

        Raises:
            UsageError: The first such value.
        """
        bounds.check(self)
        if self.imitation and not self.pretrain.real_steps:
            raise UsageError("imitation needs an expert: set pretrain.real_steps")
        if not self.networks:
            raise UsageError("networks must name at least one, such as 8xtanh:64-64")
        one_of("optimizer", self.optimizer, ("sgd", "adam"))
        self.training()

    def shapes(self) -> list[Spec]:
        """The networks, parsed.

        Raises:
            UsageError: One of them cannot be.
        """
        from gtn_rl.agents.spec import parse_networks

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
            seed=self.seed, max_real_steps=self.max_real_steps, max_minutes=self.max_minutes,
            target_return=self.target_return, estimator="meta-gradient", hidden=self.hidden,
            noise=self.noise, pretrain=self.pretrain, outer=self.outer,
            learners=Learners(episodes=self.episodes),
        )  # fmt: skip
