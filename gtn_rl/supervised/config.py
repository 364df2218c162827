"""Settings of a supervised run; the text under each field is the command line's help."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from gtn_rl import bounds
from gtn_rl.errors import UsageError


def is_image(shape: Sequence[int]) -> bool:
    """Whether inputs of a shape are images of 16 by 16 pixels and more."""
    return len(shape) == 3 and min(shape[1:]) >= 16


@dataclass(frozen=True)
class SupervisedConfig:
    """How a teacher of classifiers is meta-trained."""

    seed: bounds.Seed = 0
    """Seed of everything random; the same seed on the same machine gives the same run."""

    teacher: str = ""
    """What teaches: a generator with curriculum, shuffled-batches, all-shuffled, no-curriculum or
    balanced-noise; distillation (learned images); or real (real data whose learning rates are
    learned). If none is given, distillation for images of 16 by 16 pixels and more, else
    curriculum."""

    outer_steps: bounds.Whole = 0
    """Updates of the teacher; if 0, 200 for images of 16 by 16 pixels and more, else 600."""

    max_minutes: bounds.Minutes = 30.0
    """Stop after this many minutes, wherever the schedule stands."""

    inner_steps: bounds.Length = 16
    """Optimizer steps of a learner's training, the loop that is differentiated."""

    batch_size: bounds.Whole = 0
    """Examples in each of those steps; if 0, 128 of images of 16 by 16 pixels and more, else 32."""

    learners: tuple[str, ...] = ()
    """Learners trained side by side, as count x kind @ activation : hidden units, such as
    4xmlp@relu:64-64 2xcnn3+in@relu:8..32*2..3, in which a width of 8 to 32 and a number of 2 to 3
    layers are drawn anew for each outer step; +in and +gn are instance and group normalisation,
    +pool pools instead of striding. Data that is to teach networks it never saw needs a mix. If
    none are given, 1xcnn3+in@relu:16-32 for images of 16 by 16 pixels and more, else
    4xmlp@relu:64-64."""

    draw: bounds.Few = 0
    """Of the kinds of learners, how many are drawn for each outer step; all of them if 0."""

    weight_norm: bool = False
    """Learners' weights are normalised, each unit's as a direction and a length, as in Such et al.
    2020."""

    flip: bool = False
    """Mirror images at random, the teacher's and the real ones."""

    crop: bounds.Few = 0
    """Shift images at random by up to this many pixels, the teacher's and the real ones."""

    real_batch: bounds.Length = 512
    """Real training examples on which each trained learner is scored for the meta-gradient."""

    window: bounds.Whole = 16
    """Inner steps that are differentiated, at a position drawn anew for each outer step; learners
    are scored at its end (random truncated backpropagation, arXiv 2311.07025). All if 0."""

    intermediate: bounds.Length = 1
    """Points of the inner loop or of its window, evenly spaced, the last one its end, at which
    learners are scored (intermediate losses)."""

    segment: bounds.Whole = 0
    """Inner steps whose graph is kept in memory; the others' is computed again in the backward pass
    (gradient checkpointing). All if 0."""

    generator: str = "mlp"
    """Kind of the generator: mlp, or conv for images."""

    noise: bounds.Units = 64
    """Numbers in the generator's noise."""

    hidden: bounds.Units = 128
    """Hidden units of the generator; conv has a quarter as many channels."""

    soft_labels: bool = False
    """Learn the class probabilities of every sample as well; not for fresh noise or real data."""

    reconstruct: bounds.Whole = 300
    """Outer steps before those, in which what a generator makes of learned inputs becomes real
    examples; learned images are that from the start. If 0, both are noise."""

    first_rate: bounds.Deviation = 0.0
    """Learning rate of every inner step before it is learned; if 0, 0.05 for images of 16 by 16
    pixels and more, else 0.2."""

    first_momentum: bounds.Share = 0.0
    """Momentum of every inner step before it is learned; if 0, 0.9 and 0.5."""

    outer_learning_rate: bounds.Deviation = 0.0
    """Adam's first step size for the teacher's parameters; it falls to 0 along half a cosine. If 0,
    0.02 for distillation and 0.01 for the others, half of that for generators of images."""

    max_gradient_norm: bounds.Positive = 1.0
    """The meta-gradient is shortened to this norm."""

    averaging: bounds.Share = 0.98
    """Decay of the moving average of the parameters; the average is what is evaluated and saved."""

    evaluate_every: bounds.Count = 50
    """Outer steps between evaluations; each also writes the checkpoint and the artifact."""

    exams: bounds.Many = 4
    """Times the learners in an evaluation."""

    def __post_init__(self) -> None:
        """Reject values that cannot work before anything is spent.

        Raises:
            UsageError: The first such value.
        """
        bounds.check(self)
        if self.intermediate > min(self.window or self.inner_steps, self.inner_steps):
            raise UsageError("intermediate must not exceed inner_steps, nor the window")
        if self.generator not in ("mlp", "conv"):
            raise UsageError(f"generator must be mlp or conv, got {self.generator!r}")
        if self.soft_labels and not self.fixed:
            raise UsageError(f"soft_labels needs samples that stay the same, not {self.teacher}")

    def suited(self, shape: Sequence[int]) -> SupervisedConfig:
        """The settings with what they leave to the data, inputs of a shape, filled in."""
        image = is_image(shape)
        teacher = self.teacher or ("distillation" if image else "curriculum")
        generates = teacher not in ("distillation", "real")
        found: dict[str, Any] = {
            "teacher": teacher,
            "outer_steps": 200 if image else 600,
            "batch_size": 128 if image else 32,
            "learners": ("1xcnn3+in@relu:16-32" if image else "4xmlp@relu:64-64",),
            "first_rate": 0.05 if image else 0.2,
            "first_momentum": 0.9 if image else 0.5,
            "outer_learning_rate": (2e-2 if teacher == "distillation" else 1e-2)
            / (2 if image and generates else 1),
        }
        return replace(
            self, **{name: getattr(self, name) or value for name, value in found.items()}
        )

    @property
    def fixed(self) -> bool:
        """Whether a teacher's samples stay the same."""
        return self.teacher not in ("no-curriculum", "balanced-noise", "real")
