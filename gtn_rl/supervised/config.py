"""Settings of a supervised run; the text under each field is the command line's help."""

from __future__ import annotations

from dataclasses import dataclass

from gtn_rl.errors import UsageError


@dataclass(frozen=True)
class SupervisedConfig:
    """How a teacher of classifiers is meta-trained."""

    seed: int = 0
    """Seed of everything random; the same seed on the same machine gives the same run."""

    teacher: str = "curriculum"
    """What teaches: a generator with curriculum, shuffled-batches, all-shuffled, no-curriculum or
    balanced-noise; distillation (learned images); or real (real data whose learning rates are
    learned)."""

    outer_steps: int = 600
    """Updates of the teacher."""

    max_minutes: float = 30.0
    """Stop after this many minutes, wherever the schedule stands."""

    inner_steps: int = 16
    """Optimizer steps of a learner's training, the loop that is differentiated."""

    batch_size: int = 32
    """Examples in each of those steps."""

    learners: tuple[str, ...] = ("4xmlp@relu:64-64",)
    """Learners trained side by side, as count x kind @ activation : hidden units, such as
    4xmlp@relu:32..128-64 2xcnn3@relu:8-16: a width of 32..128 is drawn anew for each learner. Data
    that is to teach networks it never saw needs a mix."""

    draw: int = 0
    """Of the kinds of learners, how many are drawn for each outer step; all of them if 0."""

    weight_norm: bool = False
    """Learners' weights are normalised, each unit's as a direction and a length, as in Such et al.
    2020."""

    real_batch: int = 256
    """Real training examples on which each trained learner is scored for the meta-gradient."""

    intermediate: int = 1
    """Points of the inner loop, evenly spaced, the last one its end, at which learners are scored
    (intermediate losses)."""

    segment: int = 0
    """Inner steps whose graph is kept in memory; the others' is computed again in the backward pass
    (gradient checkpointing). All if 0."""

    noise: int = 64
    """Numbers in the generator's noise."""

    hidden: int = 128
    """Hidden units of the generator."""

    first_rate: float = 0.2
    """Learning rate of every inner step before it is learned."""

    first_momentum: float = 0.5
    """Momentum of every inner step before it is learned."""

    outer_learning_rate: float = 1e-2
    """Adam's first step size for the teacher's parameters; it falls to 0 along half a cosine."""

    max_gradient_norm: float = 1.0
    """The meta-gradient is shortened to this norm."""

    averaging: float = 0.98
    """Decay of the moving average of the parameters; the average is what is evaluated and saved."""

    evaluate_every: int = 50
    """Outer steps between evaluations; each also writes the checkpoint and the artifact."""

    exams: int = 4
    """Times the learners in an evaluation."""

    def __post_init__(self) -> None:
        """Reject values that cannot work before anything is spent.

        Raises:
            UsageError: The first such value.
        """
        positive = (
            "outer_steps", "max_minutes", "inner_steps", "batch_size", "real_batch",
            "intermediate", "noise", "hidden", "first_rate", "outer_learning_rate",
            "max_gradient_norm", "evaluate_every", "exams",
        )  # fmt: skip
        for name in positive:
            if not getattr(self, name) > 0:
                raise UsageError(f"{name} must be positive, got {getattr(self, name)}")
        if not 0 < self.first_momentum < 1:
            raise UsageError(f"first_momentum must be in (0, 1), got {self.first_momentum}")
        if not 0 <= self.averaging < 1:
            raise UsageError(f"averaging must be in [0, 1), got {self.averaging}")
        if self.intermediate > self.inner_steps:
            raise UsageError("intermediate must not exceed inner_steps")
        if min(self.segment, self.draw) < 0:
            raise UsageError("segment and draw must not be negative")
        if not self.learners:
            raise UsageError("learners must name at least one kind, such as 4xmlp@relu:64-64")
